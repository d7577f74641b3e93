//! Networks over mutual TLS: made, listed with who uses them, watched, removed; and the tables that a worker is sent.
//!
//! The manager's own node is the worker.

use super::*;
use shoal_core::dispatcher::{NetworkTables, TablesDiff};

fn network(name: &str) -> v1::CreateNetworkRequest {
    v1::CreateNetworkRequest {
        spec: Some(v1::NetworkSpec {
            name: name.to_owned(),
            driver: v1::NetworkDriver::Overlay.into(),
            ..v1::NetworkSpec::default()
        }),
        ..v1::CreateNetworkRequest::default()
    }
}

/// A service of one task in these networks.
fn joining(name: &str, networks: &[&str]) -> v1::CreateServiceRequest {
    let mut request = create(name, "nginx:1");
    let task = request.spec.as_mut().and_then(|spec| spec.task.as_mut()).unwrap();
    let one = |name: &&str| v1::NetworkUse {
        network: (*name).to_owned(),
        aliases: vec!["front".to_owned()],
    };
    task.networks = networks.iter().map(one).collect();
    request
}

async fn listed(control: &mut ControlClient<Channel>, stack: &str) -> Vec<v1::NetworkSummary> {
    let stack = stack.to_owned();
    let request = v1::ListNetworksRequest { stack };
    let mut answers = control.list_networks(request).await.unwrap().into_inner();
    let mut networks = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        networks.extend(answer.networks);
    }
    networks
}

fn name_of(summary: &v1::NetworkSummary) -> &str {
    &summary.network.as_ref().unwrap().spec.as_ref().unwrap().name
}

fn remove(reference: &str) -> v1::RemoveNetworkRequest {
    v1::RemoveNetworkRequest {
        reference: reference.to_owned(),
        request_id: String::new(),
    }
}

#[tokio::test]
async fn a_network_is_made_used_shown_and_removed() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let mut control = ControlClient::new(admin(&manager, state.path()).await);
    let made = control
        .create_network(network("back"))
        .await
        .unwrap()
        .into_inner();
    let details = details_of(&control.create_network(network("back")).await.unwrap_err());
    assert_eq!(details.code(), ErrorCode::Conflict);

    let service = control.create_service(joining("web", &["back"])).await.unwrap();
    let networks = listed(&mut control, "").await;
    let found: Vec<_> = networks.iter().map(|it| (name_of(it), it.services)).collect();
    assert!(
        found.contains(&("back", 1)) && found.contains(&("ingress", 0)),
        "{found:?}"
    );

    let reference = "back".to_owned();
    let shown = control
        .get_network(v1::GetNetworkRequest { reference })
        .await
        .unwrap();
    let shown = shown.into_inner();
    assert_eq!(shown.network.unwrap().network.unwrap().id, made.id);
    let [web] = shown.services.as_slice() else {
        panic!("{:?}", shown.services);
    };
    assert_eq!(
        (&web.name, &web.id),
        (&"web".to_owned(), &service.into_inner().id)
    );
    assert_eq!(web.aliases, ["front"]);
    assert!(web.vip.as_ref().is_some_and(|vip| vip.v4.is_some()));

    let details = details_of(&control.remove_network(remove("back")).await.unwrap_err());
    assert_eq!(details.code(), ErrorCode::InUse);
    assert!(details.message.contains("\"web\""), "{}", details.message);
    let request = v1::RemoveServiceRequest {
        reference: "web".to_owned(),
        ..v1::RemoveServiceRequest::default()
    };
    control.remove_service(request).await.unwrap();
    let removed = control.remove_network(remove("back")).await.unwrap().into_inner();
    assert_eq!(removed.id, made.id);
    let networks = listed(&mut control, "").await;
    assert!(!networks.iter().any(|it| name_of(it) == "back"));
    let details = details_of(&control.remove_network(remove("ingress")).await.unwrap_err());
    assert_eq!(details.code(), ErrorCode::InUse);
    manager.stop().await;
}

#[tokio::test]
async fn a_stacks_answer_says_what_becomes_of_its_networks() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let mut control = ControlClient::new(admin(&manager, state.path()).await);
    let mut service = joining("app_web", &["back"]).spec.unwrap();
    service.name = "app_web".to_owned();
    let own = v1::NetworkSpec {
        name: "app_back".to_owned(),
        driver: v1::NetworkDriver::Overlay.into(),
        ..v1::NetworkSpec::default()
    };
    let own = v1::StackNetwork {
        network: Some(v1::stack_network::Network::Own(own)),
    };
    let request = v1::DeployStackRequest {
        spec: Some(v1::StackSpec {
            name: "app".to_owned(),
            services: [("web".to_owned(), service)].into(),
            networks: [("back".to_owned(), own)].into(),
        }),
        ..v1::DeployStackRequest::default()
    };
    for action in [v1::StackAction::Create, v1::StackAction::Keep] {
        let deployed = control.deploy_stack(request.clone()).await.unwrap().into_inner();
        let found: Vec<_> = deployed
            .networks
            .iter()
            .map(|change| (change.network.as_str(), change.action()))
            .collect();
        assert_eq!(found, [("app_back", action)]);
    }
    let networks = listed(&mut control, "app").await;
    let found: Vec<_> = networks
        .iter()
        .map(|it| (name_of(it), it.stack_name.as_str()))
        .collect();
    assert_eq!(found, [("app_back", "app")]);
    let reference = "app".to_owned();
    let shown = control
        .get_stack(v1::GetStackRequest { reference })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(shown.networks.len(), 1);
    let request = v1::RemoveStackRequest {
        reference: "app".to_owned(),
        request_id: String::new(),
    };
    let removed = control.remove_stack(request).await.unwrap().into_inner();
    assert_eq!(removed.networks, ["app_back"]);
    manager.stop().await;
}

#[tokio::test]
async fn pools_are_shown_and_cannot_be_changed() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let mut control = ControlClient::new(admin(&manager, state.path()).await);
    let info = control
        .get_cluster(v1::GetClusterRequest {})
        .await
        .unwrap()
        .into_inner();
    let cluster = info.cluster.unwrap();
    let (spec, version) = (cluster.spec.unwrap(), cluster.meta.unwrap().version);
    let pools = spec.pools.clone().unwrap();
    assert_eq!(
        (pools.v4.as_slice(), pools.v4_subnet_length),
        (["10.128.0.0/12".to_owned()].as_slice(), 22)
    );
    let v6 = pools.v6.clone().unwrap();
    assert!(v6.starts_with("fd") && v6.ends_with("/48"), "{v6}");

    let change = |pools, history| v1::UpdateClusterRequest {
        version,
        spec: Some(v1::ClusterSpec {
            pools,
            task_history_limit: history,
            ..spec.clone()
        }),
        request_id: String::new(),
    };
    let other = v1::AddressPools {
        v4: vec!["10.0.0.0/16".to_owned()],
        ..pools.clone()
    };
    let refused = control.update_cluster(change(Some(other), 5)).await.unwrap_err();
    let details = details_of(&refused);
    assert_eq!(details.field, "pools");
    assert!(
        details.message.contains("fixed when the cluster is made"),
        "{}",
        details.message
    );
    // A client from before there were pools says nothing of them.
    control.update_cluster(change(None, 7)).await.unwrap();
    let info = control
        .get_cluster(v1::GetClusterRequest {})
        .await
        .unwrap()
        .into_inner();
    let spec = info.cluster.unwrap().spec.unwrap();
    assert_eq!((spec.pools, spec.task_history_limit), (Some(pools), 7));
    manager.stop().await;
}

/// The worker's side: what it was sent so far.
#[derive(Default)]
struct Told {
    tables: NetworkTables,
    tasks: Vec<v1::TaskAssignment>,
}

impl Told {
    /// Takes the next message with assignments in.
    async fn hear(&mut self, session: &mut Session) {
        loop {
            if let Down::Assignments(part) = session.next().await {
                if part.full {
                    *self = Self::default();
                }
                let diff = part.tables.map(TablesDiff::try_from).transpose().unwrap();
                self.tables.apply(&diff.unwrap_or_default());
                self.tasks.extend(part.tasks);
                return;
            }
        }
    }

    async fn hear_until(&mut self, session: &mut Session, reached: impl Fn(&Self) -> bool) {
        while !reached(self) {
            self.hear(session).await;
        }
    }
}

async fn report(session: &Session, task: &str, state: v1::TaskState, sequence: u64) {
    let report = v1::TaskReport {
        task: task.to_owned(),
        status: Some(v1::TaskStatus {
            state: state.into(),
            ..v1::TaskStatus::default()
        }),
        wait: None,
    };
    let reports = v1::Reports {
        sequence,
        reports: vec![report],
    };
    assert!(session.say(Up::Reports(reports)).await);
}

async fn tasks_in(control: &mut ControlClient<Channel>, network: &str) -> Vec<String> {
    let request = v1::ListTasksRequest {
        network: network.to_owned(),
        ..v1::ListTasksRequest::default()
    };
    let mut answers = control.list_tasks(request).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let id = |summary: v1::TaskSummary| summary.task.unwrap().id;
    answer.tasks.into_iter().map(id).collect()
}

#[tokio::test]
async fn a_worker_is_sent_its_tables_with_its_tasks() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let mut control = ControlClient::new(admin(&manager, state.path()).await);
    let own = manager.client(&manager.credentials).await.unwrap();
    let mut session = Session::open(own).await;
    let mut told = Told::default();
    told.hear(&mut session).await;

    let made = control
        .create_network(network("back"))
        .await
        .unwrap()
        .into_inner();
    let mut watch = WatchClient::new(admin(&manager, state.path()).await);
    let request = v1::WatchRequest {
        networks: vec![made.id.clone()],
        resume: made.position,
        ..v1::WatchRequest::default()
    };
    let mut events = watch.watch(request).await.unwrap().into_inner();
    control.create_service(joining("web", &["back"])).await.unwrap();
    told.hear_until(&mut session, |told| !told.tasks.is_empty()).await;
    let assigned = told.tasks.pop().unwrap();
    let task = assigned.task.unwrap();
    assert_eq!(
        (assigned.networks[0].network.as_str(), task.attachments.len()),
        (made.id.as_str(), 1)
    );
    let id = task.id.parse().unwrap();
    let back = made.id.parse().unwrap();
    assert_eq!(told.tables.networks[&back].name, "back");
    assert!(!told.tables.endpoints.contains_key(&id), "it does not run yet");

    report(&session, &task.id, v1::TaskState::Running, 1).await;
    assert_eq!(
        timeout(PATIENCE, running_task(&mut events)).await.unwrap(),
        task.id
    );
    told.hear_until(&mut session, |told| told.tables.endpoints.contains_key(&id))
        .await;
    let endpoint = &told.tables.endpoints[&id];
    assert!(!endpoint.draining && endpoint.attachments[0].addresses.v4.is_some());
    assert_eq!(tasks_in(&mut control, "back").await, [task.id.as_str()]);
    assert!(tasks_in(&mut control, "ingress").await.is_empty());

    let request = v1::ScaleServicesRequest {
        scales: vec![v1::Scale {
            reference: "web".to_owned(),
            replicas: 0,
        }],
        ..v1::ScaleServicesRequest::default()
    };
    control.scale_services(request).await.unwrap();
    told.hear_until(&mut session, |told| !told.tasks.is_empty()).await;
    let endpoint = told.tables.endpoints.get(&id);
    assert!(
        endpoint.is_none_or(|endpoint| endpoint.draining),
        "asked to stop, and a target still"
    );
    report(&session, &task.id, v1::TaskState::Shutdown, 2).await;
    told.hear_until(&mut session, |told| !told.tables.endpoints.contains_key(&id))
        .await;
    manager.stop().await;
}
