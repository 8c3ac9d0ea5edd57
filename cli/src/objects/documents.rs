//! Kubernetes objects as text: YAML with several documents, JSON, and lists.
//!
//! All fields are kept, known or not, in their order. Comments are lost: the data model has none.

use std::fmt;

use clap::ValueEnum;
use serde_json::Value;
use serde_saphyr::budget::BudgetBreach;

use super::kind::Kind;
use crate::output::{self, OutputError};

/// The most values (maps, lists, strings, …) in one file of YAML: a list of a hundred thousand Jobs. What stands in an alias counts
/// wherever it is used, so that a small file cannot become a huge one.
const MAX_NODES: usize = 20_000_000;

/// The most documents in one file of YAML.
const MAX_DOCUMENTS: usize = 1_000_000;

/// How deep maps and lists of YAML may be nested; the parser recurses.
const MAX_DEPTH: usize = 64;

/// The same for JSON: the recursion limit of `serde_json`.
const MAX_JSON_DEPTH: usize = 127;

/// How objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// YAML documents separated by `---`
    Yaml,
    /// JSON objects, one after the other
    Json,
}

/// Why a text cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// It begins like JSON but is not valid.
    #[error("invalid JSON")]
    Json(#[source] serde_json::Error),
    /// It is not valid YAML.
    #[error("invalid YAML")]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// It may be valid, and is more than this program reads.
    #[error("{0}; this is a limit of jobwarden and not an error in the file: split it")]
    Limit(String),
}

/// The objects in `text`, and their format.
pub(crate) fn read(text: &str) -> Result<(Vec<Value>, Format), DocumentError> {
    if !text.trim_start().starts_with('{') {
        return Ok((read_yaml(text)?, Format::Yaml));
    }
    let objects: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
    match objects {
        Ok(objects) => Ok((objects, Format::Json)),
        Err(error) if error.to_string().starts_with("recursion limit exceeded") => Err(too_deep(MAX_JSON_DEPTH)),
        // YAML in flow style begins like JSON; where it is neither, its author most likely meant JSON.
        Err(error) => match read_yaml(text) {
            Ok(objects) => Ok((objects, Format::Yaml)),
            Err(limit @ DocumentError::Limit(_)) => Err(limit),
            Err(_) => Err(DocumentError::Json(error)),
        },
    }
}

fn read_yaml(text: &str) -> Result<Vec<Value>, DocumentError> {
    let options = serde_saphyr::options! {
        // kubectl reads YAML 1.1, where 0644 is octal, as in file modes.
        legacy_octal_numbers: true,
        budget: serde_saphyr::budget! {
            max_events: 2 * MAX_NODES,
            max_nodes: MAX_NODES,
            max_documents: MAX_DOCUMENTS,
            max_depth: MAX_DEPTH,
            max_total_scalar_bytes: usize::MAX,
            max_aliases: MAX_DOCUMENTS,
            max_anchors: MAX_DOCUMENTS,
            max_merge_keys: MAX_DOCUMENTS,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
    };
    let objects = serde_saphyr::from_multiple_with_options(text, options);
    let objects: Vec<Value> = objects.map_err(|error| match error.without_snippet() {
        serde_saphyr::Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => too_deep(MAX_DEPTH),
        serde_saphyr::Error::Budget { breach: BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. }, .. } => {
            DocumentError::Limit(format!("it has more than {MAX_NODES} values"))
        }
        serde_saphyr::Error::Budget { breach: BudgetBreach::Documents { .. }, .. } => {
            DocumentError::Limit(format!("it has more than {MAX_DOCUMENTS} documents"))
        }
        serde_saphyr::Error::Budget { .. } | serde_saphyr::Error::AliasReplayLimitExceeded { .. } => {
            DocumentError::Limit(format!("it uses aliases or merge keys too often: {}", error.without_snippet()))
        }
        _ => DocumentError::Yaml(Box::new(error)),
    })?;
    // A document with comments only is empty.
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

fn too_deep(levels: usize) -> DocumentError {
    DocumentError::Limit(format!("maps and lists in it are nested more than {levels} levels deep"))
}

/// `objects` as a text of this format.
pub(crate) fn write(objects: &[Value], format: Format) -> Result<String, OutputError> {
    let mut text = String::new();
    for (index, object) in objects.iter().enumerate() {
        match format {
            Format::Json => text.push_str(&output::json(object)?),
            Format::Yaml => {
                if index > 0 {
                    text.push_str("---\n");
                }
                text.push_str(&output::yaml(object)?);
            }
        }
    }
    Ok(text)
}

/// Kind and name of an object, as far as it has them.
pub(crate) struct Name<'a>(pub(crate) Kind, pub(crate) &'a Value);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kind, object) = self;
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
        let name = text("/metadata/name").or_else(|| text("/metadata/generateName")).unwrap_or("without name");
        write!(f, "{} {name}", text("/kind").unwrap_or(kind.as_str()))
    }
}

/// Every object in `objects`, including those in lists, with its kind.
pub(crate) fn each(objects: &mut [Value]) -> impl Iterator<Item = (Kind, &mut Value)> {
    objects.iter_mut().flat_map(|object| {
        let is_list = object["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && object["items"].is_array();
        if !is_list {
            return vec![(Kind::of(object), object)];
        }
        let of_items = Kind::of_items(object);
        let items = object["items"].as_array_mut().into_iter().flatten();
        let with_kind = |item: &Value| if item["kind"].is_null() { of_items } else { Kind::of(item) };
        items.map(|item| (with_kind(item), item)).collect()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::documents("a: 1\n---\nb: 2\n", json!([{"a": 1}, {"b": 2}]))]
    #[case::comments_only("# nothing\n---\n# but comments\na: 1\n---\n", json!([{"a": 1}]))]
    #[case::json("{\"a\": 1}\n{\"b\": 2}", json!([{"a": 1}, {"b": 2}]))]
    #[case::empty("", json!([]))]
    #[case::block_scalar("a: |\n  one\n  two\n", json!([{"a": "one\ntwo\n"}]))]
    #[case::anchors("a: &x [1]\nb: *x\n", json!([{"a": [1], "b": [1]}]))]
    #[case::flow("{kind: Job, metadata: {labels: {a: b}}}\n", json!([{"kind": "Job", "metadata": {"labels": {"a": "b"}}}]))]
    #[case::flow_documents("{a: 1}\n---\n{b: 2}\n", json!([{"a": 1}, {"b": 2}]))]
    #[case::numbers("a: 0755\nb: 1e3\nc: '0755'\nd: 9223372036854775807\n", json!([{"a": 0o755, "b": 1e3, "c": "0755", "d": i64::MAX}]))]
    fn all_documents_are_read(#[case] text: &str, #[case] expected: Value) {
        assert_eq!(Value::Array(read(text).expect("a valid text").0), expected);
    }

    #[rstest]
    #[case::not_yaml("a: [")]
    #[case::not_json("{\"a\":")]
    #[case::duplicate_key("a: 1\na: 2\n")]
    fn an_invalid_text_is_rejected(#[case] text: &str) {
        read(text).expect_err("invalid");
    }

    #[test]
    fn text_that_is_neither_is_an_error_of_json() {
        assert!(matches!(read("{\"a\": [}"), Err(DocumentError::Json(_))));
    }

    #[rstest]
    #[case::json(format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200)), "127 levels")]
    #[case::yaml(format!("{}1{}", "[".repeat(200), "]".repeat(200)), "64 levels")]
    fn a_limit_is_said_to_be_a_limit(#[case] text: String, #[case] limit: &str) {
        let error = read(&text).expect_err("too deep").to_string();
        assert!(error.contains(limit) && error.contains("limit of jobwarden"), "{error}");
    }

    #[rstest]
    #[case::with_kinds("List", json!({"apiVersion": "batch/v1", "kind": "Job"}))]
    #[case::without_kinds("JobList", json!({}))]
    fn the_items_of_a_list_have_their_kind(#[case] kind: &str, #[case] item: Value) {
        let mut lists =
            [json!({"apiVersion": "batch/v1", "kind": kind, "items": [item, {"apiVersion": "v1", "kind": "Pod"}]})];
        let kinds: Vec<Kind> = each(&mut lists).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [Kind::Job, Kind::Pod]);
    }

    #[test]
    fn fields_stay_in_order() {
        let text = "zebra: 1\napple: 2\nmango:\n  z: 1\n  a: 2\n";
        let (objects, format) = read(text).expect("a valid text");
        assert_eq!(write(&objects, format).expect("written"), text);
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            any::<String>(),
            "[ \t\n:#&*!|>%@`'\"\\[\\]{},?-]{0,6}[a-z]{0,3}[ \t\n:#]{0,3}",
            proptest::sample::select(
                &["yes", "no", "on", "null", "~", "0755", "1_000", "1e3", ".inf", "2001-01-01", "<<", "=", "-", ""][..]
            )
            .prop_map(str::to_owned),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::vec((text.clone(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn written_objects_are_read_unchanged(value in value()) {
            let object = json!({"kind": "Any", "spec": value});
            for format in [Format::Yaml, Format::Json] {
                let text = write(std::slice::from_ref(&object), format).expect("written");
                let (read, _) = read(&text).unwrap_or_else(|error| panic!("{error:?} in\n{text}"));
                prop_assert_eq!(&read[..], std::slice::from_ref(&object), "{}", text);
            }
        }
    }
}
