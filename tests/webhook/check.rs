//! `jobwarden check`, as an administrator runs it: the release build with the kubeconfig of the cluster.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jobwarden_common::names::object;
use jobwarden_testbed::progress;
use jobwarden_tests::environment::Environment;
use jobwarden_tests::install::{self, NAMESPACE};
use jobwarden_tests::mutating_webhook::MutatingWebhook;
use jobwarden_tests::shared_cluster::SharedCluster;
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use crate::other_webhooks::strip;

/// How long a fault may take to appear, and to disappear.
const TIMEOUT: Duration = Duration::from_secs(90);

/// The time between two checks.
const INTERVAL: Duration = Duration::from_millis(300);

/// A fault, and what the report has to contain.
struct Fault {
    name: &'static str,
    /// The kubectl commands that cause it.
    plant: &'static [&'static [&'static str]],
    /// A part of a line that begins with ×.
    problem: &'static str,
    /// A part of the text below that line.
    remedy: &'static str,
    /// The kubectl commands that undo it. Without any, `helm upgrade` undoes it, as the report advises.
    repair: &'static [&'static [&'static str]],
}

const FAULTS: [Fault; 12] = [
    Fault {
        name: "a binding of the reaper is gone",
        plant: &[&["delete", "clusterrolebinding/jobwarden-reaper"]],
        problem: "the service account jobwarden-reaper cannot get jobs in all namespaces",
        remedy: "helm upgrade jobwarden manifests/chart --namespace jobwarden --reuse-values",
        repair: &[],
    },
    Fault {
        name: "the webhook may not read LimitRanges",
        plant: &[&[
            "patch",
            "clusterrole/jobwarden-webhook",
            "--type=json",
            r#"-p=[{"op":"remove","path":"/rules/1"}]"#,
        ]],
        problem: "the service account jobwarden-webhook cannot get limitranges in all namespaces",
        remedy: "kubectl auth can-i --list --as=system:serviceaccount:jobwarden:jobwarden-webhook",
        repair: &[],
    },
    Fault {
        name: "the reaper's Service leads nowhere",
        plant: &[&[
            "patch",
            "service/jobwarden-reaper",
            "--namespace=jobwarden",
            r#"-p={"spec":{"selector":{"jobwarden.io/role":"nobody"}}}"#,
        ]],
        problem: "the reaper cannot be reached through its Service",
        remedy: "kubectl get --raw /api/v1/namespaces/jobwarden/services/https:jobwarden-reaper:8444/proxy/",
        repair: &[],
    },
    Fault {
        name: "a Secret that the webhook fills is gone",
        plant: &[&["delete", "secret/jobwarden-reaper-tls", "--namespace=jobwarden"]],
        problem: "Secret jobwarden/jobwarden-reaper-tls not found",
        remedy: "kubectl -n jobwarden create secret generic jobwarden-reaper-tls",
        repair: &[&["create", "secret", "generic", "jobwarden-reaper-tls", "--namespace=jobwarden"]],
    },
    Fault {
        name: "no reaper runs",
        plant: &[&["scale", "deployment/jobwarden-reaper", "--namespace=jobwarden", "--replicas=0"]],
        problem: "no reaper is the leader",
        remedy: "kubectl -n jobwarden logs deployment/jobwarden-reaper",
        repair: &[&["scale", "deployment/jobwarden-reaper", "--namespace=jobwarden", "--replicas=2"]],
    },
    Fault {
        name: "the agent does not start",
        plant: &[&[
            "patch",
            "daemonset/jobwarden-agent",
            "--namespace=jobwarden-agent",
            "--type=json",
            r#"-p=[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"example.com/none:0"},
                   {"op":"replace","path":"/spec/template/spec/containers/0/imagePullPolicy","value":"Never"}]"#,
        ]],
        problem: "no ready agent on node-1 (ErrImageNeverPull)",
        remedy: "kubectl -n jobwarden-agent describe pods",
        repair: &[],
    },
    Fault {
        name: "the agent is meant for other nodes",
        plant: &[&[
            "patch",
            "daemonset/jobwarden-agent",
            "--namespace=jobwarden-agent",
            r#"-p={"spec":{"template":{"spec":{"nodeSelector":{"example.com/nowhere":"true"}}}}}"#,
        ]],
        problem: "the agent is scheduled on no node: its nodeSelector excludes node-1",
        remedy: "agent.nodeSelector",
        repair: &[&[
            "patch",
            "daemonset/jobwarden-agent",
            "--namespace=jobwarden-agent",
            "--type=json",
            r#"-p=[{"op":"remove","path":"/spec/template/spec/nodeSelector"}]"#,
        ]],
    },
    Fault {
        name: "the configuration file is broken",
        plant: &[&[
            "patch",
            "configmap/jobwarden-webhook",
            "--namespace=jobwarden",
            r#"-p={"data":{"config.yaml":"identity: {preset: airflow}"}}"#,
        ]],
        problem: "the configuration file in the ConfigMap jobwarden/jobwarden-webhook is invalid",
        remedy: "kubectl -n jobwarden edit configmap jobwarden-webhook",
        repair: &[],
    },
    Fault {
        name: "the backstop is gone",
        plant: &[&["delete", "validatingadmissionpolicy/jobwarden-sidecar"]],
        problem: "ValidatingAdmissionPolicy jobwarden-sidecar not found",
        remedy: "helm upgrade jobwarden",
        repair: &[],
    },
    Fault {
        name: "the webhook asks for other namespaces",
        plant: &[&[
            "patch",
            "mutatingwebhookconfiguration/jobwarden",
            "--type=json",
            r#"-p=[{"op":"remove","path":"/webhooks/1/namespaceSelector/matchLabels"}]"#,
        ]],
        problem: "pods.jobwarden.io is misconfigured: its namespaceSelector does not require jobwarden.io/inject=enabled",
        remedy: "helm upgrade jobwarden",
        repair: &[],
    },
    Fault {
        name: "the webhook is not registered",
        plant: &[&["delete", "mutatingwebhookconfiguration/jobwarden"]],
        problem: "is admitted without the sidecar",
        remedy: "the webhook's registration",
        repair: &[],
    },
    Fault {
        name: "the custom resource is gone",
        plant: &[&["delete", "customresourcedefinition/joboutcomes.jobwarden.io"]],
        problem: "CustomResourceDefinition joboutcomes.jobwarden.io not found",
        remedy: "helm upgrade jobwarden",
        repair: &[],
    },
];

pub(crate) async fn check_reports_each_planted_fault_with_a_remedy(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("check").await?;
    wait_until_clean(environment).await.context("before anything was planted")?;
    for Fault { name, plant, problem, remedy, repair } in FAULTS {
        kubectl(environment, plant).await.with_context(|| format!("planting: {name}"))?;
        wait_for_failure(environment, problem, remedy).await.with_context(|| name.to_owned())?;
        if repair.is_empty() {
            upgrade(environment).await?;
        }
        kubectl(environment, repair).await.with_context(|| format!("undoing: {name}"))?;
        wait_until_clean(environment).await.with_context(|| format!("after: {name}"))?;
    }
    in_a_namespace(environment, namespace.name()).await?;
    during_a_webhook_outage(environment).await?;
    progress::note("the check reported all faults");
    Ok(())
}

/// Faults of one namespace: a `LimitRange`, and the webhook of another vendor.
async fn in_a_namespace(environment: &Environment, namespace: &str) -> anyhow::Result<()> {
    let range = json!({
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "only-dwarfs", "namespace": namespace},
        "spec": {"limits": [{"type": "Container", "max": {"memory": "8Mi"}, "default": {"memory": "8Mi"}}]},
    });
    environment.cluster.apply(&range.to_string()).await.context("creating a LimitRange")?;
    let problem = format!("sidecars do not fit in {namespace}");
    let remedy = format!("kubectl -n {namespace} describe limitranges");
    wait_for_failure(environment, &problem, &remedy).await.context("a LimitRange leaves no room for the sidecar")?;
    let at = format!("--namespace={namespace}");
    environment.cluster.kubectl(["delete", "limitrange/only-dwarfs", &at]).await.context("deleting it")?;
    wait_until_clean(environment).await.context("after the LimitRange")?;

    let stripper =
        MutatingWebhook::start(&environment.cluster, "zz-strips-for-check", namespace, "IfNeeded", strip).await?;
    let problem =
        format!("a pod created as a dry run in {namespace} is rejected: another webhook removes restartPolicy");
    let outcome = wait_for_failure(environment, &problem, "zz-strips-for-check")
        .await
        .context("another webhook strips the sidecar");
    stripper.unregister().await?;
    outcome?;
    wait_until_clean(environment).await.context("after the other webhook")
}

/// Faults that a running webhook would repair immediately.
async fn during_a_webhook_outage(environment: &Environment) -> anyhow::Result<()> {
    const SCALE: [&str; 3] = ["scale", "deployment/jobwarden-webhook", "--namespace=jobwarden"];
    let scaled = |replicas: &'static str| environment.cluster.kubectl(SCALE.into_iter().chain([replicas]));
    scaled("--replicas=0").await.context("scaling the webhook")?;
    let remedy = "kubectl -n jobwarden scale deployment/jobwarden-webhook --replicas=2";
    wait_for_failure(environment, "jobwarden-webhook is scaled to 0", remedy).await.context("no webhook runs")?;
    let refused = "is rejected, because the API server cannot call jobwarden's webhook";
    wait_for_failure(environment, refused, "see the webhook's replicas").await.context("no webhook answers")?;
    // A terminating webhook would repair the following faults.
    let selector = "--selector=app.kubernetes.io/name=jobwarden-webhook";
    let gone = ["wait", "pods", "--for=delete", selector, "--namespace=jobwarden", "--timeout=60s"];
    environment.cluster.kubectl(gone).await.context("waiting until the webhook has ended")?;

    let (certificate, key) = expired()?;
    let bundle = STANDARD.encode(&certificate);
    let path = "/webhooks/1/clientConfig/caBundle";
    let patch = format!("-p={}", json!([{"op": "replace", "path": path, "value": bundle}]));
    let at = format!("mutatingwebhookconfiguration/{}", object::WEBHOOK_CONFIGURATION);
    environment.cluster.kubectl(["patch", &at, "--type=json", &patch]).await.context("planting a caBundle")?;
    let problem = "the caBundle of pods.jobwarden.io in the webhook configuration jobwarden does not verify the webhook's certificate";
    wait_for_failure(environment, problem, "a running webhook writes it immediately")
        .await
        .context("the caBundle is of another authority")?;

    let secret = json!({"data": {
        "tls.crt": STANDARD.encode(&certificate), "tls.key": STANDARD.encode(key), "ca.crt": STANDARD.encode(&certificate),
    }});
    let patch = format!("-p={secret}");
    let at = format!("secret/{}", object::WEBHOOK_TLS_SECRET);
    environment
        .cluster
        .kubectl(["patch", &at, "--namespace=jobwarden", &patch])
        .await
        .context("planting a certificate")?;
    let problem = format!("the certificate in the Secret {NAMESPACE}/{} expired 24 h ago", object::WEBHOOK_TLS_SECRET);
    wait_for_failure(environment, &problem, "kubectl -n jobwarden patch secret jobwarden-webhook-tls")
        .await
        .context("it has expired")?;

    scaled("--replicas=2").await.context("scaling the webhook")?;
    wait_until_clean(environment).await.context("after the webhook outage")
}

/// A certificate for the webhook that expired yesterday, and its key; PEM.
fn expired() -> anyhow::Result<(String, String)> {
    const DAY: Duration = Duration::from_hours(24);
    let mut params = CertificateParams::new([format!("{}.{NAMESPACE}.svc", object::WEBHOOK_SERVICE)])?;
    let now = SystemTime::now();
    (params.not_before, params.not_after) = ((now - 91 * DAY).into(), (now - DAY).into());
    let key = KeyPair::generate().context("generating a key")?;
    let certificate = params.self_signed(&key).context("creating a certificate")?;
    Ok((certificate.pem(), key.serialize_pem()))
}

async fn kubectl(environment: &Environment, commands: &[&[&str]]) -> anyhow::Result<()> {
    for command in commands {
        environment.cluster.kubectl(command.iter().copied()).await?;
    }
    Ok(())
}

/// Runs `helm upgrade`, as the report advises.
async fn upgrade(environment: &Environment) -> anyhow::Result<()> {
    let chart = install::chart().display().to_string();
    let at = format!("--namespace={NAMESPACE}");
    environment
        .cluster
        .helm(["upgrade", "jobwarden", &chart, &at, "--reuse-values"])
        .await
        .context("upgrading")
        .map(drop)
}

/// What the program says, and whether it ends with status 0.
async fn check(environment: &Environment, arguments: &[&str]) -> anyhow::Result<(String, bool)> {
    let mut command = environment.cluster.program(install::program("jobwarden")?);
    command.arg("check").args(arguments);
    let output = tokio::process::Command::from(command).output().await.context("running the check")?;
    let text = String::from_utf8(output.stdout).context("the report is not UTF-8")?;
    match output.status.code() {
        Some(0) => Ok((text, true)),
        Some(1) if !text.is_empty() => Ok((text, false)),
        _ => bail!("the check exited with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}

/// Waits until the check finds no problem.
async fn wait_until_clean(environment: &Environment) -> anyhow::Result<()> {
    let (report, clean) = check(environment, &["--wait=90s"]).await?;
    ensure!(clean, "the check reports problems:\n{report}");
    ensure!(!report.contains('×'), "status 0 with failures:\n{report}");
    ensure!(report.ends_with("Status check results are √\n"), "{report}");
    Ok(())
}

/// Waits until a failure contains `problem` in its line and `remedy` in the text below.
async fn wait_for_failure(environment: &Environment, problem: &str, remedy: &str) -> anyhow::Result<()> {
    let give_up = Instant::now() + TIMEOUT;
    loop {
        let (report, clean) = check(environment, &[]).await?;
        let failures = failures(&report);
        ensure!(clean == failures.is_empty(), "the exit status contradicts the report:\n{report}");
        if let Some((_, hint)) = failures.iter().find(|(what, _)| what.contains(problem)) {
            ensure!(hint.contains(remedy), "the report does not contain the remedy {remedy:?}:\n{report}");
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "the report does not contain the problem {problem:?}:\n{report}");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The lines that begin with ×, each with the indented lines below it.
fn failures(report: &str) -> Vec<(&str, String)> {
    let mut failures = Vec::new();
    let mut lines = report.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(what) = line.strip_prefix("× ") else { continue };
        let mut hint = String::new();
        while let Some(more) = lines.next_if(|line| line.starts_with("    ")) {
            hint.extend([more.trim_start(), "\n"]);
        }
        failures.push((what, hint));
    }
    failures
}
