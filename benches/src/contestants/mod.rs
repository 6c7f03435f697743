//! Who is compared: servers on this machine, each with files of its own.

mod neighbours;
pub mod pair;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    build::Build,
    control,
    failure::{Failure, Result, Trying},
    fill,
    fio::{self, Target},
    house::Process,
    loads::Load,
    machine,
    network::Network,
};

/// A kind of contestant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The file itself.
    Bare,
    /// Two files at once: what one disk that carries both halves leaves to any mirror.
    TwoFiles,
    /// `qemu-nbd`, as it comes.
    QemuNbd,
    /// nbdkit's file plugin, as it comes.
    Nbdkit,
    /// QEMU's quorum over a file and nbdkit, as both come.
    Quorum,
    /// QEMU's quorum past the page caches; the remote half is `qemu-nbd`, since nbdkit has no `O_DIRECT`.
    QuorumDirect,
    /// Protocol C, direct I/O: Twindisk as it comes.
    Twindisk,
    /// Protocol C through the page caches, with as much in volatile memory as quorum.
    Cached,
    /// The same two with TLS between the nodes, which on loopback is not the default.
    Tls,
    /// See there.
    CachedTls,
    /// Protocol B.
    B,
    /// Protocol A.
    A,
    /// The standby has left in good order.
    Alone,
    /// The standby is brought up to date meanwhile.
    Resync,
}

/// In the order of tables.
pub const KINDS: &[Kind] = &[
    Kind::Bare,
    Kind::TwoFiles,
    Kind::QemuNbd,
    Kind::Nbdkit,
    Kind::Quorum,
    Kind::QuorumDirect,
    Kind::Cached,
    Kind::Twindisk,
    Kind::CachedTls,
    Kind::Tls,
    Kind::B,
    Kind::A,
    Kind::Alone,
    Kind::Resync,
];

impl Kind {
    /// In tables and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::TwoFiles => "two-files",
            Self::QemuNbd => "qemu-nbd",
            Self::Nbdkit => "nbdkit",
            Self::Quorum => "quorum",
            Self::QuorumDirect => "quorum-direct",
            Self::Twindisk => "twindisk",
            Self::Cached => "twindisk-cached",
            Self::Tls => "twindisk-tls",
            Self::CachedTls => "twindisk-cached-tls",
            Self::B => "twindisk-b",
            Self::A => "twindisk-a",
            Self::Alone => "twindisk-alone",
            Self::Resync => "twindisk-resync",
        }
    }

    /// What it is, and where a write that it acknowledged is.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Bare => "the file itself, io_uring, O_DIRECT: with one disk",
            Self::TwoFiles => {
                "the same load on two files of the disk at once, nothing between them: what the disk leaves to a mirror; an operation is a write of each"
            }
            Self::QemuNbd => "qemu-nbd -f raw, one copy: in a page cache",
            Self::Nbdkit => "nbdkit file, one copy: in a page cache",
            Self::Quorum => "qemu's quorum over a file and nbdkit over TCP: in two page caches",
            Self::QuorumDirect => {
                "the same past the page caches (qemu-nbd over TCP): with both disks"
            }
            Self::Twindisk => "protocol C, io = \"direct\": with both disks",
            Self::Cached => "protocol C, io = \"cached\", flush-interval 30 s: in two page caches",
            Self::Tls => "protocol C, direct, TLS between the nodes: with both disks",
            Self::CachedTls => "protocol C, cached, TLS between the nodes: in two page caches",
            Self::B => "protocol B, direct: with one disk, and received and verified by the peer",
            Self::A => "protocol A, direct: with one disk, and handed to the connection",
            Self::Alone => "direct, the standby has left: with one disk",
            Self::Resync => {
                "protocol C, direct, the whole device being resynced meanwhile: with both disks"
            }
        }
    }

    /// Whether a build of Twindisk is behind it.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        match self {
            Self::Twindisk
            | Self::Cached
            | Self::Tls
            | Self::CachedTls
            | Self::B
            | Self::A
            | Self::Alone
            | Self::Resync => true,
            Self::Bare
            | Self::TwoFiles
            | Self::QemuNbd
            | Self::Nbdkit
            | Self::Quorum
            | Self::QuorumDirect => false,
        }
    }

    /// Whether it takes part in a load. A mirror reads one copy: what a disk leaves to its reads is what `bare` shows.
    #[must_use]
    pub fn does(self, load: &Load) -> bool {
        self != Self::TwoFiles || !load.reads()
    }

    /// # Errors
    /// When there is none of this name.
    pub fn named(name: &str) -> Result<Self> {
        let found = KINDS.iter().find(|kind| kind.name() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = KINDS.iter().map(|kind| kind.name()).collect();
            let names = names.join(", ");
            Failure(format!(
                "no contestant is called {name:?}: there are {names}"
            ))
        })
    }
}

/// A contestant that runs.
#[derive(Debug)]
pub struct Contestant {
    /// In tables.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where its clients go.
    pub target: Target,
    /// Its servers: first the one that clients talk to, then the remote half.
    pub processes: Vec<Process>,
    /// All its files of data.
    pub images: Vec<PathBuf>,
    /// The primary's control socket, of ours.
    control: Option<PathBuf>,
}

/// How much of a turn the resync took part in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resynced {
    /// From 0 to 1.
    pub share: f64,
    /// Of the device that were done when the turn was over.
    pub mib: f64,
}

impl Contestant {
    /// Fills its files and starts it, in a new directory of `parent`.
    ///
    /// # Errors
    /// When something does not come up.
    pub fn start(kind: Kind, build: Option<&Build>, parent: &Path, mib: u64) -> Result<Self> {
        let name = match build {
            Some(build) if !build.label.is_empty() => format!("{}@{}", kind.name(), build.label),
            _ => kind.name().to_owned(),
        };
        let dir = parent.join(&name);
        fs::create_dir(&dir).trying(dir.display())?;
        let place = Place { dir: &dir, mib };
        match (kind, build) {
            (Kind::Bare | Kind::TwoFiles, _) => neighbours::files(kind, &place),
            (Kind::QemuNbd | Kind::Nbdkit, _) => neighbours::single(kind, &place),
            (Kind::Quorum | Kind::QuorumDirect, _) => {
                neighbours::quorum(kind, &place, &Network::loopback())
            }
            (_, Some(build)) => ours(kind, build, &place),
            (_, None) => Err(Failure(format!("{name} needs a build of Twindisk"))),
        }
        .map(|contestant| Self { name, ..contestant })
    }

    /// Starts QEMU's quorum over two ends of a network, in `dir`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn quorum_over(network: &Network, dir: &Path, mib: u64) -> Result<Self> {
        neighbours::quorum(Kind::Quorum, &Place { dir, mib }, network)
    }

    /// Runs a turn. What must be as it was for everyone is made so first: for a resync, that there is something to do.
    ///
    /// # Errors
    /// What `turn` says, or that the contestant is not what it should be any more.
    pub fn during<T>(
        &self,
        plan: &fio::Plan<'_>,
        turn: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Option<Resynced>)> {
        let (Kind::Resync, Some(socket)) = (self.kind, &self.control) else {
            return Ok((turn()?, None));
        };
        self.begin_resync(socket, plan.mib, plan.dir)?;
        let over = AtomicBool::new(false);
        let (ran, resynced) = thread::scope(|scope| {
            let watch = scope.spawn(|| watch_resync(socket, &over));
            let ran = turn();
            over.store(true, Ordering::Relaxed);
            (ran, watch.join())
        });
        let resynced =
            resynced.map_err(|_| Failure("the watch over a resync panicked".to_owned()))?;
        // Nobody pays for another's resync.
        pair::until_in_sync(socket)?;
        Ok((ran?, Some(resynced)))
    }

    /// How long a resync of the whole device takes, of a contestant that is resynced, when nothing else is done.
    ///
    /// # Errors
    /// When it is another one, or the resync does not end.
    pub fn resync_to_the_end(&self, mib: u64, dir: &Path) -> Result<Duration> {
        let none = || Failure(format!("{} is not resynced", self.name));
        let socket = self.control.as_ref().ok_or_else(none)?;
        self.begin_resync(socket, mib, dir)?;
        let began = Instant::now();
        pair::until_in_sync(socket)?;
        Ok(began.elapsed())
    }

    /// The standby leaves, everything is written, the standby comes back.
    fn begin_resync(&self, socket: &Path, mib: u64, dir: &Path) -> Result<()> {
        control::tell(socket, "disconnect", pair::RESOURCE, &json!({}))?;
        fio::overwrite(&self.target, mib, dir)?;
        control::tell(socket, "connect", pair::RESOURCE, &json!({}))?;
        until_resyncing(socket)
    }

    /// Writes out what the page cache holds of it.
    ///
    /// # Errors
    /// When that can't be done.
    pub fn write_out(&self) -> Result<()> {
        fill::write_out(self.images.iter().map(PathBuf::as_path))
    }
}

/// Where a contestant is put.
struct Place<'a> {
    dir: &'a Path,
    mib: u64,
}

impl Place<'_> {
    /// A filled file.
    fn image(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fill::random(&path, self.mib, 1)?;
        Ok(path)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }
}

fn ours(kind: Kind, build: &Build, place: &Place<'_>) -> Result<Contestant> {
    let mut plan = pair::Plan::new(&build.program);
    plan.tls = matches!(kind, Kind::Tls | Kind::CachedTls);
    match kind {
        Kind::Cached | Kind::CachedTls => {
            plan.io = "cached";
            plan.resource.push_str("flush-interval = \"30s\"\n");
        }
        Kind::B => plan.protocol = "B",
        Kind::A => plan.protocol = "A",
        _ => {}
    }
    let images = vec![place.image("alpha-r0.img")?, place.image("beta-r0.img")?];
    let pair = pair::start(plan, place.dir)?;
    let control = pair.control(pair::ALPHA);
    if kind == Kind::Alone {
        control::tell(&control, "disconnect", pair::RESOURCE, &json!({}))?;
    }
    Ok(Contestant {
        name: String::new(),
        kind,
        target: Target::Nbd(pair.uri(pair::ALPHA)),
        processes: pair.into_processes(),
        images,
        control: Some(control),
    })
}

fn until_resyncing(socket: &Path) -> Result<()> {
    crate::house::until("the resync", &mut [], || {
        progress(socket)
            .map(|_| ())
            .or_else(|| in_sync(socket).then_some(()))
    })
}

fn in_sync(socket: &Path) -> bool {
    control::status(socket, pair::RESOURCE).is_some_and(|status| pair::is_in_sync(&status))
}

/// MiB that are done, while a resync runs.
fn progress(socket: &Path) -> Option<f64> {
    let status = control::status(socket, pair::RESOURCE)?;
    let progress = control::peer(&status)?.get("progress")?;
    Some(progress.get("done-bytes")?.as_f64()? / f64::from(1 << 20))
}

fn watch_resync(socket: &Path, over: &AtomicBool) -> Resynced {
    let (mut looks, mut running, mut mib) = (0, 0, 0.0);
    while !over.load(Ordering::Relaxed) {
        looks += 1;
        if let Some(done) = progress(socket) {
            running += 1;
            mib = done;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let share = f64::from(running) / f64::from(looks.max(1));
    Resynced { share, mib }
}

/// What takes part, with versions.
///
/// # Errors
/// When a program is missing.
pub fn programs(builds: &[Build], kinds: &[Kind]) -> Result<Vec<String>> {
    let mut programs = vec![fio::version()?];
    for (program, users) in [
        (
            "qemu-storage-daemon",
            &[Kind::Quorum, Kind::QuorumDirect][..],
        ),
        ("qemu-nbd", &[Kind::QemuNbd, Kind::QuorumDirect]),
        ("nbdkit", &[Kind::Nbdkit, Kind::Quorum]),
    ] {
        if users.iter().any(|user| kinds.contains(user)) {
            let version = machine::version(program);
            programs.push(version.ok_or_else(|| {
                Failure(format!(
                    "{program} is missing (Debian: fio nbdkit qemu-utils)"
                ))
            })?);
        }
    }
    for build in builds {
        programs.push(build.describe()?);
    }
    Ok(programs)
}

/// TCP ports on loopback that nobody listens at.
///
/// # Errors
/// When there is none.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    // All are held until all are chosen, so that they differ.
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0"));
    let held: Vec<TcpListener> = held.collect::<std::io::Result<_>>().trying("a free port")?;
    let ports = held.iter().map(|port| Ok(port.local_addr()?.port()));
    ports.collect::<std::io::Result<_>>().trying("a free port")
}
