//! Options of a fence device: which may be given, and which are secret.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de};

use crate::limits;

/// The options of one device, by the agent's own names. `Debug` shows no secret value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// Options as given; refuses what this crate sets itself, and what would break the lines they are passed in.
    ///
    /// # Errors
    /// A sentence that names the key and never the value.
    pub fn new(given: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let mut options = BTreeMap::new();
        for (name, value) in given {
            check(&name, &value)?;
            options.insert(name, value);
        }
        Ok(Self(options))
    }

    /// Name and value of each, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether the option is given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The text with every secret value blanked.
    pub(crate) fn blank_secrets(&self, text: &str) -> String {
        let mut secrets: Vec<&str> = self.secrets().collect();
        // A secret that holds another one goes first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret, BLANKED)
        })
    }

    /// Bytes of the longest secret.
    pub(crate) fn longest_secret(&self) -> usize {
        self.secrets().map(str::len).max().unwrap_or(0)
    }

    fn secrets(&self) -> impl Iterator<Item = &str> {
        self.iter()
            .filter(|(name, value)| is_secret(name) && !value.is_empty())
            .map(|(_, value)| value)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| {
                (
                    name,
                    if is_secret(name) && !value.is_empty() {
                        BLANKED
                    } else {
                        value
                    },
                )
            }))
            .finish()
    }
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = BTreeMap::<String, Value>::deserialize(deserializer)?;
        Self::new(given.into_iter().map(|(name, value)| (name, value.0))).map_err(de::Error::custom)
    }
}

/// A value as text; numbers and truth values may be written as such.
pub(crate) struct Value(pub(crate) String);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a whole number, true or false")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
                Ok(Value(value.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
                Ok(Value(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
                Ok(Value(value.to_string()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
                Ok(Value(if value { "1" } else { "0" }.to_owned()))
            }

            // serde's own error would repeat the number, which may be a password without its quotes.
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Value, E> {
                Err(E::custom(
                    "a number with a fraction is no option's value: write it in quotes",
                ))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Whether the value of such an option is secret. `password_script` names a program that prints the password, `token_file`
/// a file: a path is no secret. Nor is the `key` of `fence_scsi` and `fence_mpath`: a reservation's number.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    if PATHS.iter().any(|end| name.ends_with(end)) {
        return false;
    }
    SECRET_MARKS.iter().any(|mark| name.contains(mark))
        || SECRET_ENDS.iter().any(|end| name.ends_with(end))
}

fn check(name: &str, value: &str) -> Result<(), String> {
    let well_formed = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !well_formed {
        return Err(format!(
            "{name:?} is no option's name: letters, digits, `_`, `-` and `.` only"
        ));
    }
    if let Some((_, why)) = OURS
        .iter()
        .find(|(ours, _)| name.eq_ignore_ascii_case(ours))
    {
        return Err(format!("the option `{name}` cannot be set here: {why}"));
    }
    if name == "delay" && value != "0" {
        // R6: between the question whether the shot is still wanted and the shot there is no waiting.
        return Err(
            "the option `delay` would let the agent wait after the reason was checked: \
             remove it; who shoots first is decided by `fence-delay`"
                .to_owned(),
        );
    }
    line_safe(value).map_err(|why| format!("the value of the option `{name}` {why}"))
}

/// Whether a value can be passed in a line.
pub(crate) fn line_safe(value: &str) -> Result<(), &'static str> {
    if value.contains(['\n', '\r', '\0']) {
        return Err("holds a line break or a NUL: agents read one option a line");
    }
    if value.len() > limits::MAX_LINE_BYTES {
        return Err("is longer than 4096 bytes");
    }
    Ok(())
}

const BLANKED: &str = "(secret)";

const PATHS: &[&str] = &["_script", "_file"];

const SECRET_MARKS: &[&str] = &["passw", "passphrase", "secret", "token", "credential"];

/// Keys of clouds and of virtualisation, IPMI's Kg, SNMP's password.
const SECRET_ENDS: &[&str] = &["_key", "apikey", "tlskey", "_kg", "community"];

/// What is set by this crate, and why it is not an option.
const OURS: &[(&str, &str)] = &[
    ("action", "each call sets it"),
    (
        "option",
        "it is an old name of `action`, which each call sets",
    ),
    ("nodename", "it is the node's name"),
    ("plug", "write `plug` beside `options`, not in it"),
    (
        "port",
        "write `plug` beside `options`; for the TCP port of the device use `ipport`",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn options(given: &[(&str, &str)]) -> Result<Options, String> {
        Options::new(
            given
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        for secret in [
            "password",
            "passwd",
            "snmp_priv_passwd",
            "secret_key",
            "access-key",
            "apikey",
            "hexadecimal_kg",
            "community",
            "Password",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        for open in [
            "password_script",
            "passwd_script",
            "ip",
            "username",
            "identity_file",
            "token-file",
            "key",
            "key_value",
            "ping_count",
        ] {
            assert!(!is_secret(open), "{open}");
        }
    }

    #[test]
    fn debug_and_blanked_text_show_no_secret() {
        let options = options(&[("ip", "10.0.0.1"), ("passwd", "abc"), ("token", "abcdef")]);
        let options = options.unwrap();
        let shown = format!("{options:?}");
        assert!(
            shown.contains("10.0.0.1") && !shown.contains("abc"),
            "{shown}"
        );
        assert_eq!(
            options.blank_secrets("login abcdef, abc at 10.0.0.1"),
            "login (secret), (secret) at 10.0.0.1"
        );
    }

    #[test]
    fn what_calls_set_themselves_is_refused() {
        for name in ["action", "option", "nodename", "plug", "port", "ACTION"] {
            let error = options(&[(name, "on")]).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
        assert!(options(&[("delay", "5")]).unwrap_err().contains("delay"));
        assert!(options(&[("delay", "0")]).is_ok());
    }

    #[test]
    fn no_value_can_add_a_line() {
        let error = options(&[("passwd", "hush\naction=on")]).unwrap_err();
        assert!(
            error.contains("passwd") && !error.contains("hush"),
            "{error}"
        );
        assert!(options(&[("a=b", "c")]).is_err());
        assert!(options(&[("", "c")]).is_err());
    }
}
