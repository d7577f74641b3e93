//! `volume ls` and `volume rm`.
//!
//! Called on the local socket; never removes a volume that a container uses.

use super::{LocalService, refuse};
use crate::clock;
use crate::translate::anonymous_volumes;
use shoal_agent_runtime::volumes::VolumeError;
use shoal_api::v1::{self, ErrorCode};
use shoal_core::model::MountSource;
use std::collections::BTreeMap;
use tonic::Status;

impl LocalService {
    pub(super) async fn list_volumes(&self) -> Result<v1::VolumeListResponse, Status> {
        let users = self.users();
        let listed = self.runtime.volumes().list().await;
        let listed = listed.map_err(|error| refuse(ErrorCode::Internal, &error))?;
        let volumes = listed.into_iter().map(|volume| v1::Volume {
            containers: u32::try_from(users.get(&volume.name).map_or(0, Vec::len)).unwrap_or(u32::MAX),
            anonymous: is_anonymous(&volume.name),
            path: volume.mountpoint.display().to_string(),
            created_at: clock::wall_of_text(&volume.created_at).0,
            name: volume.name,
        });
        Ok(v1::VolumeListResponse {
            volumes: volumes.collect(),
        })
    }

    pub(super) async fn remove_volume(
        &self,
        request: &v1::VolumeRemoveRequest,
    ) -> Result<v1::VolumeRemoveResponse, Status> {
        let users = self.users().remove(&request.name).unwrap_or_default();
        match self.runtime.volumes().remove(&request.name, &users).await {
            Ok(()) => Ok(v1::VolumeRemoveResponse {}),
            Err(VolumeError::NotFound { .. }) if request.force => Ok(v1::VolumeRemoveResponse {}),
            Err(error @ VolumeError::NotFound { .. }) => Err(refuse(ErrorCode::NotFound, &error)),
            Err(error @ VolumeError::InUse { .. }) => Err(refuse(ErrorCode::InUse, &error)),
            Err(error) => Err(refuse(ErrorCode::Internal, &error)),
        }
    }

    /// Which tasks that have not ended use a volume, by name.
    fn users(&self) -> BTreeMap<String, Vec<String>> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let posted = self.board().map(|board| board.all()).unwrap_or_default();
        for posted in posted.iter().filter(|posted| !posted.report.state.is_terminal()) {
            let named = posted
                .task
                .spec
                .container
                .mounts
                .iter()
                .filter_map(|mount| match &mount.source {
                    MountSource::Volume { name, .. } => name.clone(),
                    MountSource::Bind { .. } | MountSource::Tmpfs { .. } => None,
                });
            for volume in named.chain(anonymous_volumes(&posted.container, &posted.task)) {
                users.entry(volume).or_default().push(posted.task.name());
            }
        }
        users
    }
}

/// Named after a container, as no user's volume can be by accident.
fn is_anonymous(name: &str) -> bool {
    name.rsplit_once('-')
        .is_some_and(|(container, _)| crate::name::task_of_text(container).is_some())
}
