//! Durations and sizes as people write them: `5s`, `250ms`, `4MiB`, `10G`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de};

/// A duration with its unit in the value: `50us`, `250ms`, `5s`, `2min`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes with its unit in the value: `4096`, `512KiB`, `64MiB`, `1GiB`, `2TiB`. `K`, `M`, `G`, `T` mean the
/// same powers of 1024; `kB`, `MB`, `GB`, `TB` mean powers of 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A value with a unit that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No number at the front.
    #[error("{text:?} does not begin with a number: write {example}")]
    NoNumber {
        /// What was given.
        text: String,
        /// What would do.
        example: &'static str,
    },
    /// A number without the unit that it needs.
    #[error("{text:?} has no unit: write one of {units}")]
    NoUnit {
        /// What was given.
        text: String,
        /// What is known.
        units: &'static str,
    },
    /// An unknown unit.
    #[error("{unit:?} in {text:?} is no unit: use one of {units}")]
    BadUnit {
        /// What was given.
        text: String,
        /// Its unit.
        unit: String,
        /// What is known.
        units: &'static str,
    },
    /// Too large to count.
    #[error("{text:?} is too large")]
    TooLarge {
        /// What was given.
        text: String,
    },
}

const SPAN_UNITS: &str = "us, ms, s, min, h";
const BYTE_UNITS: &str = "B, KiB, MiB, GiB, TiB, PiB (or K, M, G, T, P), kB, MB, GB, TB";

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, "\"5s\" or \"250ms\"")?;
        let nanos: u64 = match unit {
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" | "sec" => 1_000_000_000,
            "min" | "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" if number == "0" => 1,
            "" => {
                return Err(UnitError::NoUnit {
                    text: text.to_owned(),
                    units: SPAN_UNITS,
                });
            }
            other => return Err(bad_unit(text, other, SPAN_UNITS)),
        };
        scale(text, number, nanos).map(|nanos| Self(Duration::from_nanos(nanos)))
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, "\"64MiB\" or \"10GiB\"")?;
        let bytes: u64 = match unit {
            "" | "B" => 1,
            "K" | "k" | "KiB" => 1 << 10,
            "M" | "MiB" => 1 << 20,
            "G" | "GiB" => 1 << 30,
            "T" | "TiB" => 1 << 40,
            "P" | "PiB" => 1 << 50,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            other => return Err(bad_unit(text, other, BYTE_UNITS)),
        };
        scale(text, number, bytes).map(Self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (unit, name) = match nanos {
            0 => return f.write_str("0s"),
            n if n.is_multiple_of(3_600_000_000_000) => (3_600_000_000_000, "h"),
            n if n.is_multiple_of(60_000_000_000) => (60_000_000_000, "min"),
            n if n.is_multiple_of(1_000_000_000) => (1_000_000_000, "s"),
            n if n.is_multiple_of(1_000_000) => (1_000_000, "ms"),
            _ => (1_000, "us"),
        };
        write!(f, "{}{name}", nanos / unit)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut unit = 0;
        let mut scaled = self.0;
        while scaled >= 1024 && unit + 1 < NAMES.len() {
            scaled /= 1024;
            unit += 1;
        }
        let name = NAMES.get(unit).copied().unwrap_or("B");
        let one = 1_u64 << (10 * unit);
        if self.0.is_multiple_of(one) || unit == 0 {
            write!(f, "{scaled} {name}")
        } else {
            // One digit behind the point is enough for eyes; exact numbers are in the JSON.
            let tenths = u128::from(self.0) * 10 / u128::from(one);
            write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time with its unit, like \"5s\" or \"250ms\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Span, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size in bytes or with its unit, like \"64MiB\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Bytes, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The number and what follows it.
fn split<'t>(text: &'t str, example: &'static str) -> Result<(&'t str, &'t str), UnitError> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if number.is_empty() || number.matches('.').count() > 1 || number == "." {
        return Err(UnitError::NoNumber {
            text: text.to_owned(),
            example,
        });
    }
    Ok((number, unit.trim()))
}

/// `number` times `unit`, exactly; a fraction below one unit of the result is cut off.
fn scale(text: &str, number: &str, unit: u64) -> Result<u64, UnitError> {
    let too_large = || UnitError::TooLarge {
        text: text.to_owned(),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u128 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| too_large())?,
    };
    // 12 digits behind the point are more than a nanosecond or a byte can tell apart.
    let fraction: String = fraction.chars().take(12).collect();
    let places = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let part: u128 = fraction.parse().unwrap_or(0) * u128::from(unit) / places;
    let total = whole
        .checked_mul(u128::from(unit))
        .and_then(|n| n.checked_add(part));
    total
        .and_then(|total| u64::try_from(total).ok())
        .ok_or_else(too_large)
}

fn bad_unit(text: &str, unit: &str, units: &'static str) -> UnitError {
    UnitError::BadUnit {
        text: text.to_owned(),
        unit: unit.to_owned(),
        units,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit() {
        assert_eq!("5s".parse(), Ok(Span(Duration::from_secs(5))));
        assert_eq!("250 ms".parse(), Ok(Span(Duration::from_millis(250))));
        assert_eq!("1.5s".parse(), Ok(Span(Duration::from_millis(1500))));
        assert_eq!("0".parse(), Ok(Span(Duration::ZERO)));
        assert!(matches!("5".parse::<Span>(), Err(UnitError::NoUnit { .. })));
        assert!(matches!(
            "5y".parse::<Span>(),
            Err(UnitError::BadUnit { .. })
        ));
        assert!(matches!(
            "s".parse::<Span>(),
            Err(UnitError::NoNumber { .. })
        ));
        assert!(matches!(
            "999999999999h".parse::<Span>(),
            Err(UnitError::TooLarge { .. })
        ));
    }

    #[test]
    fn sizes_are_powers_of_1024_unless_they_say_otherwise() {
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
        assert_eq!("1G".parse(), Ok(Bytes(1 << 30)));
        assert_eq!("1.5 GiB".parse(), Ok(Bytes(3 << 29)));
        assert_eq!("1GB".parse(), Ok(Bytes(1_000_000_000)));
        assert!("1GiBi".parse::<Bytes>().is_err());
        assert!("1.2.3G".parse::<Bytes>().is_err());
    }

    #[test]
    fn numbers_for_eyes() {
        assert_eq!(Bytes(0).to_string(), "0 B");
        assert_eq!(Bytes(1536).to_string(), "1.5 KiB");
        assert_eq!(Bytes(256 << 20).to_string(), "256 MiB");
        assert_eq!(Span(Duration::from_millis(1500)).to_string(), "1500ms");
        assert_eq!(Span(Duration::from_secs(120)).to_string(), "2min");
    }
}
