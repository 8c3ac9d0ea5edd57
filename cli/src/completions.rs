//! Completion scripts of shells.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::output::{self, OutputError};

/// Print a completion script for a shell
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  For this session of bash:
    source <({prog} completions bash)
  For every session of zsh, if its fpath has ~/.zfunc:
    {prog} completions zsh > ~/.zfunc/_jobwarden")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the script for a program that is called `name`.
    pub(crate) fn run(self, command: Command, name: &str) -> Result<(), OutputError> {
        output::print(&script(self.shell, command, name))
    }
}

fn script(shell: Shell, mut command: Command, name: &str) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;
    use crate::command_line::{Program, command};

    #[test]
    fn every_shell_completes_every_verb() {
        let verbs: Vec<String> =
            command(Program::Standalone).get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        assert!(verbs.len() >= 7, "{verbs:?}");
        for shell in Shell::value_variants() {
            let script = script(*shell, command(Program::Standalone), "jobwarden");
            for verb in &verbs {
                assert!(script.contains(verb.as_str()), "{shell}: {verb}");
            }
        }
    }
}
