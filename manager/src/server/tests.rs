//! Connections against a manager that runs: those that outlive their certificate, and those that show none.

use crate::testing::{PATIENCE, TestManager, now};
use shoal_api::{
    identity::{Credentials, Identity, NewKey, joining_config, root_digest},
    v1::{
        self, WatchRequest, ca_client::CaClient, dispatcher_client::DispatcherClient,
        watch_client::WatchClient,
    },
};
use std::time::{Duration, Instant};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

/// Certificates begin an hour before they are made.
const BACKDATED: Duration = Duration::from_secs(3600);
/// Long enough to connect on a busy machine.
const LEFT: Duration = Duration::from_secs(4);

fn short_lived(manager: &TestManager, state: &std::path::Path, identity: &Identity) -> Credentials {
    let root = manager.root(state);
    let key = NewKey::generate().unwrap();
    let certificate = root
        .issue(&key.csr_pem, identity, now(), BACKDATED + LEFT)
        .unwrap();
    key.certified(certificate, root.certificate_pem().to_owned())
}

#[tokio::test]
async fn an_open_connection_ends_with_its_certificate() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let admin = Identity::admin(manager.cluster.clone(), "ann");
    let channel = manager
        .client(&short_lived(&manager, state.path(), &admin))
        .await
        .unwrap();
    let mut watch = WatchClient::new(channel)
        .watch(WatchRequest::default())
        .await
        .unwrap()
        .into_inner();
    let began = Instant::now();
    let ended = async { while let Ok(Some(_)) = watch.message().await {} };
    timeout(PATIENCE, ended)
        .await
        .expect("an expired administrator goes on watching");
    assert!(
        began.elapsed() < LEFT + Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    manager.stop().await;
}

#[tokio::test]
async fn a_session_ends_with_its_certificate() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let own = manager.credentials.identity().unwrap();
    let channel = manager
        .client(&short_lived(&manager, state.path(), &own))
        .await
        .unwrap();
    let (up, messages) = mpsc::channel(4);
    let hello = v1::Hello {
        api_version: 1,
        description: Some(v1::NodeDescription::default()),
        held: None,
    };
    up.send(v1::SessionUp {
        up: Some(v1::session_up::Up::Hello(hello)),
    })
    .await
    .unwrap();
    let mut session = DispatcherClient::new(channel)
        .session(ReceiverStream::new(messages))
        .await
        .unwrap()
        .into_inner();
    let ended = async { while let Ok(Some(_)) = session.message().await {} };
    timeout(PATIENCE, ended)
        .await
        .expect("a node whose certificate expired keeps its session");
    manager.stop().await;
}

#[tokio::test]
async fn without_a_certificate_only_small_messages_are_read() {
    let state = tempfile::tempdir().unwrap();
    let manager = TestManager::found(state.path()).await;
    let (tls, name) = joining_config(root_digest(&manager.credentials.root_pem).unwrap()).unwrap();
    let channel = manager.connect(tls, name).await.unwrap();
    let request = v1::JoinRequest {
        csr: "x".repeat(1 << 20),
        ..v1::JoinRequest::default()
    };
    let error = CaClient::new(channel.clone()).join(request).await.unwrap_err();
    assert!(error.message().contains("too large"), "{error}");
    CaClient::new(channel)
        .get_root_certificate(v1::GetRootCertificateRequest {})
        .await
        .unwrap();
    manager.stop().await;
}
