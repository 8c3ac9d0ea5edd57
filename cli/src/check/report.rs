//! The report, for people and for scripts.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use clap::ValueEnum;
use serde::Serialize;

use super::finding::{Finding, Section, Status};
use crate::output::{self, OutputError};

/// How the report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Text,
    /// An object with "healthy" and a list of "findings"
    Json,
    /// The same object in YAML
    Yaml,
}

/// The report for scripts.
#[derive(Serialize)]
struct Document<'a> {
    /// Whether there is no failure.
    healthy: bool,
    findings: &'a [Finding],
}

/// Whether there is no failure.
pub(super) fn is_healthy(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.status != Status::Failure)
}

impl Output {
    /// Prints the report.
    pub(super) fn print(self, findings: &[Finding]) -> Result<(), OutputError> {
        let document = Document { healthy: is_healthy(findings), findings };
        output::print(&match self {
            // https://no-color.org: any value but an empty one.
            Self::Text => {
                let coloured =
                    io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
                text(findings, coloured)
            }
            Self::Json => output::json(&document)?,
            Self::Yaml => output::yaml(&document)?,
        })
    }
}

const fn symbol(status: Status) -> &'static str {
    match status {
        Status::Ok => "√",
        Status::Warning => "‼",
        Status::Failure => "×",
        Status::Unknown => "?",
    }
}

/// The symbol, with a colour (ECMA-48, SGR).
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
        text.extend([mark(finding.status, coloured).as_str(), " ", finding.message.as_str(), "\n"]);
        for line in finding.hint.iter().flat_map(|hint| hint.lines()) {
            text.extend(["    ", line, "\n"]);
        }
    }
    let unknown = findings.iter().filter(|finding| finding.status == Status::Unknown).count();
    let rest = if unknown > 0 { format!(" ({unknown} unknown for lack of permissions)") } else { String::new() };
    let status = if is_healthy(findings) { Status::Ok } else { Status::Failure };
    text + &format!("\nStatus check results are {}{rest}\n", mark(status, coloured))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::lookup::LookupError;

    fn findings() -> Vec<Finding> {
        vec![
            Section::Kubernetes.ok("the API server answers"),
            Section::Reaper.warning("one replica", "run two:\nkubectl scale"),
            Section::Reaper.failure("no leader", "see the logs"),
            Section::Outcomes.unavailable("the JobOutcomes", &LookupError::Forbidden("no".to_owned())),
        ]
    }

    #[test]
    fn text_has_sections_marks_and_hints() {
        let expected = "\
kubernetes
----------
√ the API server answers

reaper
------
‼ one replica
    run two:
    kubectl scale
× no leader
    see the logs

outcomes
--------
? cannot get the JobOutcomes: no
    run the check with more permissions, by --context or --kubeconfig

Status check results are × (1 unknown for lack of permissions)
";
        assert_eq!(text(&findings(), false), expected);
    }

    #[test]
    fn a_terminal_adds_only_colour() {
        let coloured = text(&findings(), true);
        assert!(coloured.contains("\x1b[31m×\x1b[0m no leader"));
        let plain =
            ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"].iter().fold(coloured, |it, code| it.replace(code, ""));
        assert_eq!(plain, text(&findings(), false));
    }

    #[test]
    fn warnings_alone_are_healthy() {
        let findings = &findings()[..2];
        assert!(is_healthy(findings));
        assert!(text(findings, false).ends_with("\nStatus check results are √\n"));
    }

    #[test]
    fn json_has_every_finding() {
        let findings = findings();
        let document = Document { healthy: is_healthy(&findings), findings: &findings };
        let document: Value = serde_json::to_value(&document).expect("JSON");
        assert_eq!(document["healthy"], false);
        let failure = json!({"section": "reaper", "status": "failure", "message": "no leader", "hint": "see the logs"});
        assert_eq!(document["findings"][2], failure);
    }
}
