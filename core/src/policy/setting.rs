//! Single values of a policy: their names, their text forms, and the layer of each.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use jobwarden_common::names::annotation;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{Leftover, NotStarting, OnContainerExit, OnLost, Policy, UnknownWord, Unseen};

/// The value for "no limit".
const NEVER: &str = "never";

/// The longest value of an annotation that is read, in bytes: longer than any duration, and short enough for a log.
const LONGEST_VALUE: usize = 128;

/// A value of a policy, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "see the fields of `Policy`")]
pub enum PolicyField {
    LostAfter,
    SuspectAfter,
    StartTimeout,
    UnscheduledTimeout,
    ActiveTimeout,
    StallAfter,
    InitTimeout,
    StrandedAfter,
    OnLost,
    Unseen,
    NotStarting,
    OnContainerExit,
    Retention,
    RetentionSucceeded,
    RetentionFailed,
    RetentionLost,
    RetentionOrphaned,
    NotifyLate,
    IncludeLogs,
}

impl PolicyField {
    /// All there are, in the order in which people are shown them.
    pub const ALL: [Self; 19] = [
        Self::LostAfter,
        Self::SuspectAfter,
        Self::StartTimeout,
        Self::UnscheduledTimeout,
        Self::ActiveTimeout,
        Self::StallAfter,
        Self::InitTimeout,
        Self::StrandedAfter,
        Self::OnLost,
        Self::Unseen,
        Self::NotStarting,
        Self::OnContainerExit,
        Self::Retention,
        Self::RetentionSucceeded,
        Self::RetentionFailed,
        Self::RetentionLost,
        Self::RetentionOrphaned,
        Self::NotifyLate,
        Self::IncludeLogs,
    ];

    /// The annotation by which a namespace or a Job sets it.
    pub fn annotation(self) -> &'static str {
        match self {
            Self::LostAfter => annotation::LOST_AFTER,
            Self::SuspectAfter => annotation::SUSPECT_AFTER,
            Self::StartTimeout => annotation::START_TIMEOUT,
            Self::UnscheduledTimeout => annotation::UNSCHEDULED_TIMEOUT,
            Self::ActiveTimeout => annotation::ACTIVE_TIMEOUT,
            Self::StallAfter => annotation::STALL_AFTER,
            Self::InitTimeout => annotation::INIT_TIMEOUT,
            Self::StrandedAfter => annotation::STRANDED_AFTER,
            Self::OnLost => annotation::ON_LOST,
            Self::Unseen => annotation::UNSEEN,
            Self::NotStarting => annotation::NOT_STARTING,
            Self::OnContainerExit => annotation::ON_CONTAINER_EXIT,
            Self::Retention => annotation::RETENTION,
            Self::RetentionSucceeded => annotation::RETENTION_SUCCEEDED,
            Self::RetentionFailed => annotation::RETENTION_FAILED,
            Self::RetentionLost => annotation::RETENTION_LOST,
            Self::RetentionOrphaned => annotation::RETENTION_ORPHANED,
            Self::NotifyLate => annotation::NOTIFY_LATE,
            Self::IncludeLogs => annotation::INCLUDE_LOGS,
        }
    }

    /// Its name on the command line, in the API and for people: `lost-after`.
    pub fn as_str(self) -> &'static str {
        let key = self.annotation();
        key.split_once('/').map_or(key, |(_, name)| name)
    }

    /// Its name in the configuration file: `lostAfter`.
    fn in_file(self) -> String {
        let mut words = self.as_str().split('-');
        let mut name = words.next().unwrap_or_default().to_owned();
        for word in words {
            let (first, rest) = word.split_at(1);
            name.push_str(&first.to_ascii_uppercase());
            name.push_str(rest);
        }
        name
    }
}

impl fmt::Display for PolicyField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One value that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see the fields of `Policy`")]
pub enum Setting {
    LostAfter(Duration),
    SuspectAfter(Duration),
    StartTimeout(Duration),
    UnscheduledTimeout(Option<Duration>),
    ActiveTimeout(Option<Duration>),
    StallAfter(Option<Duration>),
    InitTimeout(Option<Duration>),
    StrandedAfter(Option<Duration>),
    OnLost(OnLost),
    Unseen(Unseen),
    NotStarting(NotStarting),
    OnContainerExit(OnContainerExit),
    Retention(Duration),
    RetentionSucceeded(Duration),
    RetentionFailed(Duration),
    RetentionLost(Duration),
    RetentionOrphaned(Duration),
    NotifyLate(bool),
    IncludeLogs(bool),
}

impl Setting {
    /// Parses the value of `field`; the error says what is wrong with the text.
    pub fn parse(field: PolicyField, text: &str) -> Result<Self, String> {
        Ok(match field {
            PolicyField::LostAfter => Self::LostAfter(duration(text)?),
            PolicyField::SuspectAfter => Self::SuspectAfter(duration(text)?),
            PolicyField::StartTimeout => Self::StartTimeout(duration(text)?),
            PolicyField::UnscheduledTimeout => Self::UnscheduledTimeout(limit(text)?),
            PolicyField::ActiveTimeout => Self::ActiveTimeout(limit(text)?),
            PolicyField::StallAfter => Self::StallAfter(limit(text)?),
            PolicyField::InitTimeout => Self::InitTimeout(limit(text)?),
            PolicyField::StrandedAfter => Self::StrandedAfter(limit(text)?),
            PolicyField::OnLost => Self::OnLost(word(text)?),
            PolicyField::Unseen => Self::Unseen(word(text)?),
            PolicyField::NotStarting => Self::NotStarting(word(text)?),
            PolicyField::OnContainerExit => Self::OnContainerExit(word(text)?),
            PolicyField::Retention => Self::Retention(duration(text)?),
            PolicyField::RetentionSucceeded => Self::RetentionSucceeded(duration(text)?),
            PolicyField::RetentionFailed => Self::RetentionFailed(duration(text)?),
            PolicyField::RetentionLost => Self::RetentionLost(duration(text)?),
            PolicyField::RetentionOrphaned => Self::RetentionOrphaned(duration(text)?),
            PolicyField::NotifyLate => Self::NotifyLate(whether(text)?),
            PolicyField::IncludeLogs => Self::IncludeLogs(whether(text)?),
        })
    }

    /// The value of `field` in `policy`.
    pub fn of(policy: &Policy, field: PolicyField) -> Self {
        match field {
            PolicyField::LostAfter => Self::LostAfter(policy.lost_after),
            PolicyField::SuspectAfter => Self::SuspectAfter(policy.suspect_after),
            PolicyField::StartTimeout => Self::StartTimeout(policy.start_timeout),
            PolicyField::UnscheduledTimeout => Self::UnscheduledTimeout(policy.unscheduled_timeout),
            PolicyField::ActiveTimeout => Self::ActiveTimeout(policy.active_timeout),
            PolicyField::StallAfter => Self::StallAfter(policy.stall_after),
            PolicyField::InitTimeout => Self::InitTimeout(policy.init_timeout),
            PolicyField::StrandedAfter => Self::StrandedAfter(policy.stranded_after),
            PolicyField::OnLost => Self::OnLost(policy.on_lost),
            PolicyField::Unseen => Self::Unseen(policy.unseen),
            PolicyField::NotStarting => Self::NotStarting(policy.not_starting),
            PolicyField::OnContainerExit => Self::OnContainerExit(policy.on_container_exit),
            PolicyField::Retention => Self::Retention(policy.retention),
            PolicyField::RetentionSucceeded => Self::RetentionSucceeded(policy.retention_of(Leftover::Succeeded)),
            PolicyField::RetentionFailed => Self::RetentionFailed(policy.retention_of(Leftover::Failed)),
            PolicyField::RetentionLost => Self::RetentionLost(policy.retention_of(Leftover::Lost)),
            PolicyField::RetentionOrphaned => Self::RetentionOrphaned(policy.retention_of(Leftover::Orphaned)),
            PolicyField::NotifyLate => Self::NotifyLate(policy.notify_late),
            PolicyField::IncludeLogs => Self::IncludeLogs(policy.include_logs),
        }
    }

    /// Which value it is.
    pub fn field(self) -> PolicyField {
        match self {
            Self::LostAfter(_) => PolicyField::LostAfter,
            Self::SuspectAfter(_) => PolicyField::SuspectAfter,
            Self::StartTimeout(_) => PolicyField::StartTimeout,
            Self::UnscheduledTimeout(_) => PolicyField::UnscheduledTimeout,
            Self::ActiveTimeout(_) => PolicyField::ActiveTimeout,
            Self::StallAfter(_) => PolicyField::StallAfter,
            Self::InitTimeout(_) => PolicyField::InitTimeout,
            Self::StrandedAfter(_) => PolicyField::StrandedAfter,
            Self::OnLost(_) => PolicyField::OnLost,
            Self::Unseen(_) => PolicyField::Unseen,
            Self::NotStarting(_) => PolicyField::NotStarting,
            Self::OnContainerExit(_) => PolicyField::OnContainerExit,
            Self::Retention(_) => PolicyField::Retention,
            Self::RetentionSucceeded(_) => PolicyField::RetentionSucceeded,
            Self::RetentionFailed(_) => PolicyField::RetentionFailed,
            Self::RetentionLost(_) => PolicyField::RetentionLost,
            Self::RetentionOrphaned(_) => PolicyField::RetentionOrphaned,
            Self::NotifyLate(_) => PolicyField::NotifyLate,
            Self::IncludeLogs(_) => PolicyField::IncludeLogs,
        }
    }

    /// Sets it.
    pub fn apply(self, policy: &mut Policy) {
        match self {
            Self::LostAfter(after) => policy.lost_after = after,
            Self::SuspectAfter(after) => policy.suspect_after = after,
            Self::StartTimeout(timeout) => policy.start_timeout = timeout,
            Self::UnscheduledTimeout(timeout) => policy.unscheduled_timeout = timeout,
            Self::ActiveTimeout(timeout) => policy.active_timeout = timeout,
            Self::StallAfter(after) => policy.stall_after = after,
            Self::InitTimeout(timeout) => policy.init_timeout = timeout,
            Self::StrandedAfter(after) => policy.stranded_after = after,
            Self::OnLost(what) => policy.on_lost = what,
            Self::Unseen(what) => policy.unseen = what,
            Self::NotStarting(what) => policy.not_starting = what,
            Self::OnContainerExit(what) => policy.on_container_exit = what,
            Self::Retention(long) => policy.retention = long,
            Self::RetentionSucceeded(long) => policy.retention_succeeded = Some(long),
            Self::RetentionFailed(long) => policy.retention_failed = Some(long),
            Self::RetentionLost(long) => policy.retention_lost = Some(long),
            Self::RetentionOrphaned(long) => policy.retention_orphaned = Some(long),
            Self::NotifyLate(whether) => policy.notify_late = whether,
            Self::IncludeLogs(whether) => policy.include_logs = whether,
        }
    }
}

impl Setting {
    /// The duration that it sets, of which `None` is `never`; `None` for a choice.
    #[allow(clippy::option_option, reason = "whether it is a duration, and whether the duration is a limit")]
    pub(super) fn duration(self) -> Option<Option<Duration>> {
        match self {
            Self::LostAfter(set)
            | Self::SuspectAfter(set)
            | Self::StartTimeout(set)
            | Self::Retention(set)
            | Self::RetentionSucceeded(set)
            | Self::RetentionFailed(set)
            | Self::RetentionLost(set)
            | Self::RetentionOrphaned(set) => Some(Some(set)),
            Self::UnscheduledTimeout(set)
            | Self::ActiveTimeout(set)
            | Self::StallAfter(set)
            | Self::InitTimeout(set)
            | Self::StrandedAfter(set) => Some(set),
            Self::OnLost(_)
            | Self::Unseen(_)
            | Self::NotStarting(_)
            | Self::OnContainerExit(_)
            | Self::NotifyLate(_)
            | Self::IncludeLogs(_) => None,
        }
    }

    /// The same value with another duration; `None` for a choice.
    pub(super) fn with_duration(self, set: Duration) -> Option<Self> {
        Some(match self {
            Self::LostAfter(_) => Self::LostAfter(set),
            Self::SuspectAfter(_) => Self::SuspectAfter(set),
            Self::StartTimeout(_) => Self::StartTimeout(set),
            Self::Retention(_) => Self::Retention(set),
            Self::RetentionSucceeded(_) => Self::RetentionSucceeded(set),
            Self::RetentionFailed(_) => Self::RetentionFailed(set),
            Self::RetentionLost(_) => Self::RetentionLost(set),
            Self::RetentionOrphaned(_) => Self::RetentionOrphaned(set),
            Self::UnscheduledTimeout(_) => Self::UnscheduledTimeout(Some(set)),
            Self::ActiveTimeout(_) => Self::ActiveTimeout(Some(set)),
            Self::StallAfter(_) => Self::StallAfter(Some(set)),
            Self::InitTimeout(_) => Self::InitTimeout(Some(set)),
            Self::StrandedAfter(_) => Self::StrandedAfter(Some(set)),
            Self::OnLost(_)
            | Self::Unseen(_)
            | Self::NotStarting(_)
            | Self::OnContainerExit(_)
            | Self::NotifyLate(_)
            | Self::IncludeLogs(_) => {
                return None;
            }
        })
    }
}

/// The field with this name in the configuration file; the error says which there are.
pub(super) fn by_file_name(name: &str) -> Result<PolicyField, String> {
    PolicyField::ALL.into_iter().find(|field| field.in_file() == name).ok_or_else(|| {
        let all: Vec<_> = PolicyField::ALL.into_iter().map(PolicyField::in_file).collect();
        format!("{name:?} is not one of {}", all.join(", "))
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{text:?}: {error}"))
}

fn limit(text: &str) -> Result<Option<Duration>, String> {
    if text == NEVER { Ok(None) } else { duration(text).map(Some) }
}

fn whether(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(UnknownWord::new(text, "true, false").to_string()),
    }
}

fn word<T: FromStr<Err = UnknownWord>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: UnknownWord| error.to_string())
}

impl fmt::Display for Setting {
    /// In the form that [`Setting::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LostAfter(after) | Self::SuspectAfter(after) => humantime::format_duration(*after).fmt(f),
            Self::StartTimeout(long)
            | Self::Retention(long)
            | Self::RetentionSucceeded(long)
            | Self::RetentionFailed(long)
            | Self::RetentionLost(long)
            | Self::RetentionOrphaned(long) => humantime::format_duration(*long).fmt(f),
            Self::UnscheduledTimeout(limit)
            | Self::ActiveTimeout(limit)
            | Self::StallAfter(limit)
            | Self::InitTimeout(limit)
            | Self::StrandedAfter(limit) => match limit {
                Some(limit) => humantime::format_duration(*limit).fmt(f),
                None => f.write_str(NEVER),
            },
            Self::OnLost(what) => what.fmt(f),
            Self::Unseen(what) => what.fmt(f),
            Self::NotStarting(what) => what.fmt(f),
            Self::OnContainerExit(what) => what.fmt(f),
            Self::NotifyLate(whether) | Self::IncludeLogs(whether) => whether.fmt(f),
        }
    }
}

/// An annotation that could not be read; the value of the layers before applies instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSetting {
    /// Its key.
    pub key: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {}: {}", self.key, self.problem)
    }
}

/// What one layer changes of a policy: at most one setting of each field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(Vec<Setting>);

impl Changes {
    /// The changes that annotations set, and the annotations that could not be read.
    pub fn by_annotations(annotations: &BTreeMap<String, String>) -> (Self, Vec<BadSetting>) {
        let (mut changes, mut bad) = (Vec::new(), Vec::new());
        for field in PolicyField::ALL {
            let key = field.annotation();
            let read = |text: &String| match text.len() {
                ..=LONGEST_VALUE => Setting::parse(field, text),
                bytes => Err(format!("a value of {bytes} bytes")),
            };
            match annotations.get(key).map(read) {
                None => {}
                Some(Ok(setting)) => changes.push(setting),
                Some(Err(problem)) => bad.push(BadSetting { key, problem }),
            }
        }
        (Self(changes), bad)
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it changes this field.
    pub fn sets(&self, field: PolicyField) -> bool {
        self.0.iter().any(|setting| setting.field() == field)
    }

    /// Adds what `other` sets and this does not.
    pub fn fill(&mut self, other: impl IntoIterator<Item = Setting>) {
        for setting in other {
            if !self.sets(setting.field()) {
                self.0.push(setting);
            }
        }
    }

    /// Each setting.
    pub fn iter(&self) -> impl Iterator<Item = Setting> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<Setting> for Changes {
    fn from_iter<I: IntoIterator<Item = Setting>>(settings: I) -> Self {
        Self(settings.into_iter().collect())
    }
}

impl<'de> Deserialize<'de> for Changes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Scalar {
            Bool(bool),
            Text(String),
        }
        let given = BTreeMap::<String, Scalar>::deserialize(deserializer)?;
        let settings = given.into_iter().map(|(name, value)| {
            let field = by_file_name(&name).map_err(D::Error::custom)?;
            let text = match value {
                Scalar::Bool(value) => value.to_string(),
                Scalar::Text(value) => value,
            };
            Setting::parse(field, &text).map_err(|problem| D::Error::custom(format!("{name}: {problem}")))
        });
        settings.collect()
    }
}

/// Which layer a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The command line, or what is built in.
    Default,
    /// The configuration file.
    File,
    /// A rule of the configuration file, by its name.
    Rule(Arc<str>),
    /// An annotation of the namespace.
    Namespace,
    /// An annotation of the Job or of its pod template.
    Job,
    /// A limit of the configuration file, because an annotation of the namespace is beyond it.
    NamespaceLimited,
    /// A limit of the configuration file, because an annotation of the Job or of its pod template is beyond it.
    JobLimited,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("configuration file"),
            Self::Rule(name) => write!(f, "rule {name} of the configuration file"),
            Self::Namespace => f.write_str("annotation of the namespace"),
            Self::Job => f.write_str("annotation of the Job"),
            Self::NamespaceLimited => f.write_str("limit, because the annotation of the namespace is beyond it"),
            Self::JobLimited => f.write_str("limit, because the annotation of the Job is beyond it"),
        }
    }
}

/// The layer that each value of a policy comes from. Defaults are not kept: there is one of these for each Job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<(PolicyField, Origin)>);

impl Origins {
    /// The layer that the value of `field` comes from. A retention that is not set comes from where the one comes from that applies.
    pub fn of(&self, field: PolicyField) -> Origin {
        let found = self.0.iter().find(|(known, _)| *known == field);
        match (found, field) {
            (Some((_, origin)), _) => origin.clone(),
            (None, PolicyField::RetentionLost) => self.of(PolicyField::RetentionFailed),
            (None, PolicyField::RetentionSucceeded | PolicyField::RetentionFailed | PolicyField::RetentionOrphaned) => {
                self.of(PolicyField::Retention)
            }
            (None, _) => Origin::Default,
        }
    }

    pub(super) fn set(&mut self, field: PolicyField, origin: Origin) {
        match self.0.iter_mut().find(|(known, _)| *known == field) {
            Some((_, known)) => *known = origin,
            None => self.0.push((field, origin)),
        }
    }
}

#[cfg(test)]
mod tests;
