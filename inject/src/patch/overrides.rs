//! Annotations by which a Job or pod overrides policy. An invalid value never blocks the object: it causes a warning, and the
//! default applies.

use std::borrow::Cow;

use jobwarden_common::names::annotation;

use super::{
    on_failure::Watcher,
    quantity::Quantity,
    resources::Resources,
    sidecar::{MemoryError, Sidecar, parse_memory},
    size_limits::{Beyond, SizeLimits},
};
use crate::view::Metadata;

/// The longest part of a value that a warning shows, in characters. The API server truncates warnings at 256 characters.
const SHOWN_VALUE: usize = 60;

/// The format of an annotation's value.
enum Format {
    Duration,
    /// A duration, or `never`.
    Limit,
    OneOf(&'static [&'static str]),
    Cpu,
    Memory,
}

const FORMATS: [(&str, Format); 23] = [
    (annotation::LOST_AFTER, Format::Duration),
    (annotation::SUSPECT_AFTER, Format::Duration),
    (annotation::START_TIMEOUT, Format::Duration),
    (annotation::UNSCHEDULED_TIMEOUT, Format::Limit),
    (annotation::ACTIVE_TIMEOUT, Format::Limit),
    (annotation::STALL_AFTER, Format::Limit),
    (annotation::INIT_TIMEOUT, Format::Limit),
    (annotation::STRANDED_AFTER, Format::Limit),
    (annotation::RETENTION, Format::Duration),
    (annotation::RETENTION_SUCCEEDED, Format::Duration),
    (annotation::RETENTION_FAILED, Format::Duration),
    (annotation::RETENTION_LOST, Format::Duration),
    (annotation::RETENTION_ORPHANED, Format::Duration),
    (annotation::ON_LOST, Format::OneOf(&["retry", "fail", "report"])),
    (annotation::UNSEEN, Format::OneOf(&["report", "lost"])),
    (annotation::NOT_STARTING, Format::OneOf(&["report", "fail"])),
    (annotation::ON_CONTAINER_EXIT, Format::OneOf(&["wait", "fail"])),
    (annotation::NOTIFY_LATE, Format::OneOf(&["true", "false"])),
    (annotation::INCLUDE_LOGS, Format::OneOf(&["true", "false"])),
    (annotation::ON_FAILURE, Format::OneOf(&Watcher::WORDS)),
    (annotation::SAFE_TO_DUPLICATE, Format::OneOf(&["true", "false"])),
    (annotation::SIDECAR_CPU, Format::Cpu),
    (annotation::SIDECAR_MEMORY, Format::Memory),
];

impl Format {
    /// What is wrong with `value`, as the rest of a sentence that begins with it.
    fn error(&self, value: &str, limits: &SizeLimits) -> Option<String> {
        match self {
            Self::Duration => {
                humantime::parse_duration(value).is_err().then(|| "is not a duration such as 90s or 5m".to_owned())
            }
            Self::Limit => {
                let valid = value == "never" || humantime::parse_duration(value).is_ok();
                (!valid).then(|| "is not never or a duration such as 90s or 5m".to_owned())
            }
            Self::OneOf(words) => (!words.contains(&value)).then(|| format!("is not one of {}", words.join(", "))),
            Self::Cpu => match value.parse::<Quantity>() {
                Err(_) => Some("is not a positive quantity such as 10m".to_owned()),
                Ok(cpu) => limits.cpu.exceeded(&cpu).map(|beyond| match beyond {
                    Beyond::More(_) => format!("{beyond} (m is a thousandth, M a million)"),
                    Beyond::Less(_) => beyond.to_string(),
                }),
            },
            Self::Memory => match parse_memory(value) {
                Err(MemoryError::Quantity(_)) => Some("is not a positive quantity such as 16Mi".to_owned()),
                Err(MemoryError::BelowMinimum(_)) => {
                    Some("is below 12Mi, the minimum of container runtimes".to_owned())
                }
                Ok(memory) => limits.memory.exceeded(&memory).map(|beyond| beyond.to_string()),
            },
        }
    }
}

/// One warning for each annotation of these objects with an invalid value, without duplicates.
pub(super) fn warnings<'a>(
    metadata: impl IntoIterator<Item = Option<&'a Metadata<'a>>>,
    sidecar: &Sidecar,
    defaults: &Resources<'_>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for metadata in metadata.into_iter().flatten() {
        for (key, format) in &FORMATS {
            let Some(value) = metadata.annotation(key) else { continue };
            let Some(error) = format.error(value, &sidecar.limits) else { continue };
            let default = match format {
                Format::Cpu => Cow::Owned(format!("the default of {} applies", defaults.cpu)),
                Format::Memory => Cow::Owned(format!("the default of {} applies", defaults.memory)),
                Format::Duration | Format::Limit | Format::OneOf(_) => Cow::Borrowed("the default applies"),
            };
            let shown: String = value.escape_debug().take(SHOWN_VALUE).collect();
            let warning = format!("{key}: \"{shown}\" {error}; {default}");
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    warnings
}

/// The sidecar's resources in a namespace, before annotations.
pub(super) fn defaults<'a>(sidecar: &'a Sidecar, namespace: &str) -> Resources<'a> {
    let (cpu, memory) = sidecar.size_in(namespace);
    Resources { cpu: cpu.as_str(), memory: memory.as_str(), ephemeral_storage: None }
}

/// The sidecar's resources: those of valid annotations, else those of `defaults`. For each annotation, the first of `metadata`
/// that has it counts.
pub(super) fn resources<'a>(
    metadata: &[Option<&'a Metadata<'a>>],
    sidecar: &Sidecar,
    defaults: &Resources<'a>,
) -> Resources<'a> {
    let valid = |key: &str, format: &Format| {
        let value = metadata.iter().flatten().find_map(|metadata| metadata.annotation(key))?;
        format.error(value, &sidecar.limits).is_none().then_some(value)
    };
    Resources {
        cpu: valid(annotation::SIDECAR_CPU, &Format::Cpu).unwrap_or(defaults.cpu),
        memory: valid(annotation::SIDECAR_MEMORY, &Format::Memory).unwrap_or(defaults.memory),
        ephemeral_storage: None,
    }
}
