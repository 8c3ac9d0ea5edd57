//! The pause that a receiver asks for.

use std::time::Duration;

use http::{HeaderMap, header};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};

/// The longest pause that is granted: the longest one between two attempts anyway. One request in this time is no load, and a header that is
/// wrong must not keep a notification back for days.
pub(super) const MAX: Duration = Duration::from_mins(15);

/// The pause from `now` on, by the header `Retry-After`: seconds, or a date in the one form that servers may generate (RFC 9110, sections
/// 10.2.3 and 5.6.7). `None` without a valid header.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let pause = if is_number {
        // A number with too many digits is more than the most.
        text.parse().map_or(MAX, Duration::from_secs)
    } else {
        let at = DateTimeParser::new().parse_timestamp(text).ok()?;
        // A date that has passed asks for no pause.
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    };
    Some(pause.min(MAX))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn asked(header: &HeaderValue) -> Option<Duration> {
        let now = "1994-11-06T08:49:07Z".parse().expect("a time");
        retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, header.clone())]), now)
    }

    #[rstest]
    #[case::seconds("120", Some(120))]
    #[case::at_once("0", Some(0))]
    #[case::date("Sun, 06 Nov 1994 08:49:37 GMT", Some(30))]
    #[case::date_in_the_past("Sun, 06 Nov 1994 08:00:00 GMT", Some(0))]
    #[case::too_long("86400", Some(900))]
    #[case::too_many_digits("99999999999999999999999999", Some(900))]
    #[case::date_too_far("Fri, 24 Dec 9999 00:00:00 GMT", Some(900))]
    #[case::negative("-5", None)]
    #[case::fraction("1.5", None)]
    #[case::words("soon", None)]
    #[case::empty("", None)]
    fn the_pause_is_seconds_or_a_date_and_bounded(#[case] header: &'static str, #[case] expected: Option<u64>) {
        assert_eq!(asked(&HeaderValue::from_static(header)), expected.map(Duration::from_secs));
    }

    #[test]
    fn no_header_asks_for_no_pause() {
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::UNIX_EPOCH), None);
    }

    proptest! {
        #[test]
        fn no_header_asks_for_more_than_the_most(header: Vec<u8>) {
            if let Ok(header) = HeaderValue::from_bytes(&header) {
                prop_assert!(asked(&header).is_none_or(|pause| pause <= MAX));
            }
        }
    }
}
