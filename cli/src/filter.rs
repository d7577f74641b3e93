//! `--filter KEY=VALUE`: values of one key are alternatives, different keys must all match.
//!
//! Every list says which keys it knows, and how a thing matches one of them.

/// One filter as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    key: String,
    value: String,
}

impl std::str::FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            }),
            _ => Err(format!("expected KEY=VALUE, found {text:?}")),
        }
    }
}

/// The flag of every list.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct FilterArgs {
    /// Only show what matches: KEY=VALUE; the same key again is an alternative
    #[arg(short, long = "filter", value_name = "FILTER")]
    filters: Vec<Filter>,
}

impl From<Vec<Filter>> for FilterArgs {
    fn from(filters: Vec<Filter>) -> Self {
        Self { filters }
    }
}

impl FilterArgs {
    /// Checks the keys, so that a misspelt one is not "nothing matches".
    pub(crate) fn check(&self, keys: &[&str]) -> anyhow::Result<()> {
        match self
            .filters
            .iter()
            .find(|filter| !keys.contains(&filter.key.as_str()))
        {
            None => Ok(()),
            Some(filter) => Err(crate::failure::usage(format!(
                "--filter: expected one of {}, found {:?}",
                keys.join(", "),
                filter.key
            ))),
        }
    }

    /// Does a thing pass? `matches` says whether it matches one key and value.
    pub(crate) fn pass(&self, matches: impl Fn(&str, &str) -> bool) -> bool {
        self.filters.iter().all(|filter| {
            let mut same = self.filters.iter().filter(|other| other.key == filter.key);
            same.any(|other| matches(&other.key, &other.value))
        })
    }
}

/// `label=KEY` or `label=KEY=VALUE`.
pub(crate) fn label_matches(labels: &shoal_core::model::Labels, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_key_or_different_key_and() {
        let args = |texts: &[&str]| FilterArgs {
            filters: texts.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let thing = |key: &str, value: &str| matches!((key, value), ("name", "web") | ("mode", "global"));
        for (texts, expect) in [
            (&[][..], true),
            (&["name=web"], true),
            (&["name=db"], false),
            (&["name=db", "name=web"], true),
            (&["name=web", "mode=global"], true),
            (&["name=web", "mode=replicated"], false),
        ] {
            assert_eq!(args(texts).pass(thing), expect, "{texts:?}");
        }
        assert!(args(&["nmae=web"]).check(&["name"]).is_err());
        assert!("novalue".parse::<Filter>().is_err());
    }
}
