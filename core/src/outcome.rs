//! Names of outcomes: what makes recording repeatable, and the ID of every notification.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jobwarden_common::identity::{JobUid, PodUid};

pub use self::share::{Beyond, OutcomeLimits, Tally, WINDOW, coalesce_at};

mod share;

/// The most recoveries of one pod or Job that are reported. A worker that comes and goes cannot fill the outbox.
const MAX_RECOVERIES: u32 = 32;

/// The outcomes of one Job by name, and for each whether its delivery to every sink has ended.
pub type Outcomes = BTreeMap<OutcomeName, bool>;

/// Name of a `JobOutcome`. It follows from what the outcome is about, so that recording twice is one object. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutcomeName(Arc<str>);

/// How often a pod or Job has recovered from a notice. What is reported in one episode is reported once; after a recovery it is news
/// again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Episode(u32);

impl Episode {
    /// The present episode of `subject`, the UID of a pod or of a Job.
    pub fn of(subject: &str, outcomes: &Outcomes) -> Self {
        let recovered = |at: &u32| outcomes.contains_key(&OutcomeName::recovered(subject, Self(*at)));
        Self((0..MAX_RECOVERIES).take_while(|at| !outcomes.is_empty() && recovered(at)).fold(0, |_, at| at + 1))
    }

    /// Whether a recovery that ends this episode is reported.
    pub fn may_recover(self) -> bool {
        self.0 < MAX_RECOVERIES
    }

    /// The reasons of the notices recorded about `subject` in this episode, as they are written in names.
    pub fn notices<'a>(self, subject: &str, outcomes: &'a Outcomes) -> impl Iterator<Item = &'a str> {
        let prefix = format!("{subject}.{SUSPECT}.");
        let from = outcomes.range(OutcomeName::from_object(&prefix)..);
        let reasons = from.map_while(move |(name, _)| name.0.strip_prefix(&prefix));
        reasons.filter_map(move |rest| {
            let (reason, episode) = rest.split_once('.').unwrap_or((rest, "0"));
            (episode.parse() == Ok(self.0)).then_some(reason)
        })
    }
}

/// The part of a name that says that it is a notice.
const SUSPECT: &str = "suspect";

/// The part of a name that says that it is about several Jobs.
const COALESCED: &str = "coalesced";

impl OutcomeName {
    /// The final outcome of a Job. Its kind is not in the name: two final outcomes of one Job cannot both exist.
    pub fn job_final(job: &JobUid) -> Self {
        Self(format!("{job}.final").into())
    }

    /// An attempt is lost, and the Job goes on.
    pub fn attempt_failed(pod: &PodUid, episode: Episode) -> Self {
        Self::numbered(format!("{pod}.attempt-failed"), episode)
    }

    /// Something is wrong with `subject`, the UID of a pod or of a Job, but nothing is decided. Each reason has a name of its own, so
    /// that one notice cannot stand in the way of another.
    pub fn notice(subject: &str, reason: &str, episode: Episode) -> Self {
        Self::numbered(format!("{subject}.{SUSPECT}.{}", in_names(reason)), episode)
    }

    /// What was reported about `subject` in an episode is over.
    pub fn recovered(subject: &str, episode: Episode) -> Self {
        Self::numbered(format!("{subject}.recovered"), episode)
    }

    /// Outcomes of a namespace that are reported together; `number` tells them apart.
    pub fn coalesced(namespace: &str, number: i64) -> Self {
        Self(format!("{COALESCED}.{namespace}.{number}").into())
    }

    /// Whether it is the name of such an outcome. The names of all others begin with a UID.
    pub fn is_coalesced(&self) -> bool {
        self.0.strip_prefix(COALESCED).is_some_and(|rest| rest.starts_with('.'))
    }

    /// The name of an object that exists.
    pub fn from_object(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn numbered(name: String, Episode(episode): Episode) -> Self {
        Self(if episode == 0 { name } else { format!("{name}.{episode}") }.into())
    }
}

/// A reason as it is written in the names of objects, which have no capital letters: `node-unreachable`.
pub fn in_names(reason: &str) -> String {
    let mut name = String::with_capacity(reason.len() + 4);
    for letter in reason.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

impl fmt::Display for OutcomeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "pod-uid";

    fn recorded(names: &[OutcomeName]) -> Outcomes {
        names.iter().map(|name| (name.clone(), false)).collect()
    }

    #[test]
    fn a_name_tells_what_is_reported_and_in_which_episode() {
        let names = [
            OutcomeName::notice(POD, "NodeUnreachable", Episode(0)),
            OutcomeName::notice(POD, "Unseen", Episode(2)),
            OutcomeName::attempt_failed(&POD.into(), Episode(0)),
            OutcomeName::attempt_failed(&POD.into(), Episode(1)),
            OutcomeName::recovered(POD, Episode(0)),
        ];
        let expected = [
            "pod-uid.suspect.node-unreachable",
            "pod-uid.suspect.unseen.2",
            "pod-uid.attempt-failed",
            "pod-uid.attempt-failed.1",
            "pod-uid.recovered",
        ];
        assert_eq!(names.each_ref().map(OutcomeName::as_str), expected);
    }

    #[test]
    fn each_recovery_begins_an_episode() {
        let mut names = vec![OutcomeName::recovered("other-uid", Episode(0))];
        assert_eq!(Episode::of(POD, &recorded(&names)), Episode(0));
        for number in 0..40 {
            names.push(OutcomeName::recovered(POD, Episode(number)));
            assert_eq!(Episode::of(POD, &recorded(&names)), Episode((number + 1).min(MAX_RECOVERIES)));
        }
        assert!(Episode(MAX_RECOVERIES - 1).may_recover() && !Episode(MAX_RECOVERIES).may_recover());
    }

    #[test]
    fn the_notices_of_an_episode_are_those_about_the_same_subject_in_it() {
        let outcomes = recorded(&[
            OutcomeName::notice(POD, "Unseen", Episode(0)),
            OutcomeName::notice(POD, "NodeUnreachable", Episode(1)),
            OutcomeName::notice(POD, "Unseen", Episode(1)),
            OutcomeName::notice("pod-uid-2", "Held", Episode(1)),
            OutcomeName::recovered(POD, Episode(0)),
            OutcomeName::attempt_failed(&POD.into(), Episode(1)),
        ]);
        let notices = |episode| Episode(episode).notices(POD, &outcomes).collect::<Vec<_>>();
        assert_eq!(notices(0), ["unseen"]);
        assert_eq!(notices(1), ["node-unreachable", "unseen"]);
        assert!(notices(2).is_empty());
    }
}
