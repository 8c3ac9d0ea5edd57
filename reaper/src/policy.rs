//! The policy: after how long what is concluded, and what is then done. Defaults come from the command line, a Job's
//! annotations override them for that Job.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use jobwarden_common::names::annotation;

/// How one Job is judged and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A beat older than this is late.
    pub suspect_after: Duration,
    /// A beat older than this has expired.
    pub lost_after: Duration,
    /// How long a bound pod may take to start its main containers, and an open Job to have a live pod.
    pub start_timeout: Duration,
    /// What is done about a lost pod.
    pub on_lost: OnLost,
    /// What is done about a pod that nobody sees while its node is well.
    pub unseen: Unseen,
    /// How long a finished Job is kept before it is deleted.
    pub retention: Duration,
    /// Whether a late beat is told to the orchestrator.
    pub notify_late: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            suspect_after: Duration::from_secs(30),
            lost_after: Duration::from_mins(2),
            start_timeout: Duration::from_mins(10),
            on_lost: OnLost::Retry,
            unseen: Unseen::Report,
            retention: Duration::from_hours(1),
            notify_late: false,
        }
    }
}

/// What is done about a lost pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLost {
    /// Remove it; the Job's own `backoffLimit` and policies decide whether it is tried again.
    Retry,
    /// Fail its Job.
    Fail,
    /// Tell the orchestrator, touch nothing.
    Report,
}

/// What is done about a pod that nobody sees while its node is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// Tell the orchestrator.
    Report,
    /// Treat it as lost.
    Lost,
}

/// The wrong word for a choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is none of {allowed}")]
pub struct UnknownWord {
    given: String,
    allowed: &'static str,
}

impl FromStr for OnLost {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "retry" => Ok(Self::Retry),
            "fail" => Ok(Self::Fail),
            "report" => Ok(Self::Report),
            _ => Err(UnknownWord { given: word.to_owned(), allowed: "retry, fail, report" }),
        }
    }
}

impl FromStr for Unseen {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "report" => Ok(Self::Report),
            "lost" => Ok(Self::Lost),
            _ => Err(UnknownWord { given: word.to_owned(), allowed: "report, lost" }),
        }
    }
}

/// An annotation that could not be read; the default applies instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAnnotation {
    /// Its key.
    pub key: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for BadAnnotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {}: {}", self.key, self.problem)
    }
}

impl Policy {
    /// This policy with what a Job's annotations change of it, and the annotations that could not be read.
    #[must_use]
    pub fn overridden_by(&self, annotations: &BTreeMap<String, String>) -> (Self, Vec<BadAnnotation>) {
        let mut policy = self.clone();
        let mut bad = Vec::new();
        let mut read = Reader { annotations, bad: &mut bad };
        read.apply(annotation::SUSPECT_AFTER, &mut policy.suspect_after, humantime::parse_duration);
        read.apply(annotation::LOST_AFTER, &mut policy.lost_after, humantime::parse_duration);
        read.apply(annotation::START_TIMEOUT, &mut policy.start_timeout, humantime::parse_duration);
        read.apply(annotation::RETENTION, &mut policy.retention, humantime::parse_duration);
        read.apply(annotation::ON_LOST, &mut policy.on_lost, OnLost::from_str);
        read.apply(annotation::UNSEEN, &mut policy.unseen, Unseen::from_str);
        (policy, bad)
    }
}

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    bad: &'a mut Vec<BadAnnotation>,
}

impl Reader<'_> {
    fn apply<T, E: fmt::Display>(&mut self, key: &'static str, into: &mut T, parse: impl Fn(&str) -> Result<T, E>) {
        match self.annotations.get(key).map(|text| parse(text)) {
            None => {}
            Some(Ok(value)) => *into = value,
            Some(Err(error)) => self.bad.push(BadAnnotation { key, problem: error.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn an_annotation_overrides_the_default() {
        let given = annotations([(annotation::LOST_AFTER, "45s"), (annotation::ON_LOST, "fail")]);
        let (policy, bad) = Policy::default().overridden_by(&given);
        assert_eq!(policy.lost_after, Duration::from_secs(45));
        assert_eq!(policy.on_lost, OnLost::Fail);
        assert_eq!(policy.start_timeout, Policy::default().start_timeout);
        assert!(bad.is_empty());
    }

    #[test]
    fn a_bad_annotation_is_named_and_the_default_applies() {
        let given = annotations([(annotation::LOST_AFTER, "soon"), (annotation::ON_LOST, "explode")]);
        let (policy, bad) = Policy::default().overridden_by(&given);
        assert_eq!(policy, Policy::default());
        assert_eq!(bad.iter().map(|b| b.key).collect::<Vec<_>>(), [annotation::LOST_AFTER, annotation::ON_LOST]);
        assert_eq!(bad[1].problem, "\"explode\" is none of retry, fail, report");
    }
}
