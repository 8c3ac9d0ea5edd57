//! `jobwarden-webhook inject` and `uninject`: admission without a cluster.
//!
//! ```text
//!  files ──documents──► inject    what admission would make of each Job and pod, by the same code
//!                       uninject  each Job and pod without what admission has put in
//! ```

mod inject;
mod uninject;

use std::{
    io::{self, Read as _, Write as _},
    path::PathBuf,
};

use clap::Args;
use serde_json::Value;

pub use self::inject::Injector;
pub(crate) use self::{inject::InjectArgs, uninject::UninjectArgs};
use crate::documents::{self, DocumentError, Format};

/// Flags that say what is read and how it is written.
#[derive(Args, Clone, Debug)]
struct FileArgs {
    /// File with Kubernetes objects, YAML or JSON, of any number of documents; - is standard input. May be given several times
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    filename: Vec<PathBuf>,

    /// How to write the objects; as the first file is written, unless told otherwise
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Why nothing was printed.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold objects.
    #[error("{} is not understood", path.display())]
    Document {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// Admission would refuse an object, or cannot read it.
    #[error("{}, object {number}: {object}: {reason}", path.display())]
    Refused {
        /// In which file.
        path: PathBuf,
        /// Which of its objects, counted from 1.
        number: usize,
        /// Its kind and name.
        object: String,
        /// What admission says.
        reason: String,
    },
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::configuration::LoadError),
    /// The file with the reaper's endpoint.
    #[error("{} is not the ConfigMap jobwarden-reaper-endpoint: it lacks data.{key}", path.display())]
    Endpoint {
        /// Which file.
        path: PathBuf,
        /// What it lacks.
        key: &'static str,
    },
    /// The result cannot be written.
    #[error("cannot write the objects")]
    Write(#[source] DocumentError),
    /// Standard output is closed.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

/// What was read, file by file.
struct Input {
    files: Vec<(PathBuf, Vec<Value>)>,
    format: Format,
}

impl FileArgs {
    fn read(self) -> Result<Input, OfflineError> {
        let Self { filename, output } = self;
        let mut format = output;
        let mut files = Vec::new();
        for path in filename {
            let (objects, written) = read(&path)?;
            format.get_or_insert(written);
            files.push((path, objects));
        }
        Ok(Input { files, format: format.unwrap_or(Format::Yaml) })
    }
}

fn read(path: &PathBuf) -> Result<(Vec<Value>, Format), OfflineError> {
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|source| OfflineError::Read { path: path.clone(), source })?;
    documents::read(&text).map_err(|source| OfflineError::Document { path: path.clone(), source })
}

impl Input {
    /// Does `change` to every object, or nothing at all.
    fn change(&mut self, mut change: impl FnMut(&mut Value) -> Result<(), String>) -> Result<(), OfflineError> {
        for (path, objects) in &mut self.files {
            for (index, object) in documents::each(objects).enumerate() {
                change(object).map_err(|reason| OfflineError::Refused {
                    path: path.clone(),
                    number: index + 1,
                    object: documents::Name(object).to_string(),
                    reason,
                })?;
            }
        }
        Ok(())
    }

    fn print(self) -> Result<(), OfflineError> {
        let Self { files, format } = self;
        let objects: Vec<Value> = files.into_iter().flat_map(|(_, objects)| objects).collect();
        let text = documents::write(&objects, format).map_err(OfflineError::Write)?;
        print(&text)
    }
}

fn print(text: &str) -> Result<(), OfflineError> {
    io::stdout().write_all(text.as_bytes()).map_err(OfflineError::Output)
}

/// Says something beside the objects.
fn say(text: &str) {
    // Nobody is left to hear that this cannot be said.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says something of an object.
fn note(object: &Value, text: &str) {
    say(&format!("{}: {text}", documents::Name(object)));
}

/// What admission takes an object for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Job,
    Pod,
    /// Left alone.
    Other,
}

impl Kind {
    fn of(object: &Value) -> Self {
        match (object["apiVersion"].as_str(), object["kind"].as_str()) {
            (Some("batch/v1"), Some("Job")) => Self::Job,
            (Some("v1"), Some("Pod")) => Self::Pod,
            _ => Self::Other,
        }
    }
}
