//! How long a document may be used without asking for it again (RFC 9111 §4.2.1), within our own bounds
//! (draft-ietf-oauth-client-id-metadata-document §4.3 allows them).

use std::time::Duration;

use chrono::DateTime;
use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES};

/// As its publisher says, but never shorter than 5 min nor longer than a day.
pub fn lifetime(headers: &HeaderMap) -> Duration {
    let said = directives(headers).or_else(|| expires(headers)).unwrap_or_default();
    said.clamp(SHORTEST, LONGEST)
}

/// `Cache-Control`, if it says anything about time.
fn directives(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let mut said = None;
    for directive in lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')) {
        let directive = directive.trim().to_ascii_lowercase();
        if directive == "no-store" || directive == "no-cache" {
            return Some(Duration::ZERO);
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            // RFC 9111 §1.2.2: a number too large to read is a very long time; what is no number is none.
            let seconds = seconds.trim_matches('"');
            let is_number =
                !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
            let seconds = seconds.parse().unwrap_or(if is_number { u64::MAX } else { 0 });
            said = Some(Duration::from_secs(seconds.saturating_sub(age(headers))));
        }
    }
    said
}

fn expires(headers: &HeaderMap) -> Option<Duration> {
    let at = |name| {
        let text = headers.get(name)?.to_str().ok()?;
        DateTime::parse_from_rfc2822(text).ok().map(|time| time.timestamp())
    };
    // Both by the clock of the publisher: ours may differ.
    let seconds = at(EXPIRES)?.saturating_sub(at(DATE)?);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Seconds that the answer had been in a cache before it came to us.
fn age(headers: &HeaderMap) -> u64 {
    headers.get(AGE).and_then(|age| age.to_str().ok()?.parse().ok()).unwrap_or(0)
}

const SHORTEST: Duration = Duration::from_mins(5);
const LONGEST: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_publisher_says_how_long_within_bounds() {
        let date = ("date", "Sun, 06 Nov 1994 08:00:00 GMT");
        let hour = Duration::from_hours(1);
        for (said, expected) in [
            (vec![], SHORTEST),
            (vec![("cache-control", "max-age=3600")], hour),
            (vec![("cache-control", "public, Max-Age=3600, immutable")], hour),
            (vec![("cache-control", "public"), ("cache-control", "max-age=3600")], hour),
            (vec![("cache-control", "max-age=4000"), ("age", "400")], hour),
            (vec![("cache-control", "max-age=4000"), ("age", "x")], Duration::from_secs(4000)),
            (vec![("cache-control", "max-age=400"), ("age", "4000")], SHORTEST),
            (vec![("cache-control", "max-age=1")], SHORTEST),
            (vec![("cache-control", "max-age=")], SHORTEST),
            (vec![("cache-control", "max-age=-3600")], SHORTEST),
            (vec![("cache-control", "max-age=99999999")], LONGEST),
            (vec![("cache-control", "max-age=99999999999999999999999")], LONGEST),
            (vec![("cache-control", "no-store, max-age=3600")], SHORTEST),
            (vec![("cache-control", "max-age=3600, no-cache")], SHORTEST),
            (vec![("cache-control", "s-maxage=3600")], SHORTEST),
            (vec![date, ("expires", "Sun, 06 Nov 1994 09:00:00 GMT")], hour),
            (vec![date, ("expires", "Sun, 06 Nov 1994 07:00:00 GMT")], SHORTEST),
            (vec![date, ("expires", "0")], SHORTEST),
            (vec![("expires", "Sun, 06 Nov 2094 07:00:00 GMT")], SHORTEST),
            (
                vec![
                    date,
                    ("expires", "Sun, 06 Nov 1994 18:00:00 GMT"),
                    ("cache-control", "max-age=3600"),
                ],
                hour,
            ),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &said {
                headers.append(*name, value.parse().unwrap());
            }
            assert_eq!(lifetime(&headers), expected, "{said:?}");
        }
    }
}
