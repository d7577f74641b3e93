//! The life of one container: created, started, seen, ended, removed.

use std::time::Duration;

use shoal_agent_runtime::{ContainerSpec, ContainerState, CreateError, ExitReason, Signal};

use crate::world::{DEADLINE, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_runs_and_leaves_nothing() {
    let world = World::new().await;
    let (exit, log) = world
        .run(world.spec(&["sh", "-c", "echo out; echo err >&2; exit 7"]))
        .await;
    assert_eq!(
        (exit.code, exit.signal, exit.oom_killed, exit.reason),
        (7, None, false, ExitReason::Exited)
    );
    assert!(log.contains("out\n") && log.contains("err\n"), "{log}");
    assert_eq!(world.remains(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_may_be_repeated() {
    let world = World::new().await;
    let spec = world.spec(&["sleep", "1000"]);
    let id = spec.id.clone();
    world.runtime.create(spec.clone()).await.unwrap();
    world.runtime.create(spec.clone()).await.unwrap();
    let status = &world.runtime.list().await.unwrap()[0];
    assert_eq!(
        (status.id.clone(), status.state.clone()),
        (id.clone(), ContainerState::Created)
    );
    let first = world.runtime.start(&id).await.unwrap();
    assert_eq!(world.runtime.start(&id).await.unwrap(), first);
    let mut other = spec;
    other.hostname = Some("other".to_owned());
    assert!(matches!(
        world.runtime.create(other).await,
        Err(CreateError::Exists(_))
    ));
    world.runtime.kill(&id, Signal::KILL).await.unwrap();
    let exit = tokio::time::timeout(DEADLINE, world.runtime.wait(&id))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    world.runtime.remove(&id).await.unwrap();
    world.runtime.remove(&id).await.unwrap();
    assert_eq!(world.remains(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_says_how_each_is_to_be_stopped() {
    let world = World::new().await;
    let unsaid = world.spec(&["sleep", "1000"]);
    let mut said = world.spec(&["sleep", "1000"]);
    said.stop_signal = Some(Signal::KILL);
    said.stop_grace = Some(Duration::from_secs(90));
    for spec in [&unsaid, &said] {
        world.runtime.create(spec.clone()).await.unwrap();
    }
    let listed = world.runtime.list().await.unwrap();
    let of = |spec: &ContainerSpec| {
        let status = listed.iter().find(|status| status.id == spec.id).unwrap();
        (status.stop_signal, status.stop_grace)
    };
    let image = Some("SIGQUIT".parse().unwrap());
    assert_eq!(of(&unsaid), (image, None));
    assert_eq!(of(&said), (Some(Signal::KILL), Some(Duration::from_secs(90))));
    for spec in [unsaid, said] {
        world.runtime.remove(&spec.id).await.unwrap();
    }
}
