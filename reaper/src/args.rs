//! Flags of `jobwarden-reaper`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser};
use jobwarden_common::names::{object, port};
use jobwarden_core::{
    label_selector,
    policy::{NotStarting, OnContainerExit, OnLost, Policy, Unseen},
};
use jobwarden_serve::{
    accept::LimitArgs, admin::AdminArgs, lease::LeaseArgs, logs::LogArgs, scrape::MetricsArgs, shutdown::ShutdownArgs,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::{deliver::Retention, execute::FailWith, watch::LIST_INTERVALS};

/// With a shorter lost-after, a single late renewal of a Lease looks like a loss.
const SHORTEST_SENSIBLE_LOST_AFTER: Duration = Duration::from_secs(20);

/// Which Jobs are followed besides those of labelled namespaces, and how.
#[derive(Args, Clone, Debug)]
pub struct FollowArgs {
    /// Whether Jobs and pods are watched. Without the watch, a change is seen with the next list (`--list-interval`): failures and ends as late
    /// as that, and without a sink, whose finalizer keeps Jobs, nothing of a Job that came and went in between. Nodes, Leases and namespaces
    /// are watched in any case
    #[arg(long, env = "JOBWARDEN_WATCH", default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false")]
    pub watch: bool,

    /// How often Jobs and pods are listed, between 10s and 1h; with the watch, to find out whether it has missed something, as after etcd was
    /// restored. `never` is possible with the watch alone
    #[arg(long, env = "JOBWARDEN_LIST_INTERVAL", default_value = "10m", value_parser = list_interval, value_name = "DURATION|never")]
    pub list_interval: Limit,

    /// Namespaces without the label jobwarden.io/inject in which the Jobs that `--follow-selector` selects are followed. The webhook does not see
    /// them, so their pods have no sidecar: the node agent and the Lease of the node alone show that they are alive
    #[arg(
        long,
        env = "JOBWARDEN_FOLLOW_NAMESPACES",
        value_delimiter = ',',
        requires = "follow_selector",
        value_name = "NAME,…"
    )]
    pub follow_namespaces: Vec<String>,

    /// Which Jobs are followed there, as `kubectl --selector` takes it: `ort-worker`, or `team in (a, b), !test`. The labels have to be on the Job
    /// and on its pod template
    #[arg(long, env = "JOBWARDEN_FOLLOW_SELECTOR", value_parser = label_selector::parse, requires = "follow_namespaces", value_name = "SELECTOR")]
    pub follow_selector: Option<LabelSelector>,

    /// Read the environment variables of ORT Server's job monitor as well: `MONITOR_*`, `TASKS*`, `ORCHESTRATOR_SENDER_TRANSPORT_*`. They override
    /// other flags, and `--config` overrides them; docs/orchestrators/ort-server.md
    ///
    /// Off by default: workers of ORT Server have such variables too, and a process that takes them up by accident would send to their queue
    #[arg(long, env = "JOBWARDEN_JOB_MONITOR_VARIABLES")]
    pub job_monitor_variables: bool,
}

/// How many settled outcomes are kept, and for how long.
#[derive(Args, Clone, Copy, Debug)]
pub struct RetentionArgs {
    /// How long outcomes are kept after every sink has acknowledged or refused them and their Jobs are gone
    #[arg(long, env = "JOBWARDEN_OUTCOME_RETENTION", default_value = "24h", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub outcome_retention: Duration,

    /// The most of them that are kept, the newest first; as many again that a sink has given up
    #[arg(long, env = "JOBWARDEN_OUTCOMES_KEPT", default_value_t = 5_000, value_name = "COUNT")]
    pub outcomes_kept: usize,

    /// The most MiB of them that are kept, as JSON in the API server; as many again that a sink has given up
    #[arg(long, env = "JOBWARDEN_OUTCOMES_KEPT_MIB", default_value_t = 32, value_name = "MIB")]
    pub outcomes_kept_mib: usize,
}

impl RetentionArgs {
    /// The bounds in their units.
    pub fn retention(self) -> Retention {
        let Self { outcome_retention: age, outcomes_kept: count, outcomes_kept_mib } = self;
        Retention { age, count, bytes: outcomes_kept_mib.saturating_mul(1024 * 1024) }
    }
}

/// Finds batch Jobs that die unnoticed, fails them, cleans up and notifies the orchestrator
///
/// A worker pod counts as lost when no source reports it alive: its sidecar's beat has expired, its node's Lease is stale and
/// the node's agent is silent. A worker that is known to be alive is never touched. Several replicas may run: one leads, the
/// others stand by.
#[derive(Parser, Clone, Debug)]
#[command(name = "jobwarden-reaper", version)]
pub struct ReaperArgs {
    /// Address for beats of sidecars and reports of agents, over HTTPS
    #[arg(long, env = "JOBWARDEN_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], port::REAPER)), value_name = "IP:PORT")]
    pub listen: SocketAddr,

    /// Loopback address of the API that shows evidence and verdicts, over plain HTTP without authentication; only the release of the breaker
    /// takes a token. `jobwarden explain` and `jobwarden breaker` reach it by a port-forward
    #[arg(long, env = "JOBWARDEN_API_ADDR", default_value_t = SocketAddr::from(([127, 0, 0, 1], port::API)), value_parser = loopback, value_name = "IP:PORT")]
    pub api_addr: SocketAddr,

    /// Address of the same API over TLS, for callers with a token for the audience jobwarden-api who may list or get the Jobs that they
    /// ask about; without the flag, there is none
    #[arg(long, env = "JOBWARDEN_API_TLS_ADDR", value_name = "IP:PORT")]
    pub api_tls_addr: Option<SocketAddr>,

    /// File with the sinks of notifications and the policies of Jobs; without it there are no sinks and only the default policy
    ///
    /// YAML: `sinks: [{name, type: http, url, secretFile, format: cloudevents, filter: {kinds: [failed, lost]}, giveUpAfter: 24h}]`
    /// (docs/sinks.md has all fields),
    /// `policy: {preset: ort-server, set: {lostAfter: 90s}, rules: [{match: {label: value}, set: {activeTimeout: 2h}}]}` and
    /// `breaker: {holdFor: 15m}`, `limits: {policy: {lostAfter: {most: 1h}}, outcomes: {perHour: 3000}}`. A change applies
    /// without a restart
    #[arg(long, env = "JOBWARDEN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The configuration file of the webhook, with the rules that find the IDs of runs and jobs: for Jobs and pods that admission
    /// missed. Without it only the labels jobwarden.io/run-id and jobwarden.io/job-id are read
    #[arg(long, env = "JOBWARDEN_IDENTITY_CONFIG", value_name = "FILE")]
    pub identity_config: Option<PathBuf>,

    /// Namespace that jobwarden runs in; outcomes are recorded there
    #[arg(long, env = "JOBWARDEN_NAMESPACE", default_value = "jobwarden", value_name = "NAME")]
    pub namespace: String,

    /// Name of this pod
    #[arg(long, env = "JOBWARDEN_POD_NAME", value_name = "NAME")]
    pub pod_name: String,

    /// UID of this pod
    #[arg(long, env = "JOBWARDEN_POD_UID", value_name = "UID")]
    pub pod_uid: String,

    /// Namespace of the node agents; only its service account may report observations
    #[arg(long, env = "JOBWARDEN_AGENT_NAMESPACE", default_value = object::AGENT, value_name = "NAME")]
    pub agent_namespace: String,

    /// File with the token of this pod for the audience of the reaper, with which the leader checks that beats arrive
    #[arg(long, env = "JOBWARDEN_TOKEN_FILE", default_value = "/var/run/secrets/jobwarden/token", value_name = "FILE")]
    pub token_file: PathBuf,

    /// How many settled outcomes are kept, and for how long
    #[command(flatten)]
    pub retention: RetentionArgs,

    /// How a lost Job is failed
    #[arg(long, env = "JOBWARDEN_FAIL_WITH", default_value = "failure-target", value_name = "HOW")]
    pub fail_with: FailWith,

    /// Write to no Job and no pod: record and notify only, a loss as `suspect`
    #[arg(long, env = "JOBWARDEN_OBSERVE_ONLY")]
    pub observe_only: bool,

    /// Which Jobs are followed, and how
    #[command(flatten)]
    pub follow: FollowArgs,

    /// Interval of the beats of sidecars and of the reports of agents, the latter between 1s and 10s
    #[arg(long, env = "JOBWARDEN_BEAT_INTERVAL", default_value = "10s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub beat_interval: Duration,

    /// Seconds to add to the clock of this machine: for tests, which show that it does not matter
    #[arg(
        long,
        env = "JOBWARDEN_CLOCK_SKEW_SECONDS",
        hide = true,
        default_value_t = 0,
        allow_negative_numbers = true,
        value_name = "SECONDS"
    )]
    pub clock_skew_seconds: i64,

    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub lease: LeaseArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
    #[command(flatten)]
    pub metrics: MetricsArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub drain: ShutdownArgs,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// Flags of the default policy; the configuration file and annotations of the same names override them.
#[derive(Args, Clone, Debug)]
#[command(
    next_help_heading = "Policy (overridden by --config, and by annotations jobwarden.io/… of namespaces and Jobs)"
)]
pub struct PolicyArgs {
    /// How old the last beat of a pod may be before the pod is lost, if no other signal shows that it is alive
    #[arg(long, env = "JOBWARDEN_LOST_AFTER", default_value = "120s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub lost_after: Duration,

    /// How old a pod's last beat may be before the beat counts as late
    #[arg(long, env = "JOBWARDEN_SUSPECT_AFTER", default_value = "30s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub suspect_after: Duration,

    /// How long a pod may take to start its main containers once it is on a node, and a Job to have a pod
    #[arg(long, env = "JOBWARDEN_START_TIMEOUT", default_value = "10m", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub start_timeout: Duration,

    /// How long a pod may wait for a node before it is lost; without the flag, for ever
    #[arg(long, env = "JOBWARDEN_UNSCHEDULED_TIMEOUT", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub unscheduled_timeout: Option<Duration>,

    /// How long a Job may run, from its start time, before it is failed with reason `DeadlineExceeded`; without the flag,
    /// for ever
    #[arg(long, env = "JOBWARDEN_ACTIVE_TIMEOUT", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub active_timeout: Option<Duration>,

    /// How long a worker may live without using CPU time, as the node agent sees it, before it is lost; without the flag, for ever
    #[arg(long, env = "JOBWARDEN_STALL_AFTER", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub stall_after: Option<Duration>,

    /// How long an init container may run before its pod is lost; without the flag, for ever
    #[arg(long, env = "JOBWARDEN_INIT_TIMEOUT", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub init_timeout: Option<Duration>,

    /// How long a Job waits for a node that is away to end its lost pod, if no other pod may be created before; `never` waits for the
    /// node
    #[arg(long, env = "JOBWARDEN_STRANDED_AFTER", default_value = "10m", value_parser = Limit::parse, value_name = "DURATION|never")]
    pub stranded_after: Limit,

    /// What is done about a lost pod: `retry` removes it and leaves the rest to the Job's own rules, `fail` fails the Job,
    /// `report` only notifies
    #[arg(long, env = "JOBWARDEN_ON_LOST", default_value = "retry", value_name = "WHAT")]
    pub on_lost: OnLost,

    /// What is done about a pod without any signal on a healthy node: `report` only notifies, `lost` treats it as lost
    #[arg(long, env = "JOBWARDEN_UNSEEN", default_value = "report", value_name = "WHAT")]
    pub unseen: Unseen,

    /// What is done about an open Job that gets no pod for start-timeout: `report` only notifies, `fail` fails it
    #[arg(long, env = "JOBWARDEN_NOT_STARTING", default_value = "report", value_name = "WHAT")]
    pub not_starting: NotStarting,

    /// What is done when a main container has failed while another one keeps the pod running: `wait` waits for the others, `fail`
    /// fails the Job
    #[arg(long, env = "JOBWARDEN_ON_CONTAINER_EXIT", default_value = "wait", value_name = "WHAT")]
    pub on_container_exit: OnContainerExit,

    /// How long a finished Job is kept before it is deleted; a Job with a controller or ttlSecondsAfterFinished is left alone
    #[arg(long, env = "JOBWARDEN_RETENTION", default_value = "1h", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub retention: Duration,

    /// How long a Job that completed is kept; by default as long as `--retention` says
    #[arg(long, env = "JOBWARDEN_RETENTION_SUCCEEDED", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub retention_succeeded: Option<Duration>,

    /// How long a failed Job is kept; by default as long as `--retention` says
    #[arg(long, env = "JOBWARDEN_RETENTION_FAILED", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub retention_failed: Option<Duration>,

    /// How long a Job is kept that failed because a pod of it was lost; by default as long as any failed Job
    #[arg(long, env = "JOBWARDEN_RETENTION_LOST", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub retention_lost: Option<Duration>,

    /// How long an ended pod is kept whose Job was deleted without it; by default as long as `--retention` says
    #[arg(long, env = "JOBWARDEN_RETENTION_ORPHANED", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub retention_orphaned: Option<Duration>,

    /// Notify of late beats as well
    #[arg(long, env = "JOBWARDEN_NOTIFY_LATE")]
    pub notify_late: bool,
}

/// An address of the loopback: what listens there without authentication must not be reachable from elsewhere.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|error| format!("{error}"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("not a loopback address; --api-tls-addr serves other hosts, with authentication".to_owned())
    }
}

/// A duration within the bounds of lists, or `never`.
fn list_interval(text: &str) -> Result<Limit, String> {
    let limit = Limit::parse(text).map_err(|error| error.to_string())?;
    match limit.0 {
        Some(every) if !LIST_INTERVALS.contains(&every) => Err("not between 10s and 1h".to_owned()),
        _ => Ok(limit),
    }
}

/// A duration, or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<Duration>);

impl Limit {
    fn parse(text: &str) -> Result<Self, humantime::DurationError> {
        if text == "never" { Ok(Self(None)) } else { humantime::parse_duration(text).map(|after| Self(Some(after))) }
    }
}

impl PolicyArgs {
    /// The policy, and the warnings about it.
    pub fn policy(&self) -> (Policy, Vec<String>) {
        let Self {
            lost_after,
            suspect_after,
            start_timeout,
            unscheduled_timeout,
            active_timeout,
            stall_after,
            init_timeout,
            stranded_after,
            on_lost,
            unseen,
            not_starting,
            on_container_exit,
            retention,
            retention_succeeded,
            retention_failed,
            retention_lost,
            retention_orphaned,
            notify_late,
        } = self;
        let mut warnings = Vec::new();
        if *lost_after < SHORTEST_SENSIBLE_LOST_AFTER {
            warnings.push("--lost-after is under 20s: two late Lease renewals look like a dead node".to_owned());
        }
        if suspect_after > lost_after {
            warnings.push("--suspect-after is longer than --lost-after and is cut to it".to_owned());
        }
        let policy = Policy {
            suspect_after: *suspect_after.min(lost_after),
            lost_after: *lost_after,
            start_timeout: *start_timeout,
            unscheduled_timeout: *unscheduled_timeout,
            active_timeout: *active_timeout,
            stall_after: *stall_after,
            init_timeout: *init_timeout,
            stranded_after: stranded_after.0,
            not_starting: *not_starting,
            on_container_exit: *on_container_exit,
            on_lost: *on_lost,
            unseen: *unseen,
            retention: *retention,
            retention_succeeded: *retention_succeeded,
            retention_failed: *retention_failed,
            retention_lost: *retention_lost,
            retention_orphaned: *retention_orphaned,
            notify_late: *notify_late,
            ..Policy::default()
        };
        (policy, warnings)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::watch::Schedule;

    fn parse(flags: &[&str]) -> ReaperArgs {
        let required = ["jobwarden-reaper", "--pod-name=reaper-0", "--pod-uid=u"];
        ReaperArgs::try_parse_from(required.iter().chain(flags)).expect("valid flags")
    }

    #[test]
    fn the_flags_are_well_formed() {
        ReaperArgs::command().debug_assert();
    }

    #[test]
    fn the_api_without_authentication_listens_on_the_loopback_alone() {
        for (address, accepted) in
            [("127.0.0.1:1", true), ("[::1]:1", true), ("0.0.0.0:1", false), ("10.0.0.1:1", false)]
        {
            let flags = ["jobwarden-reaper", "--pod-name=reaper-0", "--pod-uid=u", "--api-addr", address];
            assert_eq!(ReaperArgs::try_parse_from(flags).is_ok(), accepted, "{address}");
        }
    }

    #[test]
    fn lists_are_neither_too_frequent_nor_too_rare() {
        for (interval, accepted) in
            [("10s", true), ("1h", true), ("never", true), ("9s", false), ("61m", false), ("soon", false)]
        {
            let flags = ["jobwarden-reaper", "--pod-name=reaper-0", "--pod-uid=u", "--list-interval", interval];
            assert_eq!(ReaperArgs::try_parse_from(flags).is_ok(), accepted, "{interval}");
        }
        let defaults = parse(&[]);
        assert_eq!(Schedule::new(defaults.follow.watch, defaults.follow.list_interval.0), Ok(Schedule::default()));
        assert!(!parse(&["--watch=false"]).follow.watch);
    }

    #[test]
    fn the_defaults_are_those_of_the_policy() {
        let (policy, warnings) = parse(&[]).policy.policy();
        assert_eq!(policy, Policy::default());
        assert!(warnings.is_empty());
    }

    #[test]
    fn a_suspicion_never_comes_after_the_loss() {
        let (policy, warnings) = parse(&["--lost-after=20s"]).policy.policy();
        assert_eq!(policy.suspect_after, Duration::from_secs(20));
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn a_hasty_lost_after_is_warned_of() {
        let (policy, warnings) = parse(&["--lost-after=5s", "--suspect-after=5s"]).policy.policy();
        assert_eq!((policy.lost_after, warnings.len()), (Duration::from_secs(5), 1));
    }
}
