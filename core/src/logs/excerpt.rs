//! From the bytes of a log to the lines that are kept.

use std::collections::VecDeque;

use super::{printable::printable, redact::Redactor};

/// The longest entry of a log file. Runtimes split longer lines into several, which count as lines when the kubelet looks for the last
/// ones: containerd after 16 KiB (`max_container_log_line_size`), CRI-O after 8 KiB (`STDIO_BUF_SIZE` of conmon).
const ENTRY_BYTES: usize = 8 * 1024;

/// The most bytes that are read of one log.
const MAX_READ_BYTES: usize = 1024 * 1024;

/// The longest line that is kept, in bytes.
const MAX_LINE_BYTES: usize = 1024;

/// How much of a longer line is searched for secrets, in bytes.
const MAX_SEARCHED_BYTES: usize = 4 * MAX_LINE_BYTES;

const ELLIPSIS: &str = "…";

/// How much of a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// The most lines.
    pub lines: usize,
    /// The most bytes of all lines together, with a line break after each.
    pub bytes: usize,
}

/// What is kept of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// The lines, the oldest first.
    pub lines: Vec<String>,
    /// Earlier lines or parts of long ones are left out.
    pub truncated: bool,
}

impl LogLimits {
    /// How many lines are asked for (`tailLines`): one more than are kept, because the first one may lack its beginning.
    pub fn tail_lines(self) -> usize {
        self.lines + 1
    }

    /// How many bytes are read (`limitBytes`). The kubelet counts them from the first of the lines that were asked for: with less than
    /// these lines may have, the last ones would be missing.
    pub fn read_bytes(self) -> usize {
        self.tail_lines().saturating_mul(4 * ENTRY_BYTES).min(MAX_READ_BYTES)
    }

    /// The last lines of `log`, which is what the kubelet returned for [`tail_lines`](Self::tail_lines) and
    /// [`read_bytes`](Self::read_bytes), without secrets: those that `redactor` recognizes, and the texts `known`.
    ///
    /// A line that may lack its beginning or its end is dropped, because a secret in it might not be recognized.
    pub fn excerpt(self, log: &[u8], redactor: &Redactor, known: &[String]) -> Excerpt {
        let (whole, dropped) = self.whole_lines(log);
        let mut shown: Vec<_> = whole.into_iter().map(printable).collect();
        let mut cut = false;
        for line in &mut shown {
            cut |= shorten_at_blank(line);
        }
        let redacted = redactor.redact(shown, known);
        let Excerpt { lines, truncated } = self.last(redacted.into_iter().filter(|line| !line.is_empty()));
        Excerpt { lines, truncated: truncated || dropped || cut }
    }

    /// The lines that are known to be whole, and whether others were dropped.
    fn whole_lines(self, log: &[u8]) -> (Vec<&[u8]>, bool) {
        let end_is_missing = log.len() >= self.read_bytes() && !log.ends_with(b"\n");
        let mut lines: VecDeque<_> = log.strip_suffix(b"\n").unwrap_or(log).split(|byte| *byte == b'\n').collect();
        let entries: usize = lines.iter().map(|line| line.len().div_ceil(ENTRY_BYTES).max(1)).sum();
        let beginning_is_missing = end_is_missing || entries >= self.tail_lines();
        if end_is_missing {
            lines.pop_back();
        }
        if beginning_is_missing {
            lines.pop_front();
        }
        (lines.into(), end_is_missing || beginning_is_missing)
    }

    /// The last lines within the limits.
    fn last(self, lines: impl DoubleEndedIterator<Item = String>) -> Excerpt {
        let (mut kept, mut bytes, mut truncated) = (VecDeque::new(), 0, false);
        let longest = MAX_LINE_BYTES.min(self.bytes.saturating_sub(1));
        for mut line in lines.rev() {
            let cut = shorten(&mut line, longest);
            bytes += line.len() + 1;
            if kept.len() == self.lines || bytes > self.bytes {
                truncated = true;
                break;
            }
            truncated |= cut;
            kept.push_front(line);
        }
        Excerpt { lines: kept.into(), truncated }
    }
}

/// Cuts a line that is too long to be searched after a whole word: no part of a word is left that would be a secret with the rest of it.
fn shorten_at_blank(line: &mut String) -> bool {
    let too_long = line.len() > MAX_SEARCHED_BYTES;
    if too_long {
        line.truncate(line.floor_char_boundary(MAX_SEARCHED_BYTES));
        line.truncate(line.rfind(char::is_whitespace).map_or(0, |at| at + 1));
        line.push_str(ELLIPSIS);
    }
    too_long
}

/// Cuts a line at its end. Returns whether it was too long.
fn shorten(line: &mut String, most: usize) -> bool {
    let too_long = line.len() > most;
    if too_long {
        line.truncate(line.floor_char_boundary(most.saturating_sub(ELLIPSIS.len())));
        if most >= ELLIPSIS.len() {
            line.push_str(ELLIPSIS);
        }
    }
    too_long
}
