//! Creating, updating, scaling and removing one service.
//!
//! A revision is made only where something that tasks are made from changed; replicas and labels are
//! changed in place. Removal deletes the service at once: the planner then stops what is left of it.

use super::{
    Response, check_version, endpoint,
    transaction::{Planned, Transaction},
};
use crate::{
    model::{
        Meta, Mode, Revision, RevisionKey, Service, ServiceId, ServiceSpec, StackId, StackSpec, UpdateState,
        UpdateStatus, Version,
    },
    refusal::{Refusal, RefusalCode},
    resolve,
    store::{ObjectKey, StoreView},
    validate,
};

/// What an update shall lead to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) spec: &'a ServiceSpec,
    /// Replace all tasks although nothing about them changed.
    pub(super) force: bool,
}

pub(super) fn create(tx: &mut Transaction<'_>, spec: &ServiceSpec) -> Planned<Response> {
    check(spec)?;
    check_name_free(&tx.view, &spec.name)?;
    let id = created(tx, spec.clone(), None)?;
    let warnings = warnings(spec);
    Ok(Response::Service { id, warnings })
}

pub(super) fn update(
    tx: &mut Transaction<'_>,
    reference: &str,
    version: Version,
    wanted: &Wanted<'_>,
) -> Planned<Response> {
    let service = resolve::service(tx.base(), reference)?;
    check_version("service", &service.spec.name, version, service.meta.version)?;
    check(wanted.spec)?;
    let stack = service.stack.as_ref().and_then(|id| tx.base().stack(id));
    updated(tx, service, wanted, stack.map(|stack| &stack.spec))?;
    Ok(Response::Service {
        id: service.id.clone(),
        warnings: warnings(wanted.spec),
    })
}

pub(super) fn remove(tx: &mut Transaction<'_>, reference: &str) -> Planned<Response> {
    let service = resolve::service(tx.base(), reference)?;
    deleted(tx, service);
    Ok(Response::Service {
        id: service.id.clone(),
        warnings: Vec::new(),
    })
}

pub(super) fn scale(tx: &mut Transaction<'_>, scales: &[(String, u32)]) -> Planned<Response> {
    let mut ids = Vec::new();
    for (n, (reference, replicas)) in scales.iter().enumerate() {
        let field = format!("scales[{n}]");
        let service = resolve::service(tx.base(), reference).map_err(|refusal| refusal.with_field(&field))?;
        let mut next = Service::clone(service);
        match &mut next.spec.mode {
            Mode::Replicated { replicas: current } => *current = *replicas,
            Mode::Global => {
                return Err(Refusal::new(
                    RefusalCode::Invalid,
                    format!(
                        "service {:?} is global: it has one task on every node",
                        service.spec.name
                    ),
                )
                .with_field(field));
            }
        }
        check(&next.spec)?;
        if ids.contains(&service.id) {
            let name = &service.spec.name;
            return Err(
                Refusal::new(RefusalCode::Invalid, format!("service {name:?} is named twice"))
                    .with_field(field),
            );
        }
        ids.push(service.id.clone());
        if next != **service {
            tx.put(next);
        }
    }
    Ok(Response::Scaled { ids })
}

/// A new service with its first revision. The spec has been checked.
pub(super) fn created(
    tx: &mut Transaction<'_>,
    spec: ServiceSpec,
    stack: Option<(&StackId, &StackSpec)>,
) -> Planned<ServiceId> {
    let endpoint = endpoint::endpoint(tx, &spec, stack.map(|(_, spec)| spec), None)?;
    let service = Service {
        id: ServiceId::mint(tx.ids),
        meta: Meta::default(),
        spec,
        revision: 1,
        stack: stack.map(|(id, _)| id.clone()),
        endpoint,
        update: None,
    };
    let id = service.id.clone();
    tx.put(revision(&service));
    tx.put(service);
    Ok(id)
}

/// Brings a service to another spec; says whether anything differed. The spec has been checked.
pub(super) fn updated(
    tx: &mut Transaction<'_>,
    service: &Service,
    wanted: &Wanted<'_>,
    stack: Option<&StackSpec>,
) -> Planned<bool> {
    let mut spec = wanted.spec.clone();
    check_kept(service, &spec)?;
    let current = service.spec.task.force_update;
    spec.task.force_update = spec.task.force_update.max(current) + u64::from(wanted.force);
    let mut next = service.clone();
    next.endpoint = endpoint::endpoint(tx, &spec, stack, Some(service))?;
    let same = spec.task == service.spec.task
        && next.endpoint.networks == service.endpoint.networks
        && next.endpoint.ports == service.endpoint.ports;
    next.spec = spec;
    if !same {
        // Numbers count on from every revision kept, so that none is used twice.
        let last = tx
            .view
            .revisions_of_service(&service.id)
            .map(|r| r.key.number)
            .max();
        next.revision = last.unwrap_or(0).max(service.revision) + 1;
        next.update = Some(update_begun(next.revision, tx));
        tx.put(revision(&next));
    } else if service
        .update
        .as_ref()
        .is_some_and(|u| u.state == UpdateState::Paused)
    {
        // Saying it again resumes a paused update, as in Swarm.
        next.update = Some(update_begun(service.revision, tx));
    }
    let differs = next != *service;
    if differs {
        tx.put(next);
    }
    Ok(differs)
}

/// Deletes a service; its addresses rest.
pub(super) fn deleted(tx: &mut Transaction<'_>, service: &Service) {
    tx.numbers.rest(&tx.view, &service.endpoint.vips, tx.now);
    tx.delete(ObjectKey::Service(service.id.clone()));
}

pub(super) fn check_name_free(view: &StoreView, name: &str) -> Result<(), Refusal> {
    if view.service_by_name(name).is_none() {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::Conflict,
        format!("there is already a service {name:?}"),
    )
    .with_field("name")
    .with_hint("choose another name, or update the one there is"))
}

pub(super) fn warnings(spec: &ServiceSpec) -> Vec<String> {
    let container = &spec.task.container;
    let mut warnings = Vec::new();
    if container.image_digest.is_none() {
        warnings.push(format!(
            "image {} is not pinned by its digest: nodes may run different versions of it",
            container.image
        ));
    }
    warnings
}

fn check(spec: &ServiceSpec) -> Result<(), Refusal> {
    Refusal::of_faults(validate::service(spec)).map_or(Ok(()), Err)
}

/// What an update may not change, as in Swarm.
fn check_kept(service: &Service, spec: &ServiceSpec) -> Result<(), Refusal> {
    let fixed = |field: &str, message: String| {
        Refusal::new(RefusalCode::Unsupported, message)
            .with_field(field)
            .with_hint("remove the service and create it anew")
    };
    if spec.name != service.spec.name {
        return Err(fixed(
            "name",
            format!(
                "service {:?} cannot be renamed to {:?}",
                service.spec.name, spec.name
            ),
        ));
    }
    match (service.spec.mode, spec.mode) {
        (Mode::Replicated { .. }, Mode::Replicated { .. }) | (Mode::Global, Mode::Global) => Ok(()),
        (Mode::Replicated { .. }, Mode::Global) | (Mode::Global, Mode::Replicated { .. }) => Err(fixed(
            "mode",
            format!("the mode of service {:?} cannot be changed", service.spec.name),
        )),
    }
}

/// What the service's tasks are made from as it is.
fn revision(service: &Service) -> Revision {
    Revision {
        key: RevisionKey {
            service: service.id.clone(),
            number: service.revision,
        },
        meta: Meta::default(),
        task: service.spec.task.clone(),
        ports: service.endpoint.ports.clone(),
        networks: service.endpoint.networks.clone(),
    }
}

fn update_begun(revision: u64, tx: &Transaction<'_>) -> UpdateStatus {
    UpdateStatus {
        state: UpdateState::Updating,
        message: "update in progress".to_owned(),
        revision,
        since: tx.now,
        started_at: tx.wall,
        finished_at: None,
        monitor_until: None,
    }
}
