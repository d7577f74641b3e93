//! Which logs of tasks that are gone are to be forgotten.
//!
//! Pure. Asked by the supervisor's sweep.

use shoal_agent_runtime::ContainerId;
use shoal_core::model::WallTime;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a task's log outlives it, and how many such logs are kept at most.
const LOGS_KEPT: Duration = Duration::from_secs(24 * 3600);
const MOST_LOGS: usize = 1000;

/// Logs past their time, and the oldest beyond the most that are kept.
pub(super) fn old_logs(logs: &BTreeMap<ContainerId, WallTime>, now: WallTime) -> Vec<ContainerId> {
    let kept = i64::try_from(LOGS_KEPT.as_nanos()).unwrap_or(i64::MAX);
    let mut by_age: Vec<_> = logs.iter().map(|(id, at)| (*at, id)).collect();
    by_age.sort();
    let surplus = by_age.len().saturating_sub(MOST_LOGS);
    by_age
        .into_iter()
        .enumerate()
        .filter(|(rank, (at, _))| *rank < surplus || now.0.saturating_sub(at.0) > kept)
        .map(|(_, (_, id))| id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::container_of;
    use crate::testing::assigned;

    fn container(number: u32) -> ContainerId {
        container_of(&assigned(number).id, 0).unwrap()
    }

    #[test]
    fn logs_are_kept_for_a_day_and_up_to_a_number() {
        let now = WallTime(i64::MAX / 2);
        let day = i64::try_from(LOGS_KEPT.as_nanos()).unwrap();
        let logs = BTreeMap::from([
            (container(1), WallTime(now.0 - day - 1)),
            (container(2), WallTime(now.0 - day)),
        ]);
        assert_eq!(old_logs(&logs, now), [container(1)]);
        let number = |n: usize| u32::try_from(n).unwrap();
        let many = (0..MOST_LOGS + 2)
            .map(|n| {
                (
                    container(number(n)),
                    WallTime(now.0 - 1000 + i64::from(number(n))),
                )
            })
            .collect();
        assert_eq!(old_logs(&many, now), [container(0), container(1)]);
    }
}
