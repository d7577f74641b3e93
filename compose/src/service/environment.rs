//! The container's environment, and labels from files.
//!
//! `env_file` first, later files over earlier ones; `environment` over all of them. A variable named
//! without a value takes the one it has where the file is read, and is left out where it has none.

use super::Scope;
use crate::{
    dotenv, keys,
    load::{FileError, unreadable},
    reader::{Field, Reader},
    tree::At,
};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Environment<'a> {
    files: Option<Field<'a>>,
    pairs: Option<Field<'a>>,
}

/// One entry of `env_file`.
struct EnvFile<'a> {
    path: String,
    required: bool,
    raw: bool,
    field: Field<'a>,
}

impl<'a> Environment<'a> {
    pub(super) fn take(&mut self, key: &str, field: &Field<'a>) -> bool {
        match key {
            "env_file" => self.files = Some(field.clone()),
            "environment" => self.pairs = Some(field.clone()),
            _ => return false,
        }
        true
    }

    pub(super) fn finish(&self, reader: &mut Reader<'_>, scope: &mut Scope<'_>) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let files = self.files.as_ref().map(|field| env_files(reader, field));
        for file in files.unwrap_or_default() {
            env.extend(read_pairs(reader, &file, scope));
        }
        if let Some(field) = &self.pairs {
            for (name, value) in reader.pairs(field) {
                match value.or_else(|| scope.environment.get(&name).cloned()) {
                    Some(value) => env.insert(name, value),
                    None => env.remove(&name),
                };
            }
        }
        if let Some(name) = env.keys().find(|name| name.is_empty() || name.contains('=')) {
            let name = name.clone();
            if let Some(field) = &self.pairs {
                reader.error(field, format!("{name:?} cannot be the name of a variable"));
            }
        }
        env
    }
}

/// `label_file`: files of labels, written like env files.
pub(super) fn label_files(
    reader: &mut Reader<'_>,
    field: Option<&Field<'_>>,
    scope: &mut Scope<'_>,
) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(field) = field else {
        return labels;
    };
    for item in reader.one_or_list(field) {
        if let Some(path) = reader.text(&item) {
            let file = EnvFile {
                path,
                required: true,
                raw: false,
                field: item,
            };
            labels.extend(read_pairs(reader, &file, scope));
        }
    }
    labels
}

fn env_files<'a>(reader: &mut Reader<'_>, field: &Field<'a>) -> Vec<EnvFile<'a>> {
    let mut files = Vec::new();
    let items = if field.is_mapping() {
        vec![field.clone()]
    } else {
        reader.one_or_list(field)
    };
    for item in items {
        let mut file = EnvFile {
            path: String::new(),
            required: true,
            raw: false,
            field: item.clone(),
        };
        if item.is_mapping() {
            for (key, inner) in reader.entries(&item, keys::ENV_FILE) {
                match key {
                    "path" => file.path = reader.text(&inner).unwrap_or_default(),
                    "required" => file.required = reader.boolean(&inner).unwrap_or(true),
                    _ => file.raw = reader.word(&inner, &[("raw", true)]).unwrap_or_default(),
                }
            }
        } else {
            file.path = reader.text(&item).unwrap_or_default();
        }
        if file.path.is_empty() {
            reader.error(&item, "expected the path of an env file");
        } else {
            files.push(file);
        }
    }
    files
}

fn read_pairs(
    reader: &mut Reader<'_>,
    file: &EnvFile<'_>,
    scope: &mut Scope<'_>,
) -> BTreeMap<String, String> {
    let path = super::mounts::absolute(&file.path, scope);
    let text = match scope.files.read(&path) {
        Ok(text) => text,
        Err(FileError::NotFound) if !file.required => return BTreeMap::new(),
        Err(error) => {
            reader.error(&file.field, unreadable("file", &path, &error));
            return BTreeMap::new();
        }
    };
    let lookup = |name: &str| scope.environment.get(name).cloned();
    match dotenv::parse(&text, file.raw, &lookup) {
        Ok(values) => values,
        Err(error) => {
            let at = At {
                file: reader.report.add_file(&path),
                line: error.line,
                column: 1,
            };
            reader.report.error(at, "", error.message);
            BTreeMap::new()
        }
    }
}
