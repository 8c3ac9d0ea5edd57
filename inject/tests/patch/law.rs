//! Laws of an object before and after a patch. The fuzz target checks them too.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Whether `after` has everything that `before` has: the members of objects, and the elements of lists in their order. A null
/// may have become a value, and the plugin's toleration may have been extended.
pub(crate) fn keeps(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Null, _) => true,
        (Value::Object(before), Value::Object(after)) => before.iter().all(|(key, value)| {
            let extended = key == "tolerationSeconds" && *value == json!(300) && after.get(key) == Some(&json!(3600));
            extended || after.get(key).is_some_and(|now| keeps(value, now))
        }),
        (Value::Array(before), Value::Array(after)) => {
            let mut after = after.iter();
            before.iter().all(|item| after.any(|now| keeps(item, now)))
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
