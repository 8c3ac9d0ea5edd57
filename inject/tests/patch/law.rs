//! Laws of an object before and after a patch. The fuzz target checks them too.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Variables of the sidecar that say where the reaper is.
const ENDPOINT: [&str; 3] = ["JOBWARDEN_REAPER_ADDRESS", "JOBWARDEN_REAPER_NAME", "JOBWARDEN_CA"];

/// Whether `after` has everything that `before` has: the members of objects, and the elements of lists in their order. A null may
/// have become a value, the plugin's tolerations may have been extended, the resources of the pod raised, and a sidecar that was
/// there may have been given another endpoint. The label `enrolled` and the finalizer are jobwarden's own: nobody else's is kept.
pub(crate) fn keeps(before: &Value, after: &Value) -> bool {
    let resources = |object: &Value| {
        let pod = object.pointer("/spec/template").unwrap_or(object);
        pod.pointer("/spec/resources").cloned().unwrap_or_default()
    };
    let (pod_before, pod_after) = (resources(before), resources(after));
    let same_keys = |key: &str| {
        let keys = |of: &Value| of[key].as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
        keys(&pod_before) == keys(&pod_after)
    };
    let mut before = before.clone();
    if let Some(raised) = before.pointer_mut("/spec/resources").filter(|_| same_keys("requests") && same_keys("limits"))
    {
        *raised = pod_after;
    }
    contains(&before, after)
}

fn contains(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Null, _) => true,
        (Value::Object(before), Value::Object(after)) => {
            let renewed = before.get("name") == after.get("name")
                && before.get("name").and_then(Value::as_str).is_some_and(|name| ENDPOINT.contains(&name));
            renewed
                || before.iter().all(|(key, value)| {
                    let extended =
                        key == "tolerationSeconds" && *value == json!(300) && after.get(key) == Some(&json!(3600));
                    key == "jobwarden.io/enrolled" || extended || after.get(key).is_some_and(|now| contains(value, now))
                })
        }
        (Value::Array(before), Value::Array(after)) => {
            let mut after = after.iter();
            before.iter().all(|item| *item == json!("jobwarden.io/outcome") || after.any(|now| contains(item, now)))
        }
        (before, after) => before == after,
    }
}

/// Whether the API server's validation rules hold that a jobwarden patch could violate: names are unique, mounted volumes exist, label
/// values are valid, and only init containers have a restart policy.
pub(crate) fn valid(object: &Value) -> bool {
    let pod = object.pointer("/spec/template").unwrap_or(object);
    let list = |key: &str| pod["spec"][key].as_array().map(Vec::as_slice).unwrap_or_default();
    let names = |items: &[&Value]| {
        let names: Vec<_> = items.iter().map(|item| item["name"].as_str().unwrap_or_default()).collect();
        names.iter().collect::<BTreeSet<_>>().len() == names.len()
    };
    let containers: Vec<&Value> = list("initContainers").iter().chain(list("containers")).collect();
    let volumes: Vec<&Value> = list("volumes").iter().collect();
    let mounted = containers.iter().filter_map(|container| container["volumeMounts"].as_array()).flatten();
    let labels = [&object["metadata"]["labels"], &pod["metadata"]["labels"]].into_iter().filter_map(Value::as_object);
    names(&containers)
        && names(&volumes)
        && mounted.into_iter().all(|mount| volumes.iter().any(|volume| volume["name"] == mount["name"]))
        && labels.flatten().all(|(_, value)| value.as_str().is_some_and(is_label_value))
        && list("containers").iter().all(|container| container["restartPolicy"].is_null())
}

/// Equals apimachinery's `IsValidLabelValue`.
fn is_label_value(value: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let end = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|byte| inner(*byte)) && end(bytes.first()) && end(bytes.last())
}
