//! One user's transaction being written: the view with its own changes already in it.
//!
//! Every noun of `request` reads and writes through it, so that the second service of a stack sees what the first one
//! was given. Several changes of one object become one, in the place of the first. It decides nothing.

use super::RequestContext;
use crate::{
    allocator::{Asked, Going, Numbers, Taken},
    model::{IdGen, Timestamp, WallTime},
    refusal::Refusal,
    store::{Change, Object, ObjectKey, StoreView},
};
use std::collections::BTreeMap;

pub(super) type Planned<T> = Result<T, Refusal>;

#[derive(Debug)]
pub(super) struct Transaction<'a> {
    base: &'a StoreView,
    pub(super) view: StoreView,
    changes: Vec<Option<Change>>,
    places: BTreeMap<ObjectKey, usize>,
    pub(super) numbers: Numbers,
    /// Ranges that no new network may have, once anybody asked.
    taken: Option<Taken>,
    /// Services still to be written.
    pub(super) going: Going,
    /// Published ports that some service of the transaction names.
    pub(super) asked: Asked,
    pub(super) ids: &'a mut IdGen,
    pub(super) now: Timestamp,
    pub(super) wall: WallTime,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(base: &'a StoreView, ctx: &'a mut RequestContext<'_>) -> Self {
        Self {
            base,
            view: base.clone(),
            changes: Vec::new(),
            places: BTreeMap::new(),
            numbers: Numbers::default(),
            taken: None,
            going: Going::new(),
            asked: Asked::new(),
            ids: ctx.ids,
            now: ctx.now,
            wall: ctx.wall,
        }
    }

    /// The state as the transaction found it.
    pub(super) fn base(&self) -> &'a StoreView {
        self.base
    }

    pub(super) fn put(&mut self, object: impl Into<Object>) {
        let object = object.into();
        self.view.put(object.clone());
        self.note(object.key(), Some(Change::Put(object)));
    }

    pub(super) fn delete(&mut self, key: ObjectKey) {
        self.view.delete(&key);
        let known = self.base.get(&key).is_some();
        self.note(key.clone(), known.then_some(Change::Delete(key)));
    }

    pub(super) fn taken(&mut self) -> &mut Taken {
        let view = &self.view;
        self.taken.get_or_insert_with(|| Taken::of(view))
    }

    /// Is there anything to change so far?
    pub(super) fn is_empty(&self) -> bool {
        self.changes.iter().all(Option::is_none)
    }

    pub(super) fn finish(mut self) -> Vec<Change> {
        for network in self.numbers.changed(&self.view, self.now) {
            self.put(network);
        }
        self.changes.into_iter().flatten().collect()
    }

    fn note(&mut self, key: ObjectKey, change: Option<Change>) {
        let place = *self.places.entry(key).or_insert(self.changes.len());
        if place == self.changes.len() {
            self.changes.push(change);
        } else {
            self.changes[place] = change;
        }
    }
}
