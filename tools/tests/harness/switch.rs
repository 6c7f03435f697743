//! The power switch: a fence agent whose plugs are the processes of the two nodes. Files beside it make it slow, break
//! it, or let it lie, and it writes down what it was asked for.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{fence_agent::script, programs::run};

/// Real time passes before the deed, as with a real one: what is asked for late comes late.
const DEED: &str = r#"echo "$plug $action" >>"$power/asked"
[ ! -e "$power/slow" ] || sleep "$(cat "$power/slow")"
if [ -e "$power/broken" ]; then
    echo "no connection to the switch" >&2
    exit 1
fi
case $action in
off)
    [ ! -e "$power/liar" ] || exit 0
    : >"$power/$plug.off"
    [ ! -e "$power/$plug.host" ] || sh "$power/$plug.host"
    for pid in $(cat "$power/$plug.pids"); do kill -9 "$pid" 2>/dev/null || :; done
    ;;
on) rm -f "$power/$plug.off" ;;
status) [ ! -e "$power/$plug.off" ] || { echo "Status: OFF" && exit 2; } ;;
monitor | validate-all) ;;
*) exit 1 ;;
esac
"#;

/// What can be wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It answers nothing but an error.
    Broken,
    /// It says that it has powered off, and has not. Its status tells the truth.
    Liar,
}

impl Fault {
    const fn file(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Liar => "liar",
        }
    }
}

/// The switch.
pub(crate) struct Switch(PathBuf);

impl Switch {
    /// Puts it into a folder of its own in `dir`.
    pub(crate) fn install(dir: &Path) -> Self {
        let switch = Self(dir.join("power"));
        fs::create_dir(&switch.0).expect("a folder");
        fs::write(switch.program(), script(r#"$(dirname "$0")"#, DEED)).expect("a script");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(switch.program(), executable).expect("our own file");
        switch
    }

    /// The fence agent.
    pub(crate) fn program(&self) -> PathBuf {
        self.0.join("fence_test")
    }

    /// These processes hang on the plug of a node from now on.
    pub(crate) fn plug_in(&self, node: &str, pids: &[u32]) {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let fresh = self.0.join("fresh");
        fs::write(&fresh, pids.join(" ")).expect("a file");
        fs::rename(fresh, self.0.join(format!("{node}.pids"))).expect("a file");
    }

    /// What a shell does to all of a node that is more than its two processes, when its power goes.
    pub(crate) fn plug_in_host(&self, node: &str, script: &str) {
        fs::write(self.host(node), script).expect("a file");
    }

    /// It is done.
    pub(crate) fn strike(&self, node: &str) {
        if self.host(node).exists() {
            run("sh", &[self.host(node)]);
        }
    }

    fn host(&self, node: &str) -> PathBuf {
        self.0.join(format!("{node}.host"))
    }

    /// The power of a node is gone, and the switch reads so.
    pub(crate) fn lose(&self, node: &str) {
        fs::write(self.off(node), "").expect("a file");
    }

    /// Whether a node has power.
    pub(crate) fn is_on(&self, node: &str) -> bool {
        !self.off(node).exists()
    }

    /// A person switches a node on.
    pub(crate) fn restore(&self, node: &str) {
        fs::remove_file(self.off(node)).expect("it was off");
    }

    /// Everything it is asked takes so many seconds.
    pub(crate) fn slow_down(&self, seconds: u64) {
        fs::write(self.0.join("slow"), seconds.to_string()).expect("a file");
    }

    pub(crate) fn spoil(&self, fault: Fault) {
        fs::write(self.0.join(fault.file()), "").expect("a file");
    }

    pub(crate) fn mend(&self, fault: Fault) {
        fs::remove_file(self.0.join(fault.file())).expect("it was spoilt");
    }

    /// How often it was asked to power a node off.
    pub(crate) fn shots_at(&self, node: &str) -> usize {
        let asked = fs::read_to_string(self.0.join("asked")).unwrap_or_default();
        let shot = format!("{node} off");
        asked.lines().filter(|line| *line == shot).count()
    }

    /// How often it was asked to power anybody off.
    pub(crate) fn shots(&self) -> usize {
        let asked = fs::read_to_string(self.0.join("asked")).unwrap_or_default();
        asked.lines().filter(|line| line.ends_with(" off")).count()
    }

    fn off(&self, node: &str) -> PathBuf {
        self.0.join(format!("{node}.off"))
    }
}
