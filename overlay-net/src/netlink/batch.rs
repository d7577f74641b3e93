//! Writing messages: any number of them, one after another, to go out in one send.
//!
//! Messages are numbered by their place, so that an answer names the one it is for.

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;

/// Messages to be sent together.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    bytes: Vec<u8>,
    count: u32,
    too_long: bool,
}

/// The attributes of a message, or of a nest in one, while they are written.
#[derive(Debug)]
pub struct Message<'a> {
    bytes: &'a mut Vec<u8>,
    too_long: &'a mut bool,
}

/// What writes attributes.
pub trait Fill: FnOnce(&mut Message<'_>) {}
impl<F: FnOnce(&mut Message<'_>)> Fill for F {}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message: its type, flags, the family's fixed header, and attributes.
    pub fn message(&mut self, kind: u16, flags: u16, header: &[u8], fill: impl Fill) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        // Every message is a request.
        self.bytes.extend_from_slice(&(flags | 1).to_ne_bytes());
        self.bytes.extend_from_slice(&self.count.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        pad(&mut self.bytes);
        fill(&mut Message {
            bytes: &mut self.bytes,
            too_long: &mut self.too_long,
        });
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.count += 1;
    }

    /// How many messages there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The messages as they go out.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether an attribute was longer than its length field can say.
    pub(super) fn too_long(&self) -> bool {
        self.too_long
    }

    /// The type of a message, for reports.
    pub(super) fn kind_of(&self, number: u32) -> Option<u16> {
        let mut rest = self.bytes.as_slice();
        for _ in 0..number {
            let length = super::u32_ne(rest)? as usize;
            rest = rest.get(length..)?;
        }
        super::u16_ne(rest.get(4..HEADER)?)
    }
}

impl Message<'_> {
    /// Bytes as they are.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.attribute(kind, |bytes| bytes.extend_from_slice(value))
    }

    /// A number of one byte.
    pub fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.bytes(kind, &[value])
    }

    /// A number in network order.
    pub fn u16_be(&mut self, kind: u16, value: u16) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A number in network order.
    pub fn u32_be(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A number in network order.
    pub fn u64_be(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A number in the machine's order.
    pub fn u32_ne(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Text, closed with a zero.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.attribute(kind, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        })
    }

    /// Attributes within an attribute.
    pub fn nest(&mut self, kind: u16, fill: impl Fill) -> &mut Self {
        let start = self.open(kind | NESTED);
        fill(self);
        self.close(start)
    }

    /// A fixed header and attributes within an attribute, as a veth's other end is described.
    pub fn nest_after(&mut self, kind: u16, header: &[u8], fill: impl Fill) -> &mut Self {
        let start = self.open(kind | NESTED);
        self.bytes.extend_from_slice(header);
        pad(self.bytes);
        fill(self);
        self.close(start)
    }

    /// Attributes that were written before.
    pub fn raw(&mut self, written: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(written);
        pad(self.bytes);
        self
    }

    fn attribute(&mut self, kind: u16, value: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.open(kind);
        value(self.bytes);
        self.close(start)
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) -> &mut Self {
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_longer) => *self.too_long = true,
        }
        pad(self.bytes);
        self
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::Batch;

    #[test]
    fn an_attribute_that_is_too_long_is_noticed() {
        let mut batch = Batch::new();
        batch.message(1, 0, &[], |message| {
            message.bytes(1, &vec![0; 65_531]);
        });
        assert!(!batch.too_long());
        batch.message(2, 0, &[], |message| {
            message.nest(1, |inner| {
                inner.bytes(1, &vec![0; 65_530]);
            });
        });
        assert!(batch.too_long());
        assert_eq!(
            (batch.kind_of(0), batch.kind_of(1), batch.kind_of(2)),
            (Some(1), Some(2), None)
        );
    }
}
