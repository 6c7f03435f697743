//! A plan as files: `twindisk.toml`, and `witness.toml` for the third host.

use std::fmt::Write as _;

use super::{
    files::Files,
    plan::{Fence, Plan},
};

/// The configuration, the same for all nodes.
pub(super) fn configuration(plan: &Plan, files: &Files) -> String {
    let mut text = format!(
        "# The same on all nodes. `twindisk config check` after each change; the keys are in twindisk.toml.md of the \
         documentation.\ncluster = {}\nsecret-file = {}\n",
        quoted(&plan.cluster),
        quoted(&files.secret.display().to_string())
    );
    if let Some(witness) = &plan.witness {
        let _ = writeln!(text, "witness = {}", quoted(witness));
    }
    if plan.agent {
        text += "\n[agent]\n";
    }
    for (id, node) in (1..).zip(&plan.nodes) {
        let _ = write!(
            text,
            "\n[nodes.{}]\nid = {id}\naddress = {}\n",
            key(&node.name),
            quoted(&node.address)
        );
        if plan.agent {
            let _ = writeln!(
                text,
                "heartbeat = [{}]",
                list(&node.heartbeat, |one| quoted(one))
            );
        }
        if !node.fence.is_empty() {
            let _ = writeln!(text, "fence = [{}]", list(&node.fence, level));
        }
    }
    let _ = writeln!(text, "\n[resource.{}]", key(&plan.resource));
    if plan.witness.is_some() {
        text += "arbiter = \"witness\"\n";
    }
    for node in &plan.nodes {
        let _ = writeln!(
            text,
            "on.{} = {{ backing = {} }}",
            key(&node.name),
            quoted(&node.backing)
        );
    }
    text
}

/// The configuration of the witness.
pub(super) fn witness(plan: &Plan, files: &Files) -> String {
    format!(
        "# For the third host. Other clusters may stand beside this one.\n[cluster.{}]\nsecret-file = {}\n",
        key(&plan.cluster),
        quoted(&files.secret.display().to_string())
    )
}

/// A level with one device. What the device calls the node stands beside the agent's options.
fn level(fence: &Fence) -> String {
    let (plug, options): (Vec<_>, Vec<_>) =
        (fence.options.iter()).partition(|(name, _)| name == "plug");
    let pair = |(name, value): &&(String, String)| format!("{} = {}", key(name), quoted(value));
    let mut device = format!("agent = {}", quoted(&fence.agent));
    for plug in &plug {
        let _ = write!(device, ", {}", pair(plug));
    }
    if !options.is_empty() {
        let _ = write!(device, ", options = {{ {} }}", list(&options, pair));
    }
    format!("{{ devices = [{{ {device} }}] }}")
}

fn list<T>(all: &[T], one: impl Fn(&T) -> String) -> String {
    all.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A string as JSON has it is one of TOML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn key(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !text.is_empty() && text.chars().all(bare) {
        return text.to_owned();
    }
    quoted(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use twindisk_control::config::{Arbiter, Config};

    use super::*;
    use crate::commands::setup::plan::Node;

    fn plan(name: &str, fence: Vec<Fence>, witness: Option<&str>) -> Plan {
        let node = |name: &str, host: &str, fence| {
            let addresses = [host, "10.9.9.9"].map(str::to_owned);
            Node::new(name, &addresses, "/dev/vg/r0", fence).unwrap()
        };
        Plan {
            cluster: "db".to_owned(),
            resource: "r0".to_owned(),
            nodes: vec![
                node(name, "10.0.0.1", fence),
                node("beta", "fd00::2", Vec::new()),
            ],
            size: None,
            witness: witness.map(str::to_owned),
            agent: true,
        }
    }

    fn read(plan: &Plan) -> Result<Config, String> {
        let files = Files::beside(Path::new("/etc/twindisk/twindisk.toml")).unwrap();
        let text = configuration(plan, &files);
        Config::parse(&files.config, &text).map_err(|error| format!("{error}\n{text}"))
    }

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        let fence = Fence {
            agent: "fence_x".to_owned(),
            options: vec![
                ("password".to_owned(), "a \"b\\\u{1}".to_owned()),
                ("a b".to_owned(), String::new()),
                ("plug".to_owned(), "3".to_owned()),
            ],
        };
        let config = read(&plan("al.pha", vec![fence.clone(), fence], None)).unwrap();
        let alpha = config.node("al.pha").unwrap();
        assert_eq!(alpha.address.to_string(), "10.0.0.1:7800");
        let levels = alpha.fence.as_ref().unwrap().value.as_array().unwrap();
        assert_eq!(levels.len(), 2);
        assert_eq!(levels[1]["devices"][0]["plug"].as_str(), Some("3"));
        let options = &levels[0]["devices"][0]["options"];
        assert_eq!(options["password"].as_str(), Some("a \"b\\\u{1}"));
        assert_eq!(
            config.node("beta").unwrap().address.to_string(),
            "[fd00::2]:7800"
        );
        assert!(config.agent.is_some());
    }

    #[test]
    fn the_configuration_itself_refuses_what_is_no_name() {
        let error = read(&plan("al pha", Vec::new(), None)).unwrap_err();
        assert!(error.contains("cannot be a node's name"), "{error}");
    }

    #[test]
    fn a_witness_is_the_arbiter() {
        let config = read(&plan("alpha", Vec::new(), Some("10.0.0.3:7795"))).unwrap();
        assert_eq!(config.resources[0].arbiter, Arbiter::Witness);
    }
}
