//! A worker's log: the first byte says how much of it is kept, and a secret is put into it. The excerpt is within its limits, printable, and
//! without the secret.

#![no_main]

use jobwarden_core::logs::{LogLimits, Redactor};
use libfuzzer_sys::fuzz_target;

/// Letters of a secret that stand for themselves in every form, and in no other text.
const SECRET: &str = "Zq7Zq7Zq7Zq7";

/// How a secret is written.
const FORMS: [&str; 5] = [" password=", " \"token\": \"", " Authorization: Basic ", " --api-key ", " https://u:"];

fuzz_target!(|data: &[u8]| {
    let [lines, bytes, form, log @ ..] = data else { return };
    let limits = LogLimits { lines: usize::from(*lines), bytes: usize::from(*bytes) * 16 };
    // One that is there already may stand anywhere.
    if limits.lines == 0 || log.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()) {
        return;
    }
    let (before, after) = log.split_at(log.len() / 2);
    let form = FORMS[usize::from(*form) % FORMS.len()];
    // A control sequence may take the first letters of the form, which then says something else.
    let between: &[u8] = if before.contains(&0x1b) { b"\n" } else { b"" };
    let log = [before, between, form.as_bytes(), SECRET.as_bytes(), b"@host ", after].concat();
    let redactor = Redactor::new(&[], true).expect("the built-in patterns are valid");
    let kept = limits.excerpt(&log, &redactor, &[]);
    assert!(kept.lines.len() <= limits.lines);
    assert!(kept.lines.iter().map(|line| line.len() + 1).sum::<usize>() <= limits.bytes);
    for line in &kept.lines {
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(!line.contains(SECRET), "{line:?}");
    }
});
