//! A shim without a container, and a client of it.

use super::*;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use shoal_run_dir::message::FailureKind;
use std::os::unix::net::UnixListener;

/// A shim whose files are in this folder, and the client's end of its first connection.
pub(super) fn shim(folder: &tempfile::TempDir) -> (Shim, OwnedFd) {
    let conf = ShimConf {
        id: "c".to_owned(),
        tag: "0".to_owned(),
        log_dir: folder.path().to_owned(),
        log_max_size: 1000,
        log_max_files: 1,
        terminal: false,
        terminal_size: None,
        stdin: false,
        cgroup: folder.path().to_owned(),
        oom_file: None,
    };
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    let (lock, _) = rustix::pipe::pipe().unwrap();
    let mut shim = Shim::new(conf, listener.into(), lock).unwrap();
    let (client, socket) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::empty(),
        None,
    )
    .unwrap();
    shim.connections.push(Connection {
        socket,
        id: 1,
        greeted: true,
    });
    (shim, client)
}

/// What the shim has answered.
pub(super) fn answer(client: &OwnedFd) -> Reply {
    let mut bytes = [0; 1024];
    let (count, _) = recv(client, &mut bytes[..], RecvFlags::DONTWAIT).unwrap();
    Reply::decode(&bytes[..count]).unwrap()
}

#[test]
fn a_version_is_agreed_on_with_older_and_newer_clients() {
    let check = |min: u32, max: u32, expect: Option<u32>| {
        let folder = tempfile::tempdir().unwrap();
        let (mut shim, client) = shim(&folder);
        shim.connections[0].greeted = false;
        let ask = |shim: &mut Shim, request: Request| {
            send(&client, &request.encode(), SendFlags::empty()).unwrap();
            shim.receive(1);
            answer(&client)
        };
        match (ask(&mut shim, Request::Hello { min, max }), expect) {
            (Reply::Hello { version }, Some(expect)) => assert_eq!(version, expect),
            (Reply::Failed { kind, .. }, None) => assert_eq!(kind, FailureKind::State),
            (found, expect) => panic!("{min} to {max}: expected {expect:?}, found {found:?}"),
        }
        let closed = ask(&mut shim, Request::CloseStdin);
        assert_eq!(closed == Reply::Done, expect.is_some(), "{closed:?}");
    };
    check(1, 1, Some(1));
    check(OLDEST_PROTOCOL, PROTOCOL, Some(PROTOCOL));
    check(PROTOCOL, PROTOCOL + 7, Some(PROTOCOL));
    check(PROTOCOL + 1, PROTOCOL + 7, None);
    check(0, 0, None);
}
