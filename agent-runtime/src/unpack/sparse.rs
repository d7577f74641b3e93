//! Sparse files: which parts of a file its entry's data fills, in the old GNU form and the three PAX forms.
//!
//! Called by the writer of files; never writes beyond the size that the entry states.

use std::io::Read;

use super::pax::PaxRecords;

/// Bytes of the map at the start of the data in PAX form 1.0; each segment takes at most 42 of them.
const MAX_MAP_BYTES: usize = 8 << 20;

/// Offset and length of a part that has data.
pub(crate) type Segment = (u64, u64);

/// Where the data goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SparseMap {
    /// Offset and length, ascending, not overlapping, inside `real_size`.
    pub(crate) segments: Vec<Segment>,
    pub(crate) real_size: u64,
}

impl SparseMap {
    /// Checks a map against the amount of data that follows it.
    pub(crate) fn checked(segments: Vec<Segment>, real_size: u64, data: u64) -> Result<Self, &'static str> {
        let (mut end, mut sum) = (0_u64, 0_u64);
        for (offset, length) in &segments {
            if *offset < end {
                return Err("sparse segments overlap or are out of order");
            }
            end = offset
                .checked_add(*length)
                .ok_or("a sparse segment of impossible size")?;
            // Cannot overflow: the segments do not overlap.
            sum += length;
        }
        if end > real_size {
            return Err("a sparse segment lies beyond the end of its file");
        }
        if sum != data {
            return Err("the sparse segments do not match the data");
        }
        Ok(Self { segments, real_size })
    }
}

/// The map of a file in a PAX form, and how many bytes of its data the map itself took.
pub(crate) fn pax_sparse(
    pax: &PaxRecords,
    size: u64,
    data: &mut impl Read,
) -> Result<Option<SparseMap>, &'static str> {
    if pax.get(b"GNU.sparse.major").is_some() {
        return match (pax.number(b"GNU.sparse.major")?, pax.number(b"GNU.sparse.minor")?) {
            (Some(1), Some(0)) => {
                let real_size = pax
                    .number(b"GNU.sparse.realsize")?
                    .ok_or("a sparse file without its size")?;
                let (segments, used) = read_map(data)?;
                let rest = size
                    .checked_sub(used)
                    .ok_or("a sparse map longer than its entry")?;
                SparseMap::checked(segments, real_size, rest).map(Some)
            }
            (Some(0), _) => older(pax, size),
            _ => Err("a sparse file of an unknown version"),
        };
    }
    older(pax, size)
}

/// PAX forms 0.0 and 0.1: the map is in the records.
fn older(pax: &PaxRecords, size: u64) -> Result<Option<SparseMap>, &'static str> {
    let Some(real_size) = pax.number(b"GNU.sparse.size")? else {
        return Ok(None);
    };
    let segments = match pax.get(b"GNU.sparse.map") {
        None => pax.sparse_pairs.clone(),
        Some(map) => {
            let numbers: Vec<u64> = map
                .split(|byte| *byte == b',')
                .map(parse_number)
                .collect::<Result<_, _>>()?;
            if !numbers.len().is_multiple_of(2) {
                return Err("a sparse map with half a segment");
            }
            numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
        }
    };
    SparseMap::checked(segments, real_size, size).map(Some)
}

/// PAX form 1.0: decimal numbers on lines of their own, padded to whole blocks.
fn read_map(data: &mut impl Read) -> Result<(Vec<Segment>, u64), &'static str> {
    let mut text = Vec::new();
    let mut position = 0;
    let count = next_number(data, &mut text, &mut position)?;
    let mut segments = Vec::new();
    for _ in 0..count {
        let offset = next_number(data, &mut text, &mut position)?;
        segments.push((offset, next_number(data, &mut text, &mut position)?));
    }
    Ok((segments, text.len() as u64))
}

fn next_number(data: &mut impl Read, text: &mut Vec<u8>, position: &mut usize) -> Result<u64, &'static str> {
    loop {
        if let Some(length) = text[*position..].iter().take(24).position(|byte| *byte == b'\n') {
            let number = parse_number(&text[*position..*position + length]);
            *position += length + 1;
            return number;
        }
        if text.len() - *position > 24 || text.len() >= MAX_MAP_BYTES {
            return Err("a sparse map that is not a list of numbers");
        }
        let mut block = [0; 512];
        if data.read_exact(&mut block).is_err() {
            return Err("a sparse map that is cut off");
        }
        text.extend_from_slice(&block);
    }
}

/// A decimal number without sign.
pub(crate) fn parse_number(text: &[u8]) -> Result<u64, &'static str> {
    const BAD: &str = "a number that is none";
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).ok_or(BAD)
}
