//! Comparing amounts, and showing them in warnings.

/// Relative difference up to which two quantities are equal, such as `0.007` and `7m`.
pub(super) const ROUNDING: f64 = 1e-9;

/// The longest name that a warning shows, in characters. The API server truncates warnings at 256 characters.
pub(super) const SHOWN_NAME: usize = 40;

/// The longest quantity that a message shows, in characters.
pub(super) const SHOWN_QUANTITY: usize = 12;

/// `text`, truncated to `max` characters.
pub(super) fn truncated(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max - 1).chain(['…']).collect()
}
