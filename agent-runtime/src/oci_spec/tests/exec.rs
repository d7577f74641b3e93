//! Tests of exec'd processes.
//! The first process comes from the same builder, so that the two can be compared.

use super::*;
use crate::exec::{ExecSpec, TerminalSize};

fn world() -> World {
    World::with(|world| {
        world.spec.tty = true;
        world.spec.init = true;
        world.spec.workdir = Some("/srv".into());
        world.spec.env = vec![("A".into(), "1".into())];
        world.spec.limits.ulimits = vec![Ulimit {
            name: "core".into(),
            soft: 0,
            hard: 0,
        }];
        world.spec.no_new_privileges = true;
        world.spec.oom_score_adj = Some(7);
    })
}

fn exec(change: fn(&mut ExecSpec), user: Option<&ResolvedUser>) -> Result<FinalProcess, SpecError> {
    let world = world();
    let mut spec = ExecSpec {
        args: words("id -u"),
        env: Vec::new(),
        workdir: None,
        user: None,
        tty: None,
        stdin: false,
    };
    change(&mut spec);
    build_exec(&ExecInputs {
        exec: &spec,
        spec: &world.spec,
        image: &world.image,
        first: &world.built().process,
        user,
    })
}

#[test]
fn an_exec_is_confined_as_the_first_process() {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let expect = FinalProcess {
        args: words("id -u"),
        env: words(&format!("{path} HOSTNAME=box A=1 HOME=/root")),
        init: false,
        terminal: false,
        ..world().built().process
    };
    assert_eq!(exec(|_| (), None).unwrap(), expect);
}

#[test]
fn an_exec_may_be_someone_else_somewhere_else() {
    let app = ResolvedUser {
        uid: 1000,
        gid: 5,
        groups: vec![5],
        home: "/home/app".into(),
    };
    let other = exec(
        |spec| {
            spec.tty = Some(TerminalSize {
                columns: 80,
                rows: 24,
            });
            spec.workdir = Some("/tmp".into());
            spec.env = vec![("A".into(), "2".into())];
        },
        Some(&app),
    )
    .unwrap();
    assert_eq!(
        (other.uid, other.cwd.as_str(), other.terminal),
        (1000, "/tmp", true)
    );
    assert_eq!(
        (other.capabilities.effective, other.capabilities.bounding),
        (0, 0xa804_25fb)
    );
    assert!(other.seccomp && other.no_new_privileges && other.rlimits.len() == 1 && other.oom_score_adj == 7);
    for entry in ["HOME=/home/app", "TERM=xterm", "A=2"] {
        assert!(other.env.contains(&entry.to_owned()), "{entry}");
    }
    assert_eq!(exec(|spec| spec.args.clear(), None).unwrap_err().field, "args");
    assert_eq!(
        exec(|spec| spec.workdir = Some("x".into()), None)
            .unwrap_err()
            .field,
        "workdir"
    );
}
