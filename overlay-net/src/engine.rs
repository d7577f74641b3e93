//! The loop that makes the kernel what is desired, and keeps it so.
//!
//! A thread of its own, since it enters other namespaces: one closed enum of inputs, each worked off in turn. Asked
//! for a change, it plans from what it believes and carries that out; told by the kernel that somebody else changed
//! something, or when the kernel refuses, it looks again and plans from what it sees.

mod absence;
mod forget;
mod kernel;
mod purge;
mod sight;
mod status;
mod thread;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use absence::take_out;
pub(crate) use purge::purge;
pub use status::{HostRoute, NamesState, NetStatus, Problem};
pub(crate) use status::{REASON_MOST, line};
pub(crate) use thread::{Command, EngineThread};

use self::forget::{Forgetter, Work};
use self::kernel::{ChangeError, Home, Kernel};
use self::sight::Look;
use self::watch::Watch;
use crate::desired::{Desired, Endpoint, EndpointId, Revision, Tables, Tag};
use crate::namespace::Namespace;
use crate::observed::{Observed, Side};
use crate::plan::{Change, Scope, plan};

/// What several changes in a row are waited for before looking, so that one look sees them all.
const SETTLE: Duration = Duration::from_millis(10);
/// While somebody undoes our work again and again.
const FIGHT: Duration = Duration::from_secs(1);
/// So many repairs within [`FIGHT_WINDOW`] are a fight.
const FIGHT_REPAIRS: usize = 5;
const FIGHT_WINDOW: Duration = Duration::from_secs(10);
/// After a failure that three attempts did not mend.
const RETRY: Duration = Duration::from_secs(1);
/// Looks and plans in a row: one that finds something to do, one that finds nothing, and one more for what changed
/// meanwhile.
const ATTEMPTS: usize = 4;
/// Nobody tells when a firewall of `iptables-legacy` changes.
const LEGACY: Duration = Duration::from_secs(2);
/// A link goes with its namespace within milliseconds; one that is there after this long stays for another reason.
const STRAY: Duration = Duration::from_secs(30);

/// The kernel does not do what is desired.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct KernelError(String);

/// Tables could not be put in force.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApplyError {
    /// They are older than those in force.
    #[error("tables of revision {given:?} are older than those in force, of {in_force:?}")]
    Stale {
        /// Theirs.
        given: Revision,
        /// The one in force.
        in_force: Revision,
    },
    /// The kernel refused; it is tried again.
    #[error("put tables in force: {0}")]
    Kernel(KernelError),
    /// The kernel has them and `shoal-net` does not; it gets them when it is back.
    #[error("answer names from new tables: {why}")]
    Names {
        /// Why not.
        why: String,
    },
    /// The engine was closed.
    #[error("the node's network is closed")]
    Closed,
}

/// An endpoint could not be attached.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AttachError {
    /// There is no such namespace.
    #[error("endpoint {id}: its network namespace is not there: {why}")]
    Gone {
        /// The endpoint.
        id: EndpointId,
        /// The reason.
        why: String,
    },
    /// The kernel refused.
    #[error("attach endpoint {id}: {why}")]
    Kernel {
        /// The endpoint.
        id: EndpointId,
        /// The reason.
        why: KernelError,
    },
    /// It has its links and no names.
    #[error("names for endpoint {id}: {why}")]
    Names {
        /// The endpoint.
        id: EndpointId,
        /// The reason.
        why: String,
    },
    /// The engine was closed.
    #[error("the node's network is closed")]
    Closed,
}

/// What the loop keeps.
#[derive(Debug)]
pub(crate) struct Engine {
    kernel: Kernel,
    forgetter: Forgetter,
    watch: Watch,
    desired: Desired,
    /// What the kernel has, as far as this loop knows.
    observed: Observed,
    status: NetStatus,
    /// Endpoints that were not there when this network was opened, and why.
    unfound: BTreeMap<EndpointId, String>,
    /// Endpoints to which the kernel refuses what they shall have, and why: a container may have put something in the
    /// way, and nobody else is to suffer from that.
    refused: BTreeMap<EndpointId, String>,
    /// When it is tried again for those.
    refused_at: Option<Instant>,
    /// What to look at, and when.
    look: Look,
    look_at: Option<Instant>,
    /// When links that stayed behind are removed.
    sweep_at: Option<Instant>,
    /// When it is looked what `iptables-legacy` does.
    legacy_at: Instant,
    /// When repairs were made, of late.
    repairs: Vec<Instant>,
}

impl Engine {
    /// Takes over what the kernel has of this tag and makes it what is desired.
    pub(crate) fn open(tag: Tag, router: &Namespace, desired: Desired) -> Result<Self, KernelError> {
        let kernel = Kernel::open(tag, router)?;
        let watch = Watch::open(&kernel)?;
        let forgetter = Forgetter::start(&kernel.host.namespace, &kernel.router.namespace)?;
        let mut engine = Self {
            kernel,
            forgetter,
            watch,
            desired: Desired::default(),
            observed: Observed::default(),
            status: NetStatus::default(),
            unfound: BTreeMap::new(),
            refused: BTreeMap::new(),
            refused_at: None,
            look: Look::default(),
            look_at: None,
            sweep_at: None,
            legacy_at: Instant::now() + LEGACY,
            repairs: Vec::new(),
        };
        let endpoints = desired.endpoints.values().cloned().collect::<Vec<_>>();
        for endpoint in endpoints {
            if let Err(why) = engine.find(&endpoint) {
                engine.unfound.insert(endpoint.id.clone(), why.to_string());
            }
        }
        engine.desired = desired;
        let everything = Scope {
            sweep: true,
            ..Scope::whole()
        };
        engine.settle(&Look::all(), &everything)?;
        Ok(engine)
    }

    /// New tables; what did not change costs nothing.
    pub(crate) fn apply(&mut self, tables: Arc<Tables>) -> Result<(), ApplyError> {
        let in_force = self.desired.tables.revision;
        if tables.revision < in_force {
            let given = tables.revision;
            return Err(ApplyError::Stale { given, in_force });
        }
        let new = Desired {
            tables,
            endpoints: self.desired.endpoints.clone(),
        };
        self.become_(new).map_err(ApplyError::Kernel)
    }

    /// An endpoint, in addition to or in place of one of the same id.
    pub(crate) fn attach(&mut self, endpoint: Endpoint) -> Result<(), AttachError> {
        let endpoint = Arc::new(endpoint);
        let before = self.desired.endpoints.get(&endpoint.id).cloned();
        let attached = self.try_to_attach(&endpoint);
        if attached.is_err() {
            self.undo(&endpoint.id, before);
        }
        attached
    }

    fn try_to_attach(&mut self, endpoint: &Arc<Endpoint>) -> Result<(), AttachError> {
        let id = &endpoint.id;
        let gone = |why: String| AttachError::Gone { id: id.clone(), why };
        self.find(endpoint).map_err(|why| gone(why.to_string()))?;
        let mut new = self.desired.clone();
        new.endpoints.insert(id.clone(), Arc::clone(endpoint));
        let look = Look {
            endpoints: [id.clone()].into(),
            ..Look::default()
        };
        let refused = |why| AttachError::Kernel { id: id.clone(), why };
        self.kernel
            .look(&look, &mut self.observed)
            .map_err(|error| refused(error.into()))?;
        self.become_(new).map_err(refused)?;
        if let Some(why) = self.refused.get(id) {
            return Err(refused(KernelError(why.clone())));
        }
        if self.observed.endpoints.contains_key(id) {
            Ok(())
        } else {
            Err(gone("it ended meanwhile".to_owned()))
        }
    }

    /// After an endpoint could not be attached: as if nobody had asked for it.
    fn undo(&mut self, id: &EndpointId, before: Option<Arc<Endpoint>>) {
        let undone = match before.filter(|before| self.find(before).is_ok()) {
            None => self.detach(id),
            Some(before) => {
                let mut new = self.desired.clone();
                new.endpoints.insert(id.clone(), before);
                self.become_(new)
            }
        };
        if let Err(error) = undone {
            tracing::warn!(%id, %error, "what an endpoint that could not be attached left is not gone yet; looking again");
        }
    }

    /// An endpoint is no more: its links go with its namespace.
    pub(crate) fn detach(&mut self, id: &EndpointId) -> Result<(), KernelError> {
        self.kernel.endpoints.remove(id);
        self.observed.endpoints.remove(id);
        self.unfound.remove(id);
        self.refused.remove(id);
        let mut new = self.desired.clone();
        if new.endpoints.remove(id).is_none() {
            return Ok(());
        }
        self.sweep_at.get_or_insert_with(|| Instant::now() + STRAY);
        self.become_(new)
    }

    /// Notes which namespace an endpoint's path stands for now.
    fn find(&mut self, endpoint: &Endpoint) -> Result<(), crate::namespace::NamespaceError> {
        let namespace = Namespace::open(&endpoint.namespace)?;
        let home = Home {
            path: endpoint.namespace.clone(),
            id: namespace.id(),
        };
        self.kernel.endpoints.insert(endpoint.id.clone(), home);
        self.unfound.remove(&endpoint.id);
        Ok(())
    }

    fn become_(&mut self, new: Desired) -> Result<(), KernelError> {
        let scope = Scope::between(&self.desired, &new);
        self.desired = new;
        let changes = plan(&self.kernel.tag, &self.desired, &self.observed, &scope);
        let carried_out = self.carry_out(&changes, &scope);
        if let Err(error) = &carried_out {
            tracing::debug!(%error, "the kernel is not as believed; looking again");
        }
        if carried_out.is_err() || scope.endpoints.iter().any(|id| self.refused.contains_key(id)) {
            self.settle(&Look::all(), &Scope::whole())?;
        }
        self.status.revision = self.desired.tables.revision;
        self.update_status();
        Ok(())
    }

    /// Carries out a plan, and keeps the belief with it; says how many changes were made. One that is refused to an
    /// endpoint ends what is done for that one, and nothing else.
    fn carry_out(&mut self, changes: &[Change], scope: &Scope) -> Result<usize, KernelError> {
        self.refused.retain(|id, _| !scope.has_endpoint(id));
        let mut made = 0;
        let mut unmade = BTreeSet::new();
        for (place, change) in changes.iter().enumerate() {
            let endpoint = change.endpoint();
            if endpoint.is_some_and(|id| self.refused.contains_key(id)) || change.is_about(&unmade) {
                continue;
            }
            match (self.make(change), endpoint) {
                (Ok(()), _) => made += 1,
                (Err(error), Some(id)) => {
                    unmade.extend(change.new_links_of_the_router());
                    self.note_refused(id, error.to_string());
                }
                (Err(error), None) => {
                    // It follows from what was changed before this, and so from no plan to come.
                    let later = changes.iter().skip(place + 1);
                    later.for_each(|change| self.forget(change));
                    return Err(error);
                }
            }
        }
        let links = changes.iter().flat_map(Change::new_links_of_the_router);
        self.kernel.wait_for_carrier(links.collect())?;
        Ok(made)
    }

    fn make(&mut self, change: &Change) -> Result<(), KernelError> {
        self.forget(change);
        self.kernel.carry_out(change)?;
        self.observed
            .apply(change)
            .map_err(|error| KernelError(error.to_string()))
    }

    /// Has connections forgotten, if that is the change.
    fn forget(&self, change: &Change) {
        if let Change::Forget { addresses } = change {
            self.forgetter.forget(Work {
                backends: addresses.clone(),
                host: self.desired.tables.node.host.iter().collect(),
                endpoints: self.desired.endpoints.clone(),
                homes: self.kernel.endpoints.clone(),
            });
        }
    }

    fn note_refused(&mut self, id: &EndpointId, why: String) {
        if self.status.lost.get(id) != Some(&why) {
            tracing::warn!(%id, why, "the kernel refuses what an endpoint shall have; trying again");
        }
        self.refused.insert(id.clone(), why);
    }

    /// Looks, plans and acts until there is nothing left to do; says how many changes that took. What does not come
    /// to an end, or fails, is tried again later.
    fn settle(&mut self, look: &Look, scope: &Scope) -> Result<usize, KernelError> {
        let mut made = 0;
        let mut result = self.settle_once(look, scope);
        for _ in 1..ATTEMPTS {
            match result {
                Ok(0) => break,
                Ok(changes) => made += changes,
                Err(error) => tracing::debug!(%error, "the kernel is not as seen; looking again"),
            }
            result = self.settle_once(&Look::all(), scope);
        }
        if !matches!(result, Ok(0)) {
            self.look = Look::all();
            self.look_at = Some(Instant::now() + RETRY);
        }
        self.refused_at = (!self.refused.is_empty()).then(|| Instant::now() + RETRY);
        result.map(|changes| made + changes)
    }

    fn settle_once(&mut self, look: &Look, scope: &Scope) -> Result<usize, KernelError> {
        self.kernel.look(look, &mut self.observed)?;
        let changes = plan(&self.kernel.tag, &self.desired, &self.observed, scope);
        let made = self.carry_out(&changes, scope)?;
        self.update_status();
        Ok(made)
    }

    /// The kernel told of changes by others.
    fn heard(&mut self, now: Instant) {
        if let Err(error) = self.watch.hear(&self.kernel.tag, &self.observed, &mut self.look) {
            tracing::warn!(%error, "notifications of the kernel could not be read; looking at everything");
            self.look.all = true;
        }
        if !self.look.is_empty() && self.look_at.is_none() {
            self.repairs
                .retain(|repair| now.saturating_duration_since(*repair) < FIGHT_WINDOW);
            let fight = self.repairs.len() >= FIGHT_REPAIRS;
            self.look_at = Some(now + if fight { FIGHT } else { SETTLE });
        }
    }

    /// When [`Engine::due`] has something to do.
    fn next_deadline(&self) -> Option<Instant> {
        let known = self.look_at.into_iter().chain(self.sweep_at);
        let known = known.chain(self.refused_at);
        known.chain([self.legacy_at]).min()
    }

    /// Does what is due.
    fn due(&mut self, now: Instant) {
        if self.legacy_at <= now {
            self.legacy_at = now + LEGACY;
            self.look_at_legacy();
        }
        let sweep = self.sweep_at.is_some_and(|at| at <= now);
        let refused = self.refused_at.is_some_and(|at| at <= now);
        if !sweep && !refused && self.look_at.is_none_or(|at| at > now) {
            return;
        }
        if refused {
            self.look.endpoints.extend(self.refused.keys().cloned());
            self.look.links.insert(Side::Router);
        }
        let mut look = std::mem::take(&mut self.look);
        self.look_at = None;
        let scope = Scope {
            sweep,
            ..Scope::whole()
        };
        if sweep {
            self.sweep_at = None;
            look.all = true;
        }
        let before = self.observed.endpoints.len();
        match self.settle(&look, &scope) {
            Ok(0) => {}
            Ok(changes) if self.observed.endpoints.len() == before => {
                tracing::warn!(changes, "put back what somebody had changed");
                self.status.healed += 1;
                self.repairs.push(now);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "the node's network is not as it should be; trying again");
            }
        }
    }
}

impl KernelError {
    pub(crate) fn closed() -> Self {
        Self("the node's network is closed".to_owned())
    }
}

impl From<ChangeError> for KernelError {
    fn from(error: ChangeError) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self(text)
    }
}

impl From<crate::namespace::NamespaceError> for KernelError {
    fn from(error: crate::namespace::NamespaceError) -> Self {
        ChangeError::from(error).into()
    }
}
