//! PAX records: a length-prefixed list of keys and values before an entry, or before all of them.
//!
//! Parsed by their stated lengths, since values are binary where they carry extended attributes.

use std::collections::BTreeMap;

use super::sparse::parse_number;

/// The records that hold for an entry.
#[derive(Debug, Clone, Default)]
pub(crate) struct PaxRecords {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Offset and length pairs of the oldest sparse form, which repeats its keys.
    pub(crate) sparse_pairs: Vec<(u64, u64)>,
}

impl PaxRecords {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.records.get(key).map(Vec::as_slice)
    }

    pub(crate) fn number(&self, key: &[u8]) -> Result<Option<u64>, &'static str> {
        self.get(key).map(parse_number).transpose()
    }

    /// Name and value of each record whose key starts with `prefix`.
    pub(crate) fn with_prefix<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.records
            .range(prefix.to_vec()..)
            .map_while(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_slice())))
    }

    /// Adds the records of one extended header; an empty value takes the key away (POSIX).
    pub(crate) fn merge(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        const BAD: &str = "attributes (PAX records) whose lengths do not fit";
        let mut offset = None;
        while !bytes.is_empty() && bytes.iter().any(|byte| *byte != 0) {
            let space = bytes.iter().position(|byte| *byte == b' ').ok_or(BAD)?;
            let length = usize::try_from(parse_number(&bytes[..space])?).unwrap_or(usize::MAX);
            if length > bytes.len() || length < space + 3 || bytes[length - 1] != b'\n' {
                return Err(BAD);
            }
            let record = &bytes[space + 1..length - 1];
            bytes = &bytes[length..];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(BAD)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"GNU.sparse.offset" => offset = Some(parse_number(value)?),
                b"GNU.sparse.numbytes" => {
                    let start = offset.take().ok_or("a sparse segment without its offset")?;
                    self.sparse_pairs.push((start, parse_number(value)?));
                }
                _ if value.is_empty() => {
                    self.records.remove(key);
                }
                _ => {
                    self.records.insert(key.to_vec(), value.to_vec());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length.to_string().len() + body != length {
            length = length.to_string().len() + body;
        }
        let mut record = format!("{length} {key}=").into_bytes();
        record.extend_from_slice(value);
        record.push(b'\n');
        record
    }

    #[test]
    fn values_may_hold_newlines_and_equal_signs() {
        let mut bytes = record("SCHILY.xattr.security.capability", b"\x01\n\n\x00=\n");
        bytes.extend(record("size", b"77"));
        bytes.extend(record("comment", b"x"));
        bytes.extend(record("comment", b""));
        let mut records = PaxRecords::default();
        records.merge(&bytes).expect("merge");
        assert_eq!(records.number(b"size"), Ok(Some(77)));
        assert_eq!(records.get(b"comment"), None);
        let xattrs: Vec<_> = records.with_prefix(b"SCHILY.xattr.").collect();
        assert_eq!(xattrs, [(&b"security.capability"[..], &b"\x01\n\n\x00=\n"[..])]);
    }

    #[test]
    fn lying_lengths_are_refused() {
        for bad in [
            "9999 a=b\n",
            "3 a=b\n",
            "x a=b\n",
            "6 ab\n\n",
            "-5 a=b\n",
            "7 a=bb",
            "99999999999999999999 a=b\n",
        ] {
            assert!(PaxRecords::default().merge(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
