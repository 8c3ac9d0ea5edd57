//! What is removed from log lines. This is a best effort: a secret that looks like any other word is not recognized.

use std::{ops::Range, sync::LazyLock};

use super::pattern::{Pattern, PatternError};

/// What stands in place of what was removed.
const REDACTED: &str = "[redacted]";

/// The patterns that are built in.
fn defaults() -> [String; 8] {
    // A name is a word that contains this; the words are ASCII, which keeps the compiled patterns small.
    let key = "(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)";
    let name = format!("{key}[0-9A-Za-z_.-]*");
    // DB_PASSWORD=…, "token": "…", \"secret\":…, secret => …, <password>…
    let (quote, equals) = (r#"\\?["']"#, r"\s*(?:=>|:=|[:=>])\s*");
    let assigned = format!("(?:{quote})?{equals}");
    // What follows may be another name or a scheme: `token: Bearer …`, `bearer token: …`.
    let another = format!(r"[0-9A-Za-z_.-]*{name}(?:{assigned}|\s+)|{quote}[0-9A-Za-z_.-]*{name}{quote}{equals}");
    let value = format!(r#"(?:{another}|(?:bearer|basic)\s+)*(?:"(?:[^"\\]|\\.)*"?|'[^']*'?|\S+)"#);
    [
        format!("(?i){name}{assigned}(?<secret>{value})"),
        // --password hunter2
        format!(r"(?i)(?:^|\s)--?[0-9A-Za-z_.-]*{name}\s+(?<secret>{value})"),
        // Authorization: Digest …, to the end of the line.
        format!(r"(?i)authorization{assigned}(?<secret>\S.*)"),
        format!(r"(?i)(?-u:\b)(?:bearer|basic)\s+(?<secret>{value})"),
        // https://user:password@host: the password may hold any character.
        r"://[^/\s:@]*:(?<secret>\S+)@".to_owned(),
        // Access key IDs of AWS: AKIA for long-term keys, ASIA for temporary ones ("IAM identifiers" in its documentation).
        r"(?-u:\b)(?:AKIA|ASIA)[A-Z0-9]{16}(?-u:\b)".to_owned(),
        // JSON Web Tokens (RFC 7519): the header is an object, which begins with `{"` in base64url.
        r"(?-u:\b)eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*".to_owned(),
        // Tokens of GitHub and GitLab.
        r"(?-u:\b)(?:gh[pousr]_[0-9A-Za-z]{20,}|github_pat_[0-9A-Za-z_]{20,}|glpat-[0-9A-Za-z_-]{20,})".to_owned(),
    ]
}

/// The lines that enclose a private key (RFC 7468, section 10).
const KEY_BEGINS: &str = "-----BEGIN ";
const KEY_ENDS: &str = "-----END ";
const KEY_LABEL: &str = "PRIVATE KEY-----";

/// The built-in patterns, compiled once.
static BUILT_IN: LazyLock<Vec<Pattern>> =
    LazyLock::new(|| defaults().iter().map(|text| Pattern::new(text).expect("the tests compile them")).collect());

/// Removes what looks like a secret.
#[derive(Clone, Debug)]
pub struct Redactor(Vec<Pattern>);

impl Redactor {
    /// With these patterns, and the built-in ones if `defaults`. The error says which pattern is not valid, counted from 1.
    pub fn new(patterns: &[String], defaults: bool) -> Result<Self, (usize, PatternError)> {
        let own = patterns.iter().enumerate().map(|(at, text)| Pattern::new(text).map_err(|error| (at + 1, error)));
        let mut all = own.collect::<Result<Vec<_>, _>>()?;
        if defaults {
            all.extend(BUILT_IN.iter().cloned());
        }
        Ok(Self(all))
    }

    /// The lines without secrets: private keys, the texts `known` to be secret, and what the patterns match.
    pub(super) fn redact(&self, lines: Vec<String>, known: &[String]) -> Vec<String> {
        without_keys(lines).into_iter().map(|line| self.redact_line(line, known)).collect()
    }

    /// Every pattern sees the line as it is, so that their order does not matter.
    fn redact_line(&self, line: String, known: &[String]) -> String {
        let known = known.iter().filter(|secret| !secret.is_empty());
        let known = known.flat_map(|secret| line.match_indices(secret.as_str()).map(|(at, it)| at..at + it.len()));
        let mut found: Vec<_> = known.chain(self.0.iter().flat_map(|pattern| pattern.secrets(&line))).collect();
        if found.is_empty() { line } else { without(&line, &mut found) }
    }
}

/// `line` with one [`REDACTED`] in place of each part that is `found`, whether these overlap or not.
fn without(line: &str, found: &mut [Range<usize>]) -> String {
    found.sort_unstable_by_key(|part| part.start);
    let (mut kept, mut until) = (String::with_capacity(line.len()), 0);
    for part in found {
        if part.start >= until {
            kept.push_str(&line[until..part.start]);
            kept.push_str(REDACTED);
        }
        until = until.max(part.end);
    }
    kept.push_str(&line[until..]);
    kept
}

/// Removes private keys, also one that begins before the first line or ends after the last.
fn without_keys(lines: Vec<String>) -> Vec<String> {
    let is = |line: &str, what: &str| line.contains(what) && line.contains(KEY_LABEL);
    let first = lines.iter().position(|line| is(line, KEY_BEGINS) || is(line, KEY_ENDS));
    let mut in_key = first.is_some_and(|first| !is(&lines[first], KEY_BEGINS));
    let redacted = lines.into_iter().map(|line| {
        let (begins, ends) = (is(&line, KEY_BEGINS), is(&line, KEY_ENDS));
        let removed = in_key || begins || ends;
        in_key = (in_key || begins) && !ends;
        if removed { REDACTED.to_owned() } else { line }
    });
    redacted.collect()
}
