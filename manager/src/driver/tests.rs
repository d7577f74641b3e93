//! The driver with a real disk: writes are durable when they are answered, sessions and followers hear
//! what they must.

use super::*;
use crate::{
    machine::CorePlanning,
    sim::PostcardCodec,
    storage::{Owner, WrappingKey},
};
use shoal_core::{
    dispatcher::TaskReport,
    model::{
        Availability, Bytes, Cluster, ClusterId, ClusterSpec, ClusterStatus, ContainerSpec, CpuNanos,
        EndpointMode, IdGen, Labels, Meta, Mode, Node, NodeDescription, NodeId, NodeSpec, NodeState,
        NodeStatus, Platform, Resources, Role, ServiceSpec, Task, TaskSpec, TaskState, TaskStatus, Timestamp,
        UpdateConfig,
    },
    request::Request,
};
use std::{path::Path, time::Duration};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

fn open(folder: &Path) -> (Handle, JoinHandle<Ended>) {
    let owner = Owner {
        cluster: "c".repeat(25),
        member: 1,
    };
    let storage = Storage::open(folder, owner, &WrappingKey::from_node_key(b"key")).unwrap();
    start(DriverConfig {
        machine: MachineConfig::new(1, 7, IdGen::from_number(7)),
        first_voters: vec![1],
        codec: || Box::new(PostcardCodec),
        planning: Box::new(CorePlanning::new()),
        storage,
    })
    .unwrap()
}

fn node_id() -> NodeId {
    NodeId::mint(&mut IdGen::from_number(2))
}

fn bootstrap() -> Request {
    let cluster = Cluster {
        id: ClusterId::mint(&mut IdGen::from_number(1)),
        meta: Meta::default(),
        spec: ClusterSpec::default(),
        status: ClusterStatus::default(),
    };
    let node = Node {
        id: node_id(),
        meta: Meta::default(),
        spec: NodeSpec {
            labels: Labels::new(),
            role: Role::Manager,
            availability: Availability::Active,
        },
        description: None,
        status: NodeStatus {
            state: NodeState::Unknown,
            message: String::new(),
            since: WallTime(0),
            at: Timestamp::ZERO,
        },
        manager: None,
    };
    Request::Bootstrap {
        cluster: Box::new(cluster),
        node: Box::new(node),
    }
}

fn service(name: &str) -> Request {
    let container = ContainerSpec {
        image: "image:1".to_owned(),
        image_digest: Some(format!("sha256:{}", "a".repeat(64))),
        ..ContainerSpec::default()
    };
    let spec = ServiceSpec {
        name: name.to_owned(),
        labels: Labels::new(),
        mode: Mode::Replicated { replicas: 1 },
        task: TaskSpec {
            container,
            ..TaskSpec::default()
        },
        ports: Vec::new(),
        endpoint_mode: EndpointMode::Vip,
        update: UpdateConfig::default(),
    };
    Request::CreateService { spec }
}

fn description() -> NodeDescription {
    NodeDescription {
        hostname: "one".to_owned(),
        platform: Platform {
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
        },
        resources: Resources {
            cpu: CpuNanos(2_000_000_000),
            memory: Bytes(1 << 30),
        },
        ..NodeDescription::default()
    }
}

async fn led(handle: &Handle) {
    let mut leader = handle.leader();
    timeout(PATIENCE, leader.wait_for(|state| state.established))
        .await
        .unwrap()
        .unwrap();
}

async fn stop(handle: Handle, task: JoinHandle<Ended>) {
    handle.stop().await;
    assert!(matches!(
        task.await.unwrap(),
        Ended::Stopped(StopReason::Requested)
    ));
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, task) = open(folder.path());
    led(&handle).await;
    handle.propose(bootstrap(), None).await.unwrap();
    handle.propose(service("web"), None).await.unwrap();
    let refused = handle.propose(service("web"), None).await.unwrap_err();
    assert!(
        matches!(refused, WriteError::Propose(ProposeError::Refused(_))),
        "{refused}"
    );
    // No orderly end: the driver is dropped where it stands.
    task.abort();
    drop((handle, task.await));
    let (handle, task) = timeout(PATIENCE, reopen(folder.path())).await.unwrap();
    led(&handle).await;
    assert!(handle.view().service_by_name("web").is_some());
    stop(handle, task).await;
}

/// The writer's thread may hold the file a moment longer than the task lived.
async fn reopen(folder: &Path) -> (Handle, JoinHandle<Ended>) {
    let owner = || Owner {
        cluster: "c".repeat(25),
        member: 1,
    };
    loop {
        if Storage::open(folder, owner(), &WrappingKey::from_node_key(b"key")).is_ok() {
            return open(folder);
        }
        tokio::task::yield_now().await;
    }
}

/// The tasks of the next assignments that have any.
async fn assigned(feed: &mut SessionFeed) -> Vec<Arc<Task>> {
    loop {
        if let SessionMessage::Assignments(_) = timeout(PATIENCE, feed.next()).await.unwrap().unwrap() {
            let view = feed.handle().view();
            let tasks: Vec<_> = view.tasks_on_node(&node_id()).cloned().collect();
            if !tasks.is_empty() {
                return tasks;
            }
        }
    }
}

#[tokio::test]
async fn a_session_is_told_what_to_run_and_its_reports_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, task) = open(folder.path());
    led(&handle).await;
    handle.propose(bootstrap(), None).await.unwrap();
    let mut feed = handle.open_session(node_id(), description()).await.unwrap();
    handle.propose(service("web"), None).await.unwrap();
    let tasks = assigned(&mut feed).await;
    let status = TaskStatus {
        state: TaskState::Running,
        attempt: 0,
        message: "started".to_owned(),
        error: None,
        exit_code: None,
        container: None,
        pid: Some(1),
        started: None,
        at: Timestamp::ZERO,
        wall: WallTime(0),
    };
    let mut events = handle.subscribe(None).unwrap();
    feed.reports(
        1,
        vec![TaskReport {
            task: tasks[0].id.clone(),
            status,
            wait: None,
        }],
    )
    .await
    .unwrap();
    loop {
        match timeout(PATIENCE, feed.next()).await.unwrap().unwrap() {
            SessionMessage::ReportsTaken { sequence: 1 } => break,
            SessionMessage::ReportsTaken { .. } | SessionMessage::Assignments(_) => {}
        }
    }
    let view = handle.view();
    assert_eq!(view.task(&tasks[0].id).unwrap().status.state, TaskState::Running);
    let batch = timeout(PATIENCE, events.live.next()).await.unwrap().unwrap();
    assert!(batch.iter().all(|event| event.index > events.view.index()));
    stop(handle, task).await;
}

#[tokio::test]
async fn a_second_session_of_a_node_ends_the_first_and_not_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, task) = open(folder.path());
    led(&handle).await;
    handle.propose(bootstrap(), None).await.unwrap();
    let mut first = handle.open_session(node_id(), description()).await.unwrap();
    let mut second = handle.open_session(node_id(), description()).await.unwrap();
    while timeout(PATIENCE, first.next()).await.unwrap().is_some() {}
    first.close(true).await;
    handle.propose(service("web"), None).await.unwrap();
    assert_eq!(assigned(&mut second).await.len(), 1);
    stop(handle, task).await;
}

#[tokio::test]
async fn a_follower_resumes_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, task) = open(folder.path());
    led(&handle).await;
    handle.propose(bootstrap(), None).await.unwrap();
    let begun = handle.view().index();
    for name in ["a", "b"] {
        handle.propose(service(name), None).await.unwrap();
    }
    let resumed = handle.subscribe(Some(begun)).unwrap();
    assert!(resumed.missed.iter().all(|event| event.index > begun) && resumed.missed.len() >= 2);
    let nothing = handle.subscribe(Some(resumed.view.index())).unwrap();
    assert!(nothing.missed.is_empty());
    assert!(handle.subscribe(Some(u64::MAX)).is_err());
    stop(handle, task).await;
}
