//! The demo's power switch: a fence agent of a few lines, whose plugs are the processes of the two nodes.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::exit::Failure;

/// It speaks the fence-agent API like any other: options on standard input, exit code 2 for "off".
const SWITCH: &str = r#"#!/bin/sh
# The power switch of `twindisk demo`. A node's power is its processes.
power=$(dirname "$0")/power
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
status) [ ! -e "$power/$plug.off" ] || { echo "Status: OFF" && exit 2; } ;;
monitor | validate-all) [ -d "$power" ] ;;
metadata)
    cat <<'END'
<?xml version="1.0" ?>
<resource-agent name="fence_demo" shortdesc="The power switch of the demo">
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

/// Puts the switch into the demo's folder; its path is the fence agent's.
pub(super) fn install(dir: &Path) -> Result<PathBuf, Failure> {
    let power = dir.join("power");
    fs::create_dir_all(&power).map_err(Failure::at(&power))?;
    let path = dir.join("power-switch");
    fs::write(&path, SWITCH).map_err(Failure::at(&path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(Failure::at(&path))?;
    Ok(path)
}

/// These processes hang on the plug of a node.
pub(super) fn plug_in(dir: &Path, node: &str, pids: &[u32]) -> Result<(), Failure> {
    let path = dir.join("power").join(format!("{node}.pids"));
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    fs::write(&path, pids.join(" ")).map_err(Failure::at(&path))
}

/// Whether the plug of a node has power.
pub(super) fn is_on(dir: &Path, node: &str) -> bool {
    !dir.join("power").join(format!("{node}.off")).exists()
}
