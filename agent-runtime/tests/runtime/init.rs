//! Containers with an init: signals arrive, what is left behind is reaped, and the program's end is the container's.

use futures::StreamExt;
use shoal_agent_runtime::{
    AttachSpec, ContainerSpec, ExecOutput, ExecSpec, ExitReason, Signal, StartError, TerminalSize,
};
use tokio::io::AsyncWriteExt;

use crate::world::{DEADLINE, World};

fn with_init(world: &World, script: &str) -> ContainerSpec {
    let mut spec = world.spec(&["sh", "-c", script]);
    spec.init = true;
    spec
}

async fn logged(world: &World, id: &shoal_agent_runtime::ContainerId, text: &str) {
    let logged = async {
        while !world.log(id).contains(text) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, logged).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_is_beside_it_and_as_confined() {
    let world = World::new().await;
    let look = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/$p/status; \
        cat /proc/$p/attr/apparmor/current 2>/dev/null";
    let script = format!(
        "echo $(cat /proc/1/cmdline) $(cat /proc/1/comm) $(ls /proc/1/fd); p=1; a=$({look}); p=$$; b=$({look}); \
        [ \"$a\" = \"$b\" ] && echo same || echo \"$a is not $b\"; \
        [ $$ != 1 ] && echo beside > /proc/1/fd/1; exit 7"
    );
    for user in [None, Some("user")] {
        let mut spec = with_init(&world, &script);
        spec.user = user.map(str::to_owned);
        let (exit, log) = world.run(spec).await;
        assert_eq!(log, "shoal-init shoal-init 0 1 2\nsame\nbeside\n");
        assert_eq!(
            (exit.code, exit.signal, exit.reason),
            (7, None, ExitReason::Exited)
        );
    }
    assert_eq!(world.remains(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_arrive_and_end_what_does_not_handle_them() {
    let world = World::new().await;
    for (script, code) in [
        (
            "trap 'exit 5' TERM; echo ready; while true; do sleep 0.02; done",
            5,
        ),
        // As process 1 it would have ignored it.
        ("echo ready; exec sleep 1000", 143),
    ] {
        let spec = with_init(&world, script);
        let id = spec.id.clone();
        world.runtime.create(spec).await.unwrap();
        world.runtime.start(&id).await.unwrap();
        logged(&world, &id, "ready").await;
        world.runtime.kill(&id, Signal::TERM).await.unwrap();
        let exit = tokio::time::timeout(DEADLINE, world.runtime.wait(&id)).await;
        assert_eq!(exit.unwrap().unwrap().code, code, "{script}");
        world.runtime.remove(&id).await.unwrap();
    }
    assert_eq!(world.remains(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_leave_is_reaped() {
    let world = World::new().await;
    // Each leaves a child that ends without a parent who waits; sleep never waits for anybody.
    let script = "i=0; while [ $i -lt 20 ]; do sh -c 'true & exec true'; i=$((i+1)); done; \
        echo left; exec sleep 1000";
    let spec = with_init(&world, script);
    let id = spec.id.clone();
    world.runtime.create(spec).await.unwrap();
    world.runtime.start(&id).await.unwrap();
    logged(&world, &id, "left").await;
    let reaped = async {
        loop {
            let exec = ExecSpec {
                args: vec!["ps".to_owned()],
                env: Vec::new(),
                workdir: None,
                user: None,
                tty: None,
                stdin: false,
            };
            let session = world.runtime.exec(&id, exec).await.unwrap();
            let said = session.output.map(|chunk| match chunk.unwrap() {
                ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes) => bytes,
            });
            let said = String::from_utf8(said.collect::<Vec<_>>().await.concat()).unwrap();
            // Its heading, the init, the program, and itself.
            if said.lines().count() == 4 {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, reaped).await.unwrap();
    world.runtime.remove(&id).await.unwrap();
    assert_eq!(world.remains(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_is_the_programs() {
    let world = World::new().await;
    let mut spec = with_init(&world, "read word; echo got $word; sleep 1000");
    spec.tty = true;
    spec.terminal_size = Some(TerminalSize {
        columns: 80,
        rows: 24,
    });
    let id = spec.id.clone();
    world.runtime.create(spec).await.unwrap();
    let how = AttachSpec {
        stdin: true,
        replay: false,
    };
    let mut session = world.runtime.attach(&id, how).await.unwrap();
    world.runtime.start(&id).await.unwrap();
    let stdin = session.stdin.as_mut().unwrap();
    stdin.write_all(b"go\n").await.unwrap();
    logged(&world, &id, "got go\r\n").await;
    // Control-C: the terminal's signal goes to who has it.
    stdin.write_all(&[3]).await.unwrap();
    let exit = tokio::time::timeout(DEADLINE, world.runtime.wait(&id)).await;
    assert_eq!(exit.unwrap().unwrap().code, 130);
    world.runtime.remove(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_cannot_run_is_named() {
    let world = World::new().await;
    for (program, code, text) in [
        ("broken", 127, "exec broken: no such file or directory"),
        ("plain", 126, "exec plain: exec format error"),
    ] {
        let mut spec = world.spec(&[program]);
        spec.init = true;
        let id = spec.id.clone();
        world.runtime.create(spec).await.unwrap();
        let error = world.runtime.start(&id).await.unwrap_err();
        assert!(
            matches!(&error, StartError::Command { exit_code, message } if *exit_code == code && message == text),
            "{error:?}"
        );
        let exit = tokio::time::timeout(DEADLINE, world.runtime.wait(&id)).await;
        assert_eq!(exit.unwrap().unwrap().code, code);
        world.runtime.remove(&id).await.unwrap();
    }
    assert_eq!(world.remains(), Vec::<String>::new());
}
