//! The report, for people and for programs.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
};

use clap::ValueEnum;
use serde::Serialize;

use super::finding::{Finding, Section, Status};

/// How to write the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Text,
    /// An object with "sound" and a list of "findings"
    Json,
}

/// The report as a JSON object.
#[derive(Serialize)]
struct Document<'a> {
    /// Whether there is no failure.
    sound: bool,
    findings: &'a [Finding],
}

/// Whether there is no failure among them.
pub(super) fn is_sound(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.status != Status::Failure)
}

impl Output {
    /// Writes the report to standard output.
    pub(super) fn print(self, findings: &[Finding]) -> io::Result<()> {
        let mut out = io::stdout();
        let text = match self {
            // https://no-color.org: any value but an empty one.
            Self::Text => text(findings, out.is_terminal() && env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())),
            Self::Json => json(findings)?,
        };
        out.write_all(text.as_bytes())
    }
}

fn json(findings: &[Finding]) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(&Document { sound: is_sound(findings), findings })? + "\n")
}

const fn symbol(status: Status) -> &'static str {
    match status {
        Status::Ok => "√",
        Status::Warning => "‼",
        Status::Failure => "×",
        Status::Unknown => "?",
    }
}

/// The symbol, in the colours of a traffic light (ECMA-48, SGR).
fn mark(status: Status, coloured: bool) -> String {
    let symbol = symbol(status);
    let colour = match status {
        Status::Ok => 32,
        Status::Warning | Status::Unknown => 33,
        Status::Failure => 31,
    };
    if coloured { format!("\x1b[{colour}m{symbol}\x1b[0m") } else { symbol.to_owned() }
}

fn text(findings: &[Finding], coloured: bool) -> String {
    let mut text = String::new();
    let mut section: Option<Section> = None;
    for finding in findings {
        if section != Some(finding.section) {
            let gap = if section.is_some() { "\n" } else { "" };
            let title = finding.section.to_string();
            text.extend([gap, title.as_str(), "\n", "-".repeat(title.len()).as_str(), "\n"]);
            section = Some(finding.section);
        }
        text.extend([mark(finding.status, coloured).as_str(), " ", finding.what.as_str(), "\n"]);
        for line in finding.hint.iter().flat_map(|hint| hint.lines()) {
            text.extend(["    ", line, "\n"]);
        }
    }
    let unknown = findings.iter().filter(|finding| finding.status == Status::Unknown).count();
    let rest = if unknown > 0 { format!(", as far as could be seen: {unknown} could not") } else { String::new() };
    let status = if is_sound(findings) { Status::Ok } else { Status::Failure };
    text + &format!("\nStatus check results are {}{rest}\n", mark(status, coloured))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::snapshot::Lack;

    fn findings() -> Vec<Finding> {
        vec![
            Section::Kubernetes.ok("the API server answers"),
            Section::Reaper.warning("alone", "run two:\nkubectl scale"),
            Section::Reaper.failure("no leader", "look"),
            Section::Outcomes.lacking("the JobOutcomes", &Lack::Forbidden("no".to_owned())),
        ]
    }

    #[test]
    fn people_get_sections_marks_and_hints() {
        let expected = "\
kubernetes
----------
√ the API server answers

reaper
------
‼ alone
    run two:
    kubectl scale
× no leader
    look

outcomes
--------
? cannot look at the JobOutcomes: no
    run the check as somebody who may, by --context or KUBECONFIG

Status check results are ×, as far as could be seen: 1 could not
";
        assert_eq!(text(&findings(), false), expected);
    }

    #[test]
    fn colour_is_all_that_a_terminal_adds() {
        let coloured = text(&findings(), true);
        assert!(coloured.contains("\x1b[31m×\x1b[0m no leader"));
        let plain =
            ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"].iter().fold(coloured, |it, code| it.replace(code, ""));
        assert_eq!(plain, text(&findings(), false));
    }

    #[test]
    fn warnings_alone_are_sound() {
        let findings = &findings()[..2];
        assert!(is_sound(findings));
        assert!(text(findings, false).ends_with("\nStatus check results are √\n"));
    }

    #[test]
    fn programs_get_every_finding() {
        let document: Value = serde_json::from_str(&json(&findings()).expect("JSON")).expect("JSON");
        assert_eq!(document["sound"], false);
        let failure = json!({"section": "reaper", "status": "failure", "what": "no leader", "hint": "look"});
        assert_eq!(document["findings"][2], failure);
    }
}
