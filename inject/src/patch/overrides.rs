//! Annotations by which a Job or pod overrides policy. A bad value never blocks anything: it is told, and the default applies.

use std::borrow::Cow;

use jobwarden_common::names::annotation;

use super::{
    quantity::Quantity,
    sidecar::{MemoryError, Resources, Sidecar, parse_memory},
};
use crate::view::Metadata;

/// The longest part of a value that a warning repeats, in characters. The API server cuts warnings off at 256.
const SHOWN: usize = 60;

/// What an annotation may say.
enum Form {
    Duration,
    /// A duration, or `never`.
    Limit,
    OneOf(&'static [&'static str]),
    Cpu,
    Memory,
}

const FORMS: [(&str, Form); 14] = [
    (annotation::LOST_AFTER, Form::Duration),
    (annotation::SUSPECT_AFTER, Form::Duration),
    (annotation::START_TIMEOUT, Form::Duration),
    (annotation::UNSCHEDULED_TIMEOUT, Form::Limit),
    (annotation::ACTIVE_TIMEOUT, Form::Limit),
    (annotation::STALL_AFTER, Form::Limit),
    (annotation::RETENTION, Form::Duration),
    (annotation::ON_LOST, Form::OneOf(&["retry", "fail", "report"])),
    (annotation::UNSEEN, Form::OneOf(&["report", "lost"])),
    (annotation::NOT_STARTING, Form::OneOf(&["report", "fail"])),
    (annotation::NOTIFY_LATE, Form::OneOf(&["true", "false"])),
    (annotation::SAFE_TO_DUPLICATE, Form::OneOf(&["true", "false"])),
    (annotation::SIDECAR_CPU, Form::Cpu),
    (annotation::SIDECAR_MEMORY, Form::Memory),
];

impl Form {
    /// What is wrong with `value`, as the end of a sentence that it begins.
    fn fault(&self, value: &str) -> Option<String> {
        match self {
            Self::Duration => {
                humantime::parse_duration(value).is_err().then(|| "is no duration such as 90s or 5m".to_owned())
            }
            Self::Limit => {
                let good = value == "never" || humantime::parse_duration(value).is_ok();
                (!good).then(|| "is neither a duration such as 90s or 5m nor never".to_owned())
            }
            Self::OneOf(words) => (!words.contains(&value)).then(|| format!("is none of {}", words.join(", "))),
            Self::Cpu => value.parse::<Quantity>().is_err().then(|| "is no quantity such as 10m".to_owned()),
            Self::Memory => match parse_memory(value) {
                Err(MemoryError::Quantity(_)) => Some("is no quantity such as 16Mi".to_owned()),
                Err(MemoryError::TooLittle(_)) => Some("is below 12Mi, the least that runtimes take".to_owned()),
                Ok(_) => None,
            },
        }
    }
}

/// One warning for each annotation of these objects that does not say what it may; none twice.
pub(super) fn warnings<'a>(
    metadata: impl IntoIterator<Item = Option<&'a Metadata<'a>>>,
    defaults: &Resources<'_>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for metadata in metadata.into_iter().flatten() {
        for (key, form) in &FORMS {
            let Some(value) = metadata.annotation(key) else { continue };
            let Some(fault) = form.fault(value) else { continue };
            let default = match form {
                Form::Cpu => Cow::Owned(format!("the default of {} applies", defaults.cpu)),
                Form::Memory => Cow::Owned(format!("the default of {} applies", defaults.memory)),
                Form::Duration | Form::Limit | Form::OneOf(_) => Cow::Borrowed("the default applies"),
            };
            let shown: String = value.escape_debug().take(SHOWN).collect();
            let warning = format!("{key}: \"{shown}\" {fault}; {default}");
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    warnings
}

/// The sidecar's resources in a namespace, unless an annotation says otherwise.
pub(super) fn defaults<'a>(sidecar: &'a Sidecar, namespace: &str) -> Resources<'a> {
    let (cpu, memory) = sidecar.size_in(namespace);
    Resources { cpu: cpu.as_str(), memory: memory.as_str() }
}

/// The sidecar's resources: the annotations' where they are good, else those of `defaults`. An annotation counts where it is
/// found first in `metadata`.
pub(super) fn resources<'a>(metadata: &[Option<&'a Metadata<'a>>], defaults: &Resources<'a>) -> Resources<'a> {
    let good = |key: &str, form: &Form| {
        let value = metadata.iter().flatten().find_map(|metadata| metadata.annotation(key))?;
        form.fault(value).is_none().then_some(value)
    };
    Resources {
        cpu: good(annotation::SIDECAR_CPU, &Form::Cpu).unwrap_or(defaults.cpu),
        memory: good(annotation::SIDECAR_MEMORY, &Form::Memory).unwrap_or(defaults.memory),
    }
}
