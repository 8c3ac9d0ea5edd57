//! Laws for every Job and pod: patching twice equals patching once, and nothing is lost.

use jobwarden_inject::patch::{Denial, Mutation};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use crate::{
    admit_job, admit_pod,
    law::{keeps, valid},
    patched,
};

/// Keys that jobwarden reads, keys that need escapes, and others.
const KEYS: [&str; 14] = [
    "jobwarden.io/run-id",
    "jobwarden.io/job-id",
    "jobwarden.io/trace-id",
    "jobwarden.io/enrolled",
    "jobwarden.io/inject",
    "jobwarden.io/sidecar-memory",
    "jobwarden.io/lost-after",
    "jobwarden.io/on-failure",
    "jobwarden.io/no-sidecar",
    "run-id",
    "trace-id-0",
    "trace-id-10",
    "a/b~c",
    "plain",
];

fn entries() -> impl Strategy<Value = Value> {
    let word = select(&["true", "false", "enabled", "Disabled", "sidecar", "agent"][..]).prop_map(str::to_owned);
    let value = prop_oneof![word, "[a-z0-9 /~é]{0,70}"];
    prop_oneof![
        1 => Just(Value::Null),
        4 => vec((select(&KEYS[..]), value), 0..5).prop_map(|all| {
            Value::Object(all.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect())
        }),
    ]
}

/// A list that may be absent, null or empty.
fn list(item: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Option<Value>> {
    option::of(prop_oneof![1 => Just(Value::Null), 5 => vec(item, 0..3).prop_map(Value::Array)])
}

fn object(members: Vec<(&'static str, Option<Value>)>) -> Value {
    let members = members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(
        members.chain([("unknownField".to_owned(), json!({"kept": [1, {"deep": null}]}))]).collect::<Map<_, _>>(),
    )
}

fn owner() -> impl Strategy<Value = Value> {
    (select(&["Job", "ReplicaSet"][..]), any::<bool>()).prop_map(|(kind, controller)| {
        json!({"apiVersion": "batch/v1", "kind": kind, "name": "o", "uid": "u-1", "controller": controller})
    })
}

fn metadata() -> impl Strategy<Value = Value> {
    let finalizer = select(&["jobwarden.io/outcome", "other"][..]).prop_map(Value::from);
    (option::of(entries()), option::of(entries()), list(owner()), list(finalizer)).prop_map(
        |(labels, annotations, owners, finalizers)| {
            object(vec![
                ("labels", labels),
                ("annotations", annotations),
                ("ownerReferences", owners),
                ("finalizers", finalizers),
            ])
        },
    )
}

fn container() -> impl Strategy<Value = Value> {
    let env = list(
        (select(&["payload", "runId", "X"][..]), option::of("[a-z]{0,4}|\\{\"aJobId\":7\\}"))
            .prop_map(|(name, value)| object(vec![("name", Some(json!(name))), ("value", value.map(Value::from))])),
    );
    // The sidecar's name is rare: those pods are denied, and the laws do not apply to them.
    let name = prop_oneof![20 => "[a-z]{1,4}", 1 => Just("jobwarden-heartbeat".to_owned())];
    let restart_policy = option::weighted(0.2, Just(json!("Always")));
    (name, env, option::of(security_context()), option::of(resources()), restart_policy).prop_map(
        |(name, env, context, resources, restart_policy)| {
            object(vec![
                ("name", Some(json!(name))),
                ("env", env),
                ("securityContext", context),
                ("resources", resources),
                ("restartPolicy", restart_policy),
            ])
        },
    )
}

fn security_context() -> impl Strategy<Value = Value> {
    let id = || option::of(select(&[0, 1000, 2000][..]).prop_map(Value::from));
    let options = option::weighted(0.05, Just(json!({"runAsUserName": "ContainerUser"})));
    (id(), id(), options).prop_map(|(user, group, options)| {
        object(vec![("runAsUser", user), ("runAsGroup", group), ("windowsOptions", options)])
    })
}

fn resources() -> impl Strategy<Value = Value> {
    let amounts = || {
        let amount = select(&["1", "500m", "1Gi", "1.5", "1e3", "0", "many"][..]).prop_map(Value::from);
        let key = select(&["cpu", "memory", "ephemeral-storage", "hugepages-2Mi"][..]);
        option::of(
            vec((key, amount), 0..3)
                .prop_map(|all| Value::Object(all.into_iter().map(|(key, amount)| (key.to_owned(), amount)).collect())),
        )
    };
    (amounts(), amounts()).prop_map(|(requests, limits)| object(vec![("requests", requests), ("limits", limits)]))
}

fn toleration() -> impl Strategy<Value = Value> {
    let text = |texts: &'static [&'static str]| option::of(select(texts).prop_map(Value::from));
    (
        text(&["node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready", ""]),
        text(&["Exists", "Equal"]),
        text(&["NoExecute", "NoSchedule", ""]),
        option::of(select(&[0, 300, 301][..]).prop_map(Value::from)),
    )
        .prop_map(|(key, operator, effect, seconds)| {
            object(vec![("key", key), ("operator", operator), ("effect", effect), ("tolerationSeconds", seconds)])
        })
}

fn spec() -> impl Strategy<Value = Value> {
    let volume =
        prop_oneof![20 => "[a-z]{1,4}", 1 => Just("jobwarden-token".to_owned())].prop_map(|name| json!({"name": name}));
    let secret = select(&["registry", "other"][..]).prop_map(|name| json!({"name": name}));
    let restart_policy = option::of(select(&["Never", "OnFailure"][..]).prop_map(Value::from));
    let os = option::of(select(&["linux", "linux", "windows"][..]).prop_map(|os| json!({"kubernetes.io/os": os})));
    let of_pod = (option::of(security_context()), option::of(resources()), restart_policy, os);
    (list(container()), list(container()), list(volume), list(toleration()), list(secret), of_pod).prop_map(
        |(
            containers,
            init_containers,
            volumes,
            tolerations,
            secrets,
            (context, resources, restart_policy, selector),
        )| {
            object(vec![
                ("securityContext", context),
                ("resources", resources),
                ("restartPolicy", restart_policy),
                ("nodeSelector", selector),
                ("containers", containers),
                ("initContainers", init_containers),
                ("volumes", volumes),
                ("tolerations", tolerations),
                ("imagePullSecrets", secrets),
            ])
        },
    )
}

fn pod() -> impl Strategy<Value = Value> {
    (option::of(metadata()), spec())
        .prop_map(|(metadata, spec)| object(vec![("metadata", metadata), ("spec", Some(spec))]))
}

fn job() -> impl Strategy<Value = Value> {
    let managed_by = option::of(select(&["kubernetes.io/job-controller", "other"][..]).prop_map(Value::from));
    let retries = option::of((0..7).prop_map(Value::from));
    (option::of(metadata()), managed_by, retries, pod()).prop_map(|(metadata, managed_by, retries, template)| {
        let spec = object(vec![("managedBy", managed_by), ("backoffLimit", retries), ("template", Some(template))]);
        object(vec![("metadata", metadata), ("spec", Some(spec))])
    })
}

/// Whether every operation, applied after those before it, changes the object.
fn every_operation_changes_something(object: &Value, mutation: &Mutation) -> bool {
    let mut object = object.clone();
    mutation.operations.to_patch().iter().all(|operation| {
        let before = object.clone();
        json_patch::patch(&mut object, std::slice::from_ref(operation)).expect("the patch applies");
        object != before
    })
}

fn laws(object: &Value, admit: impl Fn(&Value) -> Result<Mutation, Denial>) -> Result<(), TestCaseError> {
    let Ok(first) = admit(object) else { return Ok(()) };
    let after = patched(object, &first);
    prop_assert!(keeps(object, &after), "lost something: {object} became {after}");
    prop_assert!(every_operation_changes_something(object, &first), "changes nothing: {:?}", first.operations);
    if valid(object) {
        prop_assert!(valid(&after), "no longer valid: {object} became {after}");
    }
    let second = admit(&after).expect("an admitted object is admitted again");
    prop_assert!(second.operations.is_empty(), "patched twice: {}", after);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold_for_pods(pod in pod()) {
        laws(&pod, admit_pod)?;
    }

    #[test]
    fn the_laws_hold_for_jobs(job in job()) {
        laws(&job, admit_job)?;
    }
}

#[test]
fn the_laws_detect_an_invalid_object() {
    let pod = |spec: Value| json!({"spec": spec});
    assert!(valid(&pod(
        json!({"containers": [{"name": "a", "volumeMounts": [{"name": "v"}]}], "volumes": [{"name": "v"}]})
    )));
    assert!(!valid(&pod(json!({"containers": [{"name": "a", "volumeMounts": [{"name": "v"}]}]}))));
    assert!(!valid(&pod(json!({"containers": [{"name": "a"}], "initContainers": [{"name": "a"}]}))));
    assert!(!valid(&json!({"metadata": {"labels": {"a": "no/label"}}})));
}

#[test]
fn the_laws_detect_a_loss() {
    assert!(!keeps(&json!({"a": [1, 2]}), &json!({"a": [2, 1]})));
    assert!(!keeps(&json!({"a": 1}), &json!({})));
    assert!(keeps(&json!({"a": [1, 2]}), &json!({"a": [0, 1, 2], "b": 0})));
}
