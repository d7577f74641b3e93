//! What differs between two maps, entry by entry. Pure; costs one walk along both, side by side, whatever differs.
//!
//! Called for the scope of a plan and for what `shoal-net` is told.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An entry as the old map has it and as the new one has it.
pub(crate) type Changed<'a, V> = [Option<&'a V>; 2];

/// Entries that only one of two maps has, or that are not the same in both, by their keys.
pub(crate) fn changed<'a, K: Ord, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
    same: impl Fn(&V, &V) -> bool,
) -> impl Iterator<Item = (&'a K, Changed<'a, V>)> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((key, _)), Some((other, _))) => key.cmp(other),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            if let (Some((_, before)), Some((_, after))) = (before, after)
                && same(before, after)
            {
                continue;
            }
            let (key, _) = after.or(before)?;
            return Some((key, [before, after].map(|entry| entry.map(|(_, value)| value))));
        }
    })
}

/// Whether two values are one, or equal.
pub(crate) fn same<T: PartialEq>(one: &Arc<T>, other: &Arc<T>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

#[cfg(test)]
mod tests {
    use super::changed;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn nothing_that_differs_is_passed_over(
            old in proptest::collection::btree_map(0_u8..12, 0_u8..3, 0..12),
            new in proptest::collection::btree_map(0_u8..12, 0_u8..3, 0..12),
        ) {
            let found: BTreeMap<u8, [Option<u8>; 2]> = changed(&old, &new, PartialEq::eq)
                .map(|(key, values)| (*key, values.map(Option::<&u8>::copied)))
                .collect();
            let keys = (0..12).map(|key| (key, [&old, &new].map(|map| map.get(&key).copied())));
            let expect = keys.filter(|(_, [before, after])| before != after).collect();
            prop_assert_eq!(found, expect);
        }
    }
}
