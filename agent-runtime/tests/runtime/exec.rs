//! Further processes in a running container.

use futures::StreamExt;
use shoal_agent_runtime::{ContainerId, ExecError, ExecOutput, ExecSession, ExecSpec, Signal, TerminalSize};
use tokio::io::AsyncWriteExt;

use crate::world::{DEADLINE, World};

fn spec(args: &[&str]) -> ExecSpec {
    let args = args.iter().map(|word| (*word).to_owned()).collect();
    ExecSpec {
        args,
        env: Vec::new(),
        workdir: None,
        user: None,
        tty: None,
        stdin: false,
    }
}

/// A container that does nothing.
async fn idle(world: &World) -> ContainerId {
    let spec = world.spec(&["sleep", "1000"]);
    let id = spec.id.clone();
    world.runtime.create(spec).await.unwrap();
    world.runtime.start(&id).await.unwrap();
    id
}

async fn finish(mut session: ExecSession) -> (i32, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let read = async {
        while let Some(chunk) = session.output.next().await {
            match chunk.unwrap() {
                ExecOutput::Stdout(bytes) => out.extend_from_slice(&bytes),
                ExecOutput::Stderr(bytes) => err.extend_from_slice(&bytes),
            }
        }
        session.exit.wait().await.unwrap()
    };
    let code = tokio::time::timeout(DEADLINE, read).await.unwrap();
    (
        code,
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_codes_and_errors() {
    let world = World::new().await;
    let id = idle(&world).await;
    let session = world
        .runtime
        .exec(&id, spec(&["sh", "-c", "echo out; echo err >&2; exit 3"]))
        .await
        .unwrap();
    assert_eq!(finish(session).await, (3, "out\n".to_owned(), "err\n".to_owned()));
    for (args, code, text) in [
        (
            &["nope"][..],
            127,
            "exec: \"nope\": executable file not found in $PATH",
        ),
        (
            &["/etc/passwd"][..],
            126,
            "exec: \"/etc/passwd\": permission denied",
        ),
        (&["broken"][..], 127, "exec broken: no such file or directory"),
        (&["plain"][..], 126, "exec plain: exec format error"),
    ] {
        let error = world.runtime.exec(&id, spec(args)).await.unwrap_err();
        assert!(
            matches!(&error, ExecError::Command { message, exit_code } if *exit_code == code && message == text),
            "{error:?}"
        );
    }
    let mut elsewhere = spec(&["true"]);
    elsewhere.workdir = Some("/no/such".to_owned());
    assert!(matches!(
        world.runtime.exec(&id, elsewhere).await,
        Err(ExecError::Command { exit_code: 127, .. })
    ));
    world.runtime.remove(&id).await.unwrap();
    assert!(matches!(
        world.runtime.exec(&id, spec(&["true"])).await,
        Err(ExecError::NotFound(_))
    ));
    assert_eq!(world.remains(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stdin_closes_and_signals_arrive() {
    let world = World::new().await;
    let id = idle(&world).await;
    let mut cat = spec(&["cat"]);
    cat.stdin = true;
    let mut session = world.runtime.exec(&id, cat).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"hello").await.unwrap();
    drop(stdin);
    assert_eq!(finish(session).await.1, "hello");
    let session = world.runtime.exec(&id, spec(&["sleep", "1000"])).await.unwrap();
    session.control.signal(Signal::TERM).await.unwrap();
    assert_eq!(finish(session).await.0, 143);
    world.runtime.remove(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_has_its_size_and_is_resized() {
    let world = World::new().await;
    let id = idle(&world).await;
    let mut sized = spec(&["sh", "-c", "tty; stty size; read go; stty size"]);
    sized.tty = Some(TerminalSize {
        columns: 101,
        rows: 41,
    });
    sized.stdin = true;
    let mut session = world.runtime.exec(&id, sized).await.unwrap();
    let mut seen = String::new();
    let until_first = async {
        while !seen.contains("41 101") {
            let Some(Ok(ExecOutput::Stdout(bytes))) = session.output.next().await else {
                break;
            };
            seen.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    };
    tokio::time::timeout(DEADLINE, until_first).await.unwrap();
    assert!(seen.starts_with("/dev/pts/0"), "{seen}");
    session
        .control
        .resize(TerminalSize {
            columns: 77,
            rows: 33,
        })
        .unwrap();
    session.stdin.as_mut().unwrap().write_all(b"go\n").await.unwrap();
    let (code, rest, _) = finish(session).await;
    assert!(code == 0 && rest.contains("33 77"), "{code} {rest}");
    world.runtime.remove(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_session_ends_its_process() {
    let world = World::new().await;
    let id = idle(&world).await;
    let session = world.runtime.exec(&id, spec(&["sleep", "2000"])).await.unwrap();
    let ps = || async {
        let session = world.runtime.exec(&id, spec(&["ps"])).await.unwrap();
        finish(session).await.1
    };
    assert!(ps().await.contains("sleep 2000"));
    drop(session);
    let gone = async { while ps().await.contains("sleep 2000") {} };
    tokio::time::timeout(DEADLINE, gone).await.unwrap();
    world.runtime.remove(&id).await.unwrap();
}

/// What the kernel says about a process, its name and numbers left out.
async fn confinement(world: &World, id: &ContainerId, user: Option<&str>) -> String {
    let mut show = spec(&["sh", "-c", SHOW]);
    show.user = user.map(str::to_owned);
    let (code, out, err) = finish(world.runtime.exec(id, show).await.unwrap()).await;
    assert_eq!((code, err.as_str()), (0, ""));
    out
}

const SHOW: &str = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|SigBlk|SigIgn|SigCgt|Umask)' /proc/self/status; \
                    cat /proc/self/cgroup /proc/self/limits /proc/self/oom_score_adj; \
                    ls -l /proc/self/ns | grep -o '[a-z_]*:\\[.*'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exec_is_confined_as_the_first_process() {
    let world = World::new().await;
    for user in [None, Some("user")] {
        let mut first = world.spec(&["sh", "-c", &format!("{SHOW}; echo end; sleep 1000")]);
        first.user = user.map(str::to_owned);
        first.limits.pids = Some(50);
        first.limits.memory = Some(64 << 20);
        first.limits.cpu_nanos = Some(500_000_000);
        first.oom_score_adj = Some(321);
        let id = first.id.clone();
        world.runtime.create(first).await.unwrap();
        world.runtime.start(&id).await.unwrap();
        let logged = async {
            while !world.log(&id).contains("end\n") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, logged).await.unwrap();
        let first = world.log(&id).replace("end\n", "");
        assert!(
            first.contains("Seccomp:\t2") && first.contains("SigIgn:\t0000000000000000"),
            "{first}"
        );
        assert_eq!(confinement(&world, &id, None).await, first);
        assert_eq!(confinement(&world, &id, user).await, first);
        world.runtime.remove(&id).await.unwrap();
    }
}
