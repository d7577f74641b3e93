//! The services over mutual TLS: from a service's creation to a worker's assignments, and back.
//!
//! Every test has a manager of its own, on a free port.

mod networks;

use crate::testing::{PATIENCE, TestManager, digest_of, issue, now};
use shoal_api::{
    convert::details_of,
    identity::{Identity, JoinToken, NewKey, joining_config},
    v1::{
        self, ErrorCode, ca_client::CaClient, control_client::ControlClient,
        dispatcher_client::DispatcherClient, session_down::Down, session_up::Up, watch_client::WatchClient,
        watch_response::Response as Said,
    },
};
use shoal_core::{
    model::{
        ContainerSpec, EndpointMode, IdGen, Labels, Mode, RequestId, ServiceSpec, TaskSpec, TaskState,
        UpdateConfig,
    },
    store::Object,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::transport::Channel;

fn spec(name: &str, image: &str, replicas: u32) -> v1::ServiceSpec {
    let container = ContainerSpec {
        image: image.to_owned(),
        ..ContainerSpec::default()
    };
    ServiceSpec {
        name: name.to_owned(),
        labels: Labels::new(),
        mode: Mode::Replicated { replicas },
        task: TaskSpec {
            container,
            ..TaskSpec::default()
        },
        ports: Vec::new(),
        endpoint_mode: EndpointMode::Vip,
        update: UpdateConfig::default(),
    }
    .into()
}

fn create(name: &str, image: &str) -> v1::CreateServiceRequest {
    v1::CreateServiceRequest {
        spec: Some(spec(name, image, 1)),
        ..v1::CreateServiceRequest::default()
    }
}

async fn admin(manager: &TestManager, state: &std::path::Path) -> Channel {
    let identity = Identity::admin(manager.cluster.clone(), "ann");
    let credentials = issue(&manager.root(state), &identity, now());
    manager.client(&credentials).await.unwrap()
}

struct Session {
    up: mpsc::Sender<v1::SessionUp>,
    down: tonic::Streaming<v1::SessionDown>,
}

fn description(hostname: &str) -> v1::NodeDescription {
    v1::NodeDescription {
        hostname: hostname.to_owned(),
        os: "linux".to_owned(),
        arch: "amd64".to_owned(),
        resources: Some(v1::Resources {
            cpu_nanos: 2_000_000_000,
            memory_bytes: 1 << 30,
        }),
        ..v1::NodeDescription::default()
    }
}

impl Session {
    async fn open(channel: Channel) -> Self {
        Self::try_open(channel, description("one")).await.unwrap()
    }

    async fn try_open(channel: Channel, description: v1::NodeDescription) -> Result<Self, tonic::Status> {
        let (up, sent) = mpsc::channel(16);
        let hello = v1::Hello {
            api_version: 1,
            description: Some(description),
            held: None,
        };
        up.send(v1::SessionUp {
            up: Some(Up::Hello(hello)),
        })
        .await
        .unwrap();
        let mut client = DispatcherClient::new(channel);
        let down = client.session(ReceiverStream::new(sent)).await?.into_inner();
        Ok(Self { up, down })
    }

    async fn say(&self, up: Up) -> bool {
        self.up.send(v1::SessionUp { up: Some(up) }).await.is_ok()
    }

    async fn next(&mut self) -> Down {
        let message = timeout(PATIENCE, self.down.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        message.down.unwrap()
    }

    /// The next task that is assigned.
    async fn task(&mut self) -> v1::TaskAssignment {
        loop {
            if let Down::Assignments(mut assignments) = self.next().await
                && let Some(task) = assignments.tasks.pop()
            {
                return task;
            }
        }
    }
}

/// The first task that the watch shows running.
async fn running_task(events: &mut tonic::Streaming<v1::WatchResponse>) -> String {
    while let Some(message) = events.next().await {
        let Some(Said::Events(batch)) = message.unwrap().response else {
            continue;
        };
        let events = shoal_api::convert::events_from_wire(batch).unwrap();
        let running = events.into_iter().find_map(|event| match event.object {
            Object::Task(task) if task.status.state == TaskState::Running => Some(task.id.to_string()),
            _ => None,
        });
        if let Some(id) = running {
            return id;
        }
    }
    panic!("the watch ended");
}

#[tokio::test]
async fn a_service_reaches_a_worker_and_its_report_the_user() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let mut control = ControlClient::new(admin(&manager, state.path()).await);
    // The manager's own node works too, over the same TLS as any other.
    let own = manager.client(&manager.credentials).await.unwrap();
    let mut session = Session::open(own).await;
    assert!(matches!(session.next().await, Down::Welcome(_)));

    let created = control
        .create_service(create("web", "nginx:1"))
        .await
        .unwrap()
        .into_inner();
    let assigned = session.task().await;
    assert_eq!(assigned.service_name, "web");
    let container = assigned.spec.unwrap().container.unwrap();
    assert_eq!(container.image_digest, Some(digest_of("nginx:1")));
    let task = assigned.task.unwrap();
    assert_eq!(task.service, created.id);
    assert_eq!(task.node, Some(manager.node.to_string()));

    let mut watch = WatchClient::new(admin(&manager, state.path()).await);
    let request = v1::WatchRequest {
        kinds: vec![v1::Kind::Task.into()],
        resume: created.position,
        ..v1::WatchRequest::default()
    };
    let mut events = watch.watch(request).await.unwrap().into_inner();
    let report = v1::TaskReport {
        task: task.id.clone(),
        status: Some(v1::TaskStatus {
            state: v1::TaskState::Running.into(),
            message: "started".to_owned(),
            pid: Some(7),
            ..v1::TaskStatus::default()
        }),
        wait: None,
    };
    let reports = v1::Reports {
        sequence: 1,
        reports: vec![report],
    };
    session
        .up
        .send(v1::SessionUp {
            up: Some(Up::Reports(reports)),
        })
        .await
        .unwrap();
    assert_eq!(
        timeout(PATIENCE, running_task(&mut events)).await.unwrap(),
        task.id
    );
    let found = control
        .get_service(v1::GetServiceRequest {
            reference: "web".to_owned(),
        })
        .await
        .unwrap();
    let summary = found.into_inner().service.unwrap();
    assert_eq!((summary.running, summary.desired), (1, 1));
    manager.stop().await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let mut control = ControlClient::new(admin(&manager, state.path()).await);
    let id = control
        .create_service(create("web", "nginx:1"))
        .await
        .unwrap()
        .into_inner()
        .id;
    let (credentials, cluster) = (manager.credentials.clone(), manager.cluster.clone());
    manager.stop().await;
    let manager = TestManager::start(state.path(), credentials).await;
    assert_eq!(manager.cluster, cluster);
    let mut control = ControlClient::new(admin(&manager, state.path()).await);
    let reference = "web".to_owned();
    let found = control
        .get_service(v1::GetServiceRequest { reference })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.service.unwrap().service.unwrap().id, id);
    let info = control
        .get_cluster(v1::GetClusterRequest {})
        .await
        .unwrap()
        .into_inner();
    let status = info.cluster.unwrap().status.unwrap();
    assert!(status.sealed_root_key.is_empty() && status.worker_join_secret.is_empty());
    assert!(info.worker_join_token.parse::<JoinToken>().is_ok());
    manager.stop().await;
}

#[tokio::test]
async fn refusals_carry_field_hint_and_request_id() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let mut control = ControlClient::new(admin(&manager, state.path()).await);
    let mut request = tonic::Request::new(create("web", "missing:1"));
    request
        .metadata_mut()
        .insert("shoal-request-id", "abc".parse().unwrap());
    let details = details_of(&control.create_service(request).await.unwrap_err());
    assert_eq!(details.code(), ErrorCode::Image);
    assert_eq!(details.field, "task.container.image");
    assert_eq!(
        (details.hint.as_str(), details.request_id.as_str()),
        ("load it", "abc")
    );
    let details = details_of(
        &control
            .create_service(create("no spaces", "a"))
            .await
            .unwrap_err(),
    );
    assert_eq!(
        (details.code(), details.field.as_str()),
        (ErrorCode::Invalid, "name")
    );
    assert!(!details.request_id.is_empty());
    control.create_service(create("web", "a")).await.unwrap();
    let details = details_of(&control.create_service(create("web", "a")).await.unwrap_err());
    assert_eq!(details.code(), ErrorCode::Conflict);
    manager.stop().await;
}

#[tokio::test]
async fn a_retry_with_the_same_id_writes_once() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let mut control = ControlClient::new(admin(&manager, state.path()).await);
    let request_id = RequestId::mint(&mut IdGen::from_number(9)).to_string();
    let request = v1::CreateServiceRequest {
        request_id,
        ..create("web", "a")
    };
    let first = control
        .create_service(request.clone())
        .await
        .unwrap()
        .into_inner();
    let again = control.create_service(request).await.unwrap().into_inner();
    assert_eq!(first.id, again.id);
    manager.stop().await;
}

#[tokio::test]
async fn a_machine_joins_with_a_token_and_renews() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let (worker, as_manager) = manager.manager.tokens().unwrap();
    let (tls, name) = joining_config(worker.root_digest()).unwrap();
    let mut ca = CaClient::new(manager.connect(tls, name).await.unwrap());
    let key = NewKey::generate().unwrap();
    let join = |token: String| v1::JoinRequest {
        token,
        csr: key.csr_pem.clone(),
        request_id: RequestId::mint(&mut IdGen::from_number(5)).to_string(),
        ..v1::JoinRequest::default()
    };
    let wrong = worker.to_string().replace(worker.secret(), &"0".repeat(25));
    for (token, code) in [
        ("nonsense".to_owned(), ErrorCode::Invalid),
        (wrong, ErrorCode::Forbidden),
        (as_manager.to_string(), ErrorCode::Unsupported),
    ] {
        let details = details_of(&ca.join(join(token)).await.unwrap_err());
        assert_eq!(
            (details.code(), details.field.as_str()),
            (code, "token"),
            "{}",
            details.message
        );
    }
    let joined = ca.join(join(worker.to_string())).await.unwrap().into_inner();
    let again = ca.join(join(worker.to_string())).await.unwrap().into_inner();
    assert_eq!(joined.node_id, again.node_id, "a retry adds no second node");

    let credentials = key.certified(joined.certificate, joined.root_certificate);
    let channel = manager.client(&credentials).await.unwrap();
    let mut session = Session::open(channel.clone()).await;
    assert!(matches!(session.next().await, Down::Welcome(_)));
    let fresh = NewKey::generate().unwrap();
    let request = v1::RenewRequest {
        csr: fresh.csr_pem.clone(),
    };
    let renewed = CaClient::new(channel).renew(request).await.unwrap().into_inner();
    let renewed = fresh.certified(renewed.certificate, renewed.root_certificate);
    assert_eq!(renewed.identity().unwrap(), credentials.identity().unwrap());
    manager.client(&renewed).await.unwrap();
    manager.stop().await;
}

#[tokio::test]
async fn a_follower_of_an_unknown_point_begins_anew_and_sees_no_secrets() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let channel = admin(&manager, state.path()).await;
    let created = ControlClient::new(channel.clone())
        .create_service(create("web", "a"))
        .await
        .unwrap();
    let known = created.into_inner().position.unwrap();
    for (resume, anew) in [
        (known, false),
        (
            v1::Position {
                index: known.index + 1000,
                ..known
            },
            true,
        ),
        (
            v1::Position {
                epoch: known.epoch + 1,
                ..known
            },
            true,
        ),
    ] {
        let request = v1::WatchRequest {
            resume: Some(resume),
            ..v1::WatchRequest::default()
        };
        let mut said = WatchClient::new(channel.clone())
            .watch(request)
            .await
            .unwrap()
            .into_inner();
        if !anew {
            // From a known point on there is nothing to say until something happens.
            assert!(
                timeout(std::time::Duration::from_millis(200), first_snapshot(&mut said))
                    .await
                    .is_err()
            );
            continue;
        }
        let (resync, objects) = timeout(PATIENCE, first_snapshot(&mut said)).await.unwrap();
        assert!(resync);
        let cluster = objects.into_iter().find_map(|object| match object.object {
            Some(v1::object::Object::Cluster(cluster)) => Some(cluster.status.unwrap()),
            _ => None,
        });
        let status = cluster.unwrap();
        assert!(status.sealed_root_key.is_empty() && status.manager_join_secret.is_empty());
        assert!(!status.root_certificate.is_empty());
    }
    manager.stop().await;
}

/// Was a resync said, and the objects of the snapshot that followed.
async fn first_snapshot(said: &mut tonic::Streaming<v1::WatchResponse>) -> (bool, Vec<v1::Object>) {
    let (mut resync, mut objects) = (false, Vec::new());
    loop {
        match said.message().await.unwrap().unwrap().response.unwrap() {
            Said::Resync(_) => resync = true,
            Said::Snapshot(batch) => objects.extend(batch.objects),
            Said::SnapshotEnd(_) => return (resync, objects),
            Said::Events(_) => {}
        }
    }
}

/// A machine that joined with the worker's token.
async fn joined(manager: &TestManager, seed: u64) -> (String, Channel) {
    let (token, _) = manager.manager.tokens().unwrap();
    let (tls, name) = joining_config(token.root_digest()).unwrap();
    let mut ca = CaClient::new(manager.connect(tls, name).await.unwrap());
    let key = NewKey::generate().unwrap();
    let request = v1::JoinRequest {
        token: token.to_string(),
        csr: key.csr_pem.clone(),
        request_id: RequestId::mint(&mut IdGen::from_number(seed)).to_string(),
        ..v1::JoinRequest::default()
    };
    let answer = ca.join(request).await.unwrap().into_inner();
    let credentials = key.certified(answer.certificate, answer.root_certificate);
    (answer.node_id, manager.client(&credentials).await.unwrap())
}

#[tokio::test]
async fn what_a_node_says_of_itself_is_bounded() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let (_, channel) = joined(&manager, 1).await;
    let labels = v1::NodeDescription {
        engine_labels: [("a".to_owned(), "x".repeat(1 << 20))].into(),
        ..description("one")
    };
    let routes = |routes| v1::NodeDescription {
        routes,
        ..description("one")
    };
    for (hostile, field) in [
        (description(&"x".repeat(1 << 20)), "hostname"),
        (description("\u{1b}]0;mine\u{7}"), "hostname"),
        (labels, "engine_labels"),
        (routes(vec!["10.0.0.0/8".to_owned(); 2000]), "routes"),
        (routes(vec!["everywhere".to_owned()]), "routes[0]"),
    ] {
        let error = Session::try_open(channel.clone(), hostile.clone())
            .await
            .err()
            .unwrap();
        let details = details_of(&error);
        assert_eq!(details.code(), ErrorCode::Invalid);
        assert!(details.message.starts_with(field), "{}", details.message);
        // Nor later.
        let mut session = Session::open(channel.clone()).await;
        assert!(session.say(Up::Description(hostile)).await);
        let reason = loop {
            if let Down::End(end) = session.next().await {
                break end.reason;
            }
        };
        assert!(reason.starts_with(field), "{reason}");
    }
    manager.stop().await;
}

#[tokio::test]
async fn a_removed_node_that_keeps_silent_loses_its_session() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    // Enough that live on, or its eviction would be paused.
    let mut others = tokio::task::JoinSet::new();
    for seed in 2..6 {
        let (_, channel) = joined(&manager, seed).await;
        let session = Session::open(channel).await;
        others.spawn(async move {
            while session.say(Up::Heartbeat(v1::Heartbeat {})).await {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        });
    }
    let (silent, channel) = joined(&manager, 1).await;
    let mut session = Session::open(channel).await;
    let mut control = ControlClient::new(admin(&manager, state.path()).await);
    let removed = async {
        let request = v1::RemoveNodeRequest {
            reference: silent.clone(),
            ..v1::RemoveNodeRequest::default()
        };
        // Until the node is down, and may be removed.
        while control.remove_node(request.clone()).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, removed).await.unwrap();
    let told = async {
        loop {
            if let Down::End(end) = session.next().await {
                return end;
            }
        }
    };
    let end = timeout(PATIENCE, told).await.unwrap();
    assert!(end.reason.contains("removed") && !end.reconnect, "{end:?}");
    others.abort_all();
    manager.stop().await;
}
