//! Values that this crate's tests share.
//!
//! Never compiled into the product.

use crate::assignment::{AssignedTask, Known};
use shoal_core::model::{DesiredState, IdGen, ServiceId, Slot, TaskId, TaskSpec, TaskState};
use std::time::Duration;

/// The numbered task of one service, wanted running.
pub(crate) fn assigned(number: u32) -> AssignedTask {
    AssignedTask {
        id: TaskId::mint(&mut IdGen::from_number(u64::from(number))),
        service: ServiceId::mint(&mut IdGen::from_number(u64::MAX)),
        service_name: "web".to_owned(),
        stack_name: String::new(),
        service_labels: shoal_core::model::Labels::new(),
        slot: Slot::Replica(number),
        desired: DesiredState::Running,
        spec: TaskSpec::default(),
        ports: vec![],
        hold: Duration::ZERO,
        known: Known {
            attempt: 0,
            state: TaskState::Assigned,
        },
    }
}
