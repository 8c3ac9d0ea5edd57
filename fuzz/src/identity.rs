//! A pointer, a regular expression, and the value of an annotation, one after the other on lines: what a rule finds in the value is a part
//! of it, of bounded length, and found in bounded time.

#![no_main]

use jobwarden_inject::{
    identity::{
        pointer::Pointer,
        rule::{MAX_ID_BYTES, Rule, Subject},
    },
    view::Job,
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, '\n');
    let (Some(pointer), Some(regex), Some(value)) = (parts.next(), parts.next(), parts.next()) else { return };
    if let Ok(pointer) = pointer.parse::<Pointer>() {
        laws_of_pointers(&pointer, value);
    }
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    find(given(pointer), given(regex), value);
});

fn laws_of_pointers(pointer: &Pointer, json: &str) {
    let written = pointer.to_string();
    assert_eq!(written.parse().as_ref(), Ok(pointer), "{written} is not what it was parsed from");
    let found = pointer.find(json);
    // Without our extension it is a pointer of RFC 6901, which serde_json implements too.
    if !written.contains("/*") {
        let document: Option<Value> = serde_json::from_str(json).ok();
        let expected = match document.as_ref().and_then(|document| document.pointer(&written)) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string()),
            _ => None,
        };
        assert_eq!(found, expected, "{written} in {json}");
    }
}

fn find(pointer: Option<String>, regex: Option<String>, value: &str) {
    let is_whole = pointer.is_none();
    let rule = json!({"annotation": {"key": "key", "pointer": pointer, "regex": regex}});
    let Ok(rule) = serde_json::from_value::<Rule>(rule) else { return };
    let job = json!({"metadata": {"annotations": {"key": value}}}).to_string();
    let job: Job<'_> = serde_json::from_str(&job).expect("a Job");
    if let Ok(id) = rule.find(&Subject::of_job(&job)) {
        assert!(!id.is_empty() && id.len() <= MAX_ID_BYTES, "an ID of {} bytes", id.len());
        assert!(!is_whole || value.contains(&*id), "{id:?} is not part of {value:?}");
    }
}
