//! Wall time for records: RFC 3339 in UTC. Nothing decides by it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, with milliseconds: `2026-05-04T12:34:56.789Z`.
#[must_use]
pub fn now_text() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    text(since.as_secs(), since.subsec_millis())
}

/// A moment, in whole seconds since 1970: `2026-05-04T12:34:56Z`.
#[must_use]
pub fn seconds_text(seconds: u64) -> String {
    let mut text = text(seconds, 0);
    text.replace_range(text.len() - ".000Z".len().., "Z");
    text
}

fn text(seconds: u64, millis: u32) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Days since 1970-01-01 as a date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
const fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(text(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(text(1_700_000_000, 250), "2023-11-14T22:13:20.250Z");
        assert_eq!(seconds_text(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(text(4_102_444_799, 999), "2099-12-31T23:59:59.999Z");
    }
}
