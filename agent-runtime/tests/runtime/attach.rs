//! Clients at the streams of a container's first process.

use futures::StreamExt;
use shoal_agent_runtime::{
    AttachError, AttachSession, AttachSpec, ContainerId, ContainerSpec, ExecOutput, TerminalSize,
};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::world::{DEADLINE, World, fresh_id};

const WRITING: AttachSpec = AttachSpec {
    stdin: true,
    replay: false,
};
const FROM_THE_BEGINNING: AttachSpec = AttachSpec {
    stdin: false,
    replay: true,
};
const FROM_NOW: AttachSpec = AttachSpec {
    stdin: false,
    replay: false,
};

/// Creates it, attaches, and only then starts it.
async fn attached(world: &World, spec: ContainerSpec, how: AttachSpec) -> (ContainerId, AttachSession) {
    let id = spec.id.clone();
    world.runtime.create(spec).await.unwrap();
    let session = world.runtime.attach(&id, how).await.unwrap();
    world.runtime.start(&id).await.unwrap();
    (id, session)
}

/// Both streams together, until this text has come.
async fn until(session: &mut AttachSession, wanted: &str) -> String {
    let mut seen = String::new();
    let read = async {
        while !seen.contains(wanted) {
            match session.output.next().await {
                Some(Ok(ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes))) => {
                    seen.push_str(std::str::from_utf8(&bytes).unwrap());
                }
                other => panic!("{other:?} before {wanted:?}, after {seen:?}"),
            }
        }
    };
    timeout(DEADLINE, read).await.unwrap();
    seen
}

/// Standard output and standard error to their ends.
async fn rest(mut session: AttachSession) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let read = async {
        while let Some(chunk) = session.output.next().await {
            match chunk.unwrap() {
                ExecOutput::Stdout(bytes) => out.extend_from_slice(&bytes),
                ExecOutput::Stderr(bytes) => err.extend_from_slice(&bytes),
            }
        }
    };
    timeout(DEADLINE, read).await.unwrap();
    (out, err)
}

async fn code(world: &World, id: &ContainerId) -> i32 {
    let exit = timeout(DEADLINE, world.runtime.wait(id)).await;
    exit.unwrap().unwrap().code
}

async fn write(session: &mut AttachSession, text: &str) {
    let stdin = session.stdin.as_mut().unwrap();
    stdin.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_has_its_size_before_the_program_and_is_resized() {
    let world = World::new().await;
    let mut spec = world.spec(&["sh", "-c", "tty; stty size; read go; stty size; exit 6"]);
    spec.tty = true;
    spec.terminal_size = Some(TerminalSize {
        columns: 101,
        rows: 41,
    });
    let (id, mut session) = attached(&world, spec, WRITING).await;
    let seen = until(&mut session, "41 101\r\n").await;
    assert!(
        seen.starts_with("/dev/pts/0") || seen.starts_with("/dev/console"),
        "{seen}"
    );
    let size = TerminalSize {
        columns: 77,
        rows: 33,
    };
    session.control.resize(size).unwrap();
    write(&mut session, "go\n").await;
    let (out, err) = rest(session).await;
    assert_eq!(String::from_utf8(out).unwrap(), "go\r\n33 77\r\n");
    assert!(err.is_empty());
    assert_eq!(code(&world, &id).await, 6);
    assert_eq!(world.log(&id), seen + "go\r\n33 77\r\n");
    world.runtime.remove(&id).await.unwrap();
    assert_eq!(world.remains(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piped_stdin_is_read_to_its_end() {
    let world = World::new().await;
    let mut spec = world.spec(&["sh", "-c", "cat; echo end >&2; exit 4"]);
    spec.stdin_open = true;
    let (id, mut session) = attached(&world, spec, WRITING).await;
    write(&mut session, "hello").await;
    assert_eq!(until(&mut session, "hello").await, "hello");
    write(&mut session, " and more").await;
    world.runtime.close_stdin(&id).await.unwrap();
    // Another writer's end is open still: nothing is cut off.
    write(&mut session, ".").await;
    drop(session.stdin.take());
    let (out, err) = rest(session).await;
    assert_eq!(
        (out.as_slice(), err.as_slice()),
        (&b" and more."[..], &b"end\n"[..])
    );
    assert_eq!(code(&world, &id).await, 4);
    world.runtime.close_stdin(&id).await.unwrap();
    world.runtime.remove(&id).await.unwrap();
    assert_eq!(world.remains(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_goes_on_without_its_clients() {
    let world = World::new().await;
    let script = "while read line; do echo got $line; printf 'more? '; done; echo over";
    let mut spec = world.spec(&["sh", "-c", script]);
    spec.stdin_open = true;
    let (id, mut first) = attached(&world, spec, WRITING).await;
    write(&mut first, "one\n").await;
    assert_eq!(until(&mut first, "more? ").await, "got one\nmore? ");
    drop(first);

    let mut from_now = world.runtime.attach(&id, FROM_NOW).await.unwrap();
    let mut everything = world.runtime.attach(&id, FROM_THE_BEGINNING).await.unwrap();
    // The line that has not ended is in no log yet.
    assert_eq!(until(&mut everything, "more? ").await, "got one\nmore? ");
    let mut second = world.runtime.attach(&id, WRITING).await.unwrap();
    write(&mut second, "two\n").await;
    for session in [&mut second, &mut from_now, &mut everything] {
        assert_eq!(until(session, "more? ").await, "got two\nmore? ");
    }
    drop(second);
    world.runtime.close_stdin(&id).await.unwrap();
    for session in [from_now, everything] {
        assert_eq!(rest(session).await.0, b"over\n");
    }
    assert_eq!(code(&world, &id).await, 0);
    assert_eq!(world.log(&id), "got one\nmore? got two\nmore? over\n");
    world.runtime.remove(&id).await.unwrap();
    assert_eq!(world.remains(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_loses_nothing() {
    let world = World::new().await;
    // More than all pipes on the way hold: it cannot end before it is read.
    let spec = world.spec(&["sh", "-c", "yes | head -c 2000000; echo err >&2"]);
    let (id, session) = attached(&world, spec, FROM_NOW).await;
    let held_up = async {
        while world.log(&id).len() < 60_000 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, held_up).await.unwrap();
    let (out, err) = rest(session).await;
    assert_eq!((out.len(), err.as_slice()), (2_000_000, &b"err\n"[..]));
    assert!(out.chunks(2).all(|line| line == b"y\n"));
    assert_eq!(code(&world, &id).await, 0);
    world.runtime.remove(&id).await.unwrap();

    // What the container leaves behind is there for a reader who comes after its end.
    let spec = world.spec(&["sh", "-c", "yes | head -c 100000"]);
    let (id, session) = attached(&world, spec, FROM_NOW).await;
    assert_eq!(code(&world, &id).await, 0);
    assert_eq!(world.log(&id).len(), 100_000);
    world.runtime.remove(&id).await.unwrap();
    assert_eq!(rest(session).await.0.len(), 100_000);
    assert_eq!(world.remains(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_comes_through_rotations_and_without_a_gap() {
    let world = World::new().await;
    let script =
        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo pause; read go; echo end";
    let mut spec = world.spec(&["sh", "-c", script]);
    spec.stdin_open = true;
    spec.log_limits.max_size = 100_000;
    spec.log_limits.max_files = 5;
    let (id, mut first) = attached(&world, spec, WRITING).await;
    until(&mut first, "pause\n").await;
    let all = world.runtime.attach(&id, FROM_THE_BEGINNING).await.unwrap();
    write(&mut first, "go\n").await;
    drop(first);
    let (out, _) = rest(all).await;
    let expected: String = (0..3000).map(|i| format!("line {i}\n")).collect();
    assert_eq!(String::from_utf8(out).unwrap(), expected + "pause\nend\n");
    assert_eq!(code(&world, &id).await, 0);
    world.runtime.remove(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_attached_to_says_why() {
    let world = World::new().await;
    let spec = world.spec(&["sh", "-c", "read line || exit 3"]);
    let id = spec.id.clone();
    world.runtime.create(spec).await.unwrap();
    let closed = world.runtime.attach(&id, WRITING).await.unwrap_err();
    assert!(matches!(closed, AttachError::NoStdin(_)), "{closed}");
    world.runtime.start(&id).await.unwrap();
    // /dev/null is at its end.
    assert_eq!(code(&world, &id).await, 3);
    let ended = world.runtime.attach(&id, FROM_NOW).await.unwrap_err();
    assert!(matches!(ended, AttachError::NotRunning(_)), "{ended}");
    let unknown = world.runtime.attach(&fresh_id(), FROM_NOW).await.unwrap_err();
    assert!(matches!(unknown, AttachError::NotFound(_)), "{unknown}");
    world.runtime.remove(&id).await.unwrap();
    assert_eq!(world.remains(), Vec::<String>::new());
}
