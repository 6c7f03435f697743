//! A machine of its own as far as a package can tell: a Debian tree over which everything is written apart, with systemd as
//! its first process. When its power goes, all that runs there is gone. It shares the network with the others.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::harness::{
    LOOK, eventually,
    process::{Said, said},
    programs,
};

/// What it takes, besides root and a Debian with systemd.
pub(crate) const PROGRAMS: &[&str] = &["awk", "chroot", "dpkg", "mount", "nsenter", "unshare"];

/// Its control group is apart, or two of them would have one `twindisk.service`.
const GROUP: &str = r#"
group=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/twindisk-test-$$-$2
mkdir "$group"
echo $$ >"$group/cgroup.procs"
exec unshare --mount --pid --uts --ipc --cgroup --fork --kill-child sh -ec "$4" boot "$@"
"#;

/// Whether this may be done here at all: a container may have no control groups to write to, or no layers over its own.
const PROBE: &str = r#"
group=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/twindisk-test-$$-probe
mkdir "$group"
trap 'rmdir "$group"' EXIT
unshare --mount --pid --uts --ipc --cgroup --fork sh -ec '
    mount --make-rprivate /
    mount -t tmpfs tmpfs "$2"
    mkdir "$2/upper" "$2/work" "$2/root" "$2/cgroup"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
    mount -t cgroup2 cgroup2 "$2/cgroup"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$2/root/mnt"
    mknod -m 666 "$2/null" c 1 3
' probe "$1" "$2"
"#;

/// What is left of that.
const SWEEP: &str = r#"
group=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/twindisk-test-$1-$2
[ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} +
"#;

/// From nothing to systemd. What `twindisk` reads and writes past the page cache is on the disk of the test.
const BOOT: &str = r#"
tree=$1 name=$2 dir=$3
mount --make-rprivate /
mount -t tmpfs tmpfs "$dir/layers"
mkdir "$dir/layers/upper" "$dir/layers/work"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$dir/layers/upper,workdir=$dir/layers/work" "$dir/root"
cd "$dir/root"
for shared in run srv var/lib/twindisk; do
    mkdir -p "$shared"
    mount --bind "$dir/$(basename $shared)" "$shared"
done
mkdir -p power packages
mount --bind "$dir/../power" power
mount --bind "$dir/../packages" packages
echo "$name" >etc/hostname
# The index of all man pages is not made anew for ours.
rm -f var/lib/man-db/auto-update
mount -t proc proc proc
mount --bind -o ro proc/sys proc/sys
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs sys
mkdir -p sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs dev
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/console c 1 3
ln -s /proc/self/fd dev/fd
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
exec chroot . env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=sysinit.target
"#;

/// A machine that runs.
pub(crate) struct Machine {
    pub(crate) name: &'static str,
    dir: PathBuf,
    unshare: Child,
    init: String,
}

/// The Debian tree that machines are made of: a clean one, or that of this machine.
pub(crate) fn tree() -> PathBuf {
    let given = std::env::var_os("TWINDISK_TREE").map_or("/".into(), PathBuf::from);
    given.canonicalize().expect("TWINDISK_TREE is a folder")
}

/// Why no machine can be made here.
pub(crate) fn obstacle(scratch: &Path) -> Option<String> {
    let mut command = Command::new("sh");
    command
        .args(["-ec", PROBE, "probe"])
        .arg(tree())
        .arg(scratch);
    let said = said(&command.stdin(Stdio::null()).output().expect("sh runs"));
    (said.code != 0).then_some(said.err)
}

impl Machine {
    /// Below `top`, where `power` and `packages` are, which it shares with the others.
    pub(crate) fn boot(name: &'static str, top: &Path) -> Self {
        let dir = top.join(name);
        for part in ["layers", "root", "run", "srv", "twindisk"] {
            fs::create_dir_all(dir.join(part)).expect("a folder");
        }
        let log = fs::File::create(dir.join("boot.log")).expect("a file");
        let mut command = Command::new("sh");
        command.args(["-ec", GROUP, "group"]).arg(tree()).arg(name);
        command.arg(&dir).arg(BOOT).env("LC_ALL", "C.UTF-8");
        let unshare = command.stdin(Stdio::null()).stderr(log).spawn();
        let unshare = unshare.expect("sh runs");
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let mut machine = Self {
            name,
            dir,
            unshare,
            init: String::new(),
        };
        let log = machine.dir.join("boot.log");
        let why = || fs::read_to_string(&log).unwrap_or_default();
        machine.init = eventually("the machine has a first process", why, || {
            let found = fs::read_to_string(&children).unwrap_or_default();
            let first = found.split_whitespace().next()?;
            // Before it is systemd, it is a shell, or what that one runs.
            let comm = fs::read_to_string(format!("/proc/{first}/comm")).unwrap_or_default();
            (comm.trim() == "systemd").then(|| first.to_owned())
        });
        eventually("systemd is up", why, || {
            let said = machine.said("systemctl is-active sysinit.target");
            (said.code == 0).then_some(())
        });
        machine
    }

    /// Runs a command line there.
    pub(crate) fn said(&self, line: &str) -> Said {
        let mut command = programs::command("nsenter");
        command.args(["--target", &self.init, "--root"]);
        command.args(["--mount", "--pid", "--uts", "--ipc", "--cgroup"]);
        command.args(["sh", "-c", &format!("cd / && {line}")]);
        said(&command.stdin(Stdio::null()).output().expect("nsenter runs"))
    }

    /// The same; it must succeed.
    pub(crate) fn ok(&self, line: &str) -> String {
        let said = self.said(line);
        assert_eq!(
            said.code,
            0,
            "{}# {line}: {said:?}\n{}",
            self.name,
            self.journal()
        );
        said.out
    }

    /// Looks until a command line succeeds.
    pub(crate) fn until(&self, line: &str) {
        let last = RefCell::new(None);
        let why = || format!("{:?}\n{}", last.borrow(), self.journal());
        eventually(line, why, || {
            let said = self.said(line);
            let done = said.code == 0;
            *last.borrow_mut() = Some(said);
            done.then_some(())
        });
    }

    /// What its units have said.
    pub(crate) fn journal(&self) -> String {
        self.said("journalctl --no-pager --lines 60 --output cat --unit 'twindisk*'")
            .out
    }

    /// A file of it, as the test reaches it: below `run`, `srv` and `twindisk`.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// Nothing runs there any more.
    pub(crate) fn lose_power(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let first = PathBuf::from(format!("/proc/{}", self.init));
        eventually("nothing runs there", String::new, || {
            (!first.exists()).then_some(())
        });
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let number = self.unshare.id().to_string();
        // Emptied a moment after the last process; until then there is something to sweep.
        for _ in 0..100 {
            let mut sweep = Command::new("sh");
            sweep
                .args(["-ec", SWEEP, "sweep", &number, self.name])
                .stderr(Stdio::null());
            if sweep.status().is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}
