//! Golden files, and what must hold for any input: no panic, a bounded answer.
//!
//! `golden/NAME.yaml` is read (on top of `NAME.base.yaml` where there is one) and compared with
//! `golden/NAME.expect`. `SHOAL_BLESS=1 cargo test -p shoal-compose` writes the expectations anew.

use crate::{Diagnostic, FileError, Files, Loaded, Options, SourceFile, load};
use proptest::prelude::*;
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

struct Map(BTreeMap<&'static str, &'static str>);

impl Files for Map {
    fn read(&mut self, path: &str) -> Result<String, FileError> {
        match self.0.get(path) {
            Some(text) => Ok((*text).to_owned()),
            None => Err(FileError::NotFound),
        }
    }
}

fn files() -> Map {
    Map(BTreeMap::from([
        ("/project/.env", "FROM_DOTENV=dot\nFROM_CALLER=lost\n"),
        ("/project/a.env", "A=a\nB=\"b ${FROM_DOTENV}\"\n"),
        ("/project/raw.env", "R=\"raw\" $X\n"),
        ("/project/broken.env", "OK=1\nNOT OK=2\n"),
    ]))
}

fn options(name: &str, texts: Vec<(String, String)>) -> Options {
    let sources = texts.into_iter().map(|(name, text)| SourceFile { name, text });
    Options {
        files: sources.collect(),
        project_dir: "/project".to_owned(),
        name: (!matches!(name, "full" | "override" | "refused" | "checked")).then(|| "app".to_owned()),
        environment: BTreeMap::from([
            ("FROM_CALLER".to_owned(), "caller".to_owned()),
            ("HOME".to_owned(), "/home/me".to_owned()),
        ]),
        ..Options::default()
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn load_golden(name: &str) -> Loaded {
    let mut texts = Vec::new();
    for file in [format!("{name}.base.yaml"), format!("{name}.yaml")] {
        if let Ok(text) = fs::read_to_string(directory().join(&file)) {
            texts.push((file, text));
        }
    }
    load(&options(name, texts), &mut files())
}

/// Takes away what stands at its default, so that a golden file shows what the Compose file said.
fn prune(value: Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Object(map) => {
            let kept: serde_json::Map<_, _> = map
                .into_iter()
                .filter_map(|(key, value)| Some((key, prune(value)?)))
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => (!items.is_empty()).then(|| {
            Value::Array(
                items
                    .into_iter()
                    .map(|item| prune(item).unwrap_or_default())
                    .collect(),
            )
        }),
        other => Some(other),
    }
}

fn show(loaded: &Loaded) -> String {
    let mut out = String::new();
    for diagnostic in &loaded.diagnostics {
        writeln!(out, "{diagnostic}").unwrap();
    }
    if let Some(stack) = &loaded.stack {
        let json = prune(serde_json::to_value(stack).unwrap()).unwrap_or_default();
        writeln!(out, "{}", serde_json::to_string_pretty(&json).unwrap()).unwrap();
        writeln!(out, "---\n{}", loaded.merged).unwrap();
    }
    out
}

#[test]
fn golden_files() {
    let mut names: Vec<String> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .filter(|name| !name.ends_with(".base"))
        .collect();
    names.sort();
    assert!(names.len() > 10);
    let mut failed = Vec::new();
    for name in names {
        let shown = show(&load_golden(&name));
        let path = directory().join(format!("{name}.expect"));
        if std::env::var_os("SHOAL_BLESS").is_some() {
            fs::write(&path, &shown).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != shown {
            failed.push(format!("{name} now gives:\n{shown}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn load_text(text: &str) -> Loaded {
    let texts = vec![("compose.yaml".to_owned(), text.to_owned())];
    load(&options("any", texts), &mut files())
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    for name in [
        "full",
        "v3",
        "override",
        "merge",
        "envfile",
        "networks",
        "ports",
        "v3-networks",
    ] {
        let first = load_golden(name);
        let again = vec![("again".to_owned(), first.merged.clone())];
        let second = load(&options(name, again), &mut files());
        assert_eq!(second.stack, first.stack, "{name}\n{:?}", second.diagnostics);
        assert_eq!(second.merged, first.merged, "{name}");
    }
}

#[test]
fn strict_makes_warnings_errors() {
    let text = "services: {web: {image: a, attach: true}}";
    let texts = vec![("compose.yaml".to_owned(), text.to_owned())];
    let lenient = load(&options("any", texts.clone()), &mut files());
    assert!(lenient.stack.is_some());
    let strict = Options {
        strict: true,
        ..options("any", texts)
    };
    let strict = load(&strict, &mut files());
    assert!(strict.stack.is_none());
    let messages: Vec<_> = strict.diagnostics.iter().map(Diagnostic::to_string).collect();
    let expect = "compose.yaml:1:28: error: services.web.attach: not carried out: a stack runs detached; \
        `shoal service logs -f` follows it";
    assert_eq!(messages, [expect]);
}

#[test]
fn the_stacks_name_is_known_to_the_files() {
    let image = "services: {web: {image: \"i:$COMPOSE_PROJECT_NAME\", network_mode: host}}\n";
    let check = |given: Option<&str>, otherwise: Option<&str>, names: &[&str], expect: &str| {
        let texts = names.iter().enumerate().map(|(index, name)| {
            let text = format!("{name}{}", if index == 0 { image } else { "" });
            (format!("{index}.yaml"), text)
        });
        let options = Options {
            name: given.map(str::to_owned),
            name_otherwise: otherwise.map(str::to_owned),
            ..options("any", texts.collect())
        };
        let loaded = load(&options, &mut files());
        let shown = match &loaded.stack {
            Some(stack) => format!("{} {}", stack.name, stack.services["web"].task.container.image),
            None => loaded.diagnostics[0].message.clone(),
        };
        assert_eq!(shown, expect, "{given:?} {otherwise:?} {names:?}");
    };
    check(None, None, &["name: shop\n"], "shop i:shop");
    check(None, Some("stack"), &["name: shop\n"], "shop i:shop");
    check(Some("app"), Some("stack"), &["name: shop\n"], "app i:app");
    check(None, Some("stack"), &[""], "stack i:stack");
    check(
        None,
        None,
        &["name: shop-$FROM_CALLER\n"],
        "shop-caller i:shop-caller",
    );
    check(None, None, &["name: shop\n", "name: two\n"], "two i:two");
    check(None, None, &["name: shop\n", "name:\n"], "shop i:shop");
    check(
        None,
        Some("stack"),
        &["name: shop\n", "name: !reset\n"],
        "stack i:stack",
    );
}

#[test]
fn profiles_and_env_files_are_chosen_by_the_caller() {
    let text = "services: {a: {image: x, network_mode: host}, b: {image: \"$TAG\", network_mode: host, profiles: [p]}}";
    let texts = vec![("compose.yaml".to_owned(), text.to_owned())];
    let with = |profiles: &[&str], env_files: Option<&[&str]>| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let options = Options {
            profiles: own(profiles),
            env_files: env_files.map(own),
            ..options("any", texts.clone())
        };
        let mut files = Map(BTreeMap::from([("tags.env", "TAG=t\n")]));
        load(&options, &mut files)
    };
    let names = |loaded: Loaded| {
        loaded
            .stack
            .map(|stack| stack.services.keys().cloned().collect::<Vec<_>>())
    };
    assert_eq!(names(with(&[], None)).unwrap(), ["a"]);
    assert_eq!(names(with(&["p"], Some(&["tags.env"]))).unwrap(), ["a", "b"]);
    assert_eq!(names(with(&["*"], None)), None, "an empty image is refused");
    let missing = with(&[], Some(&["none.env"]));
    assert_eq!(
        missing.diagnostics[0].to_string(),
        "none.env: error: the env file none.env does not exist"
    );
}

#[test]
fn bounds_are_kept() {
    for (text, expect) in [
        ("[".repeat(100), "nested deeper than 64 levels"),
        (
            format!("a: {}1{}", "{b: ".repeat(100), "}".repeat(100)),
            "nested deeper than 64 levels",
        ),
        (
            "x".repeat((1 << 20) + 1),
            "the file has 1048577 bytes, at most 1048576 are read",
        ),
        (
            format!("a: &a {}\nb: [{}]", "y".repeat(1 << 19), "*a,".repeat(100)),
            "with its aliases written out",
        ),
    ] {
        let loaded = load_text(&text);
        assert!(loaded.stack.is_none());
        let first = loaded.diagnostics[0].to_string();
        assert!(first.contains(expect), "{first}");
    }
}

#[test]
fn few_messages_are_given_for_many_mistakes() {
    let services: String = (0..1000)
        .map(|n| format!("  s{n}: {{image: x, attach: true, imgae: y}}\n"))
        .collect();
    let loaded = load_text(&format!("services:\n{services}"));
    assert!(loaded.diagnostics.len() < 500, "{}", loaded.diagnostics.len());
    assert!(loaded.diagnostics.last().unwrap().message.contains("left out"));
}

/// A character or two of a good file changed, a piece taken out or doubled.
fn mutated() -> impl Strategy<Value = String> {
    let good = ["full", "v3", "refused", "override", "laughs"];
    let change = (
        0_usize..4000,
        0_usize..40,
        0_u8..4,
        "[-:{}\\[\\]&*!|>'\"%@`$#,\\n a-z0-9]{1,6}",
    );
    (
        prop::sample::select(good.to_vec()),
        prop::collection::vec(change, 1..5),
    )
        .prop_map(|(name, changes)| {
            let mut text: Vec<char> = fs::read_to_string(directory().join(format!("{name}.yaml")))
                .unwrap()
                .chars()
                .collect();
            for (at, length, kind, insert) in changes {
                let start = at.min(text.len());
                let end = (start + length).min(text.len());
                let piece: Vec<char> = text[start..end].to_vec();
                match kind {
                    0 => drop(text.drain(start..end)),
                    1 => drop(text.splice(start..start, piece)),
                    2 => drop(text.splice(start..end, insert.chars())),
                    _ => drop(text.splice(start..start, insert.chars())),
                }
            }
            text.into_iter().collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in "\\PC*") {
        let loaded = load_text(&text);
        prop_assert!(loaded.stack.is_some() || !loaded.diagnostics.is_empty());
    }

    #[test]
    fn any_yaml_like_text_is_answered(text in "([a-z]{1,3}: |- |[&*][a-c] |[\\[\\]{},:!|>'\"$#-]|\\n *|<<: |services:\\n|image: x\\n){0,60}") {
        let loaded = load_text(&text);
        prop_assert!(loaded.stack.is_some() || !loaded.diagnostics.is_empty());
    }

    #[test]
    fn a_damaged_file_is_answered(text in mutated()) {
        let loaded = load_text(&text);
        prop_assert!(loaded.stack.is_some() || !loaded.diagnostics.is_empty());
    }

    #[test]
    fn any_env_file_is_answered(text in "([A-Z]{1,2}[=:]|export |[\"'$#\\\\{}\\n :-]|[a-zä]{1,3}){0,40}", raw: bool) {
        let lookup = |name: &str| (name == "A").then(|| "a".to_owned());
        drop(crate::parse_env_file(&text, raw, &lookup));
    }
}
