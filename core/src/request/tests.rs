//! Users' writes: what they change, and what they are refused for. What follows from them is in the
//! scenario scripts.

use super::*;
use crate::{
    model::{EndpointMode, Labels, Mode, ServiceSpec, TaskSpec, UpdateConfig},
    store::{Applied, Entry, Object, ObjectKey, Store},
};

struct World {
    store: Store,
    ids: IdGen,
    index: u64,
}

impl World {
    fn new() -> Self {
        Self {
            store: Store::new(),
            ids: IdGen::from_number(1),
            index: 0,
        }
    }

    fn plan(&mut self, request: &Request) -> Result<(Vec<Change>, Response), Refusal> {
        let mut ctx = RequestContext {
            ids: &mut self.ids,
            now: Timestamp(1),
            wall: WallTime(1),
        };
        plan(self.store.view(), request, &mut ctx)
    }

    fn carry_out(&mut self, request: &Request) -> Response {
        let (changes, response) = self.plan(request).unwrap();
        self.index += 1;
        let entry = Entry {
            min_version: 1,
            term: 1,
            planned_after: self.store.view().last_effective_index(),
            changes,
            ..Entry::default()
        };
        assert!(matches!(
            self.store.apply(self.index, 1, &entry),
            Applied::Took(_)
        ));
        response
    }

    fn update(&mut self, version: u64, change: impl FnOnce(&mut ServiceSpec), force: bool) -> Request {
        let mut spec = self.store.view().service_by_name("web").unwrap().spec.clone();
        change(&mut spec);
        Request::UpdateService {
            reference: "web".to_owned(),
            version: Version(version),
            spec,
            force,
        }
    }
}

fn web() -> ServiceSpec {
    let mut task = TaskSpec::default();
    task.container.image = "web:1".to_owned();
    ServiceSpec {
        name: "web".to_owned(),
        labels: Labels::new(),
        mode: Mode::Replicated { replicas: 1 },
        task,
        ports: Vec::new(),
        endpoint_mode: EndpointMode::Vip,
        update: UpdateConfig::default(),
    }
}

fn kinds(changes: &[Change]) -> Vec<crate::store::Kind> {
    changes.iter().map(|change| change.key().kind()).collect()
}

#[test]
fn a_revision_is_made_only_of_what_tasks_are_made_from() {
    use crate::store::Kind::{Revision, Service};
    let mut world = World::new();
    let created = world.carry_out(&Request::CreateService { spec: web() });
    let Response::Service { warnings, .. } = created else {
        panic!("{created:?}");
    };
    assert_eq!(warnings.len(), 1, "not pinned: {warnings:?}");
    for (expect, force, change) in [
        (vec![], false, (|_| {}) as fn(&mut ServiceSpec)),
        (vec![Service], false, |s| {
            s.mode = Mode::Replicated { replicas: 4 }
        }),
        (vec![Service], false, |s| {
            s.labels.insert("a".to_owned(), "b".to_owned());
        }),
        (vec![Revision, Service], false, |s| {
            s.task.container.image = "web:2".to_owned();
        }),
        (vec![Revision, Service], true, |_| {}),
    ] {
        let request = world.update(1, change, force);
        let (changes, _) = world.plan(&request).unwrap();
        assert_eq!(kinds(&changes), expect);
    }
}

#[test]
fn a_stale_update_is_refused_and_says_so() {
    let mut world = World::new();
    world.carry_out(&Request::CreateService { spec: web() });
    let first = world.update(1, |s| s.task.container.image = "web:2".to_owned(), false);
    world.carry_out(&first);
    let refusal = world.plan(&first).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.field.as_deref()),
        (RefusalCode::Stale, Some("version"))
    );
    assert!(refusal.hint.is_some());
}

#[test]
fn references_are_ids_names_and_prefixes() {
    let mut world = World::new();
    let Response::Service { id, .. } = world.carry_out(&Request::CreateService { spec: web() }) else {
        panic!("no service");
    };
    for reference in [id.as_str(), "web", &id.as_str()[..5]] {
        let remove = Request::RemoveService {
            reference: reference.to_owned(),
        };
        let (changes, _) = world.plan(&remove).unwrap();
        assert_eq!(changes, vec![Change::Delete(ObjectKey::Service(id.clone()))]);
    }
    for reference in ["", "we", "webb"] {
        let remove = Request::RemoveService {
            reference: reference.to_owned(),
        };
        assert_eq!(
            world.plan(&remove).unwrap_err().code,
            RefusalCode::NotFound,
            "{reference:?}"
        );
    }
}

#[test]
fn a_transaction_has_a_bound() {
    let mut world = World::new();
    let services = (0..MAX_CHANGES / 2).map(|n| (format!("s{n}"), web()));
    let spec = StackSpec {
        name: "app".to_owned(),
        services: services
            .map(|(name, service)| (name.clone(), ServiceSpec { name, ..service }))
            .collect(),
        networks: Default::default(),
    };
    let refusal = world
        .plan(&Request::DeployStack { spec, prune: false })
        .unwrap_err();
    assert_eq!(refusal.code, RefusalCode::TooLarge);
}

#[test]
fn revision_numbers_are_never_used_twice() {
    let mut world = World::new();
    world.carry_out(&Request::CreateService { spec: web() });
    for n in 2..5 {
        let version = world.store.view().service_by_name("web").unwrap().meta.version.0;
        let request = world.update(version, |s| s.task.container.image = format!("web:{n}"), false);
        let (changes, _) = world.plan(&request).unwrap();
        let Change::Put(Object::Revision(revision)) = &changes[0] else {
            panic!("{changes:?}");
        };
        assert_eq!(revision.key.number, n);
        world.carry_out(&request);
    }
}
