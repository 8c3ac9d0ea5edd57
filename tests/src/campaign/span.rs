//! Times and periods of a campaign.

use std::time::Duration;

/// Time since the campaign began.
pub type CampaignTime = Duration;

/// A period that may not have ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub from: CampaignTime,
    /// When it ended; `None` while it lasts.
    pub until: Option<CampaignTime>,
}

impl Span {
    /// A period that has begun and lasts.
    pub fn open(from: CampaignTime) -> Self {
        Self { from, until: None }
    }

    /// When it ended, or `now` while it lasts.
    pub fn end_or(self, now: CampaignTime) -> CampaignTime {
        self.until.unwrap_or(now)
    }

    /// Whether a part of it is between these two times.
    pub fn overlaps(self, from: CampaignTime, until: CampaignTime) -> bool {
        self.from <= until && self.until.is_none_or(|end| end >= from)
    }

    /// Whether it lasts at this time.
    pub fn contains(self, at: CampaignTime) -> bool {
        self.overlaps(at, at)
    }
}

/// Sets the end of a period, if there is one.
pub(crate) fn close(span: Option<&mut Span>, at: CampaignTime) {
    if let Some(span) = span {
        span.until = Some(at);
    }
}
