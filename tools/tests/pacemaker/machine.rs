//! A node with power: namespaces of its own for everything that corosync and Pacemaker take for a host, and both of them
//! started in it. Killing its first process is a loss of power.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::{eventually, namespaces::Namespaces};

/// What a node needs, besides root.
pub(crate) const PROGRAMS: &[&str] = &[
    "bash",
    "cibadmin",
    "corosync",
    "crm_mon",
    "ip",
    "mount",
    "nsenter",
    "pacemakerd",
    "unshare",
];

/// The first process of a node: `$1` its name, `$2` the folder with its own files, `$3` that with the agents.
const INIT: &str = r#"
echo "$1" >/proc/sys/kernel/hostname
mount --make-rprivate /
# Whatever wants to reset a host resets nothing here.
[ ! -e /proc/sysrq-trigger ] || mount --bind /dev/null /proc/sysrq-trigger
mount -t tmpfs -o mode=0755 run /run
mount -t tmpfs -o mode=1777 shm /dev/shm
mkdir -p /run/lock /run/resource-agents /run/corosync
install -d -m 0750 -o hacluster -g haclient /run/crm
for own in /var/lib/corosync /var/lib/pacemaker /var/log /etc/corosync; do
    mkdir -p "$own" "$2$own"
    mount --bind "$2$own" "$own"
done
if [ ! -d /var/lib/pacemaker/cib ]; then
    for part in cib pengine blackbox cores; do
        install -d -m 0750 -o hacluster -g haclient "/var/lib/pacemaker/$part"
    done
    install -m 0600 -o hacluster -g haclient "$3/cib.xml" /var/lib/pacemaker/cib/cib.xml
fi
mkdir -p /var/log/corosync /var/log/crmsh /var/log/pacemaker
chown hacluster:haclient /var/lib/pacemaker /var/log/pacemaker
chmod 0770 /var/log/pacemaker
cp "$3/corosync.conf" /etc/corosync/
for folder in /usr/sbin /usr/lib/ocf/resource.d; do
    mount -t overlay overlay -o "ro,lowerdir=$3$folder:$folder" "$folder"
done
corosync -f >>"$2/corosync.out" 2>&1 &
until corosync-cfgtool -s >/dev/null 2>&1; do sleep 0.05; done
PCMK_logfile=/var/log/pacemaker/pacemaker.log pacemakerd >>"$2/pacemakerd.out" 2>&1 &
# As the first process it is the parent of every orphan.
while :; do wait -n || :; sleep 0.1; done
"#;

/// What a node does to its mounts, tried where nothing is left of it.
const TRIAL: &str = "mount -t tmpfs run /run && mount -t overlay overlay -o ro,lowerdir=/usr/lib/ocf:/usr/sbin /usr/sbin";

/// Whether nodes can be made here: a sandbox may allow no mounts. `false`: the test shall return.
pub(crate) fn possible() -> bool {
    let trial = Command::new("unshare")
        .args(["--mount", "--ipc", "--pid", "--uts", "--fork"])
        .args(["--mount-proc", "--kill-child", "sh", "-ec", TRIAL])
        .output()
        .expect("unshare runs");
    let well = trial.status.success();
    if !well {
        let why = String::from_utf8_lossy(&trial.stderr).into_owned();
        println!("NOT TESTED: no node with mounts of its own can be made here: {why}");
    }
    well
}

/// A node that runs.
pub(crate) struct Machine {
    /// It ends when all of the node has.
    outer: Child,
    first: Pid,
}

impl Machine {
    pub(crate) fn boot(namespaces: &Namespaces, node: &str, own: &Path, agents: &Path) -> Self {
        namespaces.plug_in(node);
        fs::create_dir_all(own).expect("a folder");
        let console = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(own.join("console"))
            .expect("a file");
        let outer = Command::new("ip")
            .args(["netns", "exec", namespaces.of(node)])
            .args(["unshare", "--mount", "--ipc", "--pid", "--uts", "--fork"])
            .args(["--mount-proc", "--kill-child", "bash", "-c", INIT, "init"])
            .arg(node)
            .args([own, agents])
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(console.try_clone().expect("a file"))
            .stderr(console)
            .spawn()
            .expect("ip runs");
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let first = eventually("a node boots", String::new, || {
            let text = fs::read_to_string(&children).ok()?;
            text.split_whitespace().next()?.parse().ok()
        });
        Self {
            outer,
            first: Pid::from_raw(first),
        }
    }

    /// Runs something there to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        command_in(self.first, arguments)
            .output()
            .expect("nsenter runs")
    }

    /// The first process, for whoever wants to run something there.
    pub(crate) const fn first(&self) -> Pid {
        self.first
    }

    /// Its power is gone: when this returns, so is everything that ran there.
    pub(crate) fn lose_power(&mut self) {
        // It may be gone already.
        let _ = kill(self.first, Signal::SIGKILL);
        let _ = self.outer.wait();
    }

    /// Sends a signal to every process there of this name.
    pub(crate) fn signal(&self, name: &str, signal: &str) -> bool {
        self.run(&["pkill", signal, "--exact", name])
            .status
            .success()
    }

    /// Everything there but the first process stands still.
    pub(crate) fn freeze(&self) {
        // The signal of a process in there does not reach the first one of the namespace.
        self.run(&["sh", "-c", "kill -STOP -1"]);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.lose_power();
    }
}

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A command within the node whose first process this is.
pub(crate) fn command_in(first: Pid, arguments: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command
        .args(["--target", &first.to_string()])
        .args(["--mount", "--net", "--ipc", "--uts", "--pid", "--"])
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .env("HOME", "/root")
        .stdin(Stdio::null());
    command
}

/// The files of a node that are no one else's.
pub(crate) fn own(dir: &Path, node: &str) -> PathBuf {
    dir.join(format!("{node}-host"))
}
