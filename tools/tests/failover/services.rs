//! A service that follows the primary: a command that takes its time, and writes down when it goes up and down.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::harness::switch::Switch;

const SCRIPT: &str = r#"#!/bin/sh
dir=$(dirname "$0")
here=$dir/up-on-$TWINDISK_NODE
case $1 in
start)
    sleep 0.2
    for other in "$dir"/up-on-*; do
        # What was switched off runs nothing any more.
        ! grep -qsx "${other##*/up-on-} off" "$dir/power/asked" || continue
        [ ! -e "$other" ] || [ "$other" = "$here" ] || echo "BOTH" >>"$dir/history"
    done
    : >"$here"
    echo "up on $TWINDISK_NODE" >>"$dir/history"
    ;;
stop)
    # Others that start it meanwhile see that it is still up.
    sleep 0.5
    [ ! -e "$dir/sticks-on-$TWINDISK_NODE" ] || exit 1
    rm -f "$here"
    echo "down on $TWINDISK_NODE" >>"$dir/history"
    ;;
status) [ -e "$here" ] || exit 3 ;;
*) exit 1 ;;
esac
"#;

/// The service.
pub(crate) struct Marker(PathBuf);

impl Marker {
    /// Puts it into a folder.
    pub(crate) fn install(dir: &Path) -> Self {
        let marker = Self(dir.join("marker"));
        fs::write(&marker.0, SCRIPT).expect("a script");
        fs::set_permissions(&marker.0, fs::Permissions::from_mode(0o755)).expect("our own file");
        marker
    }

    /// Its line in the table of the resource.
    pub(crate) fn config(&self) -> String {
        let [start, stop, status] = ["start", "stop", "status"]
            .map(|word| format!("{word} = [\"{}\", \"{word}\"]", self.0.display()));
        format!("services = [{{ name = \"marker\", {start}, {stop}, {status} }}]")
    }

    /// It knows from now on which nodes were switched off.
    pub(crate) fn sees(&self, switch: &Switch) {
        let program = switch.program();
        let power = program.parent().expect("it lies in a folder");
        symlink(power, self.0.with_file_name("power")).expect("our own folder");
    }

    /// It is not up on a node any more, and nobody has stopped it.
    pub(crate) fn ends(&self, node: &str) {
        fs::remove_file(self.0.with_file_name(format!("up-on-{node}"))).expect("it was up");
    }

    /// On a node it can't be stopped, or can again.
    pub(crate) fn sticks(&self, node: &str, sticks: bool) {
        let file = self.0.with_file_name(format!("sticks-on-{node}"));
        let done = if sticks {
            fs::write(file, "")
        } else {
            fs::remove_file(file)
        };
        done.expect("our own folder");
    }

    /// It is up again, and the agent has not started it.
    pub(crate) fn is_mended(&self, node: &str) {
        fs::write(self.0.with_file_name(format!("up-on-{node}")), "").expect("our own folder");
    }

    /// What has happened so far.
    pub(crate) fn history(&self) -> Vec<String> {
        let history = self.0.with_file_name("history");
        let text = fs::read_to_string(history).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}
