//! Kubernetes objects in files: YAML of several documents, JSON, and lists.
//!
//! The order of members is kept, and every member, known or not. Comments are not: no data model has them.

use std::fmt;

use clap::ValueEnum;
use serde_json::Value;

/// How objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Documents with `---` between them
    Yaml,
    /// One object after the other
    Json,
}

/// Why a text is not understood.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It begins like JSON and is none.
    #[error("it is no JSON")]
    Json(#[source] serde_json::Error),
    /// It is no YAML.
    #[error("it is no YAML")]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// It cannot be written.
    #[error("it cannot be written as YAML")]
    Write(#[source] Box<serde_saphyr::ser::Error>),
}

/// The objects of `text`, and how they were written.
pub(crate) fn read(text: &str) -> Result<(Vec<Value>, Format), DocumentError> {
    if text.trim_start().starts_with('{') {
        let objects = serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>();
        return Ok((objects.map_err(DocumentError::Json)?, Format::Json));
    }
    // kubectl reads YAML 1.1, where 0644 is octal: file modes are written so.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let objects = serde_saphyr::from_multiple_with_options(text, options);
    let objects: Vec<Value> = objects.map_err(|error| DocumentError::Yaml(Box::new(error)))?;
    // An empty document, such as one of comments alone, is nothing.
    Ok((objects.into_iter().filter(|object| !object.is_null()).collect(), Format::Yaml))
}

/// `objects` as a text of this format.
pub(crate) fn write(objects: &[Value], format: Format) -> Result<String, DocumentError> {
    let mut text = String::new();
    for (index, object) in objects.iter().enumerate() {
        match format {
            Format::Json => text.extend([format!("{object:#}"), "\n".to_owned()]),
            Format::Yaml => {
                if index > 0 {
                    text.push_str("---\n");
                }
                let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
                serde_saphyr::to_fmt_writer_with_options(&mut text, object, options)
                    .map_err(|error| DocumentError::Write(Box::new(error)))?;
            }
        }
    }
    Ok(text)
}

/// What people call an object: kind, namespace and name, as far as it has them.
pub(crate) struct Name<'a>(pub(crate) &'a Value);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |pointer| self.0.pointer(pointer).and_then(Value::as_str);
        let name = text("/metadata/name").or_else(|| text("/metadata/generateName")).unwrap_or("without a name");
        write!(f, "{} {name}", text("/kind").unwrap_or("object"))
    }
}

/// Every object in `objects`, those in lists among them.
pub(crate) fn each(objects: &mut [Value]) -> impl Iterator<Item = &mut Value> {
    objects.iter_mut().flat_map(|object| {
        let is_list = object["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && object["items"].is_array();
        if !is_list {
            return vec![object];
        }
        // It was seen to be an array.
        object
            .get_mut("items")
            .and_then(Value::as_array_mut)
            .map(|items| items.iter_mut().collect())
            .unwrap_or_default()
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
    #[case::comments_alone("# nothing\n---\n# but comments\na: 1\n---\n", json!([{"a": 1}]))]
    #[case::json("{\"a\": 1}\n{\"b\": 2}", json!([{"a": 1}, {"b": 2}]))]
    #[case::empty("", json!([]))]
    #[case::block_scalar("a: |\n  one\n  two\n", json!([{"a": "one\ntwo\n"}]))]
    #[case::anchors("a: &x [1]\nb: *x\n", json!([{"a": [1], "b": [1]}]))]
    #[case::numbers("a: 0755\nb: 1e3\nc: '0755'\nd: 9223372036854775807\n", json!([{"a": 0o755, "b": 1e3, "c": "0755", "d": i64::MAX}]))]
    fn all_documents_are_read(#[case] text: &str, #[case] expected: Value) {
        assert_eq!(Value::Array(read(text).expect("a good text").0), expected);
    }

    #[rstest]
    #[case::no_yaml("a: [")]
    #[case::no_json("{\"a\":")]
    #[case::a_key_twice("a: 1\na: 2\n")]
    fn a_bad_text_is_refused(#[case] text: &str) {
        read(text).expect_err("bad");
    }

    #[test]
    fn members_stay_in_order() {
        let text = "zebra: 1\napple: 2\nmango:\n  z: 1\n  a: 2\n";
        let (objects, format) = read(text).expect("a good text");
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
        fn what_is_written_is_read_again(value in value()) {
            let object = json!({"kind": "Any", "spec": value});
            for format in [Format::Yaml, Format::Json] {
                let text = write(std::slice::from_ref(&object), format).expect("written");
                let (read, _) = read(&text).unwrap_or_else(|error| panic!("{error:?} in\n{text}"));
                prop_assert_eq!(&read[..], std::slice::from_ref(&object), "{}", text);
            }
        }
    }
}
