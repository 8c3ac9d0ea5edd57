//! Which rule found which ID, for people who write rules.

use std::fmt;

use super::rule::{Miss, Rule, Subject, first_match};

/// The result of every rule for one object. Its `Display` form has several lines, each with a newline at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation(Vec<Search>);

/// The search for one ID.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Search {
    /// Name of the ID.
    id_name: &'static str,
    /// Rules that found nothing, in order.
    missed: Vec<(String, Miss)>,
    /// The rule that matched, and the ID that it found.
    found: Option<(String, String)>,
}

impl Explanation {
    pub(super) fn new<const N: usize>(searches: [(&'static str, &[Rule]); N], subject: &Subject<'_>) -> Self {
        let search = |(id_name, rules)| {
            let mut missed = Vec::new();
            let found = first_match(rules, subject, |rule: &Rule, miss| missed.push((rule.to_string(), miss)));
            Search { id_name, missed, found: found.map(|(rule, id)| (rule.to_string(), id.into_owned())) }
        };
        Self(searches.into_iter().map(search).collect())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Search { id_name, missed, found } in &self.0 {
            match found {
                Some((rule, id)) => writeln!(f, "{id_name}: {id:?} from `{rule}`")?,
                None => writeln!(f, "{id_name}: not found")?,
            }
            for (rule, miss) in missed {
                writeln!(f, "  - `{rule}`: {miss}")?;
            }
        }
        Ok(())
    }
}
