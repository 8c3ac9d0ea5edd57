//! How a check ends.

/// How a check ended that did not fail.
pub(super) enum Outcome {
    Passed,
    /// The check needs data that this machine cannot fetch; the text says why. Lint repeats it at the end of its output.
    NotChecked(String),
}
