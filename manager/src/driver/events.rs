//! The applied state for readers, and the events that lead to it, from any recent point on.
//!
//! State and history are published together, so that a subscriber sees each event exactly once after
//! the state it began with. A reader too far behind is told to begin anew; nobody is waited for.

use postcard::ser_flavors::Size;
use shoal_core::{
    model::Timestamp,
    store::{Event, StoreView},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::broadcast;

/// Events kept for those who come back: a client that was away for a moment at full speed.
const EVENTS_KEPT: usize = 10_000;

/// What those may take in memory. An event keeps its object as it was, which nobody else keeps once it is changed again:
/// a network with all that rests in it has 16 KiB.
const BYTES_KEPT: usize = 4 << 20;

/// What an event and its object take beside what the object has in it: the parts that are the same in each of a kind.
const EVENT_OVERHEAD: usize = 512;

/// Batches on their way to one slow subscriber.
const BATCHES_BEHIND: usize = 1024;

/// The reader asked for a point that is no longer known, or fell behind: read the state again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the events since then are no longer known: read the state again")]
pub struct NeedsResync;

#[derive(Debug)]
pub(super) struct EventLog {
    inner: Mutex<Inner>,
    live: broadcast::Sender<Batch>,
}

/// Events of one step of the machine; `None` tells that the state was replaced.
type Batch = Option<Arc<Vec<Event>>>;

#[derive(Debug)]
struct Inner {
    view: StoreView,
    /// The hash of the whole state, and when it was published.
    digest: [u8; 32],
    published: Instant,
    history: VecDeque<Kept>,
    /// Of all in `history`.
    bytes: usize,
    /// Everything after this index is in `history`.
    floor: u64,
}

#[derive(Debug)]
struct Kept {
    event: Event,
    bytes: usize,
}

/// About what is kept for an event. Its object as it was before is the event's before it.
fn weight(event: &Event) -> usize {
    let object = postcard::serialize_with_flavor(&event.object, Size::default());
    EVENT_OVERHEAD + object.unwrap_or_default()
}

/// What happened after the point asked for, and what happens from here on.
#[derive(Debug)]
pub struct Subscription {
    /// The state after `missed`.
    pub view: StoreView,
    pub missed: Vec<Event>,
    pub live: Live,
}

#[derive(Debug)]
pub struct Live(broadcast::Receiver<Batch>);

impl Live {
    /// The next events, together with nothing left out; `NeedsResync` once when that cannot be promised.
    pub async fn next(&mut self) -> Result<Arc<Vec<Event>>, NeedsResync> {
        match self.0.recv().await {
            Ok(Some(events)) => Ok(events),
            Ok(None) | Err(broadcast::error::RecvError::Lagged(_)) => Err(NeedsResync),
            // The manager ends; whoever holds this ends with it.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Inner {
    fn set(&mut self, view: StoreView, digest: [u8; 32]) {
        self.view = view;
        self.digest = digest;
        self.published = Instant::now();
    }

    fn keep(&mut self, events: &[Event]) {
        for event in events {
            let bytes = weight(event);
            self.bytes += bytes;
            self.history.push_back(Kept {
                event: event.clone(),
                bytes,
            });
        }
        while self.history.len() > EVENTS_KEPT || self.bytes > BYTES_KEPT {
            let Some(oldest) = self.history.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes;
            self.floor = oldest.event.index;
        }
    }
}

impl EventLog {
    pub(super) fn new(view: StoreView, digest: [u8; 32]) -> Self {
        let floor = view.index();
        let (live, _) = broadcast::channel(BATCHES_BEHIND);
        Self {
            inner: Mutex::new(Inner {
                view,
                digest,
                published: Instant::now(),
                history: VecDeque::new(),
                bytes: 0,
                floor,
            }),
            live,
        }
    }

    pub(super) fn view(&self) -> StoreView {
        self.lock().view.clone()
    }

    /// Cluster time now: the last entry's stamp and what has passed since. Good enough to show ages.
    pub(super) fn now(&self) -> Timestamp {
        let inner = self.lock();
        inner.view.now().after(inner.published.elapsed())
    }

    /// The state with its hash.
    pub(super) fn digest(&self) -> (StoreView, [u8; 32]) {
        let inner = self.lock();
        (inner.view.clone(), inner.digest)
    }

    pub(super) fn publish(&self, events: Vec<Event>, view: StoreView, digest: [u8; 32]) {
        let mut inner = self.lock();
        inner.set(view, digest);
        inner.keep(&events);
        // An error means that nobody listens.
        drop(self.live.send(Some(Arc::new(events))));
    }

    /// The state was replaced by one without a history.
    pub(super) fn restart(&self, view: StoreView, digest: [u8; 32]) {
        let mut inner = self.lock();
        inner.floor = view.index();
        inner.history.clear();
        inner.bytes = 0;
        inner.set(view, digest);
        drop(self.live.send(None));
    }

    /// From after this index on; from the present state if `None`.
    pub(super) fn subscribe(&self, after: Option<u64>) -> Result<Subscription, NeedsResync> {
        let inner = self.lock();
        let after = after.unwrap_or_else(|| inner.view.index());
        if after < inner.floor || after > inner.view.index() {
            return Err(NeedsResync);
        }
        let missed = inner
            .history
            .iter()
            .filter(|kept| kept.event.index > after)
            .map(|kept| kept.event.clone())
            .collect();
        Ok(Subscription {
            view: inner.view.clone(),
            missed,
            live: Live(self.live.subscribe()),
        })
    }

    /// What is inside is whole whatever its last holder did: every change is one assignment or push.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::{
        model::{IdGen, Meta, Network, NetworkId, NetworkSpec, NetworkStatus, Rest},
        store::{Applied, Entry, Store},
    };

    /// A network of whose addresses as many rest as may, changed again and again.
    #[test]
    fn what_is_kept_of_the_past_is_bounded_by_its_bytes() {
        let mut store = Store::new();
        let log = EventLog::new(store.snapshot(), [0; 32]);
        let mut network = Network {
            id: NetworkId::mint(&mut IdGen::from_number(1)),
            meta: Meta::default(),
            spec: NetworkSpec::default(),
            stack: None,
            status: NetworkStatus::default(),
        };
        let rest = |first| Rest {
            first,
            last: first,
            until: Timestamp(u64::MAX),
        };
        network.status.resting = (0..1024).map(|number| rest(2 * number + 1)).collect();
        for index in 1..=2000 {
            network.status.last += 1;
            let entry = Entry {
                min_version: 1,
                term: 1,
                planned_after: store.view().last_effective_index(),
                changes: vec![network.clone().into()],
                ..Entry::default()
            };
            let Applied::Took(events) = store.apply(index, 1, &entry) else {
                panic!("dropped");
            };
            log.publish(events, store.snapshot(), [0; 32]);
        }
        let (floor, bytes) = {
            let inner = log.lock();
            let all = inner.history.iter().map(|kept| weight(&kept.event));
            assert_eq!(all.sum::<usize>(), inner.bytes);
            (inner.floor, inner.bytes)
        };
        assert!(bytes <= BYTES_KEPT, "{bytes}");
        assert!((1500..1900).contains(&floor), "{floor}");
        assert_eq!(log.subscribe(Some(floor - 1)).unwrap_err(), NeedsResync);
        let missed = log.subscribe(Some(floor)).unwrap().missed;
        assert_eq!(missed.len(), usize::try_from(2000 - floor).unwrap());
    }
}
