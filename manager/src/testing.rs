//! A whole manager for tests: founded in a temporary folder, served on a free port, with clients.
//!
//! Images are made up; everything else is what the product runs.

use crate::{
    FoundConfig, ImageResolver, Manager, ManagerConfig, PoolsAsked, ResolveError, ResolvedImage,
    driver::{Ended, wall_now},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use shoal_api::identity::{
    Credentials, Identity, LEAF_LIFE, LiveCredentials, NewKey, Root, client_config, server_name_of,
};
use shoal_core::model::{Availability, ClusterId, NodeId, WallTime};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Knows every image but those called `missing`.
pub(crate) struct FakeImages;

pub(crate) fn digest_of(reference: &str) -> String {
    use sha2::{Digest, Sha256};
    format!("sha256:{}", hex::encode(Sha256::digest(reference)))
}

#[tonic::async_trait]
impl ImageResolver for FakeImages {
    async fn resolve(&self, reference: &str) -> Result<ResolvedImage, ResolveError> {
        if reference.starts_with("missing") {
            return Err(ResolveError {
                message: format!("image {reference:?} is neither here nor in its registry"),
                hint: "load it".to_owned(),
            });
        }
        Ok(ResolvedImage {
            digest: digest_of(reference),
            platforms: Vec::new(),
        })
    }
}

pub(crate) struct TestManager {
    pub(crate) manager: Manager,
    pub(crate) shutdown: CancellationToken,
    pub(crate) address: SocketAddr,
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) credentials: Credentials,
}

impl TestManager {
    /// A new cluster in `<state>/raft`.
    pub(crate) async fn found(state: &Path) -> Self {
        let founded = Manager::bootstrap(FoundConfig {
            folder: state.join("raft"),
            name: "test".to_owned(),
            address: "127.0.0.1:2377".to_owned(),
            availability: Availability::Active,
            pools: PoolsAsked::default(),
            routes: Vec::new(),
        })
        .await
        .unwrap();
        Self::start(state, founded.credentials).await
    }

    pub(crate) async fn start(state: &Path, credentials: Credentials) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let config = ManagerConfig {
            folder: state.join("raft"),
            live: LiveCredentials::new(&credentials).unwrap(),
            credentials: credentials.clone(),
            version: "0.0.0-test".to_owned(),
            kernel: "test".to_owned(),
        };
        let manager = Manager::start(config, listener, Arc::new(FakeImages), shutdown.clone())
            .await
            .unwrap();
        assert!(tokio::time::timeout(PATIENCE, manager.serving()).await.unwrap());
        let identity = credentials.identity().unwrap();
        let shoal_api::identity::Party::Node { id, .. } = identity.party else {
            panic!("not a node's certificate");
        };
        Self {
            manager,
            shutdown,
            address,
            cluster: identity.cluster,
            node: id,
            credentials,
        }
    }

    pub(crate) async fn stop(self) -> Ended {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.manager.ended())
            .await
            .unwrap()
    }

    /// The cluster's root as the tests may use it: unsealed from the folder like the manager does.
    pub(crate) fn root(&self, state: &Path) -> Root {
        let wrapping = crate::storage::WrappingKey::from_node_key(self.credentials.key_pem.as_bytes());
        let folder = state.join("raft");
        let key =
            crate::storage::ClusterKey::load_or_create(&folder, self.cluster.as_str(), &wrapping).unwrap();
        let view = self.manager.handle().view();
        let status = &view.cluster().unwrap().status;
        let pem = key.open(&status.sealed_root_key).unwrap();
        Root::from_pem(&status.root_certificate, std::str::from_utf8(&pem).unwrap()).unwrap()
    }

    pub(crate) async fn client(&self, credentials: &Credentials) -> Result<Channel, tonic::transport::Error> {
        let live = LiveCredentials::new(credentials).unwrap();
        self.connect(client_config(&live).unwrap(), server_name_of(&self.cluster))
            .await
    }

    pub(crate) async fn connect(
        &self,
        tls: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Channel, tonic::transport::Error> {
        let address = self.address;
        let connector = tower::service_fn(move |_: Uri| {
            let (tls, name) = (TlsConnector::from(Arc::clone(&tls)), name.clone());
            async move {
                let socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, socket).await?))
            }
        });
        let endpoint = Endpoint::from_static("http://manager.shoal");
        endpoint.connect_with_connector(connector).await
    }
}

pub(crate) fn issue(root: &Root, identity: &Identity, at: WallTime) -> Credentials {
    let key = NewKey::generate().unwrap();
    let certificate = root.issue(&key.csr_pem, identity, at, LEAF_LIFE).unwrap();
    key.certified(certificate, root.certificate_pem().to_owned())
}

pub(crate) fn now() -> WallTime {
    wall_now()
}
