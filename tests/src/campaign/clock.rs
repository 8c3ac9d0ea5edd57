//! Times of a campaign as text.

use super::history::CampaignTime;

/// `12:34.5`: minutes, seconds and tenths since the campaign began.
pub(crate) fn clock(at: CampaignTime) -> String {
    let seconds = at.as_secs();
    format!("{:02}:{:02}.{}", seconds / 60, seconds % 60, at.subsec_millis() / 100)
}
