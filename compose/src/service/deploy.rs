//! `deploy` and `restart`: how many tasks, where, and how they are restarted and replaced.
//!
//! Compose's `restart` is carried out as the restart policy that comes nearest; `docker stack deploy`
//! ignores it.

use super::limits::{Amounts, resources};
use crate::{
    keys,
    reader::{Field, Reader},
};
use shoal_core::model::{
    EndpointMode, FailureAction, Labels, Placement, Preference, RestartCondition, RestartPolicy,
    UpdateConfig, UpdateOrder,
};

/// What `deploy` said.
#[derive(Default)]
pub(super) struct Deploy<'a> {
    pub(super) global: bool,
    pub(super) endpoint_mode: EndpointMode,
    pub(super) replicas: Option<(u32, Field<'a>)>,
    pub(super) labels: Labels,
    pub(super) placement: Placement,
    pub(super) amounts: Amounts<'a>,
    pub(super) restart: Option<RestartPolicy>,
    pub(super) update: Option<UpdateConfig>,
}

pub(super) fn read<'a>(reader: &mut Reader<'_>, field: &Field<'a>) -> Deploy<'a> {
    let mut deploy = Deploy::default();
    for (key, inner) in reader.entries(field, keys::DEPLOY) {
        match key {
            "mode" => deploy.global = is_global(reader, &inner),
            "replicas" => {
                deploy.replicas = reader
                    .parsed(&inner, "a number of replicas")
                    .map(|replicas| (replicas, inner.clone()));
            }
            "labels" => deploy.labels = reader.plain_pairs(&inner),
            "placement" => deploy.placement = placement(reader, &inner),
            "resources" => deploy.amounts = resources(reader, &inner),
            "restart_policy" => deploy.restart = Some(restart_policy(reader, &inner)),
            "update_config" => deploy.update = Some(update_config(reader, &inner)),
            // endpoint_mode
            _ => {
                let words = [("vip", EndpointMode::Vip), ("dnsrr", EndpointMode::DnsRoundRobin)];
                deploy.endpoint_mode = reader.word(&inner, &words).unwrap_or_default();
            }
        }
    }
    deploy
}

fn is_global(reader: &mut Reader<'_>, field: &Field<'_>) -> bool {
    let words = [
        ("replicated", Some(false)),
        ("global", Some(true)),
        ("replicated-job", None),
        ("global-job", None),
    ];
    match reader.word(field, &words) {
        Some(Some(global)) => global,
        Some(None) => {
            reader.error(field, "not supported: jobs are not built yet");
            false
        }
        None => false,
    }
}

fn placement(reader: &mut Reader<'_>, field: &Field<'_>) -> Placement {
    let mut placement = Placement::default();
    for (key, inner) in reader.entries(field, keys::PLACEMENT) {
        match key {
            "constraints" => placement.constraints = reader.texts(&inner),
            "preferences" => {
                for item in reader.list(&inner) {
                    for (_, spread) in reader.entries(&item, keys::PREFERENCE) {
                        let label = reader.text(&spread);
                        placement.preferences.extend(label.map(Preference::Spread));
                    }
                }
            }
            _ => {
                placement.max_replicas_per_node = reader.parsed(&inner, "a number of replicas").unwrap_or(0);
            }
        }
    }
    placement
}

fn restart_policy(reader: &mut Reader<'_>, field: &Field<'_>) -> RestartPolicy {
    let conditions = [
        ("none", RestartCondition::None),
        ("on-failure", RestartCondition::OnFailure),
        ("any", RestartCondition::Any),
    ];
    let mut policy = RestartPolicy::default();
    for (key, inner) in reader.entries(field, keys::RESTART_POLICY) {
        match key {
            "condition" => {
                policy.condition = reader.word(&inner, &conditions).unwrap_or(policy.condition);
            }
            "delay" => policy.delay = reader.duration(&inner),
            // Zero attempts is Swarm's way to write "no bound".
            "max_attempts" => {
                policy.max_attempts = reader
                    .parsed(&inner, "a number of attempts")
                    .filter(|most| *most > 0);
            }
            _ => policy.window = reader.duration(&inner).filter(|window| !window.is_zero()),
        }
    }
    policy
}

/// `restart: no|always|unless-stopped|on-failure[:attempts]`.
pub(super) fn restart(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<RestartPolicy> {
    let text = reader.text(field)?;
    let (word, attempts) = match text.split_once(':') {
        Some((word, attempts)) => (word, attempts.parse().ok().filter(|most: &u32| *most > 0)),
        None => (text.as_str(), None),
    };
    let condition = match (word, text.contains(':'), attempts) {
        // An unquoted `no` is the boolean false to YAML 1.1 tools that rewrote the file.
        ("no" | "false", false, _) => RestartCondition::None,
        ("always" | "unless-stopped", false, _) => RestartCondition::Any,
        ("on-failure", false, _) | ("on-failure", true, Some(_)) => RestartCondition::OnFailure,
        _ => {
            reader.error(
                field,
                format!("expected no, always, unless-stopped or on-failure[:attempts], found {text:?}"),
            );
            return None;
        }
    };
    Some(RestartPolicy {
        condition,
        max_attempts: attempts,
        ..RestartPolicy::default()
    })
}

fn update_config(reader: &mut Reader<'_>, field: &Field<'_>) -> UpdateConfig {
    let actions = [
        ("pause", FailureAction::Pause),
        ("continue", FailureAction::Continue),
        ("rollback", FailureAction::Rollback),
    ];
    let orders = [
        ("stop-first", UpdateOrder::StopFirst),
        ("start-first", UpdateOrder::StartFirst),
    ];
    let mut update = UpdateConfig::default();
    for (key, inner) in reader.entries(field, keys::UPDATE_CONFIG) {
        match key {
            "parallelism" => {
                update.parallelism = reader
                    .parsed(&inner, "a number of tasks")
                    .unwrap_or(update.parallelism);
            }
            "delay" => update.delay = reader.duration(&inner).unwrap_or(update.delay),
            "monitor" => update.monitor = reader.duration(&inner).unwrap_or(update.monitor),
            "failure_action" => {
                update.failure_action = reader.word(&inner, &actions).unwrap_or(update.failure_action);
            }
            "order" => update.order = reader.word(&inner, &orders).unwrap_or(update.order),
            _ => update.max_failure_ratio_permille = permille(reader, &inner),
        }
    }
    update
}

/// A share between 0 and 1, in thousandths.
fn permille(reader: &mut Reader<'_>, field: &Field<'_>) -> u32 {
    const WHAT: &str = "a share between 0 and 1";
    let share: f64 = reader.parsed(field, WHAT).unwrap_or(0.0);
    if (0.0..=1.0).contains(&share) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1000 by the check above"
        )]
        let permille = (share * 1000.0).round() as u32;
        return permille;
    }
    reader.error(field, format!("expected {WHAT}, found {share}"));
    0
}
