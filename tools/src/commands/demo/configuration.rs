//! The demo's configuration file.

use std::path::Path;

use super::pair::RESOURCE;
use crate::exit::Failure;

/// Its text, for nodes that listen at these ports; with agents if there is a power switch.
pub(super) fn configuration(ports: [u16; 2], switch: Option<&Path>) -> Result<String, Failure> {
    let mut secret = [0_u8; 16];
    getrandom::fill(&mut secret).map_err(Failure::error)?;
    let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let [alpha, beta] = ports;
    let (mut agent, mut watched) = (String::new(), [String::new(), String::new()]);
    if let Some(switch) = switch {
        agent = "\n[agent]\nprofile = \"default\"\n".to_owned();
        for (lines, (name, port)) in watched.iter_mut().zip([("alpha", alpha), ("beta", beta)]) {
            *lines = format!(
                "heartbeat = [\"127.0.0.1:{port}\", \"127.0.0.2:{port}\"]\n\
                 fence = [{{ devices = [{{ agent = \"{}\", plug = \"{name}\" }}] }}]\n",
                switch.display()
            );
        }
    }
    let [alpha_watched, beta_watched] = watched;
    Ok(format!(
        r#"# Made by `twindisk demo`.
cluster = "demo"
secret = "{secret}"
{agent}
[nodes.alpha]
id = 1
address = "127.0.0.1:{alpha}"
run-dir = "alpha"
state-dir = "alpha"
{alpha_watched}
[nodes.beta]
id = 2
address = "127.0.0.1:{beta}"
run-dir = "beta"
state-dir = "beta"
{beta_watched}
[resource.{RESOURCE}]
on.alpha = {{ backing = "alpha.img" }}
on.beta = {{ backing = "beta.img" }}
"#
    ))
}
