//! The names that Kubernetes objects, processes and people see.

/// Keys of labels.
pub mod label {
    /// The orchestrator's run, on Jobs, their pod templates and pods.
    pub const RUN_ID: &str = "jobwarden.io/run-id";
    /// The orchestrator's job, on Jobs, their pod templates and pods.
    pub const JOB_ID: &str = "jobwarden.io/job-id";
    /// On a namespace, `enabled` enrols it; on a pod or Job, `"false"` opts out and `"true"` enrols a bare pod.
    pub const INJECT: &str = "jobwarden.io/inject";
    /// `"true"` on every Job and pod that admission enrolled: what the reaper watches.
    pub const ENROLLED: &str = "jobwarden.io/enrolled";
    /// Kubernetes' own key for the tool that keeps an object; ours have [`super::FIELD_MANAGER`].
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// The Job controller's own key, on the pods of a Job (`batchv1.JobNameLabel`).
    pub const JOB_NAME: &str = "batch.kubernetes.io/job-name";
    /// On reaper pods; `leader` on the one that the Service for beats selects.
    pub const ROLE: &str = "jobwarden.io/role";
}

/// Values of labels that have a fixed meaning.
pub mod label_value {
    /// Of [`super::label::INJECT`] on a namespace.
    pub const ENABLED: &str = "enabled";
    /// Of [`super::label::INJECT`] and [`super::label::ENROLLED`] on Jobs and pods.
    pub const TRUE: &str = "true";
    /// Of [`super::label::INJECT`] on Jobs and pods.
    pub const FALSE: &str = "false";
    /// Of [`super::label::ROLE`].
    pub const LEADER: &str = "leader";
}

/// Keys of annotations.
pub mod annotation {
    /// The exact run ID, whatever the label could hold.
    pub const RUN_ID: &str = super::label::RUN_ID;
    /// The exact job ID, whatever the label could hold.
    pub const JOB_ID: &str = super::label::JOB_ID;
    /// The orchestrator's trace ID.
    pub const TRACE_ID: &str = "jobwarden.io/trace-id";
    /// How long after the last beat a worker pod counts as lost, such as `90s`.
    pub const LOST_AFTER: &str = "jobwarden.io/lost-after";
    /// How long after the last beat a worker pod is suspected.
    pub const SUSPECT_AFTER: &str = "jobwarden.io/suspect-after";
    /// How long a scheduled pod may take to start its main containers, and an open Job to have a pod.
    pub const START_TIMEOUT: &str = "jobwarden.io/start-timeout";
    /// What to do with a lost pod: `retry`, `fail` or `report`.
    pub const ON_LOST: &str = "jobwarden.io/on-lost";
    /// What to do with a pod that nobody sees while its node is well: `report` (the default) or `lost`.
    pub const UNSEEN: &str = "jobwarden.io/unseen";
    /// How long a pod may wait for a node before it is lost; `never` is the default.
    pub const UNSCHEDULED_TIMEOUT: &str = "jobwarden.io/unscheduled-timeout";
    /// How long a Job may run before it is failed; `never` is the default.
    pub const ACTIVE_TIMEOUT: &str = "jobwarden.io/active-timeout";
    /// How long a worker may live without using CPU time before it is lost; `never` is the default.
    pub const STALL_AFTER: &str = "jobwarden.io/stall-after";
    /// What to do with an open Job that gets no pod: `report` (the default) or `fail`.
    pub const NOT_STARTING: &str = "jobwarden.io/not-starting";
    /// Whether a late beat is told to the orchestrator: `true` or `false` (the default).
    pub const NOTIFY_LATE: &str = "jobwarden.io/notify-late";
    /// How long a finished Job is kept before it is deleted.
    pub const RETENTION: &str = "jobwarden.io/retention";
    /// CPU request and limit of the sidecar, a Kubernetes quantity.
    pub const SIDECAR_CPU: &str = "jobwarden.io/sidecar-cpu";
    /// Memory request and limit of the sidecar, a Kubernetes quantity.
    pub const SIDECAR_MEMORY: &str = "jobwarden.io/sidecar-memory";
    /// `"true"` promises that two pods of the Job may run side by side, so that an unfenced pod may be given up.
    pub const SAFE_TO_DUPLICATE: &str = "jobwarden.io/safe-to-duplicate";
}

/// Holds an enrolled Job until its outcome has been recorded.
pub const FINALIZER: &str = "jobwarden.io/outcome";

/// Name of the sidecar container that the webhook adds.
pub const SIDECAR_CONTAINER: &str = "jobwarden-heartbeat";

/// Name of the volume that holds the sidecar's own token.
pub const TOKEN_VOLUME: &str = "jobwarden-token";

/// Audience of the tokens that sidecars and agents present to the reaper.
pub const TOKEN_AUDIENCE: &str = "jobwarden-reaper";

/// Where a container finds its service account, by the convention of Kubernetes. The sidecar's own token is mounted here,
/// which keeps the `ServiceAccount` admission plugin from adding the workload's.
pub const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The API group of our custom resources.
pub const GROUP: &str = "jobwarden.io";

/// The manager name of our writes, as `managedFields` shows it.
pub const FIELD_MANAGER: &str = "jobwarden";

/// Objects that one part makes and another reads, all in jobwarden's own namespace.
pub mod object {
    /// The `MutatingWebhookConfiguration`.
    pub const WEBHOOK_CONFIGURATION: &str = "jobwarden";
    /// The Service through which beats and observations reach the leading reaper.
    pub const REAPER_SERVICE: &str = "jobwarden-reaper";
    /// The Service through which the API server reaches the webhook.
    pub const WEBHOOK_SERVICE: &str = "jobwarden-webhook";
    /// Secret with the certificate authority's key: `tls.crt`, `tls.key`.
    pub const CA_SECRET: &str = "jobwarden-ca";
    /// Secret with the webhook's serving certificate: `tls.crt`, `tls.key`, `ca.crt`.
    pub const WEBHOOK_TLS_SECRET: &str = "jobwarden-webhook-tls";
    /// Secret with the reaper's serving certificate: `tls.crt`, `tls.key`, `ca.crt`.
    pub const REAPER_TLS_SECRET: &str = "jobwarden-reaper-tls";
    /// `ConfigMap` with the configuration file of webhook and reaper.
    pub const CONFIG: &str = "jobwarden-webhook";
    /// `ConfigMap` that tells the agents whom to report to; its keys are in [`super::endpoint_key`].
    pub const REAPER_ENDPOINT: &str = "jobwarden-reaper-endpoint";
    /// The Lease of the leading reaper.
    pub const REAPER_LEASE: &str = "jobwarden-reaper";
    /// Name of the agent's service account and of its namespace.
    pub const AGENT: &str = "jobwarden-agent";
}

/// Keys of the `ConfigMap` [`object::REAPER_ENDPOINT`].
pub mod endpoint_key {
    /// `host:port` to dial.
    pub const ADDRESS: &str = "address";
    /// The DNS name that the certificate must carry.
    pub const SERVER_NAME: &str = "server-name";
    /// The CA bundle, PEM.
    pub const CA: &str = "ca.crt";
}

/// Environment variables of the sidecar; it has no flags, since an argument list would show in every pod for no use.
pub mod sidecar_env {
    /// `host:port` of the reaper's Service.
    pub const REAPER_ADDRESS: &str = "JOBWARDEN_REAPER_ADDRESS";
    /// The DNS name that the reaper's certificate must carry.
    pub const REAPER_NAME: &str = "JOBWARDEN_REAPER_NAME";
    /// The CA bundle, PEM.
    pub const CA: &str = "JOBWARDEN_CA";
    /// Milliseconds between beats.
    pub const INTERVAL_MS: &str = "JOBWARDEN_INTERVAL_MS";
    /// Path of the token file; [`super::SERVICE_ACCOUNT_DIR`]`/token` unless told otherwise.
    pub const TOKEN_FILE: &str = "JOBWARDEN_TOKEN_FILE";
}

/// Paths of the reaper's HTTPS server.
pub mod route {
    /// Where sidecars post [`crate::beat::BeatRequest`].
    pub const BEATS: &str = "/v1/beats";
    /// Where agents post [`crate::observation::Report`].
    pub const OBSERVATIONS: &str = "/v1/observations";
}

/// Paths of the reaper's API.
pub mod api_route {
    /// All Jobs; a namespace and a name after it are one.
    pub const JOBS: &str = "/v1/jobs";
    /// The guards.
    pub const GUARDS: &str = "/v1/guards";
}

/// Paths of the webhook's HTTPS server, as the `MutatingWebhookConfiguration` calls them.
pub mod admission_route {
    /// Admission of Jobs.
    pub const JOBS: &str = "/mutate/jobs";
    /// Admission of pods.
    pub const PODS: &str = "/mutate/pods";
}

/// TCP ports.
pub mod port {
    /// HTTPS of the webhook.
    pub const WEBHOOK: u16 = 8443;
    /// HTTPS of the reaper: beats and observations.
    pub const REAPER: u16 = 8444;
    /// Plain HTTP of the reaper: the API.
    pub const API: u16 = 8082;
    /// Plain HTTP of every process: `/livez`, `/readyz`, `/metrics`. The agent has its own because it uses the host's
    /// network.
    pub const ADMIN: u16 = 9440;
    /// The same of the agent.
    pub const AGENT_ADMIN: u16 = 9441;
}

/// Reasons: one word for programs, on conditions, Events, notifications and metrics.
pub mod reason {
    /// The node was deleted or declared out of service.
    pub const NODE_GONE: &str = "NodeGone";
    /// The node cannot be reached and neither sidecar nor agent is heard.
    pub const NODE_UNREACHABLE: &str = "NodeUnreachable";
    /// The processes are gone although the kubelet says that they run.
    pub const PROCESS_GONE: &str = "ProcessGone";
    /// The worker ended on a node that cannot tell us how.
    pub const OUTCOME_UNKNOWN: &str = "OutcomeUnknown";
    /// No beat, no agent, but a node that is well; lost only by choice.
    pub const HEARTBEAT_LOST: &str = "HeartbeatLost";
    /// The image of a main container could not be had.
    pub const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
    /// A main container could not be created.
    pub const CREATE_FAILED: &str = "CreateFailed";
    /// A main container did not start in time, for a reason the kubelet does not name.
    pub const START_TIMEOUT: &str = "StartTimeout";
    /// No node was found for a pod in time.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// The worker lives but has used no CPU time for too long.
    pub const STALLED: &str = "Stalled";
    /// The Job ran longer than it may; Kubernetes' own word, for that is what it means to everybody who reads conditions.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// No pod was made for an open Job.
    pub const NOT_STARTING: &str = "NotStarting";
    /// The sidecar is at fault, not the job.
    pub const SIDECAR_FAULT: &str = "SidecarFault";
    /// A pod runs without the sidecar, since admission missed it.
    pub const SIDECAR_MISSING: &str = "SidecarMissing";
    /// The Job was deleted before it had finished.
    pub const JOB_DELETED: &str = "JobDeleted";
    /// The bare pod was deleted before it had finished.
    pub const POD_DELETED: &str = "PodDeleted";
    /// A pod terminates for longer than it was given.
    pub const STUCK: &str = "Stuck";
    /// The beat is late.
    pub const HEARTBEAT_LATE: &str = "HeartbeatLate";
    /// Of an Event: the beat of a pod is late, and nothing is decided.
    pub const SUSPECT: &str = "Suspect";
    /// No beat, no agent, but a node that is well.
    pub const UNSEEN: &str = "Unseen";
    /// A worker that was suspected or called lost is heard again.
    pub const HEARTBEAT_RESUMED: &str = "HeartbeatResumed";
    /// A pod is lost, but a guard of the reaper holds what would be done about it.
    pub const HELD: &str = "Held";

    /// Those that end a pod by our verdict: what marks a condition as ours.
    pub const LOST: [&str; 10] = [
        NODE_GONE,
        NODE_UNREACHABLE,
        PROCESS_GONE,
        OUTCOME_UNKNOWN,
        HEARTBEAT_LOST,
        IMAGE_PULL_FAILED,
        CREATE_FAILED,
        START_TIMEOUT,
        UNSCHEDULABLE,
        STALLED,
    ];
}
