//! Man pages.

use std::{fs, io, path::PathBuf};

use clap::{Args, Command};

/// Write the man pages to a directory
#[derive(Args, Debug)]
#[command(after_help = "Example:
  {prog} man ~/.local/share/man/man1 && man jobwarden-check")]
pub(crate) struct ManArgs {
    /// The directory, created if it does not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Why man pages could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the man pages to {}", directory.display())]
pub(crate) struct ManError {
    directory: PathBuf,
    source: io::Error,
}

impl ManArgs {
    /// Writes one page for the program and one for each verb.
    pub(crate) fn run(self, command: Command) -> Result<(), ManError> {
        let Self { directory } = self;
        let written = fs::create_dir_all(&directory).and_then(|()| clap_mangen::generate_to(command, &directory));
        written.map_err(|source| ManError { directory, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::{Program, command};

    #[test]
    fn every_verb_has_a_man_page_with_its_flags_and_examples() {
        let folder = tempfile::tempdir().expect("a folder");
        let args = ManArgs { directory: folder.path().join("man1") };
        args.run(command(Program::Standalone)).expect("written");
        for verb in command(Program::Standalone).get_subcommands() {
            let page = folder.path().join(format!("man1/jobwarden-{}.1", verb.get_name()));
            let page = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            for flag in verb.get_arguments().filter_map(clap::Arg::get_long) {
                let flag = flag.replace('-', "\\-");
                assert!(page.contains(&flag), "{flag} in\n{page}");
            }
            assert!(page.contains("Example"), "{page}");
        }
        assert!(folder.path().join("man1/jobwarden.1").exists());
    }
}
