//! Every RPC of the protos, called by everyone: by each role, by nobody, and with certificates that are
//! foreign, expired, of another cluster, of a demoted and of a removed node.

use crate::testing::{PATIENCE, TestManager, issue, now};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use shoal_api::{
    access::{Access, TABLE},
    convert::details_of,
    identity::{Credentials, Identity, LEAF_LIFE, Root, joining_config},
    v1::ErrorCode,
};
use shoal_core::{
    model::{
        Availability, ClusterId, IdGen, Labels, Meta, Node, NodeId, NodeSpec, NodeState, NodeStatus, Role,
        Timestamp, WallTime,
    },
    request::Request as Write,
};
use std::path::{Path, PathBuf};
use tokio::{net::UnixStream, time::timeout};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint, Server, Uri},
};

/// Sends an empty message and reads none: enough to see whether a call is let through.
#[derive(Clone, Copy, Default)]
struct Empty;

impl Encoder for Empty {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Empty {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, _buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        Ok(Some(()))
    }
}

impl Codec for Empty {
    type Encode = ();
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

async fn call(channel: &Channel, path: &'static str) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let messages = tokio_stream::once(());
    let answer = client.streaming(Request::new(messages), PathAndQuery::from_static(path), Empty);
    timeout(PATIENCE, answer).await.expect(path)?;
    Ok(())
}

/// Was it the guard that stopped the call?
fn refused(result: Result<(), Status>) -> bool {
    let Err(error) = result else { return false };
    let details = details_of(&error);
    assert!(
        !details.message.is_empty() && !details.request_id.is_empty(),
        "{error:?}"
    );
    matches!(details.code(), ErrorCode::Forbidden | ErrorCode::Unauthenticated)
}

async fn check(who: &str, channel: &Channel, rights: &[Access]) {
    assert!(TABLE.len() > 40, "the table holds every RPC");
    for (path, allow) in TABLE {
        let expect = allow.contains(&Access::Anyone) || rights.iter().any(|right| allow.contains(right));
        let found = !refused(call(channel, path).await);
        assert_eq!(found, expect, "{who} calls {path}, which is for {allow:?}");
    }
}

fn node_id(seed: u64) -> NodeId {
    NodeId::mint(&mut IdGen::from_number(seed))
}

/// A worker in the store.
async fn add_worker(manager: &TestManager, id: &NodeId) {
    let node = Node {
        id: id.clone(),
        meta: Meta::default(),
        spec: NodeSpec {
            labels: Labels::new(),
            role: Role::Worker,
            availability: Availability::Active,
        },
        description: None,
        status: NodeStatus {
            state: NodeState::Unknown,
            message: String::new(),
            since: WallTime(0),
            at: Timestamp::ZERO,
        },
        manager: None,
    };
    let node = Box::new(node);
    manager
        .manager
        .handle()
        .propose(Write::AddNode { node }, None)
        .await
        .unwrap();
}

async fn start(state: &Path) -> (TestManager, Root) {
    let manager = TestManager::found(state).await;
    let root = manager.root(state);
    (manager, root)
}

#[tokio::test]
async fn every_call_by_every_role() {
    let state = tempfile::tempdir().unwrap();
    let (manager, root) = start(state.path()).await;
    let (worker, demoted) = (node_id(1), node_id(2));
    add_worker(&manager, &worker).await;
    add_worker(&manager, &demoted).await;
    let cluster = || manager.cluster.clone();
    let elsewhere = ClusterId::mint(&mut IdGen::from_number(3));
    const WORKER: &[Access] = &[Access::Worker];
    const MANAGER: &[Access] = &[Access::Worker, Access::Manager];
    for (who, identity, rights) in [
        (
            "a worker",
            Identity::node(cluster(), worker.clone(), Role::Worker),
            WORKER,
        ),
        (
            "a manager",
            Identity::node(cluster(), manager.node.clone(), Role::Manager),
            MANAGER,
        ),
        (
            "an administrator",
            Identity::admin(cluster(), "ann"),
            &[Access::Admin],
        ),
        // The store's word is less than the certificate's, and the other way round.
        (
            "a demoted manager",
            Identity::node(cluster(), demoted, Role::Manager),
            WORKER,
        ),
        (
            "a promoted worker",
            Identity::node(cluster(), manager.node.clone(), Role::Worker),
            WORKER,
        ),
        (
            "a removed node",
            Identity::node(cluster(), node_id(4), Role::Manager),
            &[],
        ),
        (
            "another cluster's node",
            Identity::node(elsewhere.clone(), worker, Role::Manager),
            &[],
        ),
        (
            "another cluster's administrator",
            Identity::admin(elsewhere, "eve"),
            &[],
        ),
    ] {
        let credentials = issue(&root, &identity, now());
        let channel = manager.client(&credentials).await.unwrap();
        check(who, &channel, rights).await;
    }
    let (token, _) = manager.manager.tokens().unwrap();
    let (tls, name) = joining_config(token.root_digest()).unwrap();
    let nobody = manager.connect(tls, name).await.unwrap();
    check("nobody", &nobody, &[]).await;
    manager.stop().await;
}

#[tokio::test]
async fn no_call_with_a_foreign_or_expired_certificate() {
    let state = tempfile::tempdir().unwrap();
    let (manager, root) = start(state.path()).await;
    let identity = Identity::node(manager.cluster.clone(), manager.node.clone(), Role::Manager);
    let long_ago = WallTime(now().0 - i64::try_from(2 * LEAF_LIFE.as_nanos()).unwrap());
    let foreign = Root::generate(&manager.cluster, now()).unwrap();
    let foreign = Credentials {
        root_pem: root.certificate_pem().to_owned(),
        ..issue(&foreign, &identity, now())
    };
    for (who, credentials) in [
        ("foreign", foreign),
        ("expired", issue(&root, &identity, long_ago)),
    ] {
        for (path, _) in TABLE {
            // With TLS 1.3 a client may believe that it is connected until it reads the alert.
            let Ok(channel) = manager.client(&credentials).await else {
                continue;
            };
            let error = call(&channel, path).await.unwrap_err();
            assert!(
                error.details().is_empty(),
                "{who} reached the guard of {path}: {error}"
            );
        }
    }
    manager.stop().await;
}

async fn by_socket(path: PathBuf) -> Channel {
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    let endpoint = Endpoint::from_static("http://local");
    endpoint.connect_with_connector(connector).await.unwrap()
}

#[tokio::test]
async fn the_local_socket_is_an_administrator() {
    let state = tempfile::tempdir().unwrap();
    let (manager, _) = start(state.path()).await;
    let path = state.path().join("shoal.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let routes = manager.manager.local_routes();
    let serving = Server::builder().add_routes(routes).serve_with_incoming(incoming);
    let serving = tokio::spawn(serving);
    let channel = by_socket(path).await;
    check("the socket", &channel, &[Access::Socket, Access::Admin]).await;
    serving.abort();
    manager.stop().await;
}

#[tokio::test]
async fn an_unknown_call_is_named() {
    let state = tempfile::tempdir().unwrap();
    let (manager, root) = start(state.path()).await;
    let identity = Identity::admin(manager.cluster.clone(), "ann");
    let channel = manager.client(&issue(&root, &identity, now())).await.unwrap();
    let error = call(&channel, "/shoal.v1.Control/NoSuch").await.unwrap_err();
    let details = details_of(&error);
    assert_eq!(details.code(), ErrorCode::Unsupported);
    assert!(
        details.message.contains("NoSuch") && details.hint.contains("version"),
        "{details:?}"
    );
    manager.stop().await;
}
