//! The configuration object of an image: what a container made from it runs by default.
//!
//! Reads what Docker, BuildKit, buildah and others write (fields missing, null or empty), and writes the same keys
//! for imported images. Only the shape is checked here; what the values mean is the container's builder's matter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::digest::Digest;

/// Defaults for containers: Docker's `Config` object of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user[:group]`, names or numbers; empty means root.
    #[serde(deserialize_with = "nullable")]
    pub user: String,
    /// `NAME=value` pairs, in order.
    #[serde(deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// The program and its fixed arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments, or the whole command where there is no entrypoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Empty means `/`.
    #[serde(deserialize_with = "nullable")]
    pub working_dir: String,
    /// `port/protocol`.
    #[serde(with = "empty_objects", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// Paths that get a volume of their own.
    #[serde(with = "empty_objects", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Free labels.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Name or number of the signal that asks the program to stop; empty means SIGTERM.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// The check that says whether the container is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<ImageHealthcheck>,
    /// The shell of `CMD-SHELL` checks and shell forms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Triggers for builds from this image; carried, not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
}

/// Docker's `Healthcheck` object. Durations are nanoseconds in JSON; `None` means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageHealthcheck {
    /// `["NONE"]`, `["CMD", args…]` or `["CMD-SHELL", command]`.
    #[serde(deserialize_with = "nullable")]
    pub test: Vec<String>,
    #[serde(with = "nanoseconds", skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    #[serde(with = "nanoseconds", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    #[serde(with = "nanoseconds", skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Duration>,
    #[serde(with = "nanoseconds", skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<Duration>,
    /// Failures in a row that make it unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

/// The whole configuration blob, as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigBlob {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub(crate) author: String,
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) config: ImageConfig,
    pub(crate) rootfs: RootfsBlob,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) history: Vec<HistoryBlob>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootfsBlob {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) diff_ids: Vec<Digest>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HistoryBlob {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "std::ops::Not::not")]
    pub(crate) empty_layer: bool,
}

/// Go writes absent values as `null`; here they are the default.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A Go set: an object whose values are empty objects.
mod empty_objects {
    use super::{BTreeMap, BTreeSet, Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize)]
    struct Empty {}

    pub(super) fn serialize<S: Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(set.iter().map(|key| (key, Empty {})))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let map = Option::<BTreeMap<String, serde::de::IgnoredAny>>::deserialize(deserializer)?;
        Ok(map.unwrap_or_default().into_keys().collect())
    }
}

/// A Go duration: nanoseconds, zero and absent meaning the default.
mod nanoseconds {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let nanos = value.map(|duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        nanos.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let nanos = Option::<i64>::deserialize(deserializer)?.unwrap_or(0);
        Ok(u64::try_from(nanos)
            .ok()
            .filter(|nanos| *nanos > 0)
            .map(Duration::from_nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_docker_writes() {
        let digest = Digest::of(b"layer");
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2024-01-02T03:04:05Z","author":null,
            "config":{{"User":null,"Env":["PATH=/bin"],"Entrypoint":null,"Cmd":["sh"],"WorkingDir":"/srv",
            "ExposedPorts":{{"80/tcp":{{}}}},"Volumes":null,"Labels":null,"OnBuild":null,"Hostname":"",
            "Healthcheck":{{"Test":["CMD-SHELL","true"],"Interval":5000000000,"Timeout":0,"Retries":3}}}},
            "rootfs":{{"type":"layers","diff_ids":["{digest}"]}},
            "history":[{{"created_by":"x","empty_layer":null}}],"docker_version":"20"}}"#
        );
        let blob: ConfigBlob = serde_json::from_str(&text).expect("parse");
        assert_eq!(blob.config.cmd, Some(vec!["sh".to_owned()]));
        assert_eq!(blob.config.working_dir, "/srv");
        assert!(blob.config.exposed_ports.contains("80/tcp"));
        let check = blob.config.healthcheck.clone().expect("health check");
        assert_eq!(
            (check.interval, check.timeout),
            (Some(Duration::from_secs(5)), None)
        );
        let again: ConfigBlob =
            serde_json::from_str(&serde_json::to_string(&blob).expect("write")).expect("parse again");
        assert_eq!(again, blob);
    }
}
