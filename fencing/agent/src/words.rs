//! What an agent's states are called, for people and as labels: one function for each, in the words of its JSON.

use twindisk_fencing_core::{Level, Profile, Services};

/// Every state of services.
pub const SERVICES: [Services; 6] = [
    Services::Unknown,
    Services::Down,
    Services::Starting,
    Services::Up,
    Services::Stopping,
    Services::Failed,
];

/// A state of services.
#[must_use]
pub const fn services(state: Services) -> &'static str {
    match state {
        Services::Unknown => "unknown",
        Services::Down => "down",
        Services::Starting => "starting",
        Services::Up => "up",
        Services::Stopping => "stopping",
        Services::Failed => "failed",
    }
}

/// How fast an agent judges.
#[must_use]
pub const fn profile(profile: Profile) -> &'static str {
    match profile {
        Profile::Fast => "fast",
        Profile::Default => "default",
        Profile::Wide => "wide",
    }
}

/// The warning that the devices of a node fence nobody by themselves.
#[must_use]
pub fn no_automatic_level(node: &str) -> String {
    format!(
        "no level of devices can power {node} off without a person: there is NO AUTOMATIC FAILOVER when it is lost"
    )
}

/// How much a report matters.
#[must_use]
pub const fn level(level: Level) -> &'static str {
    match level {
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Alarm => "alarm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_status_in_json() {
        let json = |value: serde_json::Value| value.as_str().expect("a word").to_owned();
        for one in SERVICES {
            let text = serde_json::to_value(one).expect("it is plain");
            assert_eq!(json(text), services(one));
        }
        for one in [Profile::Fast, Profile::Default, Profile::Wide] {
            let text = serde_json::to_value(one).expect("it is plain");
            assert_eq!(json(text), profile(one));
        }
        for one in [Level::Info, Level::Warning, Level::Alarm] {
            let text = serde_json::to_value(one).expect("it is plain");
            assert_eq!(json(text), level(one));
        }
    }
}
