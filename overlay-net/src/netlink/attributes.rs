//! Reading attributes: the type-length-value lists that every netlink message is made of.
//!
//! What is malformed ends the list, never the program.

/// Bits of an attribute's type that say how it is written.
const TYPE_FLAGS: u16 = 0xc000;

/// Attributes of a message or of a nest, in their order.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(&'a [u8]);

/// The attributes in these bytes.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes(bytes)
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (header, _) = self.0.split_first_chunk::<4>()?;
        let [length, kind] = [[header[0], header[1]], [header[2], header[3]]].map(u16::from_ne_bytes);
        let length = usize::from(length);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & !TYPE_FLAGS, value))
    }
}

impl<'a> Attributes<'a> {
    /// The first attribute of a type.
    pub fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The first attribute of a type, as text without its closing zero.
    pub fn text(self, kind: u16) -> Option<&'a str> {
        let bytes = self.get(kind)?;
        std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok()
    }
}

/// A number in network order.
pub fn u16_be(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().copied().map(u16::from_be_bytes)
}

/// A number in the machine's order.
pub fn u16_ne(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().copied().map(u16::from_ne_bytes)
}

/// A number in network order.
pub fn u32_be(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_be_bytes)
}

/// A number in the machine's order.
pub fn u32_ne(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::attributes;
    use crate::netlink::Batch;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let mut batch = Batch::new();
        batch.message(7, 0, &[1, 2, 3, 4], |message| {
            message.text(1, "eth0").nest(2, |inner| {
                inner.u32_be(3, 9).bytes(4, &[5]);
            });
        });
        let body = &batch.as_bytes()[20..];
        assert_eq!(attributes(body).text(1), Some("eth0"));
        let inner = attributes(body).get(2).unwrap();
        assert_eq!(
            attributes(inner).collect::<Vec<_>>(),
            [(3, &[0, 0, 0, 9][..]), (4, &[5][..])]
        );
        assert_eq!(batch.as_bytes().len() % 4, 0);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(attributes(&bytes).count() <= bytes.len() / 4);
        }
    }
}
