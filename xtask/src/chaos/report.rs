//! Looks into the account as the campaign goes on, and shows it to people in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jobwarden_tests::reaper;
use serde::Serialize;
use serde_json::Value;
use tokio::time::sleep;

use super::account::{Account, Detection, Fault, account, clock};
use super::campaign::Campaign;

/// How often it is told how things stand.
const STATUS: Duration = Duration::from_secs(30);

/// Looks into the account, and asks for evidence while it is there.
#[derive(Debug, Default)]
pub(super) struct Clerk {
    /// What has been told already.
    known: BTreeSet<(Fault, String)>,
    /// How the reaper explained a Job when something was found about it.
    explained: BTreeMap<String, String>,
}

/// The line of JSON.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    jobs: usize,
    faults: usize,
    wrong: usize,
    missed: usize,
    duplicated: usize,
    detection_p50_s: Option<f64>,
    detection_max_s: Option<f64>,
}

/// What a campaign came to.
#[derive(Debug)]
pub(super) struct Sum {
    pub(super) figures: Figures,
    account: Account,
    explained: BTreeMap<String, String>,
}

impl Sum {
    pub(super) fn is_clean(&self) -> bool {
        self.account.findings.is_empty()
    }
}

impl Clerk {
    /// Looks into the account again and again, for ever.
    pub(super) async fn run(&mut self, campaign: &Campaign) {
        let mut last_status = campaign.now();
        loop {
            sleep(super::LOOK).await;
            let account = draw_up(campaign);
            for finding in account.findings {
                if self.known.insert((finding.fault, finding.job.clone())) {
                    campaign.say(format!("{:?}: {}: {}", finding.fault, finding.job, finding.why));
                    let explanation = explain(campaign, &finding.job).await;
                    self.explained.insert(finding.job, explanation);
                }
            }
            if campaign.now() >= last_status + STATUS {
                last_status = campaign.now();
                status(campaign);
            }
        }
    }

    pub(super) fn sum(self, campaign: &Campaign) -> Sum {
        let account = draw_up(campaign);
        let count = |fault| account.findings.iter().filter(|finding| finding.fault == fault).count();
        let took = sorted(account.detections.iter());
        let history = campaign.history();
        let figures = Figures {
            jobs: history.jobs.len(),
            faults: history.faults,
            wrong: count(Fault::Wrong),
            missed: count(Fault::Missed),
            duplicated: count(Fault::Duplicated),
            detection_p50_s: took.get(took.len() / 2).map(Duration::as_secs_f64),
            detection_max_s: took.last().map(Duration::as_secs_f64),
        };
        Sum { figures, account, explained: self.explained }
    }
}

fn draw_up(campaign: &Campaign) -> Account {
    let told = campaign.told();
    let now = campaign.now();
    account(&campaign.history(), &told, campaign.lost_after, now)
}

fn status(campaign: &Campaign) {
    let told = campaign.told().iter().filter(|told| told.kind.is_final()).count();
    let history = campaign.history();
    let (jobs, running, faults) = (history.jobs.len(), campaign.workers().len(), history.faults);
    drop(history);
    campaign.say(format!("{jobs} Jobs so far, {running} workers run, {told} ends told, {faults} faults"));
}

async fn explain(campaign: &Campaign, job: &str) -> String {
    match reaper::explanation(&campaign.ground.client, campaign.namespace(), job).await {
        Ok(explanation) => in_brief(&explanation),
        Err(error) => format!("the reaper does not explain it: {error:#}"),
    }
}

/// What of an explanation tells people why.
fn in_brief(explanation: &Value) -> String {
    let pods = explanation["pods"].as_array().into_iter().flatten();
    let pods = pods.map(|pod| format!("{} {} {}", pod["name"], pod["verdict"], pod["figures"]));
    let parts = ["state", "verdict", "held", "timers"].map(|part| format!("{part} {}", explanation[part]));
    parts.into_iter().chain(pods).collect::<Vec<_>>().join("\n      ")
}

/// Shows the account.
pub(super) fn show(campaign: &Campaign, sum: &Sum) {
    let Figures { jobs, faults, wrong, missed, duplicated, .. } = sum.figures;
    campaign.say("the account");
    println!("  {jobs} Jobs, {faults} faults: {wrong} wrong, {missed} missed, {duplicated} duplicated");
    println!(
        "  {:<20} {:>6} {:>8} {:>8}   found after the fault or the end, in seconds",
        "reason", "count", "median", "most"
    );
    let mut reasons: BTreeMap<&str, Vec<&Detection>> = BTreeMap::new();
    for detection in &sum.account.detections {
        reasons.entry(&detection.reason).or_default().push(detection);
    }
    for (reason, detections) in reasons {
        let took = sorted(detections.into_iter());
        let (median, most) = (took[took.len() / 2].as_secs_f64(), took[took.len() - 1].as_secs_f64());
        println!("  {reason:<20} {:>6} {median:>8.1} {most:>8.1}", took.len());
    }
    let told = campaign.told();
    let history = campaign.history();
    for finding in &sum.account.findings {
        println!("  {:?}: {}: {}", finding.fault, finding.job, finding.why);
        let job = history.jobs.iter().find(|job| job.name == finding.job);
        for line in job.iter().flat_map(|job| &job.story) {
            println!("    done      {line}");
        }
        if let Some((job, node)) = job.and_then(|job| Some((job, history.nodes.get(&job.node)?))) {
            for (span, condition) in node.stretches(job.submitted.saturating_sub(STATUS)) {
                println!("    node      {} {} {condition:?}", clock(span.from), job.node);
            }
        }
        for it in told.iter().filter(|told| told.job == finding.job) {
            println!("    told      {} {} {} by {}", clock(it.at), it.kind, it.reason, it.because);
        }
        if let Some(explanation) = sum.explained.get(&finding.job) {
            println!("    reaper    {explanation}");
        }
    }
}

fn sorted<'a>(detections: impl Iterator<Item = &'a Detection>) -> Vec<Duration> {
    let mut took: Vec<_> = detections.map(|detection| detection.took).collect();
    took.sort_unstable();
    took
}
