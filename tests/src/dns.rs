//! Just enough of the name protocol (RFC 1035) to ask a resolver and to be one, byte by byte.
//!
//! It shares nothing with the product's own, so that the two do not agree on a mistake.

use anyhow::{Context, Result, ensure};
use std::net::IpAddr;

pub(crate) const A: u16 = 1;
pub(crate) const AAAA: u16 = 28;
pub(crate) const NO_ERROR: u8 = 0;
pub(crate) const NO_SUCH_NAME: u8 = 3;

/// Recursion desired; in an answer also: it is one, and recursion is available.
const ASKED: [u8; 2] = [0x01, 0x00];
const ANSWERED: [u8; 2] = [0x81, 0x80];
/// The name of the question, again.
const SAME_NAME: [u8; 2] = [0xc0, 12];

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u8,
    pub(crate) addresses: Vec<IpAddr>,
}

/// A question about one name, of a type by its number.
pub fn question(name: &str, kind: u16) -> Result<Vec<u8>> {
    let mut bytes = vec![0x5a, 0xa5];
    bytes.extend(ASKED);
    bytes.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len())?);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    Ok(bytes)
}

/// Code and addresses of an answer to one question.
pub(crate) fn answer(bytes: &[u8]) -> Result<Answer> {
    let byte = |at: usize| bytes.get(at).copied().context("the answer is cut short");
    let number =
        |at: usize| Ok::<_, anyhow::Error>(usize::from(u16::from_be_bytes([byte(at)?, byte(at + 1)?])));
    ensure!(number(0)? == 0x5aa5, "an answer to another question");
    let mut at = end_of_name(bytes, 12)? + 4;
    let mut addresses = Vec::new();
    for _ in 0..number(6)? {
        at = end_of_name(bytes, at)?;
        let length = number(at + 8)?;
        let data = bytes
            .get(at + 10..at + 10 + length)
            .context("a record is cut short")?;
        match number(at)? {
            1 => addresses.push(IpAddr::from(<[u8; 4]>::try_from(data)?)),
            28 => addresses.push(IpAddr::from(<[u8; 16]>::try_from(data)?)),
            _ => {}
        }
        at += 10 + length;
    }
    Ok(Answer {
        code: byte(3)? & 15,
        addresses,
    })
}

fn end_of_name(bytes: &[u8], mut at: usize) -> Result<usize> {
    loop {
        match *bytes.get(at).context("a name is cut short")? {
            0 => return Ok(at + 1),
            length if length >= 0xc0 => return Ok(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}

/// The answer of a server that knows these names.
pub(crate) fn serve(question: &[u8], names: &[(String, IpAddr)]) -> Result<Vec<u8>> {
    let end = end_of_name(question, 12)?;
    let kind = u16::from_be_bytes([question[end], *question.get(end + 1).context("no type")?]);
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let next = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..next]).to_lowercase());
        at = next;
    }
    let asked = labels.join(".");
    let known = names.iter().any(|(name, _)| *name == asked);
    let found: Vec<_> = names
        .iter()
        .filter(|(name, address)| *name == asked && (kind == A) == address.is_ipv4())
        .filter(|_| kind == A || kind == AAAA)
        .collect();
    let mut bytes = question[..2].to_vec();
    bytes.extend([
        ANSWERED[0],
        ANSWERED[1] | if known { NO_ERROR } else { NO_SUCH_NAME },
    ]);
    bytes.extend([0, 1, 0, u8::try_from(found.len())?, 0, 0, 0, 0]);
    bytes.extend(&question[12..end + 4]);
    for (_, address) in found {
        bytes.extend(SAME_NAME);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 5]);
        let data = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        bytes.extend(u16::try_from(data.len())?.to_be_bytes());
        bytes.extend(data);
    }
    Ok(bytes)
}
