//! A pair with agents from nothing: `twindisk setup`, and every command that it says is next.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::harness::{
    eventually, fence_agent,
    process::{Said, clean_command, said},
};

/// A power switch: what has no power is named by a file, and what runs there by another one.
const SWITCH: &str = r#"case $action in
off)
    kill -9 $(cat "$power/$plug.pids")
    : >"$power/$plug.off"
    ;;
on) rm -f "$power/$plug.off" ;;
status) [ ! -e "$power/$plug.off" ] || exit 2 ;;
esac
"#;

/// Two nodes in two folders, at addresses of loopback that nobody else has.
struct Site {
    dir: tempfile::TempDir,
    net: (u8, u8),
    running: Vec<(String, Child)>,
}

impl Site {
    fn new() -> Self {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let dir = tempfile::tempdir().unwrap();
        for node in ["alpha", "beta"] {
            fs::create_dir(dir.path().join(node)).unwrap();
        }
        let net = (high | 0x80, low);
        let running = Vec::new();
        Self { dir, net, running }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("alpha/twindisk.toml")
    }

    fn address(&self, last: u8) -> IpAddr {
        Ipv4Addr::new(127, self.net.0, self.net.1, last).into()
    }

    fn setup(&self, more: &[&str]) -> Said {
        let node = |name, first: u8| {
            let (one, two) = (self.address(first), self.address(first + 10));
            format!("{name}={one},{two}")
        };
        let backing =
            |name: &str| format!("{name}={}", self.path(&format!("{name}.img")).display());
        let mut command = clean_command();
        command
            .args(["--node", "alpha", "--config"])
            .arg(self.file());
        command.args(["setup", &node("alpha", 1), &node("beta", 2)]);
        command.args([
            "--backing",
            &backing("alpha"),
            "--backing",
            &backing("beta"),
        ]);
        said(&command.args(more).stdin(Stdio::null()).output().unwrap())
    }

    /// A command as it was said, on its node.
    fn run(&mut self, step: &str) {
        let (node, command) = step.split_once("# ").unwrap();
        let [alpha, beta] = ["alpha", "beta"].map(|name| self.path(name).display().to_string());
        let command = command.replace(&alpha, if node == "alpha" { &alpha } else { &beta });
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["scp", "-p", ref files @ .., _] => {
                for file in files.iter().map(Path::new) {
                    fs::copy(file, Path::new(&beta).join(file.file_name().unwrap())).unwrap();
                }
            }
            ["twindisk", ref arguments @ .., "&"] => {
                let log = fs::File::create(self.path(&format!("{node}-{}", arguments[4]))).unwrap();
                let mut process = clean_command();
                process.args(arguments).stdin(Stdio::null()).stderr(log);
                let child = process.spawn().unwrap();
                let pids = self.path(&format!("{node}.pids"));
                let known = fs::read_to_string(&pids).unwrap_or_default();
                fs::write(pids, format!("{known} {}", child.id())).unwrap();
                self.running.push((node.to_owned(), child));
            }
            ["twindisk", ref arguments @ .., "fence", "test", peer] => {
                self.until(&format!("fence test {peer}"), || {
                    let mut command = clean_command();
                    let said = said(
                        &command
                            .args(arguments)
                            .args(["fence", "test", peer])
                            .output()
                            .unwrap(),
                    );
                    (said.code == 0).then_some(())
                });
            }
            ["twindisk", ref arguments @ ..] => {
                let said = said(&clean_command().args(arguments).output().unwrap());
                assert_eq!(said.code, 0, "{step}: {said:?}");
            }
            _ => panic!("what is this? {step}"),
        }
    }

    fn ask(&self, node: &str, arguments: &[&str]) -> Option<Value> {
        let mut command = clean_command();
        command.args(["--node", node, "--config"]);
        command
            .arg(self.path(node).join("twindisk.toml"))
            .args(arguments);
        serde_json::from_slice(&command.output().unwrap().stdout).ok()
    }

    fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        let logs = || {
            let log = |name: &str| fs::read_to_string(self.path(name)).unwrap_or_default();
            ["alpha-serve", "alpha-agent", "beta-serve", "beta-agent"]
                .map(log)
                .join("\n")
        };
        eventually(what, logs, look)
    }

    /// With its standby in sync, or alone.
    fn until_primary(&self, node: &str, with_standby: bool) {
        self.until(
            &format!("{node} is primary, standby: {with_standby}"),
            || {
                let status = self.ask(node, &["status", "--json"])?;
                let replica = &status["resources"][0]["replica"];
                let good = replica["role"] == "primary"
                    && replica["peers"][0]["in-sync"] == with_standby
                    && replica["suspended"].is_null();
                good.then_some(())
            },
        );
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_pair_with_agents_takes_ten_commands_at_most() {
    let mut site = Site::new();
    let power = site.dir.path().display().to_string();
    let agent = site.path("fence_test");
    fs::write(&agent, fence_agent::script(&power, SWITCH)).unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    let fence = |node: &str| format!("{node}={} plug={node}", agent.display());
    let said = site.setup(&[
        "--size",
        "8MiB",
        "--fence",
        &fence("alpha"),
        "--fence",
        &fence("beta"),
    ]);
    assert_eq!(said.code, 0, "{said:?}");
    // Each of these is known to whoever gives addresses of loopback.
    let risks: Vec<&str> = said
        .out
        .lines()
        .filter(|line| line.starts_with("risk: "))
        .collect();
    assert!(
        risks
            .iter()
            .all(|risk| risk.contains("reaches this host only")),
        "{said:?}"
    );
    for name in ["twindisk.toml", "secret"] {
        let mode = fs::metadata(site.path("alpha").join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let again = site.setup(&[]);
    assert_eq!(again.code, 11, "{again:?}");
    assert!(again.err.contains("overwrites nothing"), "{again:?}");
    // Two nodes on one host: each keeps its things beside its file.
    let text = fs::read_to_string(site.file()).unwrap();
    fs::write(
        site.file(),
        format!("run-dir = \".\"\nstate-dir = \".\"\n{text}"),
    )
    .unwrap();

    let steps: Vec<&str> = said
        .out
        .lines()
        .skip_while(|line| *line != "Next:")
        .skip(1)
        .collect();
    assert!(steps.len() < 10, "with the setup itself: {steps:#?}");
    for step in &steps {
        site.run(step);
    }
    site.until_primary("alpha", true);
    for node in ["alpha", "beta"] {
        let findings = site.ask(node, &["config", "check", "--json"]).unwrap();
        let all = findings.as_array().unwrap();
        let known = |one: &&Value| {
            one["text"]
                .as_str()
                .unwrap()
                .contains("reaches this host only")
        };
        assert_eq!(
            all.iter().filter(known).count(),
            all.len(),
            "{node}: {findings}"
        );
    }
    for (_, child) in site.running.iter_mut().filter(|(node, _)| node == "alpha") {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    site.until_primary("beta", false);
}

#[test]
fn what_will_not_do_leaves_nothing_behind() {
    let site = Site::new();
    let said = site.setup(&[]);
    assert_eq!(
        said.code, 10,
        "there is no backing device, and no size: {said:?}"
    );
    assert!(
        said.err.contains("missing: resource.r0.on.alpha.backing"),
        "{said:?}"
    );
    let said = site.setup(&["--size", "8MiB", "--resource", "a b"]);
    assert_eq!(said.code, 10, "{said:?}");
    assert!(said.err.contains("cannot be a resource's name"), "{said:?}");
    let said = site.setup(&["--size", "8MiB", "--fence", "gamma=fence_x"]);
    assert_eq!(said.code, 2, "{said:?}");
    let left: Vec<_> = fs::read_dir(site.path("alpha")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
