//! A PostgreSQL server's data directory for a test, and who uses it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use twindisk_services::Stack;

use crate::support::{LONG, Scene, until};

/// A database of its own, whose clients come over a socket beside it.
pub(crate) struct Database {
    pub(crate) scene: Scene,
    pub(crate) bin: PathBuf,
}

/// Its programs, the newest ones. `None`: not here, or nobody may become another user.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let numbers = versions
        .flatten()
        .filter_map(|one| one.file_name().to_str()?.parse::<u32>().ok());
    let bin = PathBuf::from(format!(
        "/usr/lib/postgresql/{}/bin",
        numbers.max().unwrap_or(0)
    ));
    let here = bin.join("initdb").exists() && geteuid().is_root();
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(
        here || !ci,
        "CI=true, and PostgreSQL's server or root is missing"
    );
    if !here {
        println!("NOT TESTED: this needs PostgreSQL's server, and root");
    }
    here.then_some(bin)
}

/// As the user that servers run as.
pub(crate) fn as_postgres(words: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=postgres",
        "--regid=postgres",
        "--init-groups",
        "--",
    ]);
    command.args(words).current_dir("/");
    command
}

/// A file becomes one of the server's user.
pub(crate) fn give(path: &Path) {
    let postgres = User::from_name("postgres").unwrap().unwrap();
    let (uid, gid) = (postgres.uid.as_raw(), postgres.gid.as_raw());
    chown(path, Some(uid), Some(gid)).unwrap();
}

impl Database {
    pub(crate) fn new() -> Option<Self> {
        let bin = programs()?;
        let scene = Scene::new();
        fs::set_permissions(scene.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, mode) in [("data", 0o700), ("sock", 0o755), ("logs", 0o755)] {
            let path = scene.path(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            give(&path);
        }
        let database = Self { scene, bin };
        let [initdb, data] = [database.bin.join("initdb"), database.data()];
        let made = as_postgres(&[initdb.to_str().unwrap(), "-D", data.to_str().unwrap()])
            .args(["--auth=trust", "--no-sync"])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let conf = data.join("postgresql.conf");
        let mut text = fs::read_to_string(&conf).unwrap();
        let sock = database.scene.path("sock");
        text += &format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nshared_buffers = 4MB\nmax_wal_senders = 0\n",
            sock.display()
        );
        fs::write(&conf, text).unwrap();
        Some(database)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.scene.path("data")
    }

    pub(crate) fn stack(&self, more: &str) -> Stack {
        self.scene.stack(&format!(
            "{{ postgresql = 'DIR/data', user = 'postgres', log = 'DIR/logs/log'{more} }}"
        ))
    }

    /// The first line of its lock file.
    pub(crate) fn postmaster(&self) -> i32 {
        let lock = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        lock.lines().next().unwrap().parse().unwrap()
    }

    /// Those of the server's processes whose title has these words.
    pub(crate) fn processes(&self, title: &str) -> Vec<i32> {
        let data = fs::metadata(self.data()).unwrap().ino();
        let all = fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|one| one.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let exe = fs::read_link(format!("/proc/{pid}/exe"));
            let works = fs::metadata(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.ino() == data);
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            works && line.contains(title) && exe.is_ok_and(|exe| exe.ends_with("postgres"))
        })
        .collect()
    }

    fn psql(&self) -> Command {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args([
            "-X", "-q", "-A", "-t", "-U", "postgres", "-d", "postgres", "-h",
        ])
        .arg(self.scene.path("sock"))
        .stdin(Stdio::null());
        psql
    }

    pub(crate) fn ask(&self, sql: &str) -> String {
        let output = self.psql().args(["-c", sql]).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A client in the middle of something, and the server's process for it.
    pub(crate) async fn client(&self) -> (Session, i32) {
        let mut psql = self.psql();
        psql.args(["-c", "select pg_sleep(1000)"])
            .stderr(Stdio::null());
        let session = Session(psql.spawn().unwrap());
        until("a client is at work", || {
            !self.processes("SELECT").is_empty()
        })
        .await;
        let backend = self.processes("SELECT")[0];
        (session, backend)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let deadline = Instant::now() + LONG;
        while !self.processes("").is_empty() && Instant::now() < deadline {
            for pid in self.processes("") {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A client that ends with the test.
pub(crate) struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
