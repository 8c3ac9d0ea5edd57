//! Tenants who lie. Each attack has the role `edit` in one namespace and no more, a victim that it is aimed at, and a bystander, both in
//! other namespaces. Nothing of the two is changed, delayed, hidden, invented or shown.
//!
//! One test a kind of attack, each with its table. The attacks of a kind run at the same time. `docs/threat-model.md` has the list with what
//! holds each of them.

mod attacker;
mod frame;
mod lifecycle;
mod objects;
mod ownership;
mod policies;
mod ports;
mod subject;
mod tokens;
mod words;

use jobwarden_tests::shared_cluster::SharedCluster;

use frame::{attacks, during};
use subject::Ending::{IsDeleted, LosesItsNode, LosesItsPod, Succeeds};

pub(crate) async fn whoever_claims_a_foreign_job_changes_nothing_of_it(cluster: &SharedCluster) -> anyhow::Result<()> {
    let attacks = attacks![
        "a failing pod with the victim's Job as its controller, and its UID as label" => ownership::failing_child, LosesItsPod;
        "a pod with the labels of the victim's pods, and no owner" => ownership::labels_alone, Succeeds;
        "dependents that block the deletion of the victim's Job" => ownership::blocking_dependents, IsDeleted;
        "a Job that names the victim's Job as the CronJob that owns it" => ownership::child_of_a_foreign_cron_job, Succeeds;
        "a Job whose own selector matches the victim's pods" => ownership::selector_of_the_victims_pods, Succeeds;
        "pods with the labels of the leading reaper" => ownership::labels_of_the_leader, Succeeds;
        "a pod bound by hand to the victim's node, with processes of its own" => ownership::bound_by_hand, Succeeds;
    ];
    during(cluster, &attacks).await
}

pub(crate) async fn words_of_a_tenant_stay_its_own(cluster: &SharedCluster) -> anyhow::Result<()> {
    let attacks = attacks![
        "the victim's IDs on a Job of the attacker" => words::the_victims_ids, Succeeds;
        "IDs with line breaks, control characters and markup" => words::ids_that_break_lines, Succeeds;
        "IDs of the greatest length, and beyond it" => words::ids_beyond_their_bound, Succeeds;
        "IDs changed after creation" => words::ids_changed_later, Succeeds;
        "termination messages with markup, JSON, what looks like a token, and control characters" => words::messages, Succeeds;
        "Jobs named like the outcomes of the victim" => words::names_of_outcomes, Succeeds;
    ];
    during(cluster, &attacks).await?;
    words::logs_and_metrics_are_well_formed(cluster).await
}

pub(crate) async fn no_policy_or_number_of_a_tenant_delays_another(cluster: &SharedCluster) -> anyhow::Result<()> {
    let attacks = attacks![
        "twenty-five pending Jobs of endless patience, while the victim's node dies" => policies::patience_for_ever, LosesItsNode;
        "annotations at and beyond the bounds of durations and sizes" => policies::extreme_annotations, Succeeds;
        "numbers at their bounds" => policies::extreme_numbers, Succeeds;
        "Jobs with thousands of labels and 200 KiB of annotations" => policies::fat_jobs, Succeeds;
        "sixty suspended Jobs, made and deleted" => policies::churn, Succeeds;
    ];
    during(cluster, &attacks).await?;
    words::logs_and_metrics_are_well_formed(cluster).await
}

pub(crate) async fn what_is_jobwardens_own_stays_so_and_is_never_left_behind(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let attacks = attacks![
        "the label written by hand, to be silent and to be observed" => lifecycle::label_by_hand, Succeeds;
        "the finalizer added and removed by hand" => lifecycle::finalizer_by_hand, Succeeds;
        "a namespace that is deleted while its Jobs carry the finalizer" => lifecycle::deleted_namespace, IsDeleted;
        "an opt-out just before the end" => lifecycle::opt_out_before_the_end, Succeeds;
        "containers and volumes with the names of the sidecar's" => lifecycle::names_of_the_sidecar, Succeeds;
        "a sidecar of the attacker's own making" => lifecycle::sidecar_of_its_own, Succeeds;
        "a pod that says that it is a mirror pod" => lifecycle::mirror_pod, Succeeds;
        "a Job managed by a controller that does not exist" => lifecycle::managed_by_nobody, Succeeds;
    ];
    during(cluster, &attacks).await
}

pub(crate) async fn no_token_or_connection_of_a_tenant_speaks_for_another(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let attacks = attacks![
        "tokens for the victim's pod" => tokens::for_the_victims_pod, Succeeds;
        "tokens of pods that are gone, tampered ones, and ones for others" => tokens::old_and_tampered, Succeeds;
        "reports of a service account called like the agents'" => tokens::reports_of_no_agent, Succeeds;
        "the API, asked about the victim's Jobs" => tokens::the_api, Succeeds;
        "the release of the breaker, with a service account called like the operator's" => tokens::the_operator, Succeeds;
        "beats with huge, malformed and too many entries" => ports::beats_of_wrong_shape, Succeeds;
        "requests that contradict themselves" => ports::contradicting_requests, Succeeds;
        "idle connections at every port that a pod can reach" => ports::idle_connections, Succeeds;
    ];
    during(cluster, &attacks).await
}

pub(crate) async fn objects_that_look_like_jobwardens_have_no_effect(cluster: &SharedCluster) -> anyhow::Result<()> {
    let attacks = attacks![
        "outcomes read, changed, deleted and written by hand" => objects::outcomes, Succeeds;
        "Events about the victim's pod, about its node and about its Job" => objects::events, LosesItsPod;
        "Leases called like a node's and the leader's" => objects::leases, Succeeds;
        "jobwarden's configuration, keys and ports" => objects::installation, Succeeds;
        "the enrolment of namespaces and the webhooks" => objects::enrolment, Succeeds;
    ];
    during(cluster, &attacks).await
}
