//! Rows that are no golden example's, made from those that are: company of other values, so that a model that lets
//! the rows of a batch change each other shows it.

use half::f16;

use crate::tensor::{Dtype, Row, RowLayout, Slot};

/// Rows that strangers are made of, at most: each stranger is tried alone first.
const MAX_BASES: usize = 4;

/// How a stranger differs from the row that it is made of.
#[derive(Clone, Copy)]
enum Change {
    /// Other numbers of the same size, and the texts of another row.
    Shift,
    /// Numbers far larger, with the other sign, as outliers are; no texts.
    Stretch,
}

/// A row of zeros, and two made of each of the first `rows`; always the same ones, and none that is in `rows`.
pub(super) fn strangers(layout: &RowLayout, rows: &[&Row]) -> Vec<Row> {
    let mut made = vec![layout.row(layout.longest())];
    for (base, next) in rows.iter().zip(rows.iter().cycle().skip(1)).take(MAX_BASES) {
        for change in [Change::Shift, Change::Stretch] {
            let mut row = (*base).clone();
            match change {
                Change::Shift => row.strings.clone_from(&next.strings),
                Change::Stretch => row.strings.fill_with(String::new),
            }
            for slot in layout.slots() {
                change.apply(slot, &mut row);
            }
            made.push(row);
        }
    }
    made.retain(|row| !rows.contains(&row));
    made
}

impl Change {
    fn apply(self, slot: &Slot, row: &mut Row) {
        let cells = row.bytes.get_mut(slot.bytes(row.length));
        let cells = cells.unwrap_or_default();
        match slot.dtype {
            Dtype::Float16 => each(cells, |cell| {
                let x = f16::from_ne_bytes(cell);
                let y = f16::from_f32(match self {
                    Change::Shift => x.to_f32() * 1.5 + 0.25,
                    Change::Stretch => x.to_f32() * -16.0 - 1.0,
                });
                if y.is_finite() { y } else { x }.to_ne_bytes()
            }),
            Dtype::Float32 => each(cells, |cell| {
                let x = f32::from_ne_bytes(cell);
                let y = match self {
                    Change::Shift => x * 1.5 + 0.25,
                    Change::Stretch => x * -16.0 - 1.0,
                };
                if y.is_finite() { y } else { x }.to_ne_bytes()
            }),
            Dtype::Float64 => each(cells, |cell| {
                let x = f64::from_ne_bytes(cell);
                let y = match self {
                    Change::Shift => x * 1.5 + 0.25,
                    Change::Stretch => x * -16.0 - 1.0,
                };
                if y.is_finite() { y } else { x }.to_ne_bytes()
            }),
            // Whole numbers may be places in a table: none is made large.
            Dtype::Int64 => each(cells, |cell| {
                let n = i64::from_ne_bytes(cell);
                match self {
                    Change::Shift => n.saturating_add(1),
                    Change::Stretch => n / 2,
                }
                .to_ne_bytes()
            }),
            Dtype::Int32 => each(cells, |cell| {
                let n = i32::from_ne_bytes(cell);
                match self {
                    Change::Shift => n.saturating_add(1),
                    Change::Stretch => n / 2,
                }
                .to_ne_bytes()
            }),
            Dtype::Int8 => each(cells, |cell| {
                let n = i8::from_ne_bytes(cell);
                match self {
                    Change::Shift => n.saturating_add(1),
                    Change::Stretch => n / 2,
                }
                .to_ne_bytes()
            }),
            Dtype::Uint8 => each(cells, |[n]| match self {
                Change::Shift => [n / 2],
                Change::Stretch => [u8::MAX - n],
            }),
            Dtype::Bool => each(cells, |[truth]| [1 - truth.min(1)]),
            Dtype::String => {}
        }
    }
}

fn each<const N: usize>(cells: &mut [u8], change: impl Fn([u8; N]) -> [u8; N]) {
    let (cells, _) = cells.as_chunks_mut();
    for cell in cells {
        *cell = change(*cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_differ_from_every_row_and_are_valid_in_every_type() {
        let types = [
            Dtype::Float32,
            Dtype::Float64,
            Dtype::Uint8,
            Dtype::Int32,
            Dtype::Int64,
            Dtype::Bool,
            Dtype::String,
            Dtype::Float16,
            Dtype::Int8,
        ];
        let slots = types.map(|dtype| (dtype.to_string(), dtype, vec![2]));
        let layout = RowLayout::new(slots);
        let mut row = layout.row(0);
        row.bytes.fill(1);
        row.strings.fill("one".into());
        let mut largest = layout.row(0);
        for (cell, x) in largest.bytes.chunks_exact_mut(4).zip([f32::MAX; 2]) {
            cell.copy_from_slice(&x.to_ne_bytes());
        }
        let rows = [&row, &largest];
        let made = strangers(&layout, &rows);
        assert_eq!(made.len(), 5);
        assert_eq!(made, strangers(&layout, &rows));
        let truths = &layout.slots()[5];
        for stranger in &made {
            assert!(!rows.contains(&stranger));
            assert!(stranger.bytes[truths.bytes(0)].iter().all(|b| *b <= 1));
            let first = f32::from_ne_bytes(stranger.bytes[..4].try_into().unwrap());
            assert!(first.is_finite());
        }
    }
}
