//! Which of an index's manifests runs on this node: operating system, architecture and, for ARM, the variant.
//!
//! Pure; called by pull and by `resolve`.

use super::manifest::{Descriptor, DocumentError, Platform};

/// This node's platform in OCI's words.
pub(crate) fn host() -> Platform {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", None),
        "x86" => ("386", None),
        "aarch64" => ("arm64", Some("v8")),
        "arm" => ("arm", Some("v7")),
        "powerpc64" => ("ppc64le", None),
        "riscv64" => ("riscv64", None),
        other => (other, None),
    };
    Platform {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        variant: variant.map(str::to_owned),
    }
}

/// The best manifest for `wanted`: the same variant, else the highest one below it, else one that names none.
pub(crate) fn choose<'a>(
    manifests: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor, DocumentError> {
    let ranked = manifests.iter().filter_map(|candidate| {
        let rank = match &candidate.platform {
            Some(platform) => rank(platform, wanted)?,
            None => return None,
        };
        Some((rank, candidate))
    });
    // The first of the best: registries list the preferred one first.
    let best = ranked.rev().max_by_key(|(rank, _)| *rank);
    let only = match manifests {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    };
    best.map(|(_, candidate)| candidate)
        .or(only)
        .ok_or_else(|| no_platform(manifests, wanted))
}

fn rank(platform: &Platform, wanted: &Platform) -> Option<u32> {
    if platform.os != wanted.os || platform.architecture != wanted.architecture {
        return None;
    }
    let number = |platform: &Platform| {
        platform
            .variant
            .as_deref()
            .and_then(|text| text.trim_start_matches('v').parse::<u32>().ok())
    };
    match (number(platform), number(wanted)) {
        (Some(has), Some(runs)) if has > runs => None,
        // amd64 variants above the baseline need instructions that this node may lack.
        (Some(has), None) if has > 1 => None,
        (Some(has), _) => Some(has + 1),
        (None, _) => Some(if wanted.variant.is_none() || wanted.architecture == "arm64" {
            100
        } else {
            0
        }),
    }
}

fn no_platform(manifests: &[Descriptor], wanted: &Platform) -> DocumentError {
    let mut found: Vec<String> = manifests
        .iter()
        .filter_map(|candidate| candidate.platform.as_ref())
        // Attestations are listed under an unknown platform.
        .filter(|platform| platform.os != "unknown")
        .map(show)
        .collect();
    found.truncate(20);
    let found = if found.is_empty() {
        "none at all".to_owned()
    } else {
        found.join(", ")
    };
    DocumentError::NoPlatform {
        wanted: show(wanted),
        found,
    }
}

pub(crate) fn show(platform: &Platform) -> String {
    let variant = platform
        .variant
        .as_ref()
        .map(|variant| format!("/{variant}"))
        .unwrap_or_default();
    format!("{}/{}{variant}", platform.os, platform.architecture)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::digest::Digest;
    use super::*;

    fn entry(text: &str) -> Descriptor {
        let mut parts = text.split('/').map(str::to_owned);
        let os = parts.next().unwrap_or_default();
        let platform = Platform {
            os,
            architecture: parts.next().unwrap_or_default(),
            variant: parts.next(),
        };
        let platform = (text != "-").then_some(platform);
        let digest = Digest::of(text.as_bytes());
        Descriptor {
            media_type: String::new(),
            digest,
            size: 1,
            platform,
            annotations: BTreeMap::new(),
        }
    }

    fn check(wanted: &str, offered: &[&str], expect: Option<&str>) {
        let wanted = entry(wanted).platform.expect("platform");
        let manifests: Vec<Descriptor> = offered.iter().map(|text| entry(text)).collect();
        let chosen = choose(&manifests, &wanted)
            .ok()
            .map(|chosen| chosen.digest.clone());
        assert_eq!(
            chosen,
            expect.map(|text| Digest::of(text.as_bytes())),
            "{wanted:?} of {offered:?}"
        );
    }

    #[test]
    fn picks_the_best_that_runs() {
        check(
            "linux/amd64",
            &["linux/arm64", "linux/amd64", "unknown/unknown"],
            Some("linux/amd64"),
        );
        check("linux/amd64", &["windows/amd64", "linux/386"], None);
        check(
            "linux/amd64",
            &["linux/amd64/v3", "linux/amd64"],
            Some("linux/amd64"),
        );
        check("linux/amd64", &["linux/amd64/v3"], None);
        check("linux/amd64", &["-"], Some("-"));
        check("linux/amd64", &["-", "-"], None);
        check(
            "linux/arm/v7",
            &["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"],
            Some("linux/arm/v7"),
        );
        check(
            "linux/arm/v6",
            &["linux/arm/v7", "linux/arm/v5"],
            Some("linux/arm/v5"),
        );
        check("linux/arm64/v8", &["linux/arm64"], Some("linux/arm64"));
        check(
            "linux/arm64/v8",
            &["linux/arm64/v9", "linux/arm64/v8"],
            Some("linux/arm64/v8"),
        );
    }
}
