//! Where each model input of an example lies in one buffer.

use super::Dtype;

/// One model input's place in a [`Row`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The ONNX input's name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Shape of one row, without the batch axis; the most that it may be where the first axis is a sequence.
    pub shape: Vec<usize>,
    /// Whether the first axis is a sequence: in a run it is as long as that of the longest row.
    pub sequence: bool,
    /// For strings: index of the first element in [`Row::strings`]; else byte offset in [`Row::bytes`], of a row that
    /// has no steps.
    pub offset: usize,
    /// Bytes that a step has of the sequences ahead of this one.
    ahead: usize,
}

impl Slot {
    /// Number of elements of one row; a shape beyond all memory has `usize::MAX`.
    #[must_use]
    pub fn elements(&self) -> usize {
        let elements = self.shape.iter().copied();
        elements.fold(1, usize::saturating_mul)
    }

    /// Number of bytes of one row, the most where it is a sequence; 0 for strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.elements().saturating_mul(self.dtype.size())
    }

    /// Number of bytes of a row whose sequences have so many steps.
    #[must_use]
    pub fn len_of(&self, length: usize) -> usize {
        if self.sequence {
            self.step().saturating_mul(length)
        } else {
            self.len()
        }
    }

    /// Where the bytes of such a row lie in [`Row::bytes`]; wherever they do, if this is no sequence.
    #[must_use]
    pub fn bytes(&self, length: usize) -> std::ops::Range<usize> {
        let start = self
            .offset
            .saturating_add(self.ahead.saturating_mul(length));
        start..start.saturating_add(self.len_of(length))
    }

    /// Number of bytes of one step of a sequence.
    #[must_use]
    pub fn step(&self) -> usize {
        let rest = self.shape.iter().skip(1).copied();
        rest.fold(self.dtype.size(), usize::saturating_mul)
    }

    /// Whether a row has no bytes here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where each model input lies in a [`Row`]: fixed for a package version, but for sequences, which lie behind all that
/// has one length, and take as much as they have steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowLayout {
    slots: Vec<Slot>,
    /// Of all that has one length.
    bytes: usize,
    /// Of a step of all sequences.
    step: usize,
    strings: usize,
}

impl RowLayout {
    /// Lays out `(name, dtype, row shape)` one after the other, in the given order.
    #[must_use]
    pub fn new(inputs: impl IntoIterator<Item = (String, Dtype, Vec<usize>)>) -> Self {
        let fixed = inputs.into_iter();
        RowLayout::with_sequences(fixed.map(|(name, dtype, shape)| (name, dtype, shape, false)))
    }

    /// The same of `(name, dtype, row shape, whether its first axis is a sequence)`.
    #[must_use]
    pub fn with_sequences(
        inputs: impl IntoIterator<Item = (String, Dtype, Vec<usize>, bool)>,
    ) -> Self {
        let mut layout = RowLayout::default();
        for (name, dtype, shape, sequence) in inputs {
            let mut slot = Slot {
                name,
                dtype,
                shape,
                sequence,
                offset: layout.bytes,
                ahead: layout.step,
            };
            if dtype == Dtype::String {
                slot.offset = layout.strings;
                layout.strings = layout.strings.saturating_add(slot.elements());
            } else if sequence {
                layout.step = layout.step.saturating_add(slot.step());
            } else {
                slot.ahead = 0;
                layout.bytes = layout.bytes.saturating_add(slot.len());
            }
            layout.slots.push(slot);
        }
        for slot in &mut layout.slots {
            if slot.sequence && slot.dtype != Dtype::String {
                slot.offset = layout.bytes;
            }
        }
        layout
    }

    /// The inputs in the model's order.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Bytes of one row whose sequences have so many steps.
    #[must_use]
    pub fn bytes(&self, length: usize) -> usize {
        self.bytes.saturating_add(self.step.saturating_mul(length))
    }

    /// Strings of one row.
    #[must_use]
    pub fn strings(&self) -> usize {
        self.strings
    }

    /// The most steps that a row's sequences may have; 0 where it has none.
    #[must_use]
    pub fn longest(&self) -> usize {
        let mut sequences = self.slots.iter().filter(|slot| slot.sequence);
        let first = sequences.next().and_then(|slot| slot.shape.first());
        first.copied().unwrap_or(0)
    }

    /// Bytes of host memory that `rows` rows take in one batch, all as long as can be.
    #[must_use]
    pub fn batch_bytes(&self, rows: usize) -> usize {
        let strings = self.strings.saturating_mul(size_of::<String>());
        self.bytes(self.longest())
            .saturating_add(strings)
            .saturating_mul(rows)
    }

    /// The row with so many steps of its sequences, where it has more.
    #[must_use]
    pub fn shortened(&self, row: &Row, length: usize) -> Row {
        let length = row.length.min(length);
        let mut bytes = Vec::with_capacity(self.bytes(length));
        bytes.extend_from_slice(row.bytes.get(..self.bytes).unwrap_or_default());
        for slot in self.slots.iter().filter(|slot| slot.sequence) {
            let start = slot.bytes(row.length).start;
            let kept = row.bytes.get(start..start + slot.len_of(length));
            bytes.extend_from_slice(kept.unwrap_or_default());
        }
        Row {
            bytes,
            strings: row.strings.clone(),
            length,
        }
    }

    /// A row of zeros and empty strings, with so many steps of sequences, to be filled in.
    #[must_use]
    pub fn row(&self, length: usize) -> Row {
        let length = length.min(self.longest());
        Row {
            bytes: vec![0; self.bytes(length)],
            strings: vec![String::new(); self.strings],
            length,
        }
    }
}

/// One example: a value for every model input, packed as its [`RowLayout`] says, native endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Elements of all inputs that are not strings.
    pub bytes: Vec<u8>,
    /// Elements of all string inputs.
    pub strings: Vec<String>,
    /// Steps that its sequences have; 0 where it has no sequence.
    pub length: usize,
}
