//! Parses any bytes as a Job and as a pod: admission must not panic, and its patch must keep the laws of `inject/tests/patch`.

#![no_main]

#[path = "../../inject/tests/patch/installation.rs"]
mod installation;
#[path = "../../inject/tests/patch/law.rs"]
mod law;

use std::sync::LazyLock;

use jobwarden_inject::{
    config::{Config, SidecarConfig},
    endpoint::Endpoint,
    identity::{Rules, rule::Subject},
    patch::{
        Denial, Mutation, Settings, job,
        limits::{Bound, Bounds, Resource, Scope, Side},
        pod,
        sidecar::Sidecar,
    },
    view::{Job, Pod},
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Rules of every kind, and a preset.
const CONFIG: &str = r"
identity:
  preset: ort-server
  runId:
    - label: {key: run, regex: 'r(\d+)'}
    - numberedLabels: part-
    - arg: {name: --run}
  jobId:
    - arg: {regex: '--job[= ](\w+)'}
    - env: {name: ID, container: main}
    - annotation: {key: context, pointer: /job/*id}
sidecar:
  namespaces:
    work: {memory: 64Mi}
  limits:
    memory: {least: 12Mi, most: 48Mi}
";

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let Config { identity, sidecar: SidecarConfig { namespaces, limits } } =
        Config::parse(CONFIG).expect("a configuration");
    let settings = installation::settings();
    Settings { rules: Rules::new(identity), sidecar: Sidecar { namespaces, limits, ..settings.sidecar }, ..settings }
});

/// Bounds that allow some sizes and pods and forbid others.
static BOUNDS: LazyLock<Bounds> = LazyLock::new(|| {
    let bound = |scope, resource, side, quantity: &str| Bound {
        limit_range: "limits".to_owned(),
        scope,
        resource,
        side,
        quantity: quantity.parse().expect("a quantity"),
    };
    [
        bound(Scope::Container, Resource::Cpu, Side::Max, "1"),
        bound(Scope::Container, Resource::Memory, Side::Min, "24Mi"),
        bound(Scope::Pod, Resource::Memory, Side::Max, "1Gi"),
    ]
    .into_iter()
    .collect()
});

static REAPER: LazyLock<Endpoint> = LazyLock::new(installation::reaper);

fn as_job(text: &str) -> Option<Result<Mutation, Denial>> {
    let job: Job<'_> = serde_json::from_str(text).ok()?;
    // `explain` must not panic either.
    let _ = SETTINGS.rules.explain(&Subject::of_job(&job)).to_string();
    Some(job::admit(&job, "work", &SETTINGS, Some(&BOUNDS)))
}

fn as_pod(text: &str) -> Option<Result<Mutation, Denial>> {
    let pod: Pod<'_> = serde_json::from_str(text).ok()?;
    Some(pod::admit(&pod, "play", &SETTINGS, &REAPER, Some(&BOUNDS)))
}

fn laws(text: &str, admit: fn(&str) -> Option<Result<Mutation, Denial>>) {
    let Some(Ok(mutation)) = admit(text) else { return };
    // `Value` drops duplicate keys; if that changes the patch, before and after cannot be compared.
    let Ok(before) = serde_json::from_str::<Value>(text) else { return };
    let again = before.to_string();
    let Some(Ok(same)) = admit(&again) else { return };
    if same.operations != mutation.operations {
        return;
    }
    let mut after = before.clone();
    json_patch::patch(&mut after, &mutation.operations.to_patch()).expect("the patch applies");
    assert!(law::keeps(&before, &after), "lost something: {before} became {after}");
    assert!(!law::valid(&before) || law::valid(&after), "no longer valid: {before} became {after}");
    let second =
        admit(&after.to_string()).expect("the patched object parses").expect("an admitted object is admitted again");
    assert!(second.operations.is_empty(), "patched twice: {after}");
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    laws(text, as_job);
    laws(text, as_pod);
});
