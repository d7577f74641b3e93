//! From accepted to started: the image, the container, its links, the ports, and its program.
//!
//! Pure, a part of the task's machine. Whatever is wanted meanwhile is looked at between two steps.

use super::ending::Ending;
use super::{AttachFailure, Failure, ImageFacts, Output, Phase, StartedFacts, Step, TaskMachine};
use shoal_core::model::{DesiredState, TaskState, WaitCode};
use std::time::{Duration, Instant};

/// A network that is not ready is asked again after this: `shoal-net` is back within a second of its death.
const ATTACH_AGAIN: Duration = Duration::from_millis(500);

impl TaskMachine {
    pub(super) fn begin(&mut self, now: Instant) {
        if self.stop_wanted() {
            return self.end(Ending::asked(None), now);
        }
        self.phase = Phase::Fetching;
        let message = format!("preparing, image {}", self.task.spec.container.image);
        self.tell(TaskState::Preparing, &message, None);
        self.out.push(Output::Do(Step::Look));
    }

    /// Only a pull is a wait: with the image here it goes on at once.
    pub(super) fn looked(&mut self, here: bool) {
        if self.phase != Phase::Fetching {
            return;
        }
        if !here {
            let message = format!("pulling image {}", self.task.spec.container.image);
            self.tell(TaskState::Preparing, &message, Some(WaitCode::ImagePull));
        }
        self.out.push(Output::Do(Step::Fetch));
    }

    pub(super) fn pulling(&mut self, sentence: &str) {
        if self.phase == Phase::Fetching {
            self.tell(TaskState::Preparing, sentence, Some(WaitCode::ImagePull));
        }
    }

    pub(super) fn fetched(&mut self, result: Result<ImageFacts, Failure>, now: Instant) {
        if self.phase != Phase::Fetching {
            return;
        }
        match result {
            Ok(image) => {
                self.image = image;
                self.phase = Phase::Creating;
                self.tell(TaskState::Preparing, "creating the container", None);
                self.out.push(Output::Do(Step::Create));
            }
            Err(failure) => self.reject(failure, now),
        }
    }

    pub(super) fn reject(&mut self, failure: Failure, now: Instant) {
        if self.hold_until.is_some_and(|until| until > now) {
            let message = format!("could not be prepared: {}", failure.message);
            self.tell(self.report.state, &message, Some(WaitCode::RestartDelay));
            self.phase = Phase::Refused(failure);
        } else {
            self.end(Ending::rejected(&failure), now);
        }
    }

    pub(super) fn created(&mut self, result: Result<(), Failure>, now: Instant) {
        if self.phase != Phase::Creating {
            return;
        }
        if let Err(failure) = result {
            return self.reject(failure, now);
        }
        if !self.has_links() {
            return self.ready(now);
        }
        if self.stop_wanted() {
            return self.end(Ending::asked(None), now);
        }
        self.tell(TaskState::Preparing, "joining its networks", None);
        self.attach();
    }

    pub(super) fn attach(&mut self) {
        self.phase = Phase::Attaching { again_at: None };
        self.out.push(Output::Do(Step::Attach));
    }

    pub(super) fn attached(&mut self, result: Result<(), AttachFailure>, now: Instant) {
        if !matches!(self.phase, Phase::Attaching { .. }) {
            return;
        }
        if self.stop_wanted() {
            return self.end(Ending::asked(None), now);
        }
        match result {
            Ok(()) => self.ready(now),
            Err(AttachFailure::Refused(failure)) => self.reject(failure, now),
            Err(AttachFailure::NotReady(why)) => {
                let message = format!("waiting for the node's network: {why}");
                self.tell(TaskState::Preparing, &message, Some(WaitCode::NetworkNotReady));
                self.phase = Phase::Attaching {
                    again_at: Some(now + ATTACH_AGAIN),
                };
            }
        }
    }

    fn ready(&mut self, now: Instant) {
        self.phase = Phase::Ready;
        self.tell(TaskState::Ready, "ready to start", None);
        self.leave_ready(now);
    }

    pub(super) fn leave_ready(&mut self, now: Instant) {
        if self.stop_wanted() {
            return self.end(Ending::asked(None), now);
        }
        // A delay that has passed is no deadline any more, even if the task is not wanted running yet.
        self.hold_until = self.hold_until.filter(|until| *until > now);
        let held = self.hold_until.is_some();
        if self.desired == DesiredState::Running && !held && !self.awaits_client(now) {
            self.phase = Phase::Checking;
            self.out.push(Output::Do(Step::CheckPorts));
        }
    }

    pub(super) fn ports_checked(&mut self, result: Result<(), Failure>, now: Instant) {
        if self.phase != Phase::Checking {
            return;
        }
        if self.stop_wanted() {
            return self.end(Ending::asked(None), now);
        }
        if let Err(failure) = result {
            return self.end(Ending::rejected(&failure), now);
        }
        self.phase = Phase::Starting;
        self.tell(TaskState::Starting, "starting", None);
        self.out.push(Output::Do(Step::Start));
    }

    pub(super) fn started(&mut self, result: Result<StartedFacts, Failure>, now: Instant) {
        if self.phase != Phase::Starting {
            return;
        }
        match result {
            Ok(facts) => {
                self.up(facts);
                self.judge(now);
            }
            Err(failure) => self.end(Ending::failed(&failure), now),
        }
    }
}
