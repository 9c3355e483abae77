//! A package's representation, compiled: every check that needs no request is done before one comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{
    column::{Column, TextColumn},
    compile_columns, compile_image, compile_sequence,
    image::Image,
    nearest::{advice, dotted, listed},
    pointer::Pointer,
    sequence::{Mask, Sequence},
    spec::{InputSpec, RejectionSpec},
};
use crate::{
    fault::SpecFault,
    tensor::{Dtype, RowLayout, Slot},
};

/// How a business object becomes rows.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) layout: RowLayout,
    pub(super) inputs: Vec<Input>,
    pub(super) each: Option<Pointer>,
    pub(super) max_rows: usize,
}

/// One model input, ready to run.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Numbers {
        columns: Vec<Column>,
        dtype: Dtype,
        bytes: Range<usize>,
    },
    Texts {
        columns: Vec<TextColumn>,
        first: usize,
    },
    Picture {
        image: Box<Image>,
        bytes: Range<usize>,
    },
    Sequence(Sequence),
    Mask(Mask),
}

impl Plan {
    /// Checks the manifest's inputs against the model's. `each` is the manifest's pointer to the array whose
    /// elements become rows; `max_rows` bounds its length; `rejections` are the package's own codes.
    ///
    /// # Errors
    /// Every fault that was found, in the order of the model's inputs.
    pub fn compile(
        inputs: &BTreeMap<String, InputSpec>,
        layout: &RowLayout,
        each: Option<&str>,
        max_rows: usize,
        rejections: &BTreeMap<String, RejectionSpec>,
    ) -> Result<Self, Vec<SpecFault>> {
        let mut faults = Vec::new();
        let slots = layout.slots();
        for name in inputs.keys() {
            if !slots.iter().any(|slot| slot.name == *name) {
                let known = || slots.iter().map(|slot| slot.name.as_str());
                faults.push(SpecFault::new(
                    dotted("input", name),
                    format!("an input {name:?} that the model does not have"),
                    format!("the model's inputs: {}", listed(known())),
                    advice(name, known(), "take this table away"),
                ));
            }
        }
        let each_pointer = each.and_then(|text| {
            Pointer::parse(text, "each")
                .map_err(|fault| faults.push(fault))
                .ok()
        });
        let alone = slots.len() == 1 && each.is_none();
        let longest = compile_sequence::longest(inputs).ok().flatten();
        let compiled = slots
            .iter()
            .filter_map(|slot| {
                let Some(spec) = inputs.get(&slot.name) else {
                    faults.push(undescribed(slot));
                    return None;
                };
                input(spec, slot, (alone, longest), rejections, &mut faults)
            })
            .collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Plan {
            layout: layout.clone(),
            inputs: compiled,
            each: each_pointer,
            max_rows,
        })
    }

    /// Whether representing takes milliseconds (pictures) and not microseconds.
    #[must_use]
    pub fn is_heavy(&self) -> bool {
        self.images().next().is_some()
    }

    /// Whether a request may be one raw picture.
    #[must_use]
    pub fn accepts_pictures(&self) -> bool {
        self.each.is_none() && matches!(self.inputs.as_slice(), [Input::Picture { .. }])
    }

    /// The package's own codes that representing can give.
    #[must_use]
    pub fn codes(&self) -> BTreeSet<&str> {
        let small = self.images().filter_map(|image| image.too_small.as_ref());
        let blank = self.images().filter_map(|image| image.blank.as_ref());
        small
            .map(|(_, _, refusal)| refusal)
            .chain(blank.map(|(_, refusal)| refusal))
            .map(|refusal| refusal.code.as_str())
            .collect()
    }

    fn images(&self) -> impl Iterator<Item = &Image> {
        self.inputs.iter().filter_map(|input| match input {
            Input::Picture { image, .. } => Some(image.as_ref()),
            Input::Numbers { .. } | Input::Texts { .. } | Input::Sequence(_) | Input::Mask(_) => {
                None
            }
        })
    }
}

fn undescribed(slot: &Slot) -> SpecFault {
    let key = dotted("input", &slot.name);
    let mend = format!("add [{key}] with columns or a sequence, or [{key}.image]");
    SpecFault::new(
        key,
        "nothing",
        format!(
            "how the model's input {:?} ({} {:?}) is made from the request",
            slot.name, slot.dtype, slot.shape
        ),
        mend,
    )
}

fn input(
    spec: &InputSpec,
    slot: &Slot,
    (alone, longest): (bool, Option<usize>),
    rejections: &BTreeMap<String, RejectionSpec>,
    faults: &mut Vec<SpecFault>,
) -> Option<Input> {
    compile_columns::dtype(spec, slot, faults);
    // Of one length: what is a sequence lies behind it.
    let bytes = slot.bytes(0);
    match (&spec.columns, &spec.sequence, spec.mask, &spec.image) {
        (columns, Some(sequence), false, None) => {
            let columns = columns.as_deref();
            compile_sequence::sequence(sequence, columns, slot, faults).map(Input::Sequence)
        }
        (None, None, true, None) => compile_sequence::mask(slot, longest, faults).map(Input::Mask),
        (Some(columns), None, false, None) if slot.dtype == Dtype::String => Some(Input::Texts {
            columns: compile_columns::texts(columns, slot, faults),
            first: slot.offset,
        }),
        (Some(columns), None, false, None) => Some(Input::Numbers {
            columns: compile_columns::numbers(columns, slot, faults),
            dtype: slot.dtype,
            bytes,
        }),
        (None, None, false, Some(image)) => Some(Input::Picture {
            image: Box::new(compile_image::image(image, slot, alone, rejections, faults)),
            bytes,
        }),
        (columns, sequence, mask, image) => {
            let key = dotted("input", &slot.name);
            let none = columns.is_none() && sequence.is_none() && !mask && image.is_none();
            let found = if none { "none" } else { "several" };
            let mend = format!(
                "write columns = […], sequence = {{ … }} or mask = true in [{key}], or a table [{key}.image]"
            );
            let expected = "one of columns, sequence, mask and image";
            faults.push(SpecFault::new(key, found, expected, mend));
            None
        }
    }
}
