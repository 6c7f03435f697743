//! Times as people write them: `500ms`, `30s`, `2min`.

use std::time::Duration;

/// A whole number and its unit: the units that the rest of the configuration knows.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let millis = match unit.trim_start() {
        "ms" => 1,
        "s" | "sec" => 1_000,
        "min" | "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(millis).map(Duration::from_millis)
}
