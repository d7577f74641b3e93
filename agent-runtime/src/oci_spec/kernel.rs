//! What the kernel and the daemon's own confinement allow, read once when the runtime opens.
//! The only file of this module that looks at the machine.

use std::fs;
use std::path::Path;

use crate::caps::CapabilitySet;
use crate::runtime::facts::{CgroupLayout, CgroupVersion};

/// What the kernel and the daemon's own confinement allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelFacts {
    /// Capabilities that this daemon can hand on: its own bounding set.
    pub capabilities: CapabilitySet,
    /// Whether swap can be limited.
    pub swap_limit: bool,
}

/// Groups that are looked into for the file of the swap limit, which the root group does not have.
const GROUPS_LOOKED_AT: usize = 64;

impl KernelFacts {
    /// Reads them from `/proc` and the control groups.
    pub fn probe(layout: &CgroupLayout) -> std::io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let capabilities = CapabilitySet::bounding_of(&status)
            .ok_or_else(|| std::io::Error::other("/proc/self/status does not name the bounding set"))?;
        Ok(Self {
            capabilities,
            swap_limit: swap_limit(layout),
        })
    }
}

fn swap_limit(layout: &CgroupLayout) -> bool {
    let memory = layout
        .hierarchies
        .iter()
        .find(|hierarchy| hierarchy.controllers.iter().any(|name| name == "memory"));
    let Some(memory) = memory else {
        return false;
    };
    let root = memory.mount_point.as_path();
    match layout.version {
        CgroupVersion::V1 | CgroupVersion::Hybrid => root.join("memory.memsw.limit_in_bytes").exists(),
        // Where no group has the controller yet, the kernel's ability to swap at all is the best guess.
        CgroupVersion::V2 => any_group_limits_swap(root).unwrap_or_else(|| Path::new("/proc/swaps").exists()),
    }
}

/// Whether groups that have the memory controller have a limit for swap; none if there is no such group.
fn any_group_limits_swap(root: &Path) -> Option<bool> {
    let groups = fs::read_dir(root).ok()?.take(GROUPS_LOOKED_AT).flatten();
    groups
        .map(|group| group.path())
        .find(|group| group.join("memory.max").exists())
        .map(|group| group.join("memory.swap.max").exists())
}
