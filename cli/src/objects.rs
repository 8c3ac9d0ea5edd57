//! Kubernetes objects in files: read, changed, printed.

pub(crate) mod documents;
pub(crate) mod kind;

use std::{
    io::{self, Read as _},
    path::PathBuf,
};

use clap::Args;
use serde_json::Value;

use self::{
    documents::{DocumentError, Format, Name},
    kind::Kind,
};
use crate::output::{self, OutputError};

/// Flags that choose what is read and how it is printed.
#[derive(Args, Clone, Debug)]
pub(crate) struct FileArgs {
    /// File with Kubernetes objects in YAML or JSON, with any number of documents; - reads standard input. May be repeated
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    filename: Vec<PathBuf>,

    /// Output format; default: the format of the first file
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Why objects could not be changed. Nothing is printed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file does not contain objects.
    #[error("cannot parse {}", path.display())]
    Document { path: PathBuf, source: DocumentError },
    /// An object is rejected.
    #[error("{}, object {number}: {object}: {reason}", path.display())]
    Rejected {
        path: PathBuf,
        /// Position of the object in the file, from 1.
        number: usize,
        /// Kind and name.
        object: String,
        reason: String,
    },
}

/// The objects of all files.
pub(crate) struct Objects {
    files: Vec<(PathBuf, Vec<Value>)>,
    format: Format,
}

impl FileArgs {
    /// Reads all files.
    pub(crate) fn read(self) -> Result<Objects, ObjectsError> {
        let Self { filename, output } = self;
        let mut format = output;
        let mut files = Vec::new();
        for path in filename {
            let (objects, written) = read(&path)?;
            format.get_or_insert(written);
            files.push((path, objects));
        }
        Ok(Objects { files, format: format.unwrap_or(Format::Yaml) })
    }
}

/// The objects in one file, and its format.
pub(crate) fn read(path: &PathBuf) -> Result<(Vec<Value>, Format), ObjectsError> {
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|source| ObjectsError::Read { path: path.clone(), source })?;
    documents::read(&text).map_err(|source| ObjectsError::Document { path: path.clone(), source })
}

impl Objects {
    /// Applies `change` to every object, until one is rejected.
    pub(crate) fn change(
        &mut self,
        mut change: impl FnMut(Kind, &mut Value) -> Result<(), String>,
    ) -> Result<(), ObjectsError> {
        for (path, objects) in &mut self.files {
            for (index, (kind, object)) in documents::each(objects).enumerate() {
                change(kind, object).map_err(|reason| ObjectsError::Rejected {
                    path: path.clone(),
                    number: index + 1,
                    object: Name(kind, object).to_string(),
                    reason,
                })?;
            }
        }
        Ok(())
    }

    /// Prints all objects.
    pub(crate) fn print(self) -> Result<(), OutputError> {
        let Self { files, format } = self;
        let objects: Vec<Value> = files.into_iter().flat_map(|(_, objects)| objects).collect();
        output::print(&documents::write(&objects, format)?)
    }
}
