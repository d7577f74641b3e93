//! Who this node is, on disk: `<state>/node/` with key, certificate, root certificate and `node.json`.
//!
//! `node.json` is written last: without it the node is no member, whatever else lies there. A renewed
//! certificate is for the same key, so that one file is replaced.

use crate::files::{FileError, read_file, write_file};
use serde::{Deserialize, Serialize};
use shoal_api::identity::{Credentials, LiveCredentials};
use shoal_core::model::{ClusterId, NodeId, Role};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The layout of `node.json`; a later one is refused rather than misread.
const VERSION: u32 = 1;

/// What `node.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub version: u32,
    pub cluster: ClusterId,
    pub node: NodeId,
    pub role: Role,
    /// `host:port` of the managers, where this node is none itself.
    pub managers: Vec<String>,
    /// As `cluster init` said; otherwise the daemon's settings hold.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
}

/// A member's whole identity.
#[derive(Clone, Debug)]
pub struct Identity {
    pub membership: Membership,
    pub credentials: Credentials,
}

/// The identity on disk could not be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} cannot be understood: it was damaged, or written by something else")]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error(
        "{path} has layout {found}; this version reads up to {VERSION}: it was written by a newer shoald"
    )]
    Newer { path: PathBuf, found: u32 },
    #[error(
        "{path} is missing, although node.json beside it says that this node is a member: restore it, or remove the state directory and join anew"
    )]
    Missing { path: PathBuf },
    #[error(
        "key.pem, cert.pem and ca.pem in {dir} are damaged or do not belong together: restore them from a backup, or remove the state directory and join anew"
    )]
    Damaged {
        dir: PathBuf,
        #[source]
        source: shoal_api::identity::IdentityError,
    },
}

impl Membership {
    /// A new member.
    pub fn new(cluster: ClusterId, node: NodeId, role: Role) -> Self {
        Self {
            version: VERSION,
            cluster,
            node,
            role,
            managers: Vec::new(),
            listen: None,
        }
    }
}

impl Identity {
    /// Reads the identity; `None` if the node is no member of a cluster yet.
    pub fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join("node.json");
        let Some(text) = read_file(&path)? else {
            return Ok(None);
        };
        let parse = |source| IdentityError::Parse {
            path: path.clone(),
            source,
        };
        let raw: serde_json::Value = serde_json::from_str(&text).map_err(parse)?;
        let found = raw
            .get("version")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0);
        if found > u64::from(VERSION) {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(IdentityError::Newer { path, found });
        }
        let membership = serde_json::from_value(raw).map_err(parse)?;
        let credentials = Credentials {
            key_pem: needed(dir, "key.pem")?.into(),
            certificate_pem: needed(dir, "cert.pem")?,
            root_pem: needed(dir, "ca.pem")?,
        };
        LiveCredentials::new(&credentials).map_err(|source| IdentityError::Damaged {
            dir: dir.to_owned(),
            source,
        })?;
        Ok(Some(Self {
            membership,
            credentials,
        }))
    }

    /// Writes the whole identity; the node is a member once this returns.
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        self.save_credentials(dir)?;
        let path = dir.join("node.json");
        let text = serde_json::to_vec_pretty(&self.membership).map_err(|source| IdentityError::Parse {
            path: path.clone(),
            source,
        })?;
        write_file(&path, &text)?;
        Ok(())
    }

    /// Writes a renewed certificate.
    pub fn save_certificate(&self, dir: &Path) -> Result<(), IdentityError> {
        write_file(&dir.join("cert.pem"), self.credentials.certificate_pem.as_bytes())?;
        Ok(())
    }

    fn save_credentials(&self, dir: &Path) -> Result<(), IdentityError> {
        write_file(&dir.join("ca.pem"), self.credentials.root_pem.as_bytes())?;
        write_file(&dir.join("key.pem"), self.credentials.key_pem.as_bytes())?;
        self.save_certificate(dir)
    }
}

fn needed(dir: &Path, name: &str) -> Result<String, IdentityError> {
    let path = dir.join(name);
    read_file(&path)?.ok_or(IdentityError::Missing { path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_api::identity::{Identity as Named, LEAF_LIFE, NewKey, Root};
    use shoal_core::model::{IdGen, WallTime};

    fn identity() -> Identity {
        let mut ids = IdGen::from_number(1);
        let (cluster, node) = (ClusterId::mint(&mut ids), NodeId::mint(&mut ids));
        let root = Root::generate(&cluster, WallTime(0)).unwrap();
        let key = NewKey::generate().unwrap();
        let named = Named::node(cluster.clone(), node.clone(), Role::Manager);
        let certificate = root.issue(&key.csr_pem, &named, WallTime(0), LEAF_LIFE).unwrap();
        Identity {
            membership: Membership::new(cluster, node, Role::Manager),
            credentials: key.certified(certificate, root.certificate_pem().to_owned()),
        }
    }

    #[test]
    fn an_identity_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Identity::load(dir.path()).unwrap().is_none());
        let made = identity();
        made.save_credentials(dir.path()).unwrap();
        assert!(
            Identity::load(dir.path()).unwrap().is_none(),
            "node.json makes a member"
        );
        made.save(dir.path()).unwrap();
        let loaded = Identity::load(dir.path()).unwrap().unwrap();
        assert_eq!(loaded.membership, made.membership);
        assert_eq!(
            loaded.credentials.certificate_pem,
            made.credentials.certificate_pem
        );
        std::fs::remove_file(dir.path().join("key.pem")).unwrap();
        let error = Identity::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("key.pem is missing"), "{error}");
    }

    #[test]
    fn damaged_keys_are_said_with_their_place() {
        let dir = tempfile::tempdir().unwrap();
        identity().save(dir.path()).unwrap();
        let other = identity();
        for (name, text) in [
            ("key.pem", "garbage"),
            ("cert.pem", ""),
            ("ca.pem", "x"),
            ("key.pem", other.credentials.key_pem.as_str()),
        ] {
            let path = dir.path().join(name);
            let before = std::fs::read(&path).unwrap();
            std::fs::write(&path, text).unwrap();
            let error = Identity::load(dir.path()).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{name}: {error}");
            assert!(
                error.to_string().contains(&dir.path().display().to_string()),
                "{error}"
            );
            std::fs::write(&path, before).unwrap();
        }
        assert!(Identity::load(dir.path()).unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.json");
        std::fs::write(&path, "{\"version\":99}").unwrap();
        assert!(matches!(
            Identity::load(dir.path()),
            Err(IdentityError::Newer { found: 99, .. })
        ));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(
            Identity::load(dir.path()),
            Err(IdentityError::Parse { .. })
        ));
    }
}
