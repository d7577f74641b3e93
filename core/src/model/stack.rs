//! A stack: the services and networks that one compose file names, applied as one transaction.
//!
//! The stored spec is what was last deployed, so that the next deploy can tell what changed and what a
//! user scaled by hand since.

use super::{Meta, NetworkSpec, ServiceSpec, StackId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    pub id: StackId,
    pub meta: Meta,
    pub spec: StackSpec,
    /// Counts deploys from 1.
    pub revision: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackSpec {
    /// Unique among stacks.
    pub name: String,
    /// By the service's name within the file; the stored service is called `<stack>_<name>`.
    pub services: BTreeMap<String, ServiceSpec>,
    /// By the network's name within the file, which is what the services' uses say.
    pub networks: BTreeMap<String, StackNetwork>,
}

/// A network that a compose file names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StackNetwork {
    /// The stack's own; stored as `<stack>_<name>` unless the spec has a name.
    Own(NetworkSpec),
    /// Made by somebody else: its stored name. It must be there when the stack is deployed.
    External(String),
}
