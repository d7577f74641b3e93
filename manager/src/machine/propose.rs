//! Users' writes: queued while there is no room, planned against the overlay, proposed one entry each.
//!
//! Every token is answered exactly once. An answer that was made from what is in flight is held back
//! until that has taken effect.

use super::{
    Bug, Leadership, Machine, MemberChange, Now, Output, ProposeError, Stopping, Token,
    config::{MAX_REQUESTS_QUEUED, MAX_USER_CHANGES, MAX_USER_ENTRY_BYTES},
    leading::{InFlight, Waiting},
};
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};
use shoal_core::{
    model::RequestId,
    refusal::{Refusal, RefusalCode},
    request::{Request, RequestContext, Response},
    store::{Applied, Change, ENTRY_VERSION, Entry, ObjectKey, RequestOutcome},
};
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct RequestQueue {
    waiting: VecDeque<Queued>,
}

#[derive(Debug)]
struct Queued {
    token: Token,
    request: Box<Request>,
    id: Option<RequestId>,
}

/// What an entry is to be made from.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) request: Option<RequestId>,
    pub(super) changes: Vec<Change>,
    pub(super) waiting: Vec<Waiting>,
}

/// A draft as an entry and its bytes.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) entry: Entry,
    pub(super) data: Vec<u8>,
}

/// Who planned an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    User,
    Planner,
}

impl RequestQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Machine {
    pub(super) fn take_request(&mut self, token: Token, request: Box<Request>, id: Option<RequestId>) {
        let waiting = self.requests.waiting.len();
        let refusal = if self.stopping != Stopping::No {
            ProposeError::Stopping
        } else if matches!(self.leadership, Leadership::None) {
            ProposeError::NotLeader {
                leader: self.member.leader(),
            }
        } else if self.disk_full {
            ProposeError::DiskFull
        } else if waiting >= MAX_REQUESTS_QUEUED {
            ProposeError::Busy { waiting }
        } else {
            self.requests.waiting.push_back(Queued { token, request, id });
            return;
        };
        self.reply(token, Err(refusal));
    }

    /// Plans and proposes what waits, as far as there is room.
    pub(super) fn propose_requests(&mut self, now: Now) {
        while self.may_propose() {
            let Some(queued) = self.requests.waiting.pop_front() else {
                break;
            };
            self.propose_request(queued, now);
        }
    }

    fn propose_request(&mut self, queued: Queued, now: Now) {
        let Queued { token, request, id } = queued;
        let Leadership::Leading(leading) = &mut self.leadership else {
            return;
        };
        let known = id.as_ref().and_then(|id| leading.overlay.request_outcome(id));
        if let Some(outcome) = known
            && !self.config.bugs.has(Bug::RequestNotDeduplicated)
        {
            let result = Ok(response_again(outcome));
            self.answer_after_flight(token, result);
            return;
        }
        let mut ctx = RequestContext {
            ids: &mut self.config.ids,
            now: leading.cluster_time(now),
            wall: now.wall,
        };
        let planned = self.planning.request(&leading.overlay, &request, &mut ctx);
        match planned.and_then(check_changes) {
            Err(refusal) => self.answer_after_flight(token, Err(refusal.into())),
            Ok((changes, response)) if changes.is_empty() && id.is_none() => {
                self.answer_after_flight(token, Ok(response));
            }
            Ok((changes, response)) => {
                let waiting = vec![Waiting::Writer { token, response }];
                self.propose_user_draft(
                    token,
                    Draft {
                        request: id,
                        changes,
                        waiting,
                    },
                    now,
                );
            }
        }
    }

    fn propose_user_draft(&mut self, token: Token, draft: Draft, now: Now) {
        let Some(encoded) = self.encode(draft.request.clone(), draft.changes, now) else {
            return;
        };
        let size = encoded.data.len();
        if size > MAX_USER_ENTRY_BYTES {
            let refusal = Refusal::new(
                RefusalCode::TooLarge,
                format!("the request takes {size} bytes; at most {MAX_USER_ENTRY_BYTES} fit one transaction"),
            );
            self.answer_after_flight(token, Err(refusal.with_hint("split it").into()));
        } else {
            self.propose_encoded(encoded, draft.waiting, Origin::User);
        }
    }

    /// Fences changes and gives them their bytes.
    pub(super) fn encode(
        &mut self,
        request: Option<RequestId>,
        changes: Vec<Change>,
        now: Now,
    ) -> Option<Encoded> {
        let Leadership::Leading(leading) = &self.leadership else {
            return None;
        };
        let entry = Entry {
            epoch: leading.overlay.epoch(),
            min_version: ENTRY_VERSION,
            term: leading.term,
            planned_after: leading.overlay.last_effective_index(),
            at: leading.cluster_time(now),
            wall: now.wall,
            request,
            check: self.digests.next_check(),
            changes,
        };
        let data = self.codec.encode_entry(&entry);
        Some(Encoded { entry, data })
    }

    /// Appends an entry to the log and to the overlay.
    pub(super) fn propose_encoded(&mut self, encoded: Encoded, waiting: Vec<Waiting>, origin: Origin) {
        let Encoded { entry, data } = encoded;
        let bytes = data.len();
        let Leadership::Leading(leading) = &mut self.leadership else {
            return;
        };
        let Some(index) = self.member.propose(data) else {
            // Nothing was appended; what the planner holds for done is not.
            leading.drain_to = Some(self.member.last_index());
            for waiting in waiting {
                self.answer_lost(waiting);
            }
            return;
        };
        let applied = leading.overlay.apply(index, leading.term, &entry);
        // The planner knows what it planned itself.
        if let (Applied::Took(events), Origin::User) = (applied, origin) {
            self.planning.observe(&leading.overlay, &events);
        }
        let early = self.config.bugs.has(Bug::AnsweredBeforeCommit);
        let (now_told, waiting) = if early {
            (waiting, Vec::new())
        } else {
            (Vec::new(), waiting)
        };
        leading.push(InFlight {
            index,
            bytes,
            waiting,
        });
        for waiting in now_told {
            self.answer(waiting);
        }
    }

    /// Answers once everything in flight has taken effect: at once if nothing is.
    pub(super) fn answer_after_flight(&mut self, token: Token, result: Result<Response, ProposeError>) {
        self.after_flight(Waiting::Reader { token, result });
    }

    pub(super) fn after_flight(&mut self, waiting: Waiting) {
        if let Leadership::Leading(leading) = &mut self.leadership
            && let Some(last) = leading.in_flight.back_mut()
        {
            last.waiting.push(waiting);
        } else {
            self.answer(waiting);
        }
    }

    /// The entry that someone waits for is lost to this leader, whatever becomes of it.
    pub(super) fn answer_lost(&mut self, waiting: Waiting) {
        let leader = self.member.leader();
        match waiting {
            Waiting::Writer { token, .. } => self.reply(token, Err(ProposeError::OutcomeUnknown)),
            Waiting::Reader { token, .. } => self.reply(token, Err(ProposeError::NotLeader { leader })),
            // The worker sends them again.
            Waiting::Reports { .. } => {}
        }
    }

    pub(super) fn refuse_queued(&mut self) {
        let leader = self.member.leader();
        for queued in std::mem::take(&mut self.requests.waiting) {
            let error = if self.stopping == Stopping::No {
                ProposeError::NotLeader { leader }
            } else {
                ProposeError::Stopping
            };
            self.reply(queued.token, Err(error));
        }
    }

    /// A member's change is an entry of its own kind: no fence, no overlay.
    pub(super) fn change_members(&mut self, token: Token, change: MemberChange) {
        let Leadership::Leading(leading) = &mut self.leadership else {
            let leader = self.member.leader();
            self.reply(token, Err(ProposeError::NotLeader { leader }));
            return;
        };
        let refusal = match change {
            MemberChange::Promote(id) if !self.member.is_caught_up(id) => {
                Some(format!("member {id} has not caught up yet"))
            }
            MemberChange::Remove(id) if id == self.member.id() => {
                Some("the leader cannot remove itself: let it hand over first".to_owned())
            }
            MemberChange::AddLearner(_) | MemberChange::Promote(_) | MemberChange::Remove(_) => None,
        };
        let index = match refusal {
            None => self.member.propose_members(as_raft(change)),
            Some(message) => {
                self.reply(token, Err(Refusal::new(RefusalCode::InUse, message).into()));
                return;
            }
        };
        if let Some(index) = index {
            let waiting = vec![Waiting::Writer {
                token,
                response: Response::Done,
            }];
            leading.push(InFlight {
                index,
                bytes: 0,
                waiting,
            });
        } else {
            let refusal = Refusal::new(RefusalCode::InUse, "another change of members is under way");
            self.reply(token, Err(refusal.with_hint("try again").into()));
        }
    }

    /// Puts bytes into the log that nobody has fenced, as a bug or a broken member might.
    #[cfg(any(test, feature = "sim"))]
    pub fn propose_raw(&mut self, data: Vec<u8>) -> Option<u64> {
        self.member.propose(data)
    }

    /// Leads, has caught up, has room, and is not about to hand over.
    pub(super) fn may_propose(&self) -> bool {
        let room = matches!(&self.leadership, Leadership::Leading(leading) if leading.has_room());
        room && !self.member.hands_over() && !self.disk_full && self.stopping == Stopping::No
    }

    fn reply(&mut self, token: Token, result: Result<Response, ProposeError>) {
        self.outputs.push(Output::Reply { token, result });
    }
}

fn check_changes((changes, response): (Vec<Change>, Response)) -> Result<(Vec<Change>, Response), Refusal> {
    if changes.len() <= MAX_USER_CHANGES {
        return Ok((changes, response));
    }
    let message = format!(
        "the request makes {} changes; at most {MAX_USER_CHANGES} fit one transaction",
        changes.len()
    );
    Err(Refusal::new(RefusalCode::TooLarge, message).with_hint("split it"))
}

fn as_raft(change: MemberChange) -> ConfChangeV2 {
    let (kind, id) = match change {
        MemberChange::AddLearner(id) => (ConfChangeType::AddLearnerNode, id),
        MemberChange::Promote(id) => (ConfChangeType::AddNode, id),
        MemberChange::Remove(id) => (ConfChangeType::RemoveNode, id),
    };
    let mut single = ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = id;
    ConfChangeV2 {
        changes: vec![single],
        ..ConfChangeV2::default()
    }
}

/// The answer to a request that has already taken effect.
fn response_again(outcome: &RequestOutcome) -> Response {
    match &outcome.created {
        Some(ObjectKey::Service(id)) => Response::Service {
            id: id.clone(),
            warnings: Vec::new(),
        },
        Some(ObjectKey::Stack(id)) => Response::Stack {
            id: id.clone(),
            networks: Vec::new(),
            changes: Vec::new(),
            warnings: Vec::new(),
        },
        Some(ObjectKey::Network(id)) => Response::Network {
            id: id.clone(),
            warnings: Vec::new(),
        },
        Some(ObjectKey::Node(id)) => Response::Node { id: id.clone() },
        Some(ObjectKey::Cluster | ObjectKey::Revision(_) | ObjectKey::Task(_)) | None => Response::Done,
    }
}
