//! Kubernetes objects as text: YAML with several documents, JSON, and lists.
//!
//! All fields are kept, known or not, in their order. Comments are lost: the data model has none.

use std::fmt;

use clap::ValueEnum;
use serde_json::Value;

use crate::output::{self, OutputError};

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
}

/// The objects in `text`, and their format.
pub(crate) fn read(text: &str) -> Result<(Vec<Value>, Format), DocumentError> {
    if text.trim_start().starts_with('{') {
        let objects = serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>();
        return Ok((objects.map_err(DocumentError::Json)?, Format::Json));
    }
    // kubectl reads YAML 1.1, where 0644 is octal, as in file modes.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let objects = serde_saphyr::from_multiple_with_options(text, options);
    let objects: Vec<Value> = objects.map_err(|error| DocumentError::Yaml(Box::new(error)))?;
    // A document with comments only is empty.
    Ok((objects.into_iter().filter(|object| !object.is_null()).collect(), Format::Yaml))
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
pub(crate) struct Name<'a>(pub(crate) &'a Value);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |pointer| self.0.pointer(pointer).and_then(Value::as_str);
        let name = text("/metadata/name").or_else(|| text("/metadata/generateName")).unwrap_or("without name");
        write!(f, "{} {name}", text("/kind").unwrap_or("object"))
    }
}

/// Every object in `objects`, including those in lists.
pub(crate) fn each(objects: &mut [Value]) -> impl Iterator<Item = &mut Value> {
    objects.iter_mut().flat_map(|object| {
        let is_list = object["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && object["items"].is_array();
        if !is_list {
            return vec![object];
        }
        object["items"].as_array_mut().map(|items| items.iter_mut().collect()).unwrap_or_default()
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
