//! Logs and figures of real containers, while they run and when they are gone.
//! Needs root, like everything in this directory.

use futures::StreamExt;
use shoal_agent_runtime::{LogError, LogQuery, LogStream, Signal, StatsError};
use tokio::time::timeout;

use crate::world::{DEADLINE, World};

fn query(id: &shoal_agent_runtime::ContainerId, tail: Option<u64>, follow: bool) -> LogQuery {
    LogQuery {
        container: id.clone(),
        tail,
        since: None,
        follow,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_followed_to_the_end_of_its_container_and_outlives_it() {
    let world = World::new().await;
    let runtime = &world.runtime;
    // Waits for a signal between the lines, so that each is seen while it runs.
    let script = "trap 'echo second >&2; exit 3' TERM; echo first; while :; do sleep 0.05; done";
    let spec = world.spec(&["sh", "-c", script]);
    let id = spec.id.clone();
    runtime.create(spec).await.unwrap();
    let mut stream = Box::pin(runtime.logs(query(&id, None, true)).await.unwrap());
    runtime.start(&id).await.unwrap();
    let first = timeout(DEADLINE, stream.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(
        (first.stream, first.text.as_ref()),
        (LogStream::Stdout, b"first\n".as_slice())
    );
    runtime.kill(&id, Signal::TERM).await.unwrap();
    let second = timeout(DEADLINE, stream.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(
        (second.stream, second.text.as_ref()),
        (LogStream::Stderr, b"second\n".as_slice())
    );
    assert!(second.time >= first.time);
    assert!(timeout(DEADLINE, stream.next()).await.unwrap().is_none());
    runtime.remove(&id).await.unwrap();
    let kept: Vec<_> = runtime
        .logs(query(&id, Some(1), true))
        .await
        .unwrap()
        .collect()
        .await;
    assert_eq!(kept.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [second]);
    runtime.forget_logs(&id).await.unwrap();
    let gone = runtime.logs(query(&id, None, false)).await.err();
    assert!(matches!(gone, Some(LogError::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_container_uses_is_read_while_it_runs() {
    let world = World::new().await;
    let runtime = &world.runtime;
    let mut spec = world.spec(&["sh", "-c", "echo up; sleep 1000"]);
    spec.limits.memory = Some(64 << 20);
    let id = spec.id.clone();
    runtime.create(spec).await.unwrap();
    runtime.start(&id).await.unwrap();
    let mut stream = Box::pin(runtime.logs(query(&id, None, true)).await.unwrap());
    let up = timeout(DEADLINE, stream.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(up.text.as_ref(), b"up\n");
    let stats = runtime.stats(&id).await.unwrap();
    assert!(stats.cpu.is_some_and(|cpu| !cpu.is_zero()), "{stats:?}");
    assert!(stats.memory.is_some_and(|bytes| bytes < 64 << 20), "{stats:?}");
    assert_eq!(stats.memory_limit, Some(64 << 20));
    assert!(
        stats.pids.is_some_and(|pids| (1..=2).contains(&pids)),
        "{stats:?}"
    );
    assert_eq!(stats.oom_kills, Some(0));
    runtime.remove(&id).await.unwrap();
    assert!(matches!(
        runtime.stats(&id).await,
        Err(StatsError::NotRunning { .. })
    ));
    assert_eq!(world.remains(), Vec::<String>::new());
}
