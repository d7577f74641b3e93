//! The name of a task's container: its id, made from the task and the attempt, and read back from it.
//!
//! Pure. Being derived, it needs no table: a crash between "made" and "written down" loses nothing, and a
//! container that is found says whose it is.

use shoal_agent_runtime::ContainerId;
use shoal_core::model::TaskId;

/// Hexadecimal digits of the attempt: what 25 characters of a task's id leave of 64.
const ATTEMPT_DIGITS: usize = 14;

/// The container of one attempt of a task.
pub fn container_of(task: &TaskId, attempt: u32) -> Option<ContainerId> {
    let text = format!(
        "{}{attempt:0width$x}",
        hex::encode(task.as_str()),
        width = ATTEMPT_DIGITS
    );
    text.parse().ok()
}

/// Whose container this is; `None` for one that no worker made.
pub fn task_of(container: &ContainerId) -> Option<(TaskId, u32)> {
    task_of_text(container.as_str())
}

/// As `task_of`, for a text from elsewhere (a cgroup's path).
pub fn task_of_text(container: &str) -> Option<(TaskId, u32)> {
    let at = container.len().checked_sub(ATTEMPT_DIGITS)?;
    let (task, attempt) = (container.get(..at)?, container.get(at..)?);
    let task = String::from_utf8(hex::decode(task).ok()?).ok()?;
    Some((task.parse().ok()?, u32::from_str_radix(attempt, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::model::IdGen;

    #[test]
    fn a_name_says_whose_it_is() {
        let mut ids = IdGen::from_number(3);
        for attempt in [0, 1, 255, u32::MAX] {
            let task = TaskId::mint(&mut ids);
            let container = container_of(&task, attempt).unwrap();
            assert_eq!(task_of(&container), Some((task, attempt)));
        }
        assert_eq!(task_of(&"ab".repeat(32).parse().unwrap()), None);
        assert_eq!(task_of_text("abc"), None);
    }
}
