//! Asks the oracle while the campaign runs, and prints its report in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Write as _, stdout};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::sleep;

use super::evidence;
use super::oracle::{Assessment, Detection, Finding, Violation, assess};
use super::state::Campaign;
use super::workload;
use crate::reaper_api;

/// The time between two questions to the oracle.
const POLL: Duration = Duration::from_secs(5);
/// The time between two status lines.
const STATUS: Duration = Duration::from_secs(30);

/// Prints each finding when it first appears, and asks the reaper for an explanation while it still has one.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    /// The findings that were printed.
    known: BTreeSet<(Violation, String)>,
    /// The reaper's explanation of each Job with a finding, at the time of the finding.
    explained: BTreeMap<String, String>,
}

/// The line of JSON.
#[derive(Debug, Serialize)]
struct Figures {
    seed: u64,
    jobs: usize,
    faults: usize,
    wrong: usize,
    missed: usize,
    duplicated: usize,
    detection_p50_s: Option<f64>,
    detection_max_s: Option<f64>,
}

/// The result of a campaign.
#[derive(Debug)]
pub(crate) struct Summary {
    figures: Figures,
    assessment: Assessment,
    explained: BTreeMap<String, String>,
}

impl Summary {
    pub(crate) fn is_clean(&self) -> bool {
        self.assessment.findings.is_empty()
    }
}

impl Reporter {
    /// Asks the oracle again and again, without end.
    pub(crate) async fn run(&mut self, campaign: &Campaign) {
        let mut last_status = campaign.now();
        loop {
            sleep(POLL).await;
            for finding in assess_now(campaign).findings {
                if self.known.insert((finding.violation, finding.job.clone())) {
                    campaign.print(text_of(&finding));
                    let explanation = explain(campaign, &finding.job).await;
                    self.explained.insert(finding.job, explanation);
                }
            }
            if campaign.now() >= last_status + STATUS {
                last_status = campaign.now();
                print_status(campaign);
            }
        }
    }

    pub(crate) fn summary(self, campaign: &Campaign, seed: u64) -> Summary {
        let assessment = assess_now(campaign);
        let count = |violation| assessment.findings.iter().filter(|finding| finding.violation == violation).count();
        let took = sorted(assessment.detections.iter());
        let history = campaign.history();
        let figures = Figures {
            seed,
            jobs: history.jobs.len(),
            faults: history.faults,
            wrong: count(Violation::Wrong),
            missed: count(Violation::Missed),
            duplicated: count(Violation::Duplicated),
            detection_p50_s: took.get(took.len() / 2).map(Duration::as_secs_f64),
            detection_max_s: took.last().map(Duration::as_secs_f64),
        };
        Summary { figures, assessment, explained: self.explained }
    }
}

fn assess_now(campaign: &Campaign) -> Assessment {
    let notifications = campaign.notifications();
    let now = campaign.now();
    assess(&campaign.history(), &notifications, campaign.lost_after, now)
}

fn print_status(campaign: &Campaign) {
    let reported = campaign.reported().len();
    let history = campaign.history();
    let (jobs, running, faults) = (history.jobs.len(), campaign.workers().len(), history.faults);
    drop(history);
    let load: Vec<_> = workload::load(campaign).values().map(usize::to_string).collect();
    campaign.print(format!(
        "{jobs} Jobs so far: {running} workers running, {reported} outcomes reported, {faults} faults; open on each node: {}",
        load.join(" ")
    ));
}

async fn explain(campaign: &Campaign, job: &str) -> String {
    match reaper_api::explanation(&campaign.environment.client, campaign.namespace(), job).await {
        Ok(explanation) => in_brief(&explanation),
        Err(error) => format!("no explanation: {error:#}"),
    }
}

/// The parts of an explanation that show why.
fn in_brief(explanation: &Value) -> String {
    let pods = explanation["pods"].as_array().into_iter().flatten();
    let pods = pods.map(|pod| format!("{} {} {}", pod["name"], pod["verdict"], pod["figures"]));
    let parts = ["state", "verdict", "held", "timers"].map(|part| format!("{part} {}", explanation[part]));
    parts.into_iter().chain(pods).collect::<Vec<_>>().join("\n      ")
}

/// Prints the figures as one line of JSON.
pub(crate) fn print_json(summary: &Summary) -> anyhow::Result<()> {
    line(serde_json::to_string(&summary.figures)?);
    Ok(())
}

/// Prints the report.
pub(crate) fn print(campaign: &Campaign, summary: &Summary) {
    let Figures { seed, jobs, faults, wrong, missed, duplicated, .. } = summary.figures;
    campaign.print(format!("the report of seed {seed}"));
    line(format!("  {jobs} Jobs, {faults} faults: {wrong} wrong, {missed} missed, {duplicated} duplicated"));
    print_detections(&summary.assessment.detections);
    let (history, notifications) = (campaign.history().clone(), campaign.notifications());
    for finding in &summary.assessment.findings {
        line(format!("  {}", text_of(finding)));
        for entry in evidence::of(&history, &notifications, &finding.job) {
            line(format!("    {entry}"));
        }
        if let Some(explanation) = summary.explained.get(&finding.job) {
            line(format!("    reaper    {explanation}"));
        }
    }
}

fn print_detections(detections: &[Detection]) {
    line(format!(
        "  {:<20} {:>6} {:>8} {:>8}   time from the fault or the worker's end to the notification, in seconds",
        "reason", "count", "median", "maximum"
    ));
    let mut reasons: BTreeMap<&str, Vec<&Detection>> = BTreeMap::new();
    for detection in detections {
        reasons.entry(&detection.reason).or_default().push(detection);
    }
    for (reason, detections) in reasons {
        let took = sorted(detections.into_iter());
        let (median, maximum) = (took[took.len() / 2].as_secs_f64(), took[took.len() - 1].as_secs_f64());
        line(format!("  {reason:<20} {:>6} {median:>8.1} {maximum:>8.1}", took.len()));
    }
}

fn text_of(finding: &Finding) -> String {
    format!("{:?}: {}: {}", finding.violation, finding.job, finding.why)
}

fn sorted<'a>(detections: impl Iterator<Item = &'a Detection>) -> Vec<Duration> {
    let mut took: Vec<_> = detections.map(|detection| detection.took).collect();
    took.sort_unstable();
    took
}

fn line(text: impl AsRef<str>) {
    // A closed stdout does not matter: the exit status still has the result.
    let _ = writeln!(stdout().lock(), "{}", text.as_ref());
}
