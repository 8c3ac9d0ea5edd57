//! A JSON patch in the making.

use json_patch::{AddOperation, PatchOperation, ReplaceOperation, jsonptr::PointerBuf};
use serde_json::Value;

/// Where something is in an object, key by key, unescaped.
pub(super) type Path<'a> = &'a [&'a str];

/// The operations so far.
#[derive(Debug, Default)]
pub(super) struct Operations(Vec<PatchOperation>);

impl Operations {
    /// Sets the member at `path`, whose parent exists.
    pub(super) fn add(&mut self, path: Path<'_>, value: impl Into<Value>) {
        let path = PointerBuf::from_tokens(path.iter().copied());
        self.0.push(PatchOperation::Add(AddOperation { path, value: value.into() }));
    }

    /// Sets the member `key` of the object at `parent`, whose own parent exists. `existing` says whether the object does.
    pub(super) fn member(&mut self, existing: bool, parent: Path<'_>, key: &str, value: impl Into<Value>) {
        if existing {
            self.add(&[parent, &[key]].concat(), value);
        } else {
            self.add(parent, Value::Object([(key.to_owned(), value.into())].into_iter().collect()));
        }
    }

    /// Puts `value` into the array at `path`: at its end, or with `first` before everything else. An array that does not
    /// exist is made.
    pub(super) fn insert<T>(&mut self, array: Option<&[T]>, path: Path<'_>, first: bool, value: Value) {
        match array {
            None => self.add(path, Value::Array(vec![value])),
            Some(_) => self.add(&[path, &[if first { "0" } else { "-" }]].concat(), value),
        }
    }

    /// Replaces what is at `path`.
    pub(super) fn replace(&mut self, path: Path<'_>, value: impl Into<Value>) {
        let path = PointerBuf::from_tokens(path.iter().copied());
        self.0.push(PatchOperation::Replace(ReplaceOperation { path, value: value.into() }));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_vec(self) -> Vec<PatchOperation> {
        self.0
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
        assert_eq!(
            serde_json::to_value(operations.into_vec()).expect("a patch is JSON"),
            json!([{"op": "add", "path": "/a~1b/c~0d", "value": 1}])
        );
    }
}
