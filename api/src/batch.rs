//! Lists in bounded messages: items are made one by one and gathered until a batch is full.
//!
//! Used by servers for every list and snapshot; at no time is more than one batch in memory.

use crate::limits::{BATCH_BYTES, BATCH_OBJECTS};
pub use prost::Message as BatchItem;

/// Gathers items into batches below the bound of a message.
#[derive(Debug)]
pub struct Batches<I: Iterator> {
    items: I,
    carried: Option<I::Item>,
}

impl<I: Iterator<Item: BatchItem>> Batches<I> {
    pub fn new(items: I) -> Self {
        Self { items, carried: None }
    }
}

impl<I: Iterator<Item: BatchItem>> Iterator for Batches<I> {
    type Item = Vec<I::Item>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(item) = self.carried.take().or_else(|| self.items.next()) {
            let size = item.encoded_len();
            let full = batch.len() >= BATCH_OBJECTS || bytes + size > BATCH_BYTES;
            if full && !batch.is_empty() {
                self.carried = Some(item);
                break;
            }
            bytes += size;
            batch.push(item);
        }
        (!batch.is_empty()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::StringList;

    #[test]
    fn batches_are_bounded_by_count_and_bytes_and_lose_nothing() {
        let item = |bytes: usize| StringList {
            values: vec!["x".repeat(bytes)],
        };
        for (sizes, expect) in [
            (vec![10; 1200], vec![500, 500, 200]),
            (vec![BATCH_BYTES / 2; 3], vec![1, 1, 1]),
            (vec![BATCH_BYTES / 3; 4], vec![2, 2]),
            (vec![2 * BATCH_BYTES, 1], vec![1, 1]),
            (vec![], vec![]),
        ] {
            let found: Vec<_> = Batches::new(sizes.iter().map(|size| item(*size)))
                .map(|batch| batch.len())
                .collect();
            assert_eq!(found, expect, "{} items", sizes.len());
        }
    }
}
