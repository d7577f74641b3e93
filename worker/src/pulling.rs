//! How far a pull is, in the words that the task's user reads.
//!
//! Driven by the keeper beside the pull itself. What is said becomes an entry in the managers' store, so it is said at a
//! bounded pace and only if it is news.

use crate::clock;
use crate::task::Input;
use futures::{Stream, StreamExt};
use shoal_agent_runtime::image::{Digest, ImageEvent};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Between two words about one pull, and before the first: what is shorter needs none.
const PACE: Duration = Duration::from_secs(2);
const MEGABYTE: u64 = 1_000_000;
const KILOBYTE: u64 = 1_000;

/// Tells of a pull until it is dropped, with the pull.
pub(crate) async fn tell(
    events: impl Stream<Item = ImageEvent>,
    image: &str,
    news: &mpsc::Sender<Input>,
) -> Infallible {
    let mut pull = Pull::new(image, Instant::now());
    tokio::pin!(events);
    loop {
        tokio::select! {
            Some(event) = events.next() => pull.take(event),
            () = clock::sleep_until(pull.next_deadline()) => {
                if let Some(sentence) = pull.due(Instant::now()) {
                    // One that still waits says nearly the same.
                    drop(news.try_send(Input::Pulling(sentence)));
                }
            }
        }
    }
}

/// One pull, from its events.
#[derive(Debug)]
struct Pull {
    image: String,
    /// Bytes that are here and bytes in all, of what has to be fetched.
    layers: BTreeMap<Digest, (u64, u64)>,
    /// The last try that failed, until what it was for goes on.
    failed: Option<(Option<Digest>, String)>,
    committing: bool,
    said: Option<String>,
    not_before: Instant,
}

impl Pull {
    fn new(image: &str, now: Instant) -> Self {
        Self {
            image: image.to_owned(),
            layers: BTreeMap::new(),
            failed: None,
            committing: false,
            said: None,
            not_before: now + PACE,
        }
    }

    fn take(&mut self, event: ImageEvent) {
        match event {
            ImageEvent::LayerWaiting { digest, total } => {
                self.layers.entry(digest).or_default().1 = total;
            }
            ImageEvent::LayerProgress { digest, bytes, total } => {
                self.goes_on(&digest);
                self.layers.insert(digest, (bytes, total));
            }
            ImageEvent::LayerUnpacking { digest } | ImageEvent::LayerDone { digest } => {
                self.goes_on(&digest);
                if let Some((done, total)) = self.layers.get_mut(&digest) {
                    *done = *total;
                }
            }
            ImageEvent::Retrying {
                digest,
                attempt,
                reason,
            } => self.failed = Some((digest, format!("try {attempt} failed: {reason}"))),
            ImageEvent::Committing => self.committing = true,
            ImageEvent::Resolved { .. } => self.failed = None,
            ImageEvent::Reading { .. } | ImageEvent::LayerExists { .. } | ImageEvent::Done { .. } => {}
        }
    }

    fn goes_on(&mut self, layer: &Digest) {
        let of_another =
            |(digest, _): &(Option<Digest>, String)| digest.as_ref().is_some_and(|of| of != layer);
        self.failed = self.failed.take().filter(of_another);
    }

    /// When `due` has something to say.
    fn next_deadline(&self) -> Option<Instant> {
        let sentence = self.sentence();
        (sentence.is_some() && sentence != self.said).then_some(self.not_before)
    }

    /// What is to be said now, if anything.
    fn due(&mut self, now: Instant) -> Option<String> {
        self.next_deadline().filter(|at| *at <= now)?;
        self.not_before = now + PACE;
        self.said = self.sentence();
        self.said.clone()
    }

    /// Nothing where no more is known than that there is a pull.
    fn sentence(&self) -> Option<String> {
        let mut parts = Vec::new();
        let sum = |part: fn(&(u64, u64)) -> u64| self.layers.values().map(part).fold(0, u64::saturating_add);
        let (done, total) = (sum(|layer| layer.0), sum(|layer| layer.1));
        if self.committing {
            parts.push("writing it to disk".to_owned());
        } else if total >= MEGABYTE {
            parts.push(format!("{} of {} MB", done / MEGABYTE, total.div_ceil(MEGABYTE)));
        } else if total > 0 {
            parts.push(format!("{} of {} kB", done / KILOBYTE, total.div_ceil(KILOBYTE)));
        }
        parts.extend(self.failed.as_ref().map(|(_, failed)| failed.clone()));
        (!parts.is_empty()).then(|| format!("pulling {}: {}", self.image, parts.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(number: u8) -> Digest {
        Digest::of(&[number])
    }

    fn waiting(number: u8, total: u64) -> ImageEvent {
        ImageEvent::LayerWaiting {
            digest: layer(number),
            total,
        }
    }

    fn bytes(number: u8, bytes: u64, total: u64) -> ImageEvent {
        ImageEvent::LayerProgress {
            digest: layer(number),
            bytes,
            total,
        }
    }

    #[test]
    fn what_is_said_of_a_pull() {
        let failed = |digest| ImageEvent::Retrying {
            digest,
            attempt: 2,
            reason: "connection reset".to_owned(),
        };
        let check = |events: Vec<ImageEvent>, expect: Option<&str>| {
            let mut pull = Pull::new("web:1", Instant::now());
            events.into_iter().for_each(|event| pull.take(event));
            assert_eq!(pull.sentence().as_deref(), expect);
        };
        let both = || vec![waiting(1, 300 * MEGABYTE), waiting(2, 99_500_000)];
        let with = |more: Vec<ImageEvent>| [both(), more].concat();
        check(vec![], None);
        check(
            vec![failed(None)],
            Some("pulling web:1: try 2 failed: connection reset"),
        );
        check(both(), Some("pulling web:1: 0 of 400 MB"));
        check(
            with(vec![bytes(1, 120 * MEGABYTE, 300 * MEGABYTE)]),
            Some("pulling web:1: 120 of 400 MB"),
        );
        let done = ImageEvent::LayerDone { digest: layer(2) };
        check(with(vec![done]), Some("pulling web:1: 99 of 400 MB"));
        let second = || failed(Some(layer(2)));
        check(
            with(vec![second(), bytes(1, MEGABYTE, 300 * MEGABYTE)]),
            Some("pulling web:1: 1 of 400 MB; try 2 failed: connection reset"),
        );
        check(
            with(vec![second(), bytes(2, MEGABYTE, 99_500_000)]),
            Some("pulling web:1: 1 of 400 MB"),
        );
        check(
            vec![waiting(1, 999), bytes(1, 999, 999)],
            Some("pulling web:1: 0 of 1 kB"),
        );
        check(
            with(vec![ImageEvent::Committing]),
            Some("pulling web:1: writing it to disk"),
        );
    }

    #[test]
    fn it_is_said_at_a_pace_and_only_if_it_is_news() {
        let begun = Instant::now();
        let mut pull = Pull::new("web:1", begun);
        assert_eq!(pull.next_deadline(), None);
        pull.take(waiting(1, 9 * MEGABYTE));
        assert_eq!(pull.next_deadline(), Some(begun + PACE));
        assert_eq!(pull.due(begun), None);
        let first = begun + PACE;
        assert_eq!(pull.due(first).as_deref(), Some("pulling web:1: 0 of 9 MB"));
        pull.take(bytes(1, 1, 9 * MEGABYTE));
        assert_eq!(pull.next_deadline(), None, "a byte more is no news");
        pull.take(bytes(1, MEGABYTE, 9 * MEGABYTE));
        assert_eq!(pull.next_deadline(), Some(first + PACE));
        assert_eq!(pull.due(first + PACE / 2), None);
        assert!(pull.due(first + PACE).is_some());
    }
}
