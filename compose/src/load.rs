//! The way from files to a stack: parse, interpolate, merge, read.
//!
//! The first file may be followed by others that are merged on top. Each file is interpolated before the
//! merge, with the caller's variables over those of the env files. Whatever happens, all messages come
//! back; the stack only without errors.

use crate::{
    check::check,
    dotenv,
    interpolate::interpolate,
    keys, links, merge, networks,
    parse::parse,
    reader::{Field, Reader},
    render::render,
    report::{Diagnostic, Report},
    service::{self, Scope},
    tree::{At, Directive, Node, Value},
};
use shoal_core::model::StackSpec;
use std::collections::{BTreeMap, BTreeSet};

/// The names looked for, in this order, where none is given.
pub const DEFAULT_FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];
/// The files merged on top of a default one, where they exist.
pub const OVERRIDE_FILES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yaml",
    "docker-compose.override.yml",
];

/// A Compose file as the caller read it.
#[derive(Clone, Debug, Default)]
pub struct SourceFile {
    /// As messages shall name it.
    pub name: String,
    pub text: String,
}

/// What the caller wants read, and with what.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub files: Vec<SourceFile>,
    /// Absolute; relative paths of the files start here.
    pub project_dir: String,
    /// The stack's name; absent, the files' `name` counts.
    pub name: Option<String>,
    /// The stack's name where neither says one.
    pub name_otherwise: Option<String>,
    /// The caller's environment: it wins over env files.
    pub environment: BTreeMap<String, String>,
    /// Files of variables; absent: `.env` in the project directory, if it is there.
    pub env_files: Option<Vec<String>>,
    /// The profiles switched on, beside those of `COMPOSE_PROFILES`.
    pub profiles: Vec<String>,
    /// Every warning is an error.
    pub strict: bool,
    /// Leave variables as they stand (only good for showing the files).
    pub skip_interpolation: bool,
}

/// Why a further file could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    NotFound,
    /// In words that end up in the message.
    Unreadable(String),
}

/// The caller's answer to requests for further files. Paths are absolute or as the user wrote them.
pub trait Files {
    fn read(&mut self, path: &str) -> Result<String, FileError>;
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Present if there is no error.
    pub stack: Option<StackSpec>,
    pub diagnostics: Vec<Diagnostic>,
    /// The files merged and interpolated, as YAML.
    pub merged: String,
}

/// Reads the files of one stack.
pub fn load(options: &Options, files: &mut dyn Files) -> Loaded {
    let mut report = Report::default();
    let mut reader = Reader { report: &mut report };
    let environment = environment(options, files, &mut reader);
    let merged = merged(options, &environment, &mut reader);
    let mut loaded = Loaded::default();
    if let Some(tree) = merged {
        loaded.merged = render(&tree, !options.skip_interpolation);
        loaded.stack = stack(options, &environment, &tree, &mut reader, files);
    }
    let failed = report.has_errors();
    loaded.diagnostics = report.finish(options.strict);
    if failed || options.strict && !loaded.diagnostics.is_empty() {
        loaded.stack = None;
    }
    loaded
}

/// The caller's variables, with those of env files below them.
fn environment(
    options: &Options,
    files: &mut dyn Files,
    reader: &mut Reader<'_>,
) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let default = [format!("{}/.env", options.project_dir.trim_end_matches('/'))];
    let (paths, required) = match &options.env_files {
        Some(paths) => (paths.as_slice(), true),
        None => (default.as_slice(), false),
    };
    for path in paths {
        let text = match files.read(path) {
            Ok(text) => text,
            Err(FileError::NotFound) if !required => continue,
            Err(error) => {
                let at = whole_file(reader, path);
                reader.report.error(at, "", unreadable("env file", path, &error));
                continue;
            }
        };
        let lookup = |name: &str| options.environment.get(name).cloned();
        match dotenv::parse(&text, false, &lookup) {
            Ok(values) => environment.extend(values),
            Err(error) => {
                let at = At {
                    line: error.line,
                    column: 1,
                    ..whole_file(reader, path)
                };
                reader.report.error(at, "", error.message);
            }
        }
    }
    environment.extend(options.environment.clone());
    environment
}

pub(crate) fn unreadable(what: &str, path: &str, error: &FileError) -> String {
    match error {
        FileError::NotFound => format!("the {what} {path} does not exist"),
        FileError::Unreadable(reason) => format!("the {what} {path} cannot be read: {reason}"),
    }
}

fn whole_file(reader: &mut Reader<'_>, name: &str) -> At {
    At {
        file: reader.report.add_file(name),
        ..At::default()
    }
}

fn merged(
    options: &Options,
    environment: &BTreeMap<String, String>,
    reader: &mut Reader<'_>,
) -> Option<Node> {
    let trees: Vec<Node> = options
        .files
        .iter()
        .filter_map(|file| parsed(file, reader))
        .collect();
    let project = project_name(options, environment, &trees);
    let mut merged: Option<Node> = None;
    for mut tree in trees {
        if !options.skip_interpolation {
            let lookup = |name: &str| match environment.get(name) {
                None if name == PROJECT_NAME => project.clone(),
                value => value.cloned(),
            };
            let mut substitution = Substitution {
                lookup: &lookup,
                reader,
                spent: 0,
            };
            substitution.walk(&mut tree, "");
        }
        merged = Some(match merged {
            None => tree,
            Some(base) => merge::merge(base, tree),
        });
    }
    if let Some(tree) = &mut merged {
        merge::drop_resets(tree);
    }
    merged
}

fn parsed(file: &SourceFile, reader: &mut Reader<'_>) -> Option<Node> {
    let number = whole_file(reader, &file.name).file;
    match parse(number, &file.text) {
        Ok(tree) => Some(tree),
        Err(error) => {
            reader.report.error(error.at, "", error.message);
            None
        }
    }
}

/// The variable that holds the stack's name, for the rest of the files.
const PROJECT_NAME: &str = "COMPOSE_PROJECT_NAME";

/// The name before the files are merged, of which the last one's counts. What is wrong with it is said later, where it is
/// read in its turn.
fn project_name(options: &Options, environment: &BTreeMap<String, String>, trees: &[Node]) -> Option<String> {
    let lookup = |name: &str| environment.get(name).cloned();
    let written = || {
        let mut names = trees.iter().rev().filter_map(|tree| tree.get("name"));
        let name = names.find(|name| !name.is_null() || name.directive == Directive::Reset)?;
        match &name.value {
            Value::Scalar(scalar) if name.directive != Directive::Reset => {
                interpolate(&scalar.text, &lookup).ok()
            }
            Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => None,
        }
    };
    let name = options.name.clone().or_else(|| Some(written()?.text));
    name.filter(|name| !name.is_empty())
        .or_else(|| options.name_otherwise.clone())
}

/// Most bytes that variables may add to one file: a large variable named often ends in an error.
const MAX_SUBSTITUTED_BYTES: usize = 16 << 20;

struct Substitution<'a, 'r> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    reader: &'a mut Reader<'r>,
    spent: usize,
}

impl Substitution<'_, '_> {
    fn walk(&mut self, node: &mut Node, path: &str) {
        match &mut node.value {
            Value::Scalar(scalar) if scalar.text.contains('$') => {
                if let Some(text) = self.replaced(&scalar.text, node.at, path) {
                    scalar.text = text;
                }
            }
            Value::Scalar(_) => {}
            Value::Sequence(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.walk(item, &format!("{path}[{index}]"));
                }
            }
            Value::Mapping(entries) => {
                let dot = if path.is_empty() { "" } else { "." };
                for entry in entries {
                    self.walk(&mut entry.value, &format!("{path}{dot}{}", entry.key));
                }
            }
        }
    }

    fn replaced(&mut self, text: &str, at: At, path: &str) -> Option<String> {
        let report = &mut *self.reader.report;
        if self.spent > MAX_SUBSTITUTED_BYTES {
            return None;
        }
        match interpolate(text, self.lookup) {
            Ok(done) => {
                for name in done.missing {
                    report.warn(
                        at,
                        path,
                        format!("variable {name} is not set; it becomes nothing"),
                    );
                }
                self.spent += done.text.len();
                if self.spent > MAX_SUBSTITUTED_BYTES {
                    report.error(
                        at,
                        path,
                        format!("variables add more than {MAX_SUBSTITUTED_BYTES} bytes"),
                    );
                }
                Some(done.text)
            }
            Err(error) => {
                report.error(at, path, error.to_string());
                None
            }
        }
    }
}

fn stack(
    options: &Options,
    environment: &BTreeMap<String, String>,
    tree: &Node,
    reader: &mut Reader<'_>,
    files: &mut dyn Files,
) -> Option<StackSpec> {
    let root = Field::new(tree, "");
    let fields: BTreeMap<_, _> = reader.entries(&root, keys::TOP).into_iter().collect();
    let name = stack_name(options, fields.get("name"), &root, reader)?;
    let volumes = fields
        .get("volumes")
        .map(|field| service::volumes(reader, field, &name))
        .unwrap_or_default();
    let networks = networks::declared(reader, fields.get("networks"));
    let mut profiles: BTreeSet<String> = options.profiles.iter().cloned().collect();
    if let Some(listed) = environment.get("COMPOSE_PROFILES") {
        profiles.extend(listed.split(',').map(|name| name.trim().to_owned()));
    }
    let mut scope = Scope {
        environment,
        project_dir: options.project_dir.trim_end_matches('/'),
        stack: &name,
        networks: &networks,
        volumes: &volumes,
        profiles: &profiles,
        files,
    };
    let mut stack = StackSpec {
        name: name.clone(),
        ..StackSpec::default()
    };
    let services = fields.get("services").map(|field| reader.named(field));
    let services = services.unwrap_or_default();
    for (service_name, field) in &services {
        if let Some(spec) = service::read(reader, service_name, field, &mut scope) {
            stack.services.insert((*service_name).to_owned(), spec);
        }
    }
    links::settle(reader, &services, &mut stack);
    stack.networks = networks::joined(networks, &stack);
    if !reader.report.has_errors() {
        check(reader.report, &stack, tree);
    }
    if stack.services.is_empty() && !reader.report.has_errors() {
        let at = tree.at;
        reader.report.error(
            at,
            "services",
            "no service is named, or none of the active profiles",
        );
    }
    Some(stack)
}

fn stack_name(
    options: &Options,
    named: Option<&Field<'_>>,
    root: &Field<'_>,
    reader: &mut Reader<'_>,
) -> Option<String> {
    // With its variables left as they stand it is no name yet.
    let named = named.filter(|_| !options.skip_interpolation || options.name_otherwise.is_none());
    let (name, field) = match (&options.name, named, &options.name_otherwise) {
        (Some(name), _, _) | (None, None, Some(name)) => (name.clone(), root),
        (None, Some(field), _) => (reader.text(field)?, field),
        (None, None, None) => {
            reader.error(
                root,
                "the stack has no name: give one, or write `name:` in the file",
            );
            return None;
        }
    };
    if is_name(&name) {
        return Some(name);
    }
    reader.error(
        field,
        format!(
            "expected a name of letters, digits, - and _ that begins with a letter or digit, found {name:?}"
        ),
    );
    None
}

/// Names as Docker allows them for stacks and services.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}
