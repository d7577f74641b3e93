//! Restarts in place: what the worker decides alone, and only while it is cut off from every manager.
//!
//! Pure. In session, or shortly after losing it, an ended task stays ended: the managers make a new one.
//! What ended while no manager could hear of it may be started again by the service's restart policy once
//! the node counts as cut off; when a session opens first, the end is final.

use super::io::Link;
use shoal_core::model::{RestartCondition, RestartPolicy};
use shoal_core::restart::{DELAY_CAP, FIRST_DELAY};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A program that ran for so long begins with the first delay again.
const LONG_RUN: Duration = Duration::from_secs(60);
/// Restarts remembered for the policy's window; a policy that allows more counts as unbounded.
const REMEMBERED: usize = 1000;

#[derive(Debug)]
pub(super) struct InPlace {
    policy: RestartPolicy,
    link: Link,
    /// An end that no manager has heard of, and whether it was a success.
    unheard: Option<(bool, Instant)>,
    due: Option<Instant>,
    done: VecDeque<Instant>,
    streak: u32,
}

impl InPlace {
    pub(super) fn new(policy: RestartPolicy, link: Link) -> Self {
        Self {
            policy,
            link,
            unheard: None,
            due: None,
            done: VecDeque::new(),
            streak: 0,
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn ended(&mut self, by_itself: bool, success: bool, now: Instant) {
        if !by_itself || self.link == Link::Session {
            return self.settle();
        }
        self.unheard = Some((success, now));
        self.plan(now);
    }

    pub(super) fn link(&mut self, link: Link, now: Instant) {
        self.link = link;
        match link {
            Link::Session => self.settle(),
            Link::Lost => {}
            Link::CutOff => self.plan(now),
        }
    }

    /// The end is final.
    pub(super) fn settle(&mut self) {
        self.unheard = None;
        self.due = None;
    }

    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.settle();
        if self.done.len() == REMEMBERED {
            self.done.pop_front();
        }
        self.done.push_back(now);
        true
    }

    fn plan(&mut self, now: Instant) {
        let Some((success, ended)) = self.unheard else {
            return;
        };
        if self.link == Link::CutOff && self.due.is_none() && self.allowed(success, now) {
            let ran_long = self
                .done
                .back()
                .is_some_and(|last| ended.saturating_duration_since(*last) >= LONG_RUN);
            self.streak = if ran_long { 0 } else { self.streak };
            self.due = Some(ended + self.delay());
            self.streak = self.streak.saturating_add(1);
        }
    }

    fn allowed(&self, success: bool, now: Instant) -> bool {
        let wanted = match self.policy.condition {
            RestartCondition::None => false,
            RestartCondition::OnFailure => !success,
            RestartCondition::Any => true,
        };
        let counted = self
            .done
            .iter()
            .filter(|at| {
                self.policy
                    .window
                    .is_none_or(|window| now.saturating_duration_since(**at) < window)
            })
            .count();
        let spent = self
            .policy
            .max_attempts
            .filter(|most| *most > 0)
            .is_some_and(|most| counted >= usize::try_from(most).unwrap_or(usize::MAX));
        wanted && !spent
    }

    fn delay(&self) -> Duration {
        self.policy.delay.unwrap_or_else(|| {
            FIRST_DELAY
                .saturating_mul(2_u32.saturating_pow(self.streak))
                .min(DELAY_CAP)
        })
    }
}
