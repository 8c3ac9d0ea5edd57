//! A JSON patch in the making.

use json_patch::{Patch, jsonptr::PointerBuf};
use serde::Serialize;

/// Where something is in an object, key by key, unescaped.
pub(super) type Path<'a> = &'a [&'a str];

/// Operations of RFC 6902, as the text that the API server gets. It is written once, for it is most of what a review costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operations(Vec<u8>);

/// Room for the sidecar, its volume and the rest, so that the text does not have to move while it grows.
const USUAL: usize = 3 * 1024;

impl Default for Operations {
    fn default() -> Self {
        Self(b"[]".to_vec())
    }
}

impl Operations {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.0.len() == "[]".len()
    }

    /// The JSON array of all of them.
    pub fn as_json(&self) -> &[u8] {
        &self.0
    }

    /// The same as values, for whoever applies them.
    pub fn to_patch(&self) -> Patch {
        serde_json::from_slice(&self.0).expect("what is written here is a patch")
    }

    /// Sets the member at `path`, whose parent exists.
    pub(super) fn add(&mut self, path: Path<'_>, value: impl Serialize) {
        self.push("add", path, &value);
    }

    /// Sets the member `key` of the object at `parent`, whose own parent exists. `existing` says whether the object does.
    pub(super) fn member(&mut self, existing: bool, parent: Path<'_>, key: &str, value: &str) {
        if existing {
            self.add(&[parent, &[key]].concat(), value);
        } else {
            self.add(parent, Entry(key, value));
        }
    }

    /// Puts `value` into the array at `path`: at its end, or with `first` before everything else. An array that does not
    /// exist is made.
    pub(super) fn insert<T>(&mut self, array: Option<&[T]>, path: Path<'_>, first: bool, value: impl Serialize) {
        match array {
            None => self.add(path, [value]),
            Some(_) => self.add(&[path, &[if first { "0" } else { "-" }]].concat(), value),
        }
    }

    /// Replaces what is at `path`.
    pub(super) fn replace(&mut self, path: Path<'_>, value: impl Serialize) {
        self.push("replace", path, &value);
    }

    fn push(&mut self, op: &'static str, path: Path<'_>, value: &impl Serialize) {
        #[derive(Serialize)]
        struct Operation<'a, T> {
            op: &'static str,
            path: &'a str,
            value: &'a T,
        }
        let path = PointerBuf::from_tokens(path.iter().copied());
        let operation = Operation { op, path: path.as_str(), value };
        let first = self.is_empty();
        self.0.pop();
        if first {
            self.0.reserve(USUAL);
        } else {
            self.0.push(b',');
        }
        serde_json::to_writer(&mut self.0, &operation).expect("texts, numbers and maps of them are always JSON");
        self.0.push(b']');
    }
}

/// An object of one member.
struct Entry<'a>(&'a str, &'a str);

impl Serialize for Entry<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, self.1)])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_escaped() {
        let mut operations = Operations::default();
        operations.add(&["a/b", "c~d"], 1);
        operations.replace(&["\"e\""], "f");
        assert_eq!(
            serde_json::to_value(operations.to_patch()).expect("a patch is JSON"),
            json!([{"op": "add", "path": "/a~1b/c~0d", "value": 1}, {"op": "replace", "path": "/\"e\"", "value": "f"}])
        );
    }

    #[test]
    fn nothing_is_a_patch_too() {
        assert!(Operations::default().is_empty());
        assert_eq!(Operations::default().to_patch(), Patch(vec![]));
    }
}
