//! Fake agents: shell scripts in a scratch folder, which write down what they are asked.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{AgentName, Confirmations, Device, Fencer, Level, Options, SearchPath, Topology};

/// A folder of agents, and the power of one node.
pub(crate) struct Fakes {
    folder: TempDir,
}

/// Does what it is told.
pub(crate) const GOOD: &str = r#"
case "$action" in
    off) echo off > "$dir/power"; echo "Success: Powered OFF";;
    status) [ "$(cat "$dir/power")" = on ] || { echo "Status: OFF"; exit 2; };;
    monitor|validate-all) ;;
    *) exit 1;;
esac
"#;

/// Says yes to everything; its status reads on.
pub(crate) const LIAR: &str = "exit 0";

const DESCRIPTION: &str = r#"<?xml version="1.0" ?>
<resource-agent name="fake" shortdesc="fake">
<parameters>
    <parameter name="action" required="1"><content type="string" default="reboot"/></parameter>
    <parameter name="ip" required="0"/>
    <parameter name="password" required="0"/>
    <parameter name="password_script" required="0"/>
    <parameter name="plug" required="0" obsoletes="port"/>
    <parameter name="port" required="0" deprecated="1"/>
</parameters>
<actions>
    <action name="off"/><action name="reboot"/><action name="status"/><action name="monitor"/><action name="validate-all"/>
</actions>
</resource-agent>
"#;

impl Fakes {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("power"), "on\n").unwrap();
        fs::write(folder.path().join("description.xml"), DESCRIPTION).unwrap();
        Self { folder }
    }

    /// From now on agents say of themselves that they do not offer an action.
    pub(crate) fn describe_without(&self, action: &str) {
        let without = DESCRIPTION.replace(&format!(r#"<action name="{action}"/>"#), "");
        fs::write(self.path("description.xml"), without).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An agent that describes itself properly and does the rest by this script, which finds `$action` and `$dir`.
    pub(crate) fn agent(&self, name: &str, does: &str) -> Device {
        let folder = self.folder.path().display();
        self.script(
            name,
            &format!(
                r#"#!/bin/sh
dir={folder}
while IFS= read -r line; do
    echo "$line" >> "$dir/{name}.input"
    case "$line" in action=*) action=${{line#action=}};; esac
done
echo "$action" >> "$dir/{name}.actions"
if [ "$action" = metadata ]; then cat "$dir/description.xml"; exit 0; fi
{does}
"#
            ),
        )
    }

    /// Exactly this program.
    pub(crate) fn script(&self, name: &str, text: &str) -> Device {
        // Another process writes it: while this one held it open for writing, a fork in another test's thread could
        // inherit that, and the program could not be run ("text file busy").
        let mut writer = Command::new("/bin/sh")
            .args(["-c", r#"cat > "$1" && chmod 755 "$1""#, "sh"])
            .arg(self.path(name))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = writer.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        assert!(writer.wait().unwrap().success());
        Device {
            timeout: Duration::from_secs(30),
            retries: 0,
            ..Device::new(AgentName::Named(name.to_owned()))
        }
    }

    /// What an agent was asked, without `metadata`.
    pub(crate) fn actions(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(&format!("{name}.actions"))).unwrap_or_default();
        text.lines()
            .filter(|action| *action != "metadata")
            .map(str::to_owned)
            .collect()
    }

    pub(crate) fn shots(&self, name: &str) -> usize {
        let actions = self.actions(name);
        actions.iter().filter(|action| *action == "off").count()
    }

    pub(crate) fn search(&self) -> SearchPath {
        SearchPath::new([self.folder.path().to_owned()])
    }

    /// A fencer of the node "beta".
    pub(crate) fn fencer(&self, levels: &[&[Device]]) -> Fencer {
        self.fencer_with(levels, Confirmations::new())
    }

    pub(crate) fn fencer_with(&self, levels: &[&[Device]], confirmations: Confirmations) -> Fencer {
        let levels = levels.iter().map(|devices| Level {
            devices: devices.to_vec(),
        });
        let topology = Topology {
            levels: levels.collect(),
        };
        Fencer::new("beta", &topology, &self.search(), confirmations)
    }
}

pub(crate) fn options(given: &[(&str, &str)]) -> Options {
    let given = given
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Options::new(given).unwrap()
}

/// Waits on a state, with a deadline that only a hang reaches.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "never came: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The process numbers that a script has written into the file `processes`, once there are so many.
pub(crate) async fn processes(fakes: &Fakes, count: usize) -> Vec<u32> {
    let mut found = Vec::new();
    until("the processes' numbers", || {
        let text = fs::read_to_string(fakes.path("processes")).unwrap_or_default();
        // Only whole lines.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        found = whole.lines().filter_map(|line| line.parse().ok()).collect();
        found.len() == count
    })
    .await;
    found
}

/// Whether a process still runs. One that waits to be reaped does not.
pub(crate) fn runs(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit(')').next().unwrap_or_default();
        !state.trim_start().starts_with(['Z', 'X'])
    })
}
