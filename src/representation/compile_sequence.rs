//! Sequences and their masks as they are written → what runs; every fault is collected.

use std::collections::BTreeMap;

use super::{
    cell::Cell,
    compile_columns,
    nearest::dotted,
    pointer::Pointer,
    sequence::{Mask, Sequence},
    spec::{ColumnSpec, InputSpec, OnMissing, Origin, SequenceSpec},
};
use crate::{
    fault::SpecFault,
    tensor::{Dtype, Slot},
};

/// A sequence of one input, whose first axis is that of its steps.
pub(super) fn sequence(
    spec: &SequenceSpec,
    columns: Option<&[ColumnSpec]>,
    slot: &Slot,
    faults: &mut Vec<SpecFault>,
) -> Option<Sequence> {
    let key = |part: &str| format!("{}.sequence{part}", dotted("input", &slot.name));
    let Some((most, step)) = slot.shape.split_first() else {
        faults.push(SpecFault::new(
            key(""),
            "an input of one number",
            "an input with an axis for the steps, behind the batch",
            "take the sequence away, or export the model with such an axis",
        ));
        return None;
    };
    if slot.dtype == Dtype::String {
        faults.push(SpecFault::new(
            key(""),
            "an input of strings",
            "an input of numbers",
            "export the model with places in a table instead, and name the texts in columns = [{ pointer = \"\", categories = […] }]",
        ));
        return None;
    }
    if spec.longest == 0 || spec.longest > *most {
        faults.push(SpecFault::new(
            key(".longest"),
            spec.longest.to_string(),
            format!("1 to {most}, which is what the model takes"),
            "write such a number, or export the model with that axis dynamic",
        ));
    }
    let itself = [ColumnSpec {
        pointer: String::new(),
        from: Origin::Element,
        on_missing: OnMissing::Reject,
        default: None,
        categories: None,
        encode: None,
        unknown: None,
        transform: None,
    }];
    let mut of_step = slot.clone();
    (of_step.shape, of_step.sequence) = (step.to_vec(), true);
    let columns = compile_columns::numbers(columns.unwrap_or(&itself), &of_step, faults);
    let pointer = Pointer::parse(&spec.pointer, key(".pointer"));
    Some(Sequence {
        pointer: pointer.map_err(|fault| faults.push(fault)).ok()?,
        columns,
        longest: spec.longest,
        slot: slot.clone(),
    })
}

/// The mask of one input, whose only axis is that of the steps, of which rows have up to `longest`.
pub(super) fn mask(
    slot: &Slot,
    longest: Option<usize>,
    faults: &mut Vec<SpecFault>,
) -> Option<Mask> {
    let key = || format!("{}.mask", dotted("input", &slot.name));
    if let (&[most], Some(longest)) = (slot.shape.as_slice(), longest)
        && most < longest
    {
        faults.push(SpecFault::new(
            key(),
            format!("an input of {most} steps"),
            format!("one of {longest}, as many as the longest sequence has, or with that axis dynamic"),
            format!("write longest = {most} or less in the sequences, or export the model with that axis dynamic"),
        ));
    }
    let mut one = vec![0; slot.dtype.size()];
    if slot.shape.len() == 1 && Cell::Int(1).store(slot.dtype, &mut one).is_some() {
        let slot = slot.clone();
        return Some(Mask { one, slot });
    }
    faults.push(SpecFault::new(
        key(),
        format!("an input of {} {:?}", slot.dtype, slot.shape),
        "an input of numbers with no axis but the batch and the steps",
        "take the mask away, and say with columns what the input is made of",
    ));
    None
}

/// The most steps that a package's sequences may have; `None` where it has none.
///
/// # Errors
/// Two that disagree, or a mask without a sequence.
pub(crate) fn longest(inputs: &BTreeMap<String, InputSpec>) -> Result<Option<usize>, SpecFault> {
    let sequence = |(name, input): (_, &InputSpec)| Some((name, input.sequence.as_ref()?.longest));
    let mut sequences = inputs.iter().filter_map(sequence);
    let Some((first, longest)) = sequences.next() else {
        return match inputs.iter().find(|(_, input)| input.mask) {
            None => Ok(None),
            Some((name, _)) => Err(SpecFault::new(
                format!("{}.mask", dotted("input", name)),
                "no input with a sequence",
                "an input whose steps this one marks",
                "add sequence = { pointer = …, longest = … } to that input, or take the mask away",
            )),
        };
    };
    match sequences.find(|(_, other)| *other != longest) {
        None => Ok(Some(longest)),
        Some((name, other)) => Err(SpecFault::new(
            format!("{}.sequence.longest", dotted("input", name)),
            other.to_string(),
            format!("{longest}, as input {first} has it"),
            "write the same: all sequences of a row have the same number of steps",
        )),
    }
}
