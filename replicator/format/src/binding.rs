//! What a client's caches are bound to: the unbroken role of one node (R17).

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de::Error as _};

use crate::ids::{GenerationId, Term};

/// The generation in which the role of this node began, and since which nobody else has written to its copy. Written
/// `TERM-ID`, as in the export `r0@4-1f2e3d4c5b6a7988`: the term alone comes again after `init`, in a fork, on a copy
/// that was rolled back; the name of a generation never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The term that this node was promoted in. Never 0.
    pub term: Term,
    /// The generation that it began then.
    pub id: GenerationId,
}

impl Binding {
    /// The name of the export of `resource` that is bound to this role.
    #[must_use]
    pub fn export_of(self, resource: &str) -> String {
        format!("{resource}{SEPARATOR}{self}")
    }
}

/// Between the name of a resource, which has none, and what an export of it is bound to.
pub const SEPARATOR: char = '@';

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.term, self.id.0)
    }
}

/// A text that names no binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBinding;

impl fmt::Display for NoBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not TERM-ID, a number and 16 hexadecimal digits, as `twindisk status` shows it",
        )
    }
}

impl std::error::Error for NoBinding {}

impl FromStr for Binding {
    type Err = NoBinding;

    /// Only what [`Binding`] writes: a binding has one name.
    fn from_str(text: &str) -> Result<Self, NoBinding> {
        let (term, id) = text.split_once('-').ok_or(NoBinding)?;
        let binding = Self {
            term: Term(term.parse().map_err(|_| NoBinding)?),
            id: GenerationId(u64::from_str_radix(id, 16).map_err(|_| NoBinding)?),
        };
        if binding.term.0 > 0 && binding.to_string() == text {
            Ok(binding)
        } else {
            Err(NoBinding)
        }
    }
}

impl Serialize for Binding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Binding {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_has_one_name() {
        let binding = Binding {
            term: Term(4),
            id: GenerationId(0x1f2e),
        };
        assert_eq!(binding.to_string(), "4-0000000000001f2e");
        assert_eq!("4-0000000000001f2e".parse(), Ok(binding));
        for other in [
            "",
            "4",
            "4-",
            "-1",
            "4-1f2e",
            "04-0000000000001f2e",
            "+4-0000000000001f2e",
            "4-0000000000001F2E",
            "4-+000000000001f2e",
            "0-0000000000001f2e",
            "4-0000000000001f2e ",
            "99999999999999999999-0000000000001f2e",
        ] {
            assert_eq!(other.parse::<Binding>(), Err(NoBinding), "{other:?}");
        }
    }
}
