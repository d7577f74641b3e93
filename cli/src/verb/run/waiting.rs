//! What a run waits for, for a caller who wants to know: once it lasts, and again as it changes.
//!
//! On a terminal it is one line that is written anew; elsewhere only other words are another line, not other numbers.

use crate::{
    output::note,
    progress::Screen,
    terminal::{size, stderr_is_terminal},
};
use shoal_core::model::Wait;
use std::{io::Write, time::Duration};
use tokio::time::{Instant, sleep_until};

/// A wait that lasts longer is something that the caller wants to know.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the task waits for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    now: Option<Wait>,
    /// When it is told; `None` once it is.
    due: Option<Instant>,
}

impl Waiting {
    /// The newest. Is it to be told at once, since what it was before was told?
    pub(super) fn take(&mut self, wait: Option<Wait>, now: Instant) -> bool {
        let code = |wait: &Option<Wait>| wait.as_ref().map(|wait| wait.code);
        let detail = |wait: &Option<Wait>| wait.as_ref().map(|wait| wait.detail.clone());
        if code(&self.now) != code(&wait) {
            self.due = wait.is_some().then(|| now + PATIENCE);
        }
        let changed = detail(&self.now) != detail(&wait);
        self.now = wait;
        changed && self.now.is_some() && self.due.is_none()
    }

    /// Returns when it is to be told.
    pub(super) async fn lasts(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// The words, which are taken as told.
    pub(super) fn told(&mut self) -> Option<String> {
        self.due = None;
        let wait = self.now.as_ref()?;
        Some(format!("Waiting: {}: {}", wait.code.name(), wait.detail))
    }
}

/// Standard error.
#[derive(Debug, Default)]
pub(super) struct Teller {
    screen: Screen,
    said: String,
}

impl Teller {
    pub(super) fn tell(&mut self, text: Option<String>) {
        let Some(text) = text else { return };
        if stderr_is_terminal() {
            let drawn = self.screen.redraw(&[text], size());
            // Nothing can be done if that fails.
            drop(std::io::stderr().write_all(drawn.as_bytes()));
        } else if words(&self.said) != words(&text) {
            note(&text);
            self.said = text;
        }
    }
}

/// The text without its numbers.
fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::model::{Timestamp, WaitCode};

    fn wait(code: WaitCode, detail: &str) -> Option<Wait> {
        Some(Wait {
            code,
            since: Timestamp(0),
            detail: detail.to_owned(),
        })
    }

    #[test]
    fn the_newest_words_are_told_once_it_lasts_and_again_as_they_change() {
        use WaitCode::{ImagePull, Unscheduled};
        let start = Instant::now();
        let mut waiting = Waiting::default();
        assert!(!waiting.take(wait(Unscheduled, ""), start));
        assert!(!waiting.take(wait(ImagePull, "1 of 4 MB"), start));
        assert!(!waiting.take(wait(ImagePull, "2 of 4 MB"), start), "not yet due");
        assert_eq!(waiting.due, Some(start + PATIENCE));
        assert!(waiting.told().is_some_and(|text| text.contains("2 of 4 MB")));
        assert!(!waiting.take(wait(ImagePull, "2 of 4 MB"), start), "nothing new");
        assert!(waiting.take(wait(ImagePull, "3 of 4 MB"), start));
        assert!(waiting.told().is_some_and(|text| text.contains("3 of 4 MB")));
        assert!(
            !waiting.take(wait(Unscheduled, ""), start),
            "another wait may be short"
        );
        assert!(!waiting.take(None, start));
        assert_eq!((waiting.due, waiting.told()), (None, None));
    }

    #[test]
    fn other_numbers_are_no_other_words() {
        assert_eq!(words("pulling a: 12 of 40 MB"), words("pulling a: 3 of 40 MB"));
        assert_ne!(words("pulling a"), words("try 2 failed: no route"));
    }
}
