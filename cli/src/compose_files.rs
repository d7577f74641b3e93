//! The files, variables and flags that a compose file is read with.
//!
//! Without `-c` the file is looked for by Compose's default names, here and in the folders above, with its
//! override beside it. What the reader says goes to standard error, errors last.

use crate::{failure::hinted, output::note};
use anyhow::{Context, Result};
use shoal_compose::{
    DEFAULT_FILES, FileError, Files, Loaded, MAX_FILE_BYTES, OVERRIDE_FILES, Options, Severity, SourceFile,
};
use std::{
    env, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The flags of the verbs that read compose files.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ComposeArgs {
    /// Compose file, or - for standard input; later ones are merged on top
    #[arg(short = 'c', long = "compose-file", value_name = "FILE")]
    files: Vec<String>,
    /// File of variables (default: .env beside the compose file)
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Option<Vec<String>>,
    /// Profile to switch on
    #[arg(long = "profile", value_name = "NAME")]
    profiles: Vec<String>,
    /// Where relative paths of the file begin (default: its folder)
    #[arg(long, value_name = "FOLDER")]
    project_directory: Option<PathBuf>,
    /// What cannot be carried out is an error, not a warning
    #[arg(long)]
    strict: bool,
}

/// What the stack is called.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Name<'a> {
    /// It wins over the files' own.
    pub(crate) given: Option<&'a str>,
    /// Where neither says.
    pub(crate) otherwise: Option<&'a str>,
}

impl ComposeArgs {
    /// Reads the files; messages have been printed when this returns.
    pub(crate) fn load(&self, name: Name<'_>, skip_interpolation: bool) -> Result<Loaded> {
        let paths = if self.files.is_empty() {
            default_files()?
        } else {
            self.files.clone()
        };
        let folder = match &self.project_directory {
            Some(folder) => folder.clone(),
            None => paths
                .first()
                .filter(|path| *path != "-")
                .and_then(|path| Path::new(path).parent())
                .map_or_else(|| PathBuf::from("."), Path::to_owned),
        };
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &folder
        };
        let folder =
            fs::canonicalize(folder).with_context(|| format!("there is no folder {}", folder.display()))?;
        let project_dir = folder
            .to_str()
            .context("the project's folder has a name that is not text")?
            .to_owned();
        let files = paths.iter().map(|path| source(path)).collect::<Result<_>>()?;
        let options = Options {
            files,
            project_dir,
            name: name.given.map(str::to_owned),
            name_otherwise: name.otherwise.map(str::to_owned),
            // A variable that is no text cannot be put into a text.
            environment: env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            env_files: self.env_files.clone(),
            profiles: self.profiles.clone(),
            strict: self.strict,
            skip_interpolation,
        };
        let loaded = shoal_compose::load(&options, &mut Disk);
        let (errors, warnings): (Vec<_>, Vec<_>) = loaded
            .diagnostics
            .iter()
            .partition(|diagnostic| diagnostic.severity == Severity::Error);
        warnings
            .iter()
            .chain(&errors)
            .for_each(|diagnostic| note(&diagnostic.to_string()));
        if errors.is_empty() {
            return Ok(loaded);
        }
        let count = errors.len();
        let noun = if count == 1 { "error" } else { "errors" };
        Err(hinted(
            format!("{count} {noun} in the compose file"),
            "Nothing was changed.",
        ))
    }
}

fn source(path: &str) -> Result<SourceFile> {
    let text = match path {
        "-" => read_bounded(io::stdin().lock()).context("cannot read standard input")?,
        _ => fs::File::open(path)
            .and_then(read_bounded)
            .with_context(|| format!("cannot read the compose file {path}"))?,
    };
    let name = if path == "-" { "(standard input)" } else { path };
    Ok(SourceFile {
        name: name.to_owned(),
        text,
    })
}

/// One byte more than the reader takes, so that it is the reader who refuses and says why.
fn read_bounded(input: impl Read) -> io::Result<String> {
    let mut text = String::new();
    input
        .take(u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX) + 1)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// The default file of this folder or the nearest above, with its override.
fn default_files() -> Result<Vec<String>> {
    let here = env::current_dir().context("the current folder is gone")?;
    for folder in here.ancestors() {
        let Some(index) = DEFAULT_FILES.iter().position(|name| folder.join(name).is_file()) else {
            continue;
        };
        let shown = |name: &str| {
            if folder == here {
                name.to_owned()
            } else {
                folder.join(name).display().to_string()
            }
        };
        let mut files = vec![shown(DEFAULT_FILES[index])];
        let over = OVERRIDE_FILES.iter().find(|name| folder.join(name).is_file());
        files.extend(over.map(|name| shown(name)));
        return Ok(files);
    }
    Err(hinted(
        format!("there is no {} here or above", DEFAULT_FILES.join(", ")),
        "Name a compose file with -c.",
    ))
}

/// Further files that the reader asks for: env files.
struct Disk;

impl Files for Disk {
    fn read(&mut self, path: &str) -> Result<String, FileError> {
        match fs::File::open(path).and_then(read_bounded) {
            Ok(text) if text.len() > MAX_FILE_BYTES => Err(FileError::Unreadable(format!(
                "it is larger than {MAX_FILE_BYTES} bytes"
            ))),
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(FileError::NotFound),
            Err(error) => Err(FileError::Unreadable(error.to_string())),
        }
    }
}
