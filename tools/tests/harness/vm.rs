//! Machines with a kernel of their own, User Mode Linux: booted in seconds, unplugged by SIGKILL. See `tools/vm`.

use std::{
    fs,
    net::UdpSocket,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::{LOOK, eventually, process::program};

/// Programs that machines need on the host.
pub(crate) const PROGRAMS: &[&str] = &["linux.uml", "busybox", "ip", "cc"];

/// Where the Debian package puts the modules, in a folder named by the version.
const MODULES: &str = "/usr/lib/uml/modules";

/// What is loaded before the kernel's own libraries, in the folder of the machines.
const PRELOAD: &str = "xstate.so";

/// Machines that share a folder and, if there are two, a link.
pub(crate) struct Lab {
    pub(crate) machines: Vec<Machine>,
    dir: tempfile::TempDir,
}

/// One machine.
pub(crate) struct Machine {
    number: usize,
    disks: usize,
    job: PathBuf,
    modules: PathBuf,
    link: Option<Link>,
    process: Option<Child>,
    boots: u32,
    scripts: std::cell::Cell<u32>,
}

/// The two ends of the wire, as UDP ports on loopback.
#[derive(Clone, Copy)]
struct Link {
    mine: u16,
    theirs: u16,
}

/// A script under way in a machine.
#[derive(Debug)]
pub(crate) struct Job(PathBuf);

impl Lab {
    /// Makes one or two machines, each with disks of these sizes, without power.
    pub(crate) fn new(count: usize, disks: &[u64]) -> Self {
        assert!((1..=2).contains(&count), "one or two machines");
        let dir = tempfile::Builder::new()
            .prefix("twindisk-vm-")
            .tempdir()
            .expect("a scratch directory");
        fs::create_dir(dir.path().join("shared")).expect("a folder");
        let modules = fs::read_dir(MODULES)
            .and_then(|mut versions| versions.next().expect("the package has modules"))
            .expect("the package user-mode-linux has modules")
            .path();
        let ports = free_udp_ports();
        compile_preload(dir.path());
        let machines = (1..=count)
            .map(|number| {
                for (index, bytes) in disks.iter().enumerate() {
                    let disk = fs::File::create(disk(dir.path(), number, index)).expect("a disk");
                    disk.set_len(*bytes).expect("room for it");
                }
                let link = (count == 2).then(|| Link {
                    mine: ports[number - 1],
                    theirs: ports[2 - number],
                });
                Machine {
                    number,
                    disks: disks.len(),
                    job: dir.path().to_owned(),
                    modules: modules.clone(),
                    link,
                    process: None,
                    boots: 0,
                    scripts: 0.into(),
                }
            })
            .collect();
        Self { machines, dir }
    }

    /// A folder that the host and all machines see, there as `/job/shared`.
    pub(crate) fn shared(&self) -> PathBuf {
        self.dir.path().join("shared")
    }

    /// Writes what its machines' scripts can call, see [`Machine::call`], and the nodes' configuration.
    pub(crate) fn prepare(&self, configuration: &str, functions: &str) {
        let shared = self.shared();
        fs::write(shared.join("twindisk.toml"), configuration).expect("a file");
        let common = include_str!("../../vm/functions");
        let text = format!("PROGRAM={}\n{common}\n{functions}", program().display());
        fs::write(shared.join("functions"), text).expect("a file");
    }

    /// The file that is one of a machine's disks, counted from 0: `/dev/ubda`, `/dev/ubdb` and so on.
    pub(crate) fn disk(&self, number: usize, index: usize) -> PathBuf {
        disk(self.dir.path(), number, index)
    }
}

/// The configuration of two nodes, alpha and beta, in one machine; `members` say what is beneath each.
pub(crate) fn pair_configuration(members: [String; 2]) -> String {
    let [alpha, beta] = members;
    format!(
        r#"
cluster = "machine"
secret = "0123456789abcdef0123456789abcdef"

[nodes.alpha]
id = 1
address = "127.0.0.1:7801"
run-dir = "/run/twindisk/alpha"
state-dir = "/var/lib/twindisk/alpha"

[nodes.beta]
id = 2
address = "127.0.0.1:7802"
run-dir = "/run/twindisk/beta"
state-dir = "/var/lib/twindisk/beta"

[resource.r0]
client-buffers = "64MiB"
peer-buffers = "32MiB"
flush-interval = "5s"
on.alpha = {{ {alpha} }}
on.beta = {{ {beta} }}
"#
    )
}

fn disk(dir: &Path, number: usize, index: usize) -> PathBuf {
    dir.join(format!("disk{number}.{index}"))
}

/// Makes what the kernel needs on processors with AMX, and what changes nothing on others: `tools/vm/xstate.c` says why.
fn compile_preload(dir: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("vm/xstate.c");
    let compiled = super::programs::command("cc")
        .args(["-shared", "-fPIC", "-O2", "-o"])
        .args([&dir.join(PRELOAD), &source])
        .output()
        .expect("cc runs");
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
}

fn free_udp_ports() -> [u16; 2] {
    // Held together, so that they differ.
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a free port"));
    sockets.map(|socket| socket.local_addr().expect("it is bound").port())
}

impl Machine {
    /// Boots; returns at once.
    pub(crate) fn power_on(&mut self) {
        assert!(self.process.is_none(), "it has power");
        self.boots += 1;
        self.scripts.set(0);
        let folder = self.folder();
        fs::create_dir(&folder).expect("a folder");
        let console = fs::File::create(self.console()).expect("a file");
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("vm");
        let mut kernel = Command::new("linux.uml");
        kernel
            .env("LD_PRELOAD", self.job.join(PRELOAD))
            .arg(format!("umid={}", self.name()))
            .arg(format!("uml_dir={}/", self.job.display()))
            .args(["mem=768M", "rootfstype=hostfs", "rootflags=/", "ro"])
            .args(["con=null", "con0=null,fd:1", "ssl=null", "panic=1"])
            .arg(format!("init={}/init", home.display()))
            .args((0..self.disks).map(|index| {
                format!(
                    "ubd{index}={}",
                    disk(&self.job, self.number, index).display()
                )
            }))
            .arg(format!("vm.home={}", home.display()))
            .arg(format!("vm.job={}", self.job.display()))
            .arg(format!("vm.dir={}", self.name()))
            .arg(format!("vm.modules={}", self.modules.display()))
            .arg(format!("vm.node={}", self.number));
        if let Some(Link { mine, theirs }) = self.link {
            let (me, it) = (0x7700 + self.number, 0x7703 - self.number);
            kernel.arg(format!(
                "vec0:transport=l2tpv3,udp=1,src=127.0.0.1,dst=127.0.0.1,srcport={mine},dstport={theirs},\
                 tx_session={me:#x},rx_session={it:#x},depth=128,mtu=9100"
            ));
        }
        let process = kernel
            .stdin(Stdio::null())
            .stderr(console.try_clone().expect("a file"))
            .stdout(console)
            // It has helpers, which must go with it.
            .process_group(0)
            .spawn()
            .expect("linux.uml runs");
        self.process = Some(process);
    }

    /// Waits until it has booted.
    pub(crate) fn until_ready(&mut self) {
        let ready = self.folder().join("ready");
        let console = self.console();
        let process = self.process.as_mut().expect("it has power");
        eventually(
            "the machine boots",
            || text(&console),
            || {
                let ended = process.try_wait().expect("it is ours");
                assert!(
                    ended.is_none(),
                    "it went off: {ended:?}\n{}",
                    text(&console)
                );
                ready.exists().then_some(())
            },
        );
    }

    /// The plug is pulled: nothing is written, said or closed.
    pub(crate) fn cut_power(&mut self) {
        if let Some(group) = self.group() {
            // Gone already is gone as well.
            let _ = killpg(group, Signal::SIGKILL);
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
    }

    /// What its power hangs on, if it has any: the group of its processes.
    pub(crate) fn group(&self) -> Option<Pid> {
        let process = self.process.as_ref()?;
        let id = process.id().try_into();
        Some(Pid::from_raw(id.expect("process numbers are small")))
    }

    /// Goes down in good order.
    pub(crate) fn shut_down(&mut self) {
        fs::write(self.folder().join("off"), "").expect("a file");
        let process = self.process.as_mut().expect("it has power");
        eventually("the machine goes off", String::new, || {
            process.try_wait().expect("it is ours")
        });
        self.cut_power();
    }

    /// Starts a script.
    pub(crate) fn start(&self, script: &str) -> Job {
        let number = self.scripts.get();
        self.scripts.set(number + 1);
        let path = self.folder().join(number.to_string());
        fs::write(path.with_extension("sh"), script).expect("a script");
        fs::write(path.with_extension("go"), "").expect("a file");
        Job(path)
    }

    /// Runs a script to its end, which must be a good one; what it printed.
    pub(crate) fn run(&mut self, script: &str) -> String {
        let job = self.start(script);
        let console = self.console();
        let process = self.process.as_mut().expect("it has power");
        let deadline = Instant::now() + MOST;
        let code = loop {
            if let Some(code) = job.ended() {
                break code;
            }
            let ended = process.try_wait().expect("it is ours");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "machine {}: {script}\ndid not end ({ended:?}):\n{}\n{}",
                self.number,
                job.output(),
                text(&console)
            );
            std::thread::sleep(LOOK);
        };
        assert_eq!(
            code,
            0,
            "machine {}: {script}\n{}",
            self.number,
            job.output()
        );
        job.output()
    }

    /// Runs a script that knows the functions of [`Lab::prepare`].
    pub(crate) fn call(&mut self, script: &str) -> String {
        self.run(&format!("{FUNCTIONS}{script}"))
    }

    /// Starts a script that knows them.
    pub(crate) fn start_call(&self, script: &str) -> Job {
        self.start(&format!("{FUNCTIONS}{script}"))
    }

    /// When it was booted. A reset clears its folder first.
    pub(crate) fn booted(&self) -> Option<SystemTime> {
        let ready = fs::metadata(self.folder().join("ready")).ok()?;
        ready.modified().ok()
    }

    fn name(&self) -> String {
        format!("machine{}.boot{}", self.number, self.boots)
    }

    fn folder(&self) -> PathBuf {
        self.job.join(self.name())
    }

    /// What its kernel says. Beside its folder, which the kernel clears when it boots.
    fn console(&self) -> PathBuf {
        self.job.join(format!("{}.console", self.name()))
    }
}

/// What is in a file, if there is one.
fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

const FUNCTIONS: &str = ". /job/shared/functions\n";

/// How long a script of [`Machine::run`] may take.
const MOST: Duration = Duration::from_secs(120);

impl Drop for Machine {
    fn drop(&mut self) {
        self.cut_power();
    }
}

impl Job {
    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<i32> {
        let text = fs::read_to_string(self.0.with_extension("rc")).ok()?;
        Some(text.trim().parse().expect("an exit code"))
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        text(&self.0.with_extension("out"))
    }
}
