//! The JSON Schema of a notification, for receivers that validate or generate code.

use schemars::{Schema, generate::SchemaSettings, transform::Transform};
use serde_json::{Map, Value};

use crate::notification::CloudEvent;

/// Identifies the schema. The version changes when a notification that is valid by the old schema would not be by the new one, or the
/// reverse for what existing receivers rely on: a field that is removed, renamed, or of another type. New optional fields do not
/// change it, so receivers have to ignore fields that they do not know.
pub const ID: &str = "https://jobwarden.io/schemas/notification/v1";

/// The schema of [`CloudEvent`] as it is sent (JSON Schema draft 2020-12).
pub fn of_notification() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize().with_transform(NeverNull);
    let mut schema = settings.into_generator().into_root_schema_for::<CloudEvent>();
    schema.insert("$id".to_owned(), ID.into());
    schema.insert("title".to_owned(), "Notification of jobwarden, v1".into());
    schema
}

/// Takes `null` out of the types: what is unknown is absent on the wire, although an `Option` could be `null`.
#[derive(Clone, Debug)]
struct NeverNull;

impl Transform for NeverNull {
    fn transform(&mut self, schema: &mut Schema) {
        schemars::transform::transform_subschemas(self, schema);
        let Some(schema) = schema.as_object_mut() else { return };
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                schema.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
            any.retain(|other| other.get("type").is_none_or(|name| name != "null"));
            if let [Value::Object(only)] = any.as_mut_slice() {
                let only: Map<_, _> = std::mem::take(only);
                schema.remove("anyOf");
                schema.extend(only);
            }
        }
    }
}
