//! As much of JSON Schema (draft 2020-12) as the schema of notifications uses, for tests. A keyword that is not known here is a violation, so
//! that nothing in the schema goes unchecked.

use serde_json::Value;

/// What in `value` contradicts `schema`: JSON pointers with what is wrong.
pub(super) fn violations(schema: &Value, value: &Value) -> Vec<String> {
    Check { root: schema }.violations(schema, value, "")
}

struct Check<'a> {
    root: &'a Value,
}

impl Check<'_> {
    fn violations(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let keywords = schema.as_object().expect("a schema is an object");
        keywords.iter().flat_map(|(keyword, wanted)| self.keyword(schema, keyword, wanted, value, at)).collect()
    }

    fn keyword(&self, schema: &Value, keyword: &str, wanted: &Value, value: &Value, at: &str) -> Vec<String> {
        let says = |holds: bool, what: String| if holds { Vec::new() } else { vec![what] };
        match keyword {
            "$schema" | "$id" | "$defs" | "title" | "description" | "default" => Vec::new(),
            "$ref" => {
                let place = wanted.as_str().and_then(|place| place.strip_prefix('#')).expect("a reference within");
                self.violations(self.root.pointer(place).expect("a definition"), value, at)
            }
            "type" => says(is_of(wanted, value), format!("{at} is not of type {wanted}: {value}")),
            "const" => says(wanted == value, format!("{at} is not {wanted}: {value}")),
            "enum" => {
                let known = wanted.as_array().is_some_and(|known| known.contains(value));
                says(known, format!("{at} is none of {wanted}: {value}"))
            }
            "oneOf" => {
                let schemas = wanted.as_array().expect("an array");
                let valid = schemas.iter().filter(|schema| self.violations(schema, value, at).is_empty()).count();
                says(valid == 1, format!("{at} is valid by {valid} schemas of {}: {value}", schemas.len()))
            }
            "minimum" => {
                let holds = value.as_f64().zip(wanted.as_f64()).is_none_or(|(value, least)| value >= least);
                says(holds, format!("{at} is less than {wanted}: {value}"))
            }
            "format" => says(is_in_format(wanted, value), format!("{at} is no {wanted}: {value}")),
            "required" => {
                let names = wanted.as_array().into_iter().flatten().filter_map(Value::as_str);
                let missing = names.filter(|name| value.is_object() && value.get(name).is_none());
                missing.map(|name| format!("{at}/{name} is missing")).collect()
            }
            "properties" => {
                let properties = wanted.as_object().into_iter().flatten();
                let present = properties.filter_map(|(name, schema)| Some((name, schema, value.get(name)?)));
                present
                    .flat_map(|(name, schema, value)| self.violations(schema, value, &format!("{at}/{name}")))
                    .collect()
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.flat_map(|(index, value)| self.violations(wanted, value, &format!("{at}/{index}"))).collect()
            }
            _ => vec![format!("{at}: the keyword {keyword} of {schema} is not checked")],
        }
    }
}

fn is_of(wanted: &Value, value: &Value) -> bool {
    match wanted.as_str().expect("one type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("type {other} is not checked"),
    }
}

fn is_in_format(wanted: &Value, value: &Value) -> bool {
    match wanted.as_str() {
        Some("date-time") => value.as_str().is_none_or(|at| at.parse::<jiff::Timestamp>().is_ok()),
        // The widths of integers, which the type and the minimum check.
        Some("uint" | "uint64" | "int32") => true,
        _ => false,
    }
}
