//! What the machine asks of the pure components that decide: one trait, so that the simulator can plant
//! a bug between them and the machine.
//!
//! `CorePlanning` is the one the product has: the planner of core, as it is. It is only asked while this
//! member leads, and always with the overlay: the applied state plus everything in flight.

use shoal_core::{
    model::Timestamp,
    planner::{Plan, Planner, PlannerInput, Refuse, TurnContext},
    refusal::Refusal,
    request::{self, Request, RequestContext, Response},
    store::{Change, Event, StoreView},
};
use std::fmt;

/// A user's write as changes, and what to answer once they have taken effect.
pub type PlannedRequest = Result<(Vec<Change>, Response), Refusal>;

pub trait Planning: fmt::Debug + Send {
    /// This member begins to lead: nothing is known but the store, and every node gets its grace.
    fn lead(&mut self, view: &StoreView, now: Timestamp);

    /// What was planned did not come to be: everything is looked at anew. Liveness is kept.
    fn replan(&mut self, view: &StoreView, now: Timestamp);

    /// The process did not run for a while: nobody could be heard, nobody is to blame.
    fn restart_liveness(&mut self, view: &StoreView, now: Timestamp);

    /// A user's changes took effect in the overlay; `view` is the state after them.
    fn observe(&mut self, view: &StoreView, events: &[Event]);

    /// A session said something. A refusal means that a bound is reached: it must be said again.
    fn handle(&mut self, view: &StoreView, input: PlannerInput, now: Timestamp) -> Result<(), Refuse>;

    fn request(
        &mut self,
        view: &StoreView,
        request: &Request,
        ctx: &mut RequestContext<'_>,
    ) -> PlannedRequest;

    fn has_work(&self) -> bool;

    /// A bounded piece of planning.
    fn turn(&mut self, view: &StoreView, ctx: TurnContext<'_>) -> Plan;

    /// When to take a turn though nothing happens, in cluster time.
    fn next_deadline(&self) -> Option<Timestamp>;
}

/// The product's decisions.
#[derive(Debug, Default)]
pub struct CorePlanning {
    planner: Planner,
    /// What an older version stored may lack something: looked at once, at the beginning of a lead.
    upgrading: bool,
}

impl CorePlanning {
    pub fn new() -> Self {
        Self::default()
    }
}

impl Planning for CorePlanning {
    fn lead(&mut self, view: &StoreView, now: Timestamp) {
        self.upgrading = true;
        self.planner.lead(view, now);
    }

    fn replan(&mut self, view: &StoreView, now: Timestamp) {
        // The plan that was thrown away may have been the upgrade's.
        self.upgrading = true;
        self.planner.replan(view, now);
    }

    fn restart_liveness(&mut self, view: &StoreView, now: Timestamp) {
        self.planner.restart_liveness(view, now);
    }

    fn observe(&mut self, view: &StoreView, events: &[Event]) {
        self.planner.observe(view, events);
    }

    fn handle(&mut self, view: &StoreView, input: PlannerInput, now: Timestamp) -> Result<(), Refuse> {
        self.planner.handle(view, input, now)
    }

    fn request(
        &mut self,
        view: &StoreView,
        request: &Request,
        ctx: &mut RequestContext<'_>,
    ) -> PlannedRequest {
        request::plan(view, request, ctx)
    }

    fn has_work(&self) -> bool {
        self.upgrading || self.planner.has_work()
    }

    fn turn(&mut self, view: &StoreView, ctx: TurnContext<'_>) -> Plan {
        if std::mem::take(&mut self.upgrading) {
            let mut request = RequestContext {
                ids: &mut *ctx.ids,
                now: ctx.now,
                wall: ctx.wall,
            };
            let changes = request::upgrade(view, &mut request);
            if !changes.is_empty() {
                return Plan {
                    changes,
                    more: true,
                    ..Plan::default()
                };
            }
        }
        self.planner.turn(view, ctx)
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.planner.next_deadline()
    }
}
