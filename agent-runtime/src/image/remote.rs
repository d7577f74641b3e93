//! The registry client, made when it is first needed, and the turns of pulls of the same reference.
//!
//! Called by pull and `resolve`; never holds a connection for longer than one of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::find::LookupError;
use super::reference::Reference;
use crate::registry::{Registry, RegistryError};

/// Why a reference could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The local store could not be read.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It is not on this node, and the registry does not give it either.
    #[error("image {reference} is not on this node, and cannot be found at its registry")]
    Registry {
        reference: String,
        #[source]
        source: RegistryError,
    },
}

/// What `Images` needs beyond this node.
#[derive(Debug)]
pub(super) struct Remote {
    insecure: Vec<String>,
    client: Mutex<Option<Registry>>,
    /// One turn a reference; those that nobody holds are forgotten.
    turns: Mutex<HashMap<Reference, Weak<tokio::sync::Mutex<()>>>>,
}

impl Remote {
    pub(super) fn new(insecure: Vec<String>) -> Self {
        Self {
            insecure,
            client: Mutex::new(None),
            turns: Mutex::new(HashMap::new()),
        }
    }

    pub(super) fn registry(&self) -> Result<Registry, RegistryError> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = client.as_ref() {
            return Ok(client.clone());
        }
        let made = Registry::new(&self.insecure)?;
        *client = Some(made.clone());
        Ok(made)
    }

    pub(super) fn turn(&self, reference: &Reference) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(reference).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        turns.insert(reference.clone(), Arc::downgrade(&turn));
        turn
    }
}
