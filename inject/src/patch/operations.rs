//! Builds a JSON patch.

use json_patch::{Patch, jsonptr::PointerBuf};
use serde::Serialize;

/// A path in an object, key by key, unescaped.
pub(super) type Path<'a> = &'a [&'a str];

/// Operations of RFC 6902 as JSON text for the API server. They are serialised only once: that is most of the cost of a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operations(Vec<u8>);

/// Capacity for the sidecar, its volume and the rest, so that the text is not reallocated as it grows.
const INITIAL_CAPACITY: usize = 3 * 1024;

impl Default for Operations {
    fn default() -> Self {
        Self(b"[]".to_vec())
    }
}

impl Operations {
    /// Whether there are no operations.
    pub fn is_empty(&self) -> bool {
        self.0.len() == "[]".len()
    }

    /// All operations as a JSON array.
    pub fn as_json(&self) -> &[u8] {
        &self.0
    }

    /// All operations as a typed patch, to apply them.
    ///
    /// # Panics
    /// Never: this module writes valid patches only.
    pub fn to_patch(&self) -> Patch {
        serde_json::from_slice(&self.0).expect("this module writes valid patches only")
    }

    /// Sets the member at `path`, whose parent exists.
    pub(super) fn add(&mut self, path: Path<'_>, value: impl Serialize) {
        self.push("add", path, Some(&value));
    }

    /// Sets the member `key` of the object at `parent`, whose own parent exists. `existing` tells whether the object exists.
    pub(super) fn member(&mut self, existing: bool, parent: Path<'_>, key: &str, value: &str) {
        if existing {
            self.add(&[parent, &[key]].concat(), value);
        } else {
            self.add(parent, Entry(key, value));
        }
    }

    /// Inserts `value` into the array at `path`: at the end, or with `first` at the start. Creates the array if it does not
    /// exist.
    pub(super) fn insert<T>(&mut self, array: Option<&[T]>, path: Path<'_>, first: bool, value: impl Serialize) {
        match array {
            None => self.add(path, [value]),
            Some(_) => self.add(&[path, &[if first { "0" } else { "-" }]].concat(), value),
        }
    }

    /// Replaces the value at `path`.
    pub(super) fn replace(&mut self, path: Path<'_>, value: impl Serialize) {
        self.push("replace", path, Some(&value));
    }

    /// Removes the member or element at `path`, which exists.
    pub(super) fn remove(&mut self, path: Path<'_>) {
        self.push("remove", path, None::<&()>);
    }

    fn push(&mut self, op: &'static str, path: Path<'_>, value: Option<&impl Serialize>) {
        #[derive(Serialize)]
        struct Operation<'a, T> {
            op: &'static str,
            path: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            value: Option<&'a T>,
        }
        let path = PointerBuf::from_tokens(path.iter().copied());
        let operation = Operation { op, path: path.as_str(), value };
        let first = self.is_empty();
        self.0.pop();
        if first {
            self.0.reserve(INITIAL_CAPACITY);
        } else {
            self.0.push(b',');
        }
        serde_json::to_writer(&mut self.0, &operation).expect("strings, numbers and maps of them always serialise");
        self.0.push(b']');
    }
}

/// An object with one member.
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
    fn keys_in_paths_are_escaped() {
        let mut operations = Operations::default();
        operations.add(&["a/b", "c~d"], 1);
        operations.replace(&["\"e\""], "f");
        operations.remove(&["g", "0"]);
        assert_eq!(
            serde_json::to_value(operations.to_patch()).expect("a patch is JSON"),
            json!([{"op": "add", "path": "/a~1b/c~0d", "value": 1}, {"op": "replace", "path": "/\"e\"", "value": "f"},
                {"op": "remove", "path": "/g/0"}])
        );
    }

    #[test]
    fn no_operations_are_an_empty_patch() {
        assert!(Operations::default().is_empty());
        assert_eq!(Operations::default().to_patch(), Patch(vec![]));
    }
}
