//! Which rule gave which ID, for people who write rules.

use std::fmt;

use super::{
    rule::{Miss, Rule, Subject},
    search,
};

/// What became of every rule for one object. It reads as a text of several lines, each with its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation(Vec<Trail>);

/// The search for one ID.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trail {
    /// What was searched for.
    what: &'static str,
    /// Rules that were asked in vain, in order.
    missed: Vec<(String, Miss)>,
    /// The rule that gave the ID, and the ID.
    found: Option<(String, String)>,
}

impl Explanation {
    pub(super) fn new<const N: usize>(searches: [(&'static str, &[Rule]); N], subject: &Subject<'_>) -> Self {
        let trail = |(what, rules)| {
            let mut missed = Vec::new();
            let found = search(rules, subject, |rule: &Rule, miss| missed.push((rule.to_string(), miss)));
            Trail { what, missed, found: found.map(|(rule, id)| (rule.to_string(), id.into_owned())) }
        };
        Self(searches.into_iter().map(trail).collect())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Trail { what, missed, found } in &self.0 {
            match found {
                Some((rule, id)) => writeln!(f, "{what}: {id:?} by `{rule}`")?,
                None => writeln!(f, "{what}: none")?,
            }
            for (rule, miss) in missed {
                writeln!(f, "  - `{rule}`: {miss}")?;
            }
        }
        Ok(())
    }
}
