//! The cluster's certificate authority on a manager: signs, with the root that the store keeps sealed.
//!
//! The root's key is sealed with the cluster's key, which lies beside the log, wrapped by the node's own.
//! Unsealed it is in memory only.

use crate::{
    driver::Handle,
    storage::{ClusterKey, StorageError},
};
use shoal_api::identity::{Identity, IdentityError, JoinToken, Root, same_secret};
use shoal_core::model::{ClusterId, Role, WallTime};
use std::sync::{Arc, Mutex, PoisonError};

/// Why nothing could be signed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("the cluster is still being made")]
    NoCluster,
    #[error("the root's key cannot be unsealed: the folder holds the key of another cluster")]
    Sealed(#[source] StorageError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the root's key is no text")]
    NotText,
}

#[derive(Clone, Debug)]
pub struct Authority {
    handle: Handle,
    key: Arc<ClusterKey>,
    /// By the certificate it belongs to, so that a rotated root is unsealed anew.
    root: Arc<Mutex<Option<Arc<Root>>>>,
}

impl Authority {
    pub fn new(handle: Handle, key: ClusterKey) -> Self {
        Self {
            handle,
            key: Arc::new(key),
            root: Arc::new(Mutex::new(None)),
        }
    }

    /// The root certificate and the cluster's id.
    pub fn cluster(&self) -> Result<(ClusterId, String), AuthorityError> {
        let view = self.handle.view();
        let cluster = view.cluster().ok_or(AuthorityError::NoCluster)?;
        Ok((cluster.id.clone(), cluster.status.root_certificate.clone()))
    }

    /// The role that a token is good for now; `None` if it is good for nothing. Both secrets are always
    /// compared, so that time tells nothing.
    pub fn role_of(&self, token: &JoinToken) -> Result<Option<Role>, AuthorityError> {
        let view = self.handle.view();
        let status = &view.cluster().ok_or(AuthorityError::NoCluster)?.status;
        let ours = JoinToken::new(&status.root_certificate, "")?.root_digest() == token.root_digest();
        let worker = same_secret(&status.join_tokens.worker, token.secret());
        let manager = same_secret(&status.join_tokens.manager, token.secret());
        Ok(match (ours, worker, manager) {
            (true, true, _) => Some(Role::Worker),
            (true, false, true) => Some(Role::Manager),
            (true, false, false) | (false, _, _) => None,
        })
    }

    /// Signs for the public key of a request, for as long as the cluster's settings say.
    pub fn issue(&self, csr: &str, identity: &Identity, now: WallTime) -> Result<String, AuthorityError> {
        let view = self.handle.view();
        let cluster = view.cluster().ok_or(AuthorityError::NoCluster)?;
        let root = self.root(&cluster.status.root_certificate, &cluster.status.sealed_root_key)?;
        Ok(root.issue(csr, identity, now, cluster.spec.certificate_life)?)
    }

    fn root(&self, certificate: &str, sealed: &[u8]) -> Result<Arc<Root>, AuthorityError> {
        let mut kept = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = kept.as_ref().filter(|root| root.certificate_pem() == certificate) {
            return Ok(Arc::clone(root));
        }
        let key = self.key.open(sealed).map_err(AuthorityError::Sealed)?;
        let key = std::str::from_utf8(&key).or(Err(AuthorityError::NotText))?;
        let root = Arc::new(Root::from_pem(certificate, key)?);
        *kept = Some(Arc::clone(&root));
        Ok(root)
    }
}
