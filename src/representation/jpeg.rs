//! Whether a JPEG has all the data that its header promises.
//!
//! The decoder fills up what is missing, even when told to be strict: after the end marker it reads zeros for ever.
//! So a JPEG is decoded a second time with other bits in their place. Samples that depend on them were never sent.
//! What slips through is a byte or two whose loss happens to change nothing under either.

const START_OF_SCAN: u8 = 0xDA;
const END_OF_IMAGE: u8 = 0xD9;

/// Unlike the zeros, with no marker in it, and longer than the decoder reads ahead.
const OTHER_END: [u8; 64] = [0xB7; 64];

/// The file with other data between its last scan and its end marker; `None` when it has no such.
pub(super) fn with_other_end(bytes: &[u8]) -> Option<Vec<u8>> {
    let (data, _) = bytes.split_at_checked(end(bytes)?)?;
    Some([data, &OTHER_END, &[0xFF, END_OF_IMAGE]].concat())
}

/// Where the end marker is, behind at least one scan.
fn end(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    let mut scanned = false;
    loop {
        match bytes.get(at..)? {
            // Stuffing and restarts belong to a scan's data; a marker may be filled up with FF in front.
            [0xFF, 0x00 | 0xD0..=0xD7, ..] if scanned => at += 2,
            [0xFF, 0xFF, ..] => at += 1,
            [0xFF, END_OF_IMAGE, ..] => return scanned.then_some(at),
            [0xFF, marker, high, low, ..] => {
                scanned |= *marker == START_OF_SCAN;
                at += 2 + usize::from(u16::from_be_bytes([*high, *low]));
            }
            [_, ..] if scanned => at += 1,
            _ => return None,
        }
    }
}
