//! The volumes of a container, by name: made on first use, filled from the image the first time.
//!
//! Called while a container is created; never removes a named volume.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::container::mount::MountKind;
use crate::container::spec::ContainerSpec;

use super::Inner;
use super::create::{CreateError, chain};

/// The directory of each volume that a spec names.
pub(super) async fn ensure(
    inner: &Inner,
    spec: &ContainerSpec,
    lowers: &[PathBuf],
) -> Result<BTreeMap<String, PathBuf>, CreateError> {
    let mut directories = BTreeMap::new();
    for (index, mount) in spec
        .mounts
        .iter()
        .enumerate()
        .filter(|(_, mount)| mount.kind == MountKind::Volume)
    {
        let failed = |error: &dyn std::error::Error| CreateError::Spec {
            field: format!("mounts[{index}].source"),
            message: chain(error),
        };
        let name = &mount.source;
        let volume = inner
            .volumes
            .ensure(name, BTreeMap::new())
            .await
            .map_err(|error| failed(&error))?;
        if !mount.options.iter().any(|option| option == "nocopy") {
            inner
                .volumes
                .populate(name, lowers, &mount.target)
                .await
                .map_err(|error| failed(&error))?;
        }
        directories.insert(name.clone(), volume.mountpoint);
    }
    Ok(directories)
}
