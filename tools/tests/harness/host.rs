//! A node as a host of its own: a mount namespace, its network namespace, and everything that runs there. When its power
//! goes, all of it is gone in one moment: cables, processes, mounts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{LOOK, eventually, namespaces::Namespaces};

/// What a host needs, besides root.
pub(crate) const PROGRAMS: &[&str] = &["ip", "tc", "find", "mount", "nsenter", "sleep", "unshare"];

/// Each host has one of its own.
const NAMESPACE: &str = "ipc";

/// The first process of a host, whose namespaces the others are started in.
const INIT: &str = r#"
mount -t tmpfs -o mode=0755 run "$1"
mount -t tmpfs -o mode=1777 shm /dev/shm
# What the host forgets with its power is told by the name of its boot.
boot=/proc/sys/kernel/random/boot_id
cat /proc/sys/kernel/random/uuid >"$1/boot_id"
mount --bind "$1/boot_id" $boot
: >"$1/booted"
exec sleep infinity
"#;

/// A host with power.
pub(crate) struct Host {
    init: Child,
    /// What /proc calls a namespace in which everything runs that runs there, and nothing else.
    name: PathBuf,
    /// Held, so that no other one gets that name as long as somebody may kill by it. (Its mounts must not outlive its power,
    /// so it is not the namespace of these.)
    _namespace: fs::File,
}

impl Host {
    /// `run` is a folder of the test machine; each host has an empty one of its own there, as `/run`.
    pub(crate) fn boot(namespaces: &Namespaces, node: &str, run: &Path) -> Self {
        namespaces.plug_in(node);
        let mut init = Command::new("ip")
            .args(["netns", "exec", namespaces.of(node)])
            .args(["unshare", "--ipc", "sh", "-ec", INIT, "init"])
            .arg(run)
            .stdin(Stdio::null())
            .spawn()
            .expect("ip runs");
        let below = format!("/proc/{}", init.id());
        let booted = format!("{below}/root{}/booted", run.display());
        eventually("a host boots", String::new, || {
            let ended = init.try_wait().expect("it is ours");
            assert!(ended.is_none(), "the host does not boot: {ended:?}");
            Path::new(&booted).exists().then_some(())
        });
        let namespace = format!("{below}/ns/{NAMESPACE}");
        Self {
            init,
            name: fs::read_link(&namespace).expect("it lives"),
            _namespace: fs::File::open(&namespace).expect("it lives"),
        }
    }

    /// The command that starts another one there.
    pub(crate) fn way(&self) -> Vec<String> {
        let target = self.init.id().to_string();
        ["nsenter", "--target", &target, "--mount", "--net", "--ipc"]
            .map(str::to_owned)
            .to_vec()
    }

    /// A path of this host, as the test reaches it.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.init.id(), path.display()))
    }

    /// What a shell does to end it, whoever asks for that.
    pub(crate) fn end_of(&self, namespaces: &Namespaces, node: &str) -> String {
        // It holds brackets, which are not meant as a pattern.
        let name = self.name.display().to_string();
        let name = name.replace('[', "\\[").replace(']', "\\]");
        let find = format!(
            "find /proc/[0-9]*/ns -maxdepth 1 -name {NAMESPACE} -lname '{name}' 2>/dev/null"
        );
        // Nothing that is torn down carries a word to anybody.
        namespaces.unplugging(node)
            + &format!(
                "while found=$({find} | cut -d/ -f3); [ -n \"$found\" ]; do\n\
                 kill -9 $found 2>/dev/null\nsleep 0.02\ndone\n:\n"
            )
    }

    /// Nothing runs there any more.
    pub(crate) fn kill(&self) {
        while self.signal(None, Signal::SIGKILL) > 0 {
            // What is ours is a zombie until it is waited for, and in no namespace.
            thread::sleep(LOOK);
        }
    }

    /// Everything that runs there.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let all = fs::read_dir("/proc").expect("it is mounted").flatten();
        let there = all.filter(|one| {
            fs::read_link(one.path().join("ns").join(NAMESPACE)).is_ok_and(|name| name == self.name)
        });
        there
            .filter_map(|one| one.file_name().to_str()?.parse().ok())
            .map(Pid::from_raw)
            .collect()
    }

    /// Sends a signal to everything that runs there, or to what has this name.
    pub(crate) fn signal(&self, name: Option<&str>, signal: Signal) -> usize {
        let mut hit = 0;
        for pid in self.processes() {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if name.is_none_or(|name| comm.trim() == name) {
                // It may have ended by itself.
                hit += usize::from(kill(pid, signal).is_ok());
            }
        }
        hit
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
        let _ = self.init.wait();
    }
}
