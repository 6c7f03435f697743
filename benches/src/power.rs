//! A power switch for two nodes on one machine: a fence agent whose plugs are their processes.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::unistd::Pid;

use crate::failure::{Result, Trying};

const SCRIPT: &str = r#"#!/bin/sh
power=$(dirname "$0")
while IFS='=' read -r key value; do
    case $key in
    action) action=$value ;;
    port | plug) plug=$value ;;
    esac
done
case $action in
off)
    : >"$power/$plug.off"
    for pid in $(cat "$power/$plug.pids"); do kill -9 "$pid" 2>/dev/null || :; done
    ;;
on) rm -f "$power/$plug.off" ;;
status) [ ! -e "$power/$plug.off" ] || exit 2 ;;
monitor | validate-all) ;;
metadata)
    cat <<'END'
<?xml version="1.0" ?>
<resource-agent name="fence_bench" shortdesc="The power switch of the measurements">
<parameters>
<parameter name="action" required="1"><content type="string" default="off"/></parameter>
<parameter name="plug" required="1"><content type="string"/></parameter>
</parameters>
<actions><action name="on"/><action name="off"/><action name="status"/><action name="monitor"/><action name="metadata"/><action name="validate-all"/></actions>
</resource-agent>
END
    ;;
*) exit 1 ;;
esac
"#;

/// The switch.
#[derive(Clone, Debug)]
pub struct Switch(PathBuf);

impl Switch {
    /// Puts it into a folder of its own in `dir`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn install(dir: &Path) -> Result<Self> {
        let switch = Self(dir.join("power"));
        fs::create_dir(&switch.0).trying(switch.0.display())?;
        let program = switch.program();
        fs::write(&program, SCRIPT).trying(program.display())?;
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&program, executable).trying(program.display())?;
        Ok(switch)
    }

    /// The fence agent.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.0.join("fence_bench")
    }

    /// These processes hang on a node's plug.
    ///
    /// # Errors
    /// When that can't be written down.
    pub fn plug_in(&self, node: &str, pids: &[Pid]) -> Result<()> {
        let pids: Vec<String> = pids.iter().map(Pid::to_string).collect();
        let path = self.0.join(format!("{node}.pids"));
        fs::write(&path, pids.join(" ")).trying(path.display())
    }

    /// A node's power is gone, and the switch reads so.
    ///
    /// # Errors
    /// When that can't be written down.
    pub fn lose(&self, node: &str) -> Result<()> {
        let path = self.0.join(format!("{node}.off"));
        fs::write(&path, "").trying(path.display())
    }
}
