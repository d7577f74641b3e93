//! Deploying and removing a stack: all its services in one transaction.
//!
//! A deploy compares what is stored with what is asked, service by service, and says of each what
//! changes and what a user changed by hand since the last deploy. What the file says wins.

use super::{RequestContext, Response, StackAction, StackChange, service};
use crate::{
    model::{Meta, Mode, Service, ServiceSpec, Stack, StackId, StackSpec},
    refusal::{Refusal, RefusalCode},
    resolve,
    store::{Change, ObjectKey, StoreView},
    validate,
};
use std::collections::BTreeSet;

type Planned = Result<(Vec<Change>, Response), Refusal>;

pub(super) fn deploy(
    view: &StoreView,
    spec: &StackSpec,
    prune: bool,
    ctx: &mut RequestContext<'_>,
) -> Planned {
    if let Some(refusal) = Refusal::of_faults(validate::stack(spec)) {
        return Err(refusal);
    }
    let old = view.stack_by_name(&spec.name);
    let id = old.map_or_else(|| StackId::mint(ctx.ids), |stack| stack.id.clone());
    let mut deploy = Deploy {
        view,
        old: old.map(|stack| &stack.spec),
        id: id.clone(),
        changes: Vec::new(),
        said: Vec::new(),
    };
    let (mut wanted, mut warnings) = (BTreeSet::new(), Vec::new());
    let mut stored = spec.clone();
    for (name, service) in &mut stored.services {
        service.name = format!("{}_{name}", spec.name);
        wanted.insert(service.name.clone());
        warnings.extend(service::warnings(service));
        deploy.service(name, service, ctx)?;
    }
    let left: Vec<_> = view
        .services_of_stack(&id)
        .filter(|service| !wanted.contains(&service.spec.name))
        .collect();
    for service in left {
        deploy.left(service, prune);
    }
    let next = Stack {
        id: id.clone(),
        meta: old.map_or_else(Meta::default, |stack| stack.meta),
        spec: stored,
        revision: old.map_or(0, |stack| stack.revision) + 1,
    };
    let Deploy {
        mut changes, said, ..
    } = deploy;
    if !changes.is_empty() || old.is_none_or(|old| old.spec != next.spec) {
        changes.push(next.into());
    }
    let response = Response::Stack {
        id,
        changes: said,
        warnings,
    };
    Ok((changes, response))
}

pub(super) fn remove(view: &StoreView, reference: &str) -> Planned {
    let stack = resolve::stack(view, reference)?;
    let mut changes = vec![Change::Delete(ObjectKey::Stack(stack.id.clone()))];
    let mut said = Vec::new();
    for service in view.services_of_stack(&stack.id) {
        changes.push(Change::Delete(ObjectKey::Service(service.id.clone())));
        said.push(change(service, StackAction::Remove, Vec::new()));
    }
    let response = Response::Stack {
        id: stack.id.clone(),
        changes: said,
        warnings: Vec::new(),
    };
    Ok((changes, response))
}

/// One deploy under way.
struct Deploy<'a> {
    view: &'a StoreView,
    /// What was deployed last.
    old: Option<&'a StackSpec>,
    id: StackId,
    changes: Vec<Change>,
    said: Vec<StackChange>,
}

impl Deploy<'_> {
    fn service(
        &mut self,
        name: &str,
        spec: &ServiceSpec,
        ctx: &mut RequestContext<'_>,
    ) -> Result<(), Refusal> {
        let at = |refusal: Refusal| {
            let field = refusal.field.clone().unwrap_or_default();
            refusal.with_field(
                format!("services.{name}.{field}")
                    .trim_end_matches('.')
                    .to_owned(),
            )
        };
        let Some(current) = self.view.service_by_name(&spec.name) else {
            let (id, changes) = service::created(spec.clone(), Some(self.id.clone()), ctx);
            self.changes.extend(changes);
            self.said.push(StackChange {
                service: spec.name.clone(),
                service_id: Some(id),
                action: StackAction::Create,
                details: Vec::new(),
            });
            return Ok(());
        };
        if current.stack.as_ref() != Some(&self.id) {
            let message = format!(
                "there is already a service {:?}, which is not of this stack",
                spec.name
            );
            return Err(at(Refusal::new(RefusalCode::Conflict, message)
                .with_hint("rename the stack, or remove that service")));
        }
        let mut details = self.drift(name, current);
        let wanted = service::Wanted { spec, force: false };
        let changes = service::updated(self.view, current, &wanted, ctx).map_err(at)?;
        let action = if changes.is_empty() {
            StackAction::Keep
        } else {
            details.extend(differences(&current.spec, spec));
            StackAction::Update
        };
        self.changes.extend(changes);
        self.said.push(change(current, action, details));
        Ok(())
    }

    /// What a user changed by hand since the last deploy.
    fn drift(&self, name: &str, current: &Service) -> Vec<String> {
        let Some(deployed) = self.old.and_then(|old| old.services.get(name)) else {
            return Vec::new();
        };
        match (deployed.mode, current.spec.mode) {
            (Mode::Replicated { replicas: was }, Mode::Replicated { replicas: is }) if was != is => {
                vec![format!("replicas: scaled by hand from {was} to {is}")]
            }
            _ if deployed.task.container.image != current.spec.task.container.image => {
                vec![format!(
                    "image: changed by hand from {} to {}",
                    deployed.task.container.image, current.spec.task.container.image
                )]
            }
            _ => Vec::new(),
        }
    }

    /// A service of the stack that the file no longer names.
    fn left(&mut self, service: &Service, prune: bool) {
        if prune {
            self.changes
                .push(Change::Delete(ObjectKey::Service(service.id.clone())));
            self.said.push(change(service, StackAction::Remove, Vec::new()));
        } else {
            let detail = "no longer in the file; --prune removes it".to_owned();
            self.said.push(change(service, StackAction::Keep, vec![detail]));
        }
    }
}

fn change(service: &Service, action: StackAction, details: Vec<String>) -> StackChange {
    StackChange {
        service: service.spec.name.clone(),
        service_id: Some(service.id.clone()),
        action,
        details,
    }
}

/// What differs between two specs of one service, in the words of the file.
fn differences(old: &ServiceSpec, new: &ServiceSpec) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |differs: bool, line: String| {
        if differs {
            lines.push(line);
        }
    };
    if let (Mode::Replicated { replicas: was }, Mode::Replicated { replicas: is }) = (old.mode, new.mode) {
        say(was != is, format!("replicas: {was} -> {is}"));
    }
    let (was, is) = (&old.task.container, &new.task.container);
    say(
        was.image != is.image,
        format!("image: {} -> {}", was.image, is.image),
    );
    let moved = was.image == is.image && was.image_digest != is.image_digest;
    say(
        moved,
        format!("image: {} now stands for another digest", is.image),
    );
    for name in was.env.keys().chain(is.env.keys()).collect::<BTreeSet<_>>() {
        // Values may be secrets: only names are shown.
        say(
            was.env.get(name) != is.env.get(name),
            format!("environment: {name}"),
        );
    }
    say(
        (&was.command, &was.args) != (&is.command, &is.args),
        "command".to_owned(),
    );
    say(was.mounts != is.mounts, "volumes".to_owned());
    say(was.health != is.health, "healthcheck".to_owned());
    say(old.ports != new.ports, "ports".to_owned());
    say(old.labels != new.labels, "labels".to_owned());
    say(
        old.task.reservations != new.task.reservations || was.limits != is.limits,
        "resources".to_owned(),
    );
    say(old.task.placement != new.task.placement, "placement".to_owned());
    say(old.task.restart != new.task.restart, "restart policy".to_owned());
    say(old.update != new.update, "update config".to_owned());
    if lines.is_empty() {
        lines.push("other options".to_owned());
    }
    lines
}
