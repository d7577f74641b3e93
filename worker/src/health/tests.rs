//! Docker's rules, case by case.

use super::*;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn plan() -> HealthPlan {
    HealthPlan {
        command: vec!["true".to_owned()],
        interval: secs(10),
        timeout: secs(3),
        start_period: secs(20),
        start_interval: secs(2),
        retries: 2,
    }
}

/// Runs a list of (seconds after the start at which the probe ran, exit code) and gives the verdicts.
fn run(plan: HealthPlan, probes: &[(u64, i32)]) -> Vec<Verdict> {
    let start = Instant::now();
    let mut health = Health::new(plan, start, Verdict::Starting, start);
    probes
        .iter()
        .map(|(second, code)| {
            let now = start + secs(*second);
            let probe = Probe {
                began: now,
                exit_code: Some(*code),
                output: format!("at {second}"),
            };
            health.handle(probe, now)
        })
        .collect()
}

#[test]
fn failures_count_only_after_the_start_period_or_a_first_success() {
    use Verdict::{Healthy, Starting, Unhealthy};
    for (name, probes, expect) in [
        (
            "within the start period",
            vec![(2, 1), (4, 1), (6, 1)],
            vec![Starting; 3],
        ),
        (
            "past it",
            vec![(19, 1), (21, 1), (31, 1)],
            vec![Starting, Starting, Unhealthy],
        ),
        (
            "a success ends it",
            vec![(2, 0), (4, 1), (6, 1)],
            vec![Healthy, Healthy, Unhealthy],
        ),
        (
            "a success resets the row",
            vec![(2, 0), (4, 1), (6, 0), (8, 1)],
            vec![Healthy; 4],
        ),
        (
            "unhealthy recovers",
            vec![(30, 1), (40, 1), (50, 0)],
            vec![Starting, Unhealthy, Healthy],
        ),
    ] {
        assert_eq!(run(plan(), &probes), expect, "{name}");
    }
}

#[test]
fn probes_are_due_by_start_interval_then_interval() {
    let start = Instant::now();
    let mut health = Health::new(plan(), start, Verdict::Starting, start);
    assert_eq!(health.next_deadline(), Some(start + secs(2)));
    assert!(health.take_due(start + secs(1)).is_none());
    assert!(health.take_due(start + secs(2)).is_some());
    assert_eq!(health.next_deadline(), None, "one probe at a time");
    let failed = |began| Probe {
        began,
        exit_code: None,
        output: "timed out".to_owned(),
    };
    health.handle(failed(start + secs(2)), start + secs(5));
    assert_eq!(
        health.next_deadline(),
        Some(start + secs(7)),
        "counted from the probe's end"
    );
    health.handle(failed(start + secs(21)), start + secs(24));
    assert_eq!(health.next_deadline(), Some(start + secs(34)));
    assert_eq!(health.last_output(), "timed out");
}

#[test]
fn the_services_check_wins_field_by_field_over_the_images() {
    let image = HealthCheck {
        test: Some(HealthTest::CmdShell("curl -f localhost".to_owned())),
        interval: Some(secs(7)),
        retries: Some(9),
        ..HealthCheck::default()
    };
    let service = HealthCheck {
        retries: Some(4),
        timeout: Some(Duration::ZERO),
        ..HealthCheck::default()
    };
    let merged = HealthPlan::merge(Some(&service), Some(&image)).unwrap();
    assert_eq!(merged.command, ["/bin/sh", "-c", "curl -f localhost"]);
    assert_eq!((merged.interval, merged.retries), (secs(7), 4));
    assert_eq!(
        (merged.timeout, merged.start_period, merged.start_interval),
        (secs(30), Duration::ZERO, secs(5))
    );
    let off = HealthCheck {
        test: Some(HealthTest::None),
        ..HealthCheck::default()
    };
    assert_eq!(HealthPlan::merge(Some(&off), Some(&image)), None);
    assert_eq!(HealthPlan::merge(None, None), None);
}
