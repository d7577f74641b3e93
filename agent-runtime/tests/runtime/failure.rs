//! What goes wrong says what is wrong, and leaves nothing.

use shoal_agent_runtime::{
    ContainerId, ContainerSpec, ContainerState, CreateError, ExitReason, Network, PinnedImage, Runtime,
    StartError,
};
use shoal_run_dir::pid::PidRecord;

use crate::world::{DEADLINE, World, daemon, fresh_id, processes, remains};

async fn started(world: &World, command: &[&str], user: Option<&str>) -> ContainerId {
    let mut spec = world.spec(command);
    spec.user = user.map(str::to_owned);
    let id = spec.id.clone();
    world.runtime.create(spec).await.unwrap();
    world.runtime.start(&id).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_cannot_run_are_named_as_docker_names_them() {
    let world = World::new().await;
    for (command, code, text) in [
        (
            &["nope"][..],
            127,
            "exec: \"nope\": executable file not found in $PATH",
        ),
        (
            &["/no/such"],
            127,
            "exec: \"/no/such\": stat /no/such: no such file or directory",
        ),
        (&["/etc/passwd"], 126, "exec: \"/etc/passwd\": permission denied"),
        (&["/etc"], 126, "exec: \"/etc\": is a directory"),
    ] {
        let error = world.runtime.create(world.spec(command)).await.unwrap_err();
        let said = matches!(&error, CreateError::Command { message, exit_code } if *exit_code == code && message == text);
        assert!(said, "{error:?}");
    }
    assert_eq!(world.remains(), Vec::<String>::new());
    for (command, code, text) in [
        (&["broken"][..], 127, "exec broken: no such file or directory"),
        (&["plain"], 126, "exec plain: exec format error"),
    ] {
        let spec = world.spec(command);
        let id = spec.id.clone();
        world.runtime.create(spec).await.unwrap();
        let error = world.runtime.start(&id).await.unwrap_err();
        let said = matches!(&error, StartError::Command { message, exit_code } if *exit_code == code && message == text);
        assert!(said, "{error:?}");
        let exit = tokio::time::timeout(DEADLINE, world.runtime.wait(&id))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (exit.code, exit.reason),
            (
                code,
                ExitReason::NeverStarted {
                    message: text.to_owned()
                }
            )
        );
        world.runtime.remove(&id).await.unwrap();
    }
    assert_eq!(world.remains(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_memory_is_called_so() {
    let world = World::new().await;
    let mut spec = world.spec(&["sh", "-c", "head -c 100000000 /dev/zero | sh -c 'x=$(cat | tr a b)'; dd if=/dev/zero of=/dev/null bs=64M count=1"]);
    spec.limits.memory = Some(16 << 20);
    spec.limits.memory_swap = Some(16 << 20);
    let (exit, _) = world.run(spec).await;
    assert!(exit.oom_killed && exit.code == 137, "{exit:?}");
    assert_eq!(world.remains(), Vec::<String>::new());
}

/// The parent-death signal is cleared when a program changes its user: the daemon has to see to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_shim_takes_its_container_with_it() {
    let world = World::new().await;
    let mut drops = world.spec(&["su", "user", "-c", "sleep 1000"]);
    drops.cap_add = vec!["ALL".to_owned()];
    let changes_user = drops.id.clone();
    world.runtime.create(drops).await.unwrap();
    world.runtime.start(&changes_user).await.unwrap();
    let plain = started(&world, &["sleep", "1000"], Some("user")).await;
    for id in [changes_user, plain] {
        let directory = world.config.run_dir.join("containers").join(id.as_str());
        let first = PidRecord::read(&directory.join("init.pid")).unwrap().unwrap();
        let shim = PidRecord::read(&directory.join("shim.pid")).unwrap().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(shim.pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let exit = tokio::time::timeout(DEADLINE, world.runtime.wait(&id))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((exit.code, exit.reason), (137, ExitReason::ShimLost));
        // Killed already; whoever adopted it may take a moment to reap it.
        let reaped = async {
            while first.is_current() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, reaped).await.unwrap();
        world.runtime.remove(&id).await.unwrap();
    }
    assert_eq!(world.remains(), Vec::<String>::new());
}

/// The whole machine's shims may die while no daemon lives.
#[test]
fn a_shim_lost_without_a_daemon_is_found_by_the_next() {
    let (config, _directory, digest) = daemon(async { World::new().await.into_parts() });
    let id = fresh_id();
    daemon(async {
        let runtime = Runtime::open(config.clone()).await.unwrap();
        let image = PinnedImage {
            reference: "busybox:test".to_owned(),
            digest,
        };
        let mut spec = ContainerSpec::new(id.clone(), image, Network::Host);
        spec.command = Some(["su", "user", "-c", "sleep 1000"].map(str::to_owned).to_vec());
        runtime.create(spec).await.unwrap();
        runtime.start(&id).await.unwrap();
    });
    for pid in processes(&config) {
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
    }
    daemon(async {
        let runtime = Runtime::open(config.clone()).await.unwrap();
        let exit = runtime.wait(&id).await.unwrap();
        assert_eq!((exit.code, exit.reason), (137, ExitReason::ShimLost));
        runtime.remove(&id).await.unwrap();
    });
    assert_eq!(remains(&config), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_killed_before_its_start_has_ended() {
    let world = World::new().await;
    let spec = world.spec(&["sleep", "1000"]);
    let id = spec.id.clone();
    world.runtime.create(spec).await.unwrap();
    world
        .runtime
        .kill(&id, shoal_agent_runtime::Signal::KILL)
        .await
        .unwrap();
    let exit = tokio::time::timeout(DEADLINE, world.runtime.wait(&id))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    assert!(matches!(
        world.runtime.start(&id).await,
        Err(StartError::Ended(_))
    ));
    assert!(matches!(
        world.runtime.list().await.unwrap()[0].state,
        ContainerState::Exited(_)
    ));
    world.runtime.remove(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_is_logged_and_one_process_is_enough() {
    let world = World::new().await;
    let mut spec = world.spec(&["tty"]);
    spec.tty = true;
    // Nothing of the creation counts against the limits.
    spec.limits.pids = Some(1);
    spec.limits.cpu_nanos = Some(10_000_000);
    let (exit, log) = world.run(spec).await;
    assert_eq!((exit.code, log.as_str()), (0, "/dev/pts/0\r\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once() {
    let world = World::new().await;
    let runs = (0..12).map(|number| {
        let mut spec = world.spec(&["sh", "-c", &format!("echo {number}; exit {number}")]);
        spec.read_only_root = number % 2 == 0;
        world.run(spec)
    });
    for (number, (exit, log)) in futures::future::join_all(runs).await.into_iter().enumerate() {
        assert_eq!(
            (usize::try_from(exit.code).unwrap(), log),
            (number, format!("{number}\n"))
        );
    }
    assert_eq!(world.remains(), Vec::<String>::new());
}

/// A container's root cannot raise its own limits, see the host's groups, or make devices work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_devices_are_out_of_reach() {
    let world = World::new().await;
    let mut spec = world.spec(&[
        "sh", "-c",
        "for d in /sys/fs/cgroup/*; do mkdir $d/x 2>/dev/null && echo made $d; echo $$ 2>/dev/null > $d/cgroup.procs && echo wrote $d; done; \
         head -c 1 /dev/null; busybox mknod /tmp/d b 7 0 && head -c 1 /tmp/d 2>&1; echo end",
    ]);
    spec.cap_add = vec!["SYS_ADMIN".to_owned()];
    let (exit, log) = world.run(spec).await;
    // The filter is asked before the driver is looked for: without the filter a kernel that has no such device would
    // say that instead.
    let expect = "head: /tmp/d: Operation not permitted\nend\n";
    assert_eq!((exit.code, log.as_str()), (0, expect));
}
