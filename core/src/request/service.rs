//! Creating, updating, scaling and removing one service.
//!
//! A revision is made only where something that tasks are made from changed; replicas and labels are
//! changed in place. Removal deletes the service at once: the planner then stops what is left of it.

use super::{RequestContext, Response, check_version};
use crate::{
    model::{
        Meta, Mode, Revision, RevisionKey, Service, ServiceId, ServiceSpec, StackId, UpdateState,
        UpdateStatus, Version,
    },
    refusal::{Refusal, RefusalCode},
    resolve,
    store::{Change, ObjectKey, StoreView},
    validate,
};

type Planned = Result<(Vec<Change>, Response), Refusal>;

/// What an update shall lead to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) spec: &'a ServiceSpec,
    /// Replace all tasks although nothing about them changed.
    pub(super) force: bool,
}

pub(super) fn create(view: &StoreView, spec: &ServiceSpec, ctx: &mut RequestContext<'_>) -> Planned {
    check(spec)?;
    check_name_free(view, &spec.name)?;
    let (id, changes) = created(spec.clone(), None, ctx);
    let warnings = warnings(spec);
    Ok((changes, Response::Service { id, warnings }))
}

pub(super) fn update(
    view: &StoreView,
    reference: &str,
    version: Version,
    wanted: &Wanted<'_>,
    ctx: &RequestContext<'_>,
) -> Planned {
    let service = resolve::service(view, reference)?;
    check_version("service", &service.spec.name, version, service.meta.version)?;
    check(wanted.spec)?;
    let changes = updated(view, service, wanted, ctx)?;
    let response = Response::Service {
        id: service.id.clone(),
        warnings: warnings(wanted.spec),
    };
    Ok((changes, response))
}

pub(super) fn remove(view: &StoreView, reference: &str) -> Planned {
    let id = resolve::service(view, reference)?.id.clone();
    let changes = vec![Change::Delete(ObjectKey::Service(id.clone()))];
    Ok((
        changes,
        Response::Service {
            id,
            warnings: Vec::new(),
        },
    ))
}

pub(super) fn scale(view: &StoreView, scales: &[(String, u32)]) -> Planned {
    let (mut changes, mut ids) = (Vec::new(), Vec::new());
    for (n, (reference, replicas)) in scales.iter().enumerate() {
        let field = format!("scales[{n}]");
        let service = resolve::service(view, reference).map_err(|refusal| refusal.with_field(&field))?;
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
            changes.push(next.into());
        }
    }
    Ok((changes, Response::Scaled { ids }))
}

/// A new service with its first revision. The spec has been checked.
pub(super) fn created(
    spec: ServiceSpec,
    stack: Option<StackId>,
    ctx: &mut RequestContext<'_>,
) -> (ServiceId, Vec<Change>) {
    let id = ServiceId::mint(ctx.ids);
    let revision = revision(&id, 1, &spec);
    let service = Service {
        id: id.clone(),
        meta: Meta::default(),
        spec,
        revision: 1,
        stack,
        endpoint: crate::model::ServiceEndpoint::default(),
        update: None,
    };
    (id, vec![revision.into(), service.into()])
}

/// The changes that bring a service to another spec; none if nothing differs. The spec has been checked.
pub(super) fn updated(
    view: &StoreView,
    service: &Service,
    wanted: &Wanted<'_>,
    ctx: &RequestContext<'_>,
) -> Result<Vec<Change>, Refusal> {
    let mut spec = wanted.spec.clone();
    check_kept(service, &spec)?;
    let current = service.spec.task.force_update;
    spec.task.force_update = spec.task.force_update.max(current) + u64::from(wanted.force);
    let mut next = service.clone();
    let mut changes = Vec::new();
    if spec.task != service.spec.task || spec.ports != service.spec.ports {
        // Numbers count on from every revision kept, so that none is used twice.
        let last = view.revisions_of_service(&service.id).map(|r| r.key.number).max();
        let number = last.unwrap_or(0).max(service.revision) + 1;
        changes.push(revision(&service.id, number, &spec).into());
        next.revision = number;
        next.update = Some(update_begun(number, ctx));
    } else if service
        .update
        .as_ref()
        .is_some_and(|u| u.state == UpdateState::Paused)
    {
        // Saying it again resumes a paused update, as in Swarm.
        next.update = Some(update_begun(service.revision, ctx));
    }
    next.spec = spec;
    if next != *service {
        changes.push(next.into());
    }
    Ok(changes)
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

fn revision(service: &ServiceId, number: u64, spec: &ServiceSpec) -> Revision {
    Revision {
        key: RevisionKey {
            service: service.clone(),
            number,
        },
        meta: Meta::default(),
        task: spec.task.clone(),
        ports: spec.ports.clone(),
        networks: Vec::new(),
    }
}

fn update_begun(revision: u64, ctx: &RequestContext<'_>) -> UpdateStatus {
    UpdateStatus {
        state: UpdateState::Updating,
        message: "update in progress".to_owned(),
        revision,
        since: ctx.now,
        started_at: ctx.wall,
        finished_at: None,
        monitor_until: None,
    }
}
