//! What a crash left between the end of a task and its being forgotten.

use super::*;

/// What is on disk once the daemon is gone.
async fn kept_after(rig: Rig, dir: &std::path::Path) -> OnDisk {
    rig.stop().await;
    open(dir).1
}

#[tokio::test]
async fn a_task_that_is_not_assigned_any_more_is_forgotten_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), Arc::default(), "a").await;
    rig.send(vec![assigned(1), assigned(2)]).await;
    rig.until_state(2, TaskState::Running).await;
    rig.fake.exit(&container(1), 0);
    rig.until_state(1, TaskState::Complete).await;
    rig.until("its container is removed", |_, state| !state.removed.is_empty())
        .await;
    let fake = rig.stop().await;
    // The daemon was killed after it had taken the assignments away, and before their keepers had ended.
    let (disk, kept) = open(dir.path());
    let touched = Touched {
        removed: vec![task(1), task(2)],
        ..Touched::default()
    };
    let none = AssignmentSet {
        at: kept.set.at,
        ..AssignmentSet::default()
    };
    disk.put_assignments(&none, &touched, &TablesDiff::default(), "a")
        .await
        .unwrap();
    assert_eq!(kept.reports.len(), 2);
    drop(disk);
    fake.state.lock().unwrap().removed.clear();
    fake.state.lock().unwrap().ended.clear();
    let rig = Rig::start(dir.path(), fake, "a").await;
    rig.until("what it has besides is removed", |_, state| {
        state.removed.contains(&container(1))
    })
    .await;
    let running = rig.fake.state.lock().unwrap().running.len();
    assert_eq!(running, 1, "a container is left to the sweep");
    let kept = kept_after(rig, dir.path()).await;
    assert!(kept.reports.is_empty(), "{:?}", kept.reports);
    let logs: Vec<_> = kept.logs.into_keys().collect();
    let mut expect = [container(1), container(2)];
    expect.sort();
    assert_eq!(logs, expect);
}

#[tokio::test]
async fn logs_of_no_task_begin_to_age_once_the_whole_set_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    fake.state.lock().unwrap().logged = vec![container(1), container(7)];
    let rig = Rig::start(dir.path(), Arc::clone(&fake), "a").await;
    let kept = kept_after(rig, dir.path()).await;
    assert!(kept.logs.is_empty(), "whose they are is not known yet");
    let mut rig = Rig::start(dir.path(), fake, "a").await;
    rig.send(vec![assigned(1)]).await;
    let kept = kept_after(rig, dir.path()).await;
    assert_eq!(kept.logs.into_keys().collect::<Vec<_>>(), [container(7)]);
}
