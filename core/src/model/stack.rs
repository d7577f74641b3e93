//! A stack: the services that one compose file names, applied as one transaction.
//!
//! The stored spec is what was last deployed, so that the next deploy can tell what changed and what a
//! user scaled by hand since.

use super::{Meta, ServiceSpec, StackId};
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
}
