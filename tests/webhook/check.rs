//! `jobwarden-webhook check`, as an admin runs it: the program that ships, by the cluster's kubeconfig.

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

/// How long a fault may take to show, and to be gone.
const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// What is wrong, and what is to be said of it.
struct Fault {
    name: &'static str,
    /// Commands of kubectl that bring it about.
    plant: &'static [&'static [&'static str]],
    /// In a line of the report that begins with ×.
    told: &'static str,
    /// In what the report says below that line.
    advised: &'static str,
    /// Commands of kubectl that undo it; where there are none, `helm upgrade` does, as the report advises.
    mend: &'static [&'static [&'static str]],
}

const FAULTS: [Fault; 11] = [
    Fault {
        name: "a binding of the reaper is gone",
        plant: &[&["delete", "clusterrolebinding/jobwarden-reaper"]],
        told: "the service account jobwarden-reaper may not get jobs anywhere",
        advised: "helm upgrade jobwarden manifests/chart --namespace jobwarden --reuse-values",
        mend: &[],
    },
    Fault {
        name: "the webhook may not read LimitRanges",
        plant: &[&[
            "patch",
            "clusterrole/jobwarden-webhook",
            "--type=json",
            r#"-p=[{"op":"remove","path":"/rules/1"}]"#,
        ]],
        told: "the service account jobwarden-webhook may not get limitranges anywhere",
        advised: "kubectl auth can-i --list --as=system:serviceaccount:jobwarden:jobwarden-webhook",
        mend: &[],
    },
    Fault {
        name: "the reaper's Service leads nowhere",
        plant: &[&[
            "patch",
            "service/jobwarden-reaper",
            "--namespace=jobwarden",
            r#"-p={"spec":{"selector":{"jobwarden.io/role":"nobody"}}}"#,
        ]],
        told: "the reaper cannot be reached through its Service",
        advised: "kubectl get --raw /api/v1/namespaces/jobwarden/services/https:jobwarden-reaper:8444/proxy/",
        mend: &[],
    },
    Fault {
        name: "no reaper runs",
        plant: &[&["scale", "deployment/jobwarden-reaper", "--namespace=jobwarden", "--replicas=0"]],
        told: "no reaper leads",
        advised: "kubectl -n jobwarden logs deployment/jobwarden-reaper",
        mend: &[&["scale", "deployment/jobwarden-reaper", "--namespace=jobwarden", "--replicas=2"]],
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
        told: "no ready agent on node-1 (ErrImageNeverPull)",
        advised: "kubectl -n jobwarden-agent describe pods",
        mend: &[],
    },
    Fault {
        name: "the agent is meant for other nodes",
        plant: &[&[
            "patch",
            "daemonset/jobwarden-agent",
            "--namespace=jobwarden-agent",
            r#"-p={"spec":{"template":{"spec":{"nodeSelector":{"example.com/nowhere":"true"}}}}}"#,
        ]],
        told: "the agent is meant for no node: not for node-1",
        advised: "agent.nodeSelector",
        mend: &[&[
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
        told: "the configuration file in the ConfigMap jobwarden/jobwarden-webhook is refused",
        advised: "kubectl -n jobwarden edit configmap jobwarden-webhook",
        mend: &[],
    },
    Fault {
        name: "the backstop is gone",
        plant: &[&["delete", "validatingadmissionpolicy/jobwarden-sidecar"]],
        told: "there is no ValidatingAdmissionPolicy jobwarden-sidecar",
        advised: "helm upgrade jobwarden",
        mend: &[],
    },
    Fault {
        name: "the webhook asks for other namespaces",
        plant: &[&[
            "patch",
            "mutatingwebhookconfiguration/jobwarden",
            "--type=json",
            r#"-p=[{"op":"remove","path":"/webhooks/1/namespaceSelector/matchLabels"}]"#,
        ]],
        told: "pods.jobwarden.io is registered wrongly: its namespaceSelector does not ask for jobwarden.io/inject=enabled",
        advised: "helm upgrade jobwarden",
        mend: &[],
    },
    Fault {
        name: "the webhook is not registered",
        plant: &[&["delete", "mutatingwebhookconfiguration/jobwarden"]],
        told: "is let past without a sidecar",
        advised: "the webhook's registration",
        mend: &[],
    },
    Fault {
        name: "the custom resource is gone",
        plant: &[&["delete", "customresourcedefinition/joboutcomes.jobwarden.io"]],
        told: "there is no CustomResourceDefinition joboutcomes.jobwarden.io",
        advised: "helm upgrade jobwarden",
        mend: &[],
    },
];

pub(crate) async fn check_reports_each_planted_fault_with_a_remedy(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("check").await?;
    sound(environment).await.context("before anything was planted")?;
    for Fault { name, plant, told, advised, mend } in FAULTS {
        kubectl(environment, plant).await.with_context(|| format!("planting: {name}"))?;
        found(environment, told, advised).await.with_context(|| name.to_owned())?;
        if mend.is_empty() {
            upgrade(environment).await?;
        }
        kubectl(environment, mend).await.with_context(|| format!("undoing: {name}"))?;
        sound(environment).await.with_context(|| format!("after: {name}"))?;
    }
    in_a_namespace(environment, namespace.name()).await?;
    while_the_webhook_is_away(environment).await?;
    progress::note("all faults were found");
    Ok(())
}

/// A `LimitRange`, and a webhook of somebody else.
async fn in_a_namespace(environment: &Environment, namespace: &str) -> anyhow::Result<()> {
    let range = json!({
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "no-dwarfs", "namespace": namespace},
        "spec": {"limits": [{
            "type": "Container", "min": {"memory": "24Mi"}, "default": {"memory": "64Mi"}, "defaultRequest": {"memory": "64Mi"},
        }]},
    });
    environment.cluster.apply(&range.to_string()).await.context("creating a LimitRange")?;
    let told = format!("the sidecar is refused in {namespace}: the LimitRange \"no-dwarfs\"");
    let advised = format!("sidecar.namespaces.{namespace}.memory");
    found(environment, &told, &advised).await.context("a LimitRange refuses the sidecar")?;
    let at = format!("--namespace={namespace}");
    environment.cluster.kubectl(["delete", "limitrange/no-dwarfs", &at]).await.context("deleting it")?;
    sound(environment).await.context("after the LimitRange")?;

    let stripper =
        MutatingWebhook::start(&environment.cluster, "zz-strips-for-check", namespace, "IfNeeded", strip).await?;
    let told = format!("a pod created for dry in {namespace} is refused: another webhook takes restartPolicy");
    let outcome = found(environment, &told, "zz-strips-for-check").await.context("another webhook strips the sidecar");
    stripper.unregister().await?;
    outcome?;
    sound(environment).await.context("after the other webhook")
}

/// What a webhook that runs would mend at once.
async fn while_the_webhook_is_away(environment: &Environment) -> anyhow::Result<()> {
    const SCALE: [&str; 3] = ["scale", "deployment/jobwarden-webhook", "--namespace=jobwarden"];
    let scaled = |replicas: &'static str| environment.cluster.kubectl(SCALE.into_iter().chain([replicas]));
    scaled("--replicas=0").await.context("scaling the webhook")?;
    let advised = "kubectl -n jobwarden scale deployment/jobwarden-webhook --replicas=2";
    found(environment, "jobwarden-webhook is scaled to no replica at all", advised).await.context("no webhook runs")?;
    let refused = "is refused, for the API server cannot call jobwarden's webhook";
    found(environment, refused, "see the webhook's replicas").await.context("no webhook answers")?;
    // One that still drains would mend what comes now.
    let selector = "--selector=app.kubernetes.io/name=jobwarden-webhook";
    let gone = ["wait", "pods", "--for=delete", selector, "--namespace=jobwarden", "--timeout=60s"];
    environment.cluster.kubectl(gone).await.context("waiting until it has ended")?;

    let (certificate, key) = expired()?;
    let bundle = STANDARD.encode(&certificate);
    let path = "/webhooks/1/clientConfig/caBundle";
    let patch = format!("-p={}", json!([{"op": "replace", "path": path, "value": bundle}]));
    let at = format!("mutatingwebhookconfiguration/{}", object::WEBHOOK_CONFIGURATION);
    environment.cluster.kubectl(["patch", &at, "--type=json", &patch]).await.context("planting a caBundle")?;
    let told = "the caBundle of pods.jobwarden.io in the webhook configuration jobwarden does not trust the webhook";
    found(environment, told, "a webhook that runs writes it at once")
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
    let told = format!("the certificate in the Secret {NAMESPACE}/{} expired 24 h ago", object::WEBHOOK_TLS_SECRET);
    found(environment, &told, "kubectl -n jobwarden delete secret jobwarden-webhook-tls")
        .await
        .context("it has expired")?;

    scaled("--replicas=2").await.context("scaling the webhook")?;
    sound(environment).await.context("after the webhook was away")
}

/// A certificate for the webhook that was good until yesterday, and its key; PEM.
fn expired() -> anyhow::Result<(String, String)> {
    const DAY: Duration = Duration::from_hours(24);
    let mut params = CertificateParams::new([format!("{}.{NAMESPACE}.svc", object::WEBHOOK_SERVICE)])?;
    let now = SystemTime::now();
    (params.not_before, params.not_after) = ((now - 91 * DAY).into(), (now - DAY).into());
    let key = KeyPair::generate().context("making a key")?;
    let certificate = params.self_signed(&key).context("making a certificate")?;
    Ok((certificate.pem(), key.serialize_pem()))
}

async fn kubectl(environment: &Environment, commands: &[&[&str]]) -> anyhow::Result<()> {
    for command in commands {
        environment.cluster.kubectl(command.iter().copied()).await?;
    }
    Ok(())
}

/// As the report advises.
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
    let mut command = environment.cluster.program(install::program("jobwarden-webhook")?);
    command.arg("check").args(arguments);
    let output = tokio::process::Command::from(command).output().await.context("running the check")?;
    let text = String::from_utf8(output.stdout).context("a report is text")?;
    match output.status.code() {
        Some(0) => Ok((text, true)),
        Some(1) if !text.is_empty() => Ok((text, false)),
        _ => bail!("the check ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}

/// Waits until nothing is wrong.
async fn sound(environment: &Environment) -> anyhow::Result<()> {
    let (report, sound) = check(environment, &["--wait=90s"]).await?;
    ensure!(sound, "not sound:\n{report}");
    ensure!(!report.contains('×'), "status 0 with failures:\n{report}");
    ensure!(report.ends_with("Status check results are √\n"), "{report}");
    Ok(())
}

/// Waits until a failure has `told` in its line and `advised` in what stands below it.
async fn found(environment: &Environment, told: &str, advised: &str) -> anyhow::Result<()> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let (report, sound) = check(environment, &[]).await?;
        let failures = failures(&report);
        ensure!(sound == failures.is_empty(), "the status does not fit:\n{report}");
        if let Some((_, hint)) = failures.iter().find(|(what, _)| what.contains(told)) {
            ensure!(hint.contains(advised), "it does not say {advised:?}:\n{report}");
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "it does not tell {told:?}:\n{report}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The lines that begin with ×, each with the indented ones below it.
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
