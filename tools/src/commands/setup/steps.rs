//! What is run after a setup, on which host: each line is one command.

use std::path::Path;

use super::{
    files::Files,
    plan::{self, Plan},
    size_option,
};

/// Where the units read it.
const USUAL: &str = "/etc/twindisk/twindisk.toml";

/// The commands; `here` is where the files are, and `by_name` says that a host knows by its name which node it is.
pub(super) fn all(plan: &Plan, files: &Files, here: Option<&str>, by_name: bool) -> Vec<String> {
    let names: Vec<&str> = plan.nodes.iter().map(|node| &*node.name).collect();
    let first = names.first().copied().unwrap_or_default();
    let from = here.unwrap_or("here");
    let usual = files.config == Path::new(USUAL);
    let twindisk = |node: &str, command: &str| {
        let mut line = "twindisk".to_owned();
        if !usual {
            line += &format!(" --config {}", files.config.display());
        }
        if !by_name {
            line += &format!(" --node {node}");
        }
        format!("{node}# {line} {command}")
    };
    let folder = files.folder().display();
    let (config, secret) = (files.config.display(), files.secret.display());
    let mut steps = Vec::new();
    for node in plan.nodes.iter().filter(|node| node.name != from) {
        let to = in_brackets(node.host());
        steps.push(format!(
            "{from}# scp -p {config} {secret} root@{to}:{folder}/"
        ));
    }
    if let Some(witness) = &plan.witness {
        let host = plan::host_of(witness);
        let to = in_brackets(host);
        let file = files.witness.display();
        steps.push(format!(
            "{from}# scp -p {file} {secret} root@{to}:{folder}/"
        ));
        steps.push(format!(
            "{host}# chown -R twindisk: {folder} && systemctl enable --now twindisk-witness"
        ));
    }
    let size = size_option(plan.size);
    for name in &names {
        let what = if *name == first {
            "init --first"
        } else {
            "init"
        };
        steps.push(twindisk(name, &format!("{what}{size}")));
    }
    for name in &names {
        match (usual && by_name, plan.agent) {
            (true, true) => {
                steps.push(format!(
                    "{name}# systemctl enable --now twindisk-agent twindisk"
                ));
            }
            (true, false) => steps.push(format!("{name}# systemctl enable --now twindisk")),
            (false, agent) => {
                steps.push(twindisk(name, "serve &"));
                steps.extend(agent.then(|| twindisk(name, "agent &")));
            }
        }
    }
    if !plan.agent {
        steps.push(twindisk(first, "promote"));
    }
    for node in plan.nodes.iter().filter(|node| !node.fence.is_empty()) {
        let others = names.iter().filter(|name| **name != node.name);
        steps.extend(others.map(|name| twindisk(name, &format!("fence test {}", node.name))));
    }
    steps
}

/// As scp has an address.
fn in_brackets(host: &str) -> String {
    if host.contains(':') {
        return format!("[{host}]");
    }
    host.to_owned()
}
