//! The AppArmor profile, where the kernel has AppArmor; where it has not, that nothing is missed.

use futures::StreamExt;
use shoal_agent_runtime::{APPARMOR_PROFILE, ExecOutput, ExecSpec};

use crate::world::{DEADLINE, World};

/// What confines the process, and whether it may mount, which its capability would allow it.
const LOOK: &str = "cat /proc/self/attr/apparmor/current 2>/dev/null || echo nothing; \
    mount -t tmpfs none /tmp 2>/dev/null && echo mounts || echo mounts not";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_of_a_container_has_the_profile() {
    let world = World::new().await;
    let problems = world.runtime.problems().await;
    assert!(problems.is_empty(), "{problems:?}");
    let expected = match world.runtime.facts().apparmor {
        true => format!("{APPARMOR_PROFILE} (enforce)\nmounts not\n"),
        false => "nothing\nmounts\n".to_owned(),
    };
    let mut spec = world.spec(&["sh", "-c", &format!("{LOOK}; echo end; sleep 1000")]);
    spec.cap_add = vec!["SYS_ADMIN".to_owned()];
    let id = spec.id.clone();
    world.runtime.create(spec).await.unwrap();
    world.runtime.start(&id).await.unwrap();
    let logged = async {
        while !world.log(&id).contains("end\n") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, logged).await.unwrap();
    assert_eq!(world.log(&id), format!("{expected}end\n"));
    let exec = ExecSpec {
        args: ["sh", "-c", LOOK].map(str::to_owned).to_vec(),
        env: Vec::new(),
        workdir: None,
        user: None,
        tty: None,
        stdin: false,
    };
    let session = world.runtime.exec(&id, exec).await.unwrap();
    let said = session
        .output
        .map(|chunk| match chunk.unwrap() {
            ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes) => bytes,
        })
        .collect::<Vec<_>>();
    let said = tokio::time::timeout(DEADLINE, said).await.unwrap().concat();
    assert_eq!(String::from_utf8(said).unwrap(), expected);
    world.runtime.remove(&id).await.unwrap();
}
