use std::collections::BTreeMap;

use rstest::rstest;

use super::*;

/// The narrowest terminal that is supported.
const WIDTH: usize = 80;
/// The lowest one.
const HEIGHT: usize = 24;

fn help(program: Program, verb: Option<&str>) -> String {
    let mut command = command(program).term_width(WIDTH);
    command.build();
    let help = match verb {
        Some(verb) => command.find_subcommand_mut(verb).expect("a verb of this program").render_help(),
        None => command.render_help(),
    };
    help.to_string()
}

/// All verbs, and what verbs have several of: `outcomes list`, …
fn commands() -> Vec<(String, Command)> {
    let mut commands = Vec::new();
    for verb in command(Program::Standalone).get_subcommands() {
        commands.push((verb.get_name().to_owned(), verb.clone()));
        commands
            .extend(verb.get_subcommands().map(|it| (format!("{} {}", verb.get_name(), it.get_name()), it.clone())));
    }
    commands
}

fn verbs() -> Vec<String> {
    command(Program::Standalone).get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
}

#[test]
fn the_flags_are_well_formed() {
    command(Program::Standalone).debug_assert();
    command(Program::KubectlPlugin).debug_assert();
}

#[rstest]
#[case(&["jobwarden"], Program::Standalone)]
#[case(&["/usr/local/bin/jobwarden"], Program::Standalone)]
#[case(&["/home/me/.krew/bin/kubectl-jobwarden"], Program::KubectlPlugin)]
#[case(&[], Program::Standalone)]
fn the_name_of_the_file_makes_it_a_plugin(#[case] arguments: &[&str], #[case] expected: Program) {
    let path = arguments.first().map(OsString::from);
    assert_eq!(Program::of_path(path.as_ref()), expected);
}

#[rstest]
#[case(Program::Standalone, "jobwarden")]
#[case(Program::KubectlPlugin, "kubectl jobwarden")]
fn help_and_examples_repeat_how_the_program_is_called(#[case] program: Program, #[case] typed: &str) {
    let root = help(program, None);
    assert!(root.contains(&format!("Usage: {typed} <COMMAND>")), "{root}");
    assert!(root.contains(&format!("\n  {typed} check\n")), "{root}");
    for verb in verbs() {
        let text = help(program, Some(&verb));
        assert!(text.contains(&format!("Usage: {typed} {verb}")), "{text}");
        assert!(text.contains(&format!("{typed} {verb}")) && text.contains("Example"), "{text}");
        assert!(!text.contains(PLACEHOLDER), "{text}");
    }
    // The errors of clap as well.
    let error = command(program).try_get_matches_from([program.file(), "explain"]).expect_err("NAME is missing");
    assert!(error.to_string().contains(&format!("Usage: {typed} explain")), "{error}");
}

#[rstest]
#[case(Program::Standalone)]
#[case(Program::KubectlPlugin)]
fn the_help_fits_a_screen(#[case] program: Program) {
    let text = help(program, None);
    assert!(text.trim_end().lines().count() < HEIGHT, "a line is left for the prompt:\n{text}");
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
}

#[test]
fn a_flag_has_one_name_and_one_letter_in_all_verbs() {
    let mut letters = BTreeMap::<String, Option<char>>::new();
    for (name, verb) in commands() {
        for flag in verb.get_arguments() {
            let Some(long) = flag.get_long() else { continue };
            let letter = letters.entry(long.to_owned()).or_insert(flag.get_short());
            assert_eq!(*letter, flag.get_short(), "{name}: --{long}");
        }
    }
    let expected = [("namespace", Some('n')), ("output", Some('o')), ("filename", Some('f')), ("context", None)];
    for (long, letter) in expected {
        assert_eq!(letters.get(long), Some(&letter), "--{long}");
    }
}

#[rstest]
#[case("check")]
#[case("explain")]
#[case("breaker")]
#[case("sinks")]
#[case("outcomes list")]
#[case("outcomes show")]
#[case("outcomes redeliver")]
#[case("outcomes cancel")]
#[case("release")]
fn verbs_that_use_a_cluster_choose_it_with_the_same_flags(#[case] verb: &str) {
    let (name, verb) = commands().into_iter().find(|(name, _)| name == verb).expect("a verb of this program");
    for flag in ["kubeconfig", "context", "system-namespace"] {
        assert!(verb.get_arguments().any(|it| it.get_long() == Some(flag)), "{name}: --{flag}");
    }
}

#[test]
fn every_command_has_examples_and_every_flag_a_description() {
    for (name, verb) in commands() {
        assert!(verb.get_about().is_some(), "{name}");
        let examples = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(
            examples.contains(&format!("jobwarden {name}")) && !examples.contains(PLACEHOLDER),
            "{name}: {examples}"
        );
        for flag in verb.get_arguments().filter(|flag| flag.get_id() != "help") {
            assert!(flag.get_help().is_some(), "{name}: {}", flag.get_id());
        }
    }
}
