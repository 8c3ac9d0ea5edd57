//! Names on the wire: in Kubernetes objects, requests, environment variables and metrics.

/// Keys of labels.
pub mod label {
    /// The orchestrator's run ID, on Jobs, their pod templates and pods.
    pub const RUN_ID: &str = "jobwarden.io/run-id";
    /// The orchestrator's job ID, on Jobs, their pod templates and pods.
    pub const JOB_ID: &str = "jobwarden.io/job-id";
    /// On a namespace, `enabled` enrols it; on a pod or Job, `"false"` opts out and `"true"` enrols a bare pod.
    pub const INJECT: &str = "jobwarden.io/inject";
    /// `"true"` on every enrolled Job and pod; the reaper watches these.
    pub const ENROLLED: &str = "jobwarden.io/enrolled";
    /// The Job controller's label on the pods of a Job (`batchv1.JobNameLabel`).
    pub const JOB_NAME: &str = "batch.kubernetes.io/job-name";
    /// The same before Kubernetes 1.27, and still beside it (`batchv1.LegacyJobNameLabel`).
    pub const LEGACY_JOB_NAME: &str = "job-name";
    /// The Job controller's label on the pods of a Job: the Job's UID (`batchv1.ControllerUidLabel`).
    pub const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
    /// The same before Kubernetes 1.27, and still beside it (`batchv1.LegacyControllerUidLabel`).
    pub const LEGACY_CONTROLLER_UID: &str = "controller-uid";
    /// ORT Server's own on its Jobs: the name of the worker (`ort-worker` in its Kubernetes transport).
    pub const ORT_WORKER: &str = "ort-worker";
    /// On reaper pods; `leader` on the pod that the Service for beats selects.
    pub const ROLE: &str = "jobwarden.io/role";
}

/// Label values with a fixed meaning.
pub mod label_value {
    /// Value of [`super::label::INJECT`] on a namespace.
    pub const ENABLED: &str = "enabled";
    /// Value of [`super::label::INJECT`] and [`super::label::ENROLLED`] on Jobs and pods.
    pub const TRUE: &str = "true";
    /// Value of [`super::label::INJECT`] on Jobs and pods.
    pub const FALSE: &str = "false";
    /// Value of [`super::label::ROLE`].
    pub const LEADER: &str = "leader";
}

/// Keys of annotations.
pub mod annotation {
    /// The exact run ID; the label may hold only a digest.
    pub const RUN_ID: &str = super::label::RUN_ID;
    /// The exact job ID; the label may hold only a digest.
    pub const JOB_ID: &str = super::label::JOB_ID;
    /// The orchestrator's trace ID.
    pub const TRACE_ID: &str = "jobwarden.io/trace-id";
    /// Time without a beat after which a worker pod is lost, such as `90s`.
    pub const LOST_AFTER: &str = "jobwarden.io/lost-after";
    /// Time without a beat after which a worker pod is suspect.
    pub const SUSPECT_AFTER: &str = "jobwarden.io/suspect-after";
    /// How long a scheduled pod may take to start its main containers, and an open Job to get a pod.
    pub const START_TIMEOUT: &str = "jobwarden.io/start-timeout";
    /// What to do with a lost pod: `retry`, `fail` or `report`.
    pub const ON_LOST: &str = "jobwarden.io/on-lost";
    /// What to do with a pod without beat or agent sighting on a healthy node: `report` (the default) or `lost`.
    pub const UNSEEN: &str = "jobwarden.io/unseen";
    /// How long a pod may wait for a node before it is lost; `never` is the default.
    pub const UNSCHEDULED_TIMEOUT: &str = "jobwarden.io/unscheduled-timeout";
    /// How long a Job may run before it is failed; `never` is the default.
    pub const ACTIVE_TIMEOUT: &str = "jobwarden.io/active-timeout";
    /// How long a live worker may use no CPU time before it is lost; `never` is the default.
    pub const STALL_AFTER: &str = "jobwarden.io/stall-after";
    /// What to do with an open Job that gets no pod: `report` (the default) or `fail`.
    pub const NOT_STARTING: &str = "jobwarden.io/not-starting";
    /// How long a Job waits for a node that is away to end its lost pod, if no other pod may be created before; `never` waits for the
    /// node.
    pub const STRANDED_AFTER: &str = "jobwarden.io/stranded-after";
    /// How long an init container may run before its pod is lost; `never` is the default.
    pub const INIT_TIMEOUT: &str = "jobwarden.io/init-timeout";
    /// What to do when a main container has failed while another keeps the pod running: `wait` (the default) or `fail`.
    pub const ON_CONTAINER_EXIT: &str = "jobwarden.io/on-container-exit";
    /// Whether the orchestrator is notified of a late beat: `true` or `false` (the default).
    pub const NOTIFY_LATE: &str = "jobwarden.io/notify-late";
    /// Whether notifications have the last log lines, if the administrator has turned that on: `true` (the default) or `false`. A Job
    /// cannot turn on what its namespace has turned off.
    pub const INCLUDE_LOGS: &str = "jobwarden.io/include-logs";
    /// How long a finished Job is kept before it is deleted.
    pub const RETENTION: &str = "jobwarden.io/retention";
    /// How long a Job that completed is kept; by default as long as `retention` says.
    pub const RETENTION_SUCCEEDED: &str = "jobwarden.io/retention-succeeded";
    /// How long a failed Job is kept; by default as long as `retention` says.
    pub const RETENTION_FAILED: &str = "jobwarden.io/retention-failed";
    /// How long a Job is kept that failed because a pod of it was lost; by default as long as any failed Job.
    pub const RETENTION_LOST: &str = "jobwarden.io/retention-lost";
    /// How long an ended pod is kept whose Job was deleted without it; by default as long as `retention` says.
    pub const RETENTION_ORPHANED: &str = "jobwarden.io/retention-orphaned";
    /// CPU request and limit of the sidecar, a Kubernetes quantity.
    pub const SIDECAR_CPU: &str = "jobwarden.io/sidecar-cpu";
    /// Memory request and limit of the sidecar, a Kubernetes quantity.
    pub const SIDECAR_MEMORY: &str = "jobwarden.io/sidecar-memory";
    /// On a Job or pod whose `restartPolicy` is `OnFailure`: `sidecar` or `agent`, what watches its pods. Admission of the Job decides
    /// where the creator does not, and writes it to the pod template: a pod does not show the retries that its Job has.
    pub const ON_FAILURE: &str = "jobwarden.io/on-failure";
    /// On a pod that admission left without the sidecar: why, such as `OnFailure` or `LimitRange`.
    pub const NO_SIDECAR: &str = "jobwarden.io/no-sidecar";
    /// The label of the same key, written as an annotation by people who know other injectors.
    pub const INJECT: &str = super::label::INJECT;
    /// On a mirror pod, the kubelet's copy of a static pod (`corev1.MirrorPodAnnotationKey`).
    pub const MIRROR: &str = "kubernetes.io/config.mirror";
    /// `"true"` states that two pods of the Job may run at the same time, so that an unfenced pod may be abandoned.
    pub const SAFE_TO_DUPLICATE: &str = "jobwarden.io/safe-to-duplicate";
}

/// Finalizer that keeps an enrolled Job until its outcome is recorded.
pub const FINALIZER: &str = "jobwarden.io/outcome";

/// Name of the sidecar container that the webhook adds.
pub const SIDECAR_CONTAINER: &str = "jobwarden-heartbeat";

/// Name of the volume that holds the sidecar's own token.
pub const TOKEN_VOLUME: &str = "jobwarden-token";

/// Audience of the tokens that sidecars and agents present to the reaper.
pub const TOKEN_AUDIENCE: &str = "jobwarden-reaper";

/// Audience of the tokens with which an operator releases the breaker.
pub const OPERATOR_AUDIENCE: &str = "jobwarden-operator";

/// Audience of the tokens with which programs read the API over TLS. It is good for nothing else.
pub const API_AUDIENCE: &str = "jobwarden-api";

/// The header that carries an operator's token to the reaper's API. It is not `Authorization`, which carries the
/// caller's own token over TLS.
pub const OPERATOR_TOKEN_HEADER: &str = "x-jobwarden-operator-token";

/// The standard mount path of a service account's token. The sidecar's own token is mounted here, which keeps the
/// `ServiceAccount` admission plugin from mounting the workload's.
pub const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Name of the token file in [`SERVICE_ACCOUNT_DIR`].
pub const TOKEN_FILE: &str = "token";

/// The value of a Job's `spec.managedBy` for the built-in Job controller (KEP-4368).
pub const JOB_CONTROLLER: &str = "kubernetes.io/job-controller";

/// The API group of jobwarden's custom resources.
pub const GROUP: &str = "jobwarden.io";

/// The field manager of jobwarden's writes, as shown in `managedFields`.
pub const FIELD_MANAGER: &str = "jobwarden";

/// Names of objects that one part creates and another reads, all in jobwarden's own namespace.
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
    /// `ConfigMap` with the reaper's endpoint for the agents; its keys are in [`super::endpoint_key`].
    pub const REAPER_ENDPOINT: &str = "jobwarden-reaper-endpoint";
    /// The Lease of the leading reaper.
    pub const REAPER_LEASE: &str = "jobwarden-reaper";
    /// The service account without permissions for which an operator requests a token to release the breaker: who may create tokens of
    /// it may release.
    pub const OPERATOR: &str = "jobwarden-operator";
    /// Name of the agent's service account and of its namespace.
    pub const AGENT: &str = "jobwarden-agent";
}

/// Keys of the `ConfigMap` [`object::REAPER_ENDPOINT`].
pub mod endpoint_key {
    /// `host:port` to connect to.
    pub const ADDRESS: &str = "address";
    /// The DNS name that the certificate must contain.
    pub const SERVER_NAME: &str = "server-name";
    /// The CA bundle, PEM.
    pub const CA: &str = "ca.crt";
}

/// Environment variables of the sidecar. It has no flags, which would only clutter every pod's manifest.
pub mod sidecar_env {
    /// `host:port` of the reaper's Service.
    pub const REAPER_ADDRESS: &str = "JOBWARDEN_REAPER_ADDRESS";
    /// The DNS name that the reaper's certificate must contain.
    pub const REAPER_NAME: &str = "JOBWARDEN_REAPER_NAME";
    /// The CA bundle, PEM.
    pub const CA: &str = "JOBWARDEN_CA";
    /// Milliseconds between beats.
    pub const INTERVAL_MS: &str = "JOBWARDEN_INTERVAL_MS";
    /// Path of the token file; the default is [`super::TOKEN_FILE`] in [`super::SERVICE_ACCOUNT_DIR`].
    pub const TOKEN_FILE: &str = "JOBWARDEN_TOKEN_FILE";
}

/// Paths of the reaper's HTTPS server.
pub mod route {
    /// Sidecars post [`crate::beat::BeatRequest`] here.
    pub const BEATS: &str = "/v1/beats";
    /// Agents post [`crate::observation::Report`] here.
    pub const OBSERVATIONS: &str = "/v1/observations";
}

/// Paths of the reaper's API.
pub mod api_route {
    /// All Jobs; followed by a namespace and a name, one Job.
    pub const JOBS: &str = "/v1/jobs";
    /// The guards.
    pub const GUARDS: &str = "/v1/guards";
    /// The breaker in detail.
    pub const BREAKER: &str = "/v1/breaker";
    /// Releases what the breaker holds.
    pub const BREAKER_RELEASE: &str = "/v1/breaker/release";
    /// The state of the sinks.
    pub const SINKS: &str = "/v1/sinks";
    /// Whether callers can be authenticated and authorized.
    pub const ACCESS: &str = "/v1/access";
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
    /// Plain HTTP of the reaper on the loopback of its pod: the API, for port-forwards.
    pub const API: u16 = 8082;
    /// HTTPS of the reaper: the API, for programs with tokens.
    pub const API_TLS: u16 = 8445;
    /// Plain HTTP of every process: `/livez` and `/readyz`. The agent uses another port because it runs in the host's network.
    pub const ADMIN: u16 = 9440;
    /// Like [`ADMIN`], for the agent.
    pub const AGENT_ADMIN: u16 = 9441;
    /// Plain HTTP of webhook and reaper, as the chart sets it: `/metrics`.
    pub const METRICS: u16 = 9442;
    /// Like [`METRICS`], for the agent, where the chart enables it.
    pub const AGENT_METRICS: u16 = 9443;
}

/// Reasons: machine-readable CamelCase words in conditions, Events, notifications and metrics.
pub mod reason {
    /// The node was deleted or tainted as out of service.
    pub const NODE_GONE: &str = "NodeGone";
    /// The node is unreachable, and neither sidecar nor agent reports.
    pub const NODE_UNREACHABLE: &str = "NodeUnreachable";
    /// The processes are gone although the kubelet reports them as running.
    pub const PROCESS_GONE: &str = "ProcessGone";
    /// The worker ended on a node that cannot report how.
    pub const OUTCOME_UNKNOWN: &str = "OutcomeUnknown";
    /// No recent beat or agent sighting on a healthy node; lost only if `unseen` is `lost`.
    pub const HEARTBEAT_LOST: &str = "HeartbeatLost";
    /// The image of a main container could not be pulled.
    pub const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
    /// A main container could not be created.
    pub const CREATE_FAILED: &str = "CreateFailed";
    /// A main container did not start in time, and the kubelet reports no reason.
    pub const START_TIMEOUT: &str = "StartTimeout";
    /// A pod waits for a node.
    pub const UNSCHEDULED: &str = "Unscheduled";
    /// No node was found for a pod in time.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// An init container ran for too long.
    pub const INIT_TIMEOUT: &str = "InitTimeout";
    /// The worker is alive but has used no CPU time for too long.
    pub const STALLED: &str = "Stalled";
    /// The Job exceeded its `active-timeout`. This is the reason that Kubernetes uses for its own deadline.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// A main container failed while another one keeps the pod running; only with `on-container-exit: fail`.
    pub const CONTAINER_FAILED: &str = "ContainerFailed";
    /// A main container has ended while another one keeps the pod running.
    pub const CONTAINER_EXITED: &str = "ContainerExited";
    /// A pod has not started because its node is not ready.
    pub const NODE_NOT_READY: &str = "NodeNotReady";
    /// No pod may replace a lost one before a node that is away is back.
    pub const STRANDED: &str = "Stranded";
    /// No pod was created for an open Job.
    pub const NOT_STARTING: &str = "NotStarting";
    /// The sidecar failed, not the job.
    pub const SIDECAR_FAULT: &str = "SidecarFault";
    /// A pod runs without the sidecar because admission missed it.
    pub const SIDECAR_MISSING: &str = "SidecarMissing";
    /// The Job was deleted before it finished.
    pub const JOB_DELETED: &str = "JobDeleted";
    /// The bare pod was deleted before it finished.
    pub const POD_DELETED: &str = "PodDeleted";
    /// A pod is still terminating after its grace period.
    pub const STUCK: &str = "Stuck";
    /// The beat is late.
    pub const HEARTBEAT_LATE: &str = "HeartbeatLate";
    /// Event: the beat of a pod is late, and there is no verdict yet.
    pub const SUSPECT: &str = "Suspect";
    /// No recent beat or agent sighting on a healthy node.
    pub const UNSEEN: &str = "Unseen";
    /// A worker that was suspect or lost sends beats again.
    pub const HEARTBEAT_RESUMED: &str = "HeartbeatResumed";
    /// A pod is lost, but a guard of the reaper holds the action.
    pub const HELD: &str = "Held";

    /// Outcomes of a namespace that has more than its share are reported together.
    pub const OUTCOMES_COALESCED: &str = "OutcomesCoalesced";
    /// A notification could not be delivered to a sink within its time, or can never be sent.
    pub const DELIVERY_GIVEN_UP: &str = "DeliveryGivenUp";
    /// A Job is beyond the number that is followed of its namespace.
    pub const JOB_NOT_FOLLOWED: &str = "JobNotFollowed";

    /// Delivery: ORT Server cannot be notified about a Job without a numeric run ID.
    pub const MISSING_RUN_ID: &str = "MissingRunId";
    /// Delivery: neither label nor name of a Job say which worker of ORT Server it runs.
    pub const UNKNOWN_ENDPOINT: &str = "UnknownEndpoint";

    /// Reasons of a verdict that ends a pod. They identify a condition that jobwarden wrote.
    pub const LOST: [&str; 11] = [
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
        INIT_TIMEOUT,
    ];
}
