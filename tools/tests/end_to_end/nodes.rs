//! Nodes in a scratch directory, driven through the command line; every process is ended by its number.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use twindisk_nbd::client::{Client, ConnectOptions};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_twindisk");

/// Everything that is waited for comes within this time or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster in a scratch directory.
pub(crate) struct Cluster {
    pub(crate) dir: tempfile::TempDir,
    /// For the processes of nodes.
    pub(crate) environment: Vec<(&'static str, std::ffi::OsString)>,
    running: Vec<(String, Child)>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Cluster {
    /// With these lines in the table of its one resource, `r0`.
    pub(crate) fn new(nodes: &[&str], resource: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut text =
            "cluster = \"test\"\nsecret = \"0123456789abcdef0123456789abcdef\"\n".to_owned();
        // All ports are held until all are chosen, so that they differ.
        let ports: Vec<TcpListener> = nodes
            .iter()
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        for (index, (node, port)) in nodes.iter().zip(&ports).enumerate() {
            let address = port.local_addr().unwrap();
            text += &format!(
                "[nodes.{node}]\nid = {}\naddress = \"{address}\"\nrun-dir = \"{node}\"\nstate-dir = \"{node}\"\n",
                index + 1
            );
        }
        text += &format!("[resource.r0]\n{resource}\n");
        for node in nodes {
            text += &format!("on.{node} = {{ backing = \"{node}.img\" }}\n");
        }
        fs::write(dir.path().join("twindisk.toml"), text).unwrap();
        Self {
            dir,
            environment: Vec::new(),
            running: Vec::new(),
        }
    }

    /// Two nodes that replicate, alpha primary, beta in sync.
    pub(crate) fn pair(resource: &str) -> Self {
        let mut cluster = Self::new(&["alpha", "beta"], resource);
        cluster.ok("alpha", &["init", "--first", "--size", "32MiB"]);
        cluster.ok("beta", &["init", "--size", "32MiB"]);
        cluster.serve("alpha");
        cluster.serve("beta");
        cluster.ok("alpha", &["promote"]);
        cluster.until_in_sync("alpha");
        cluster
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Changes the configuration.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let path = self.path("twindisk.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Runs a command as a node.
    pub(crate) fn run(&self, node: &str, arguments: &[&str]) -> Said {
        let output = self.command(node, arguments).output().unwrap();
        said(&output)
    }

    /// A command that must work.
    pub(crate) fn ok(&self, node: &str, arguments: &[&str]) -> String {
        let said = self.run(node, arguments);
        assert_eq!(said.code, 0, "{node} {arguments:?}: {said:?}");
        said.out
    }

    /// A command that must be refused; why and what next.
    pub(crate) fn refused(&self, node: &str, arguments: &[&str]) -> String {
        let said = self.run(node, arguments);
        assert_eq!(said.code, 11, "{node} {arguments:?}: {said:?}");
        assert!(said.err.contains("refused: "), "{said:?}");
        assert!(said.err.contains("next: "), "{said:?}");
        said.err
    }

    /// Starts a node and waits until it answers.
    pub(crate) fn serve(&mut self, node: &str) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(&format!("{node}.log")))
            .unwrap();
        let child = self
            .command(node, &["serve"])
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running.push((node.to_owned(), child));
        self.wait_for(node, "its first answer", |cluster| {
            (cluster.run(node, &["status", "--json"]).code == 0).then_some(())
        });
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, node: &str) {
        let mut child = self.take(node);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; it must end well.
    pub(crate) fn stop(&mut self, node: &str) {
        let mut child = self.take(node);
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{node} does not stop\n{}", self.log(node));
            }
            thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{node}: {status}\n{}", self.log(node));
    }

    /// What a node says of `r0`, as JSON.
    pub(crate) fn replica(&self, node: &str) -> Value {
        let text = self.ok(node, &["status", "r0", "--json"]);
        let status: Value = serde_json::from_str(&text).unwrap();
        status["resources"][0]["replica"].clone()
    }

    /// Waits until a node's state is as wanted.
    pub(crate) fn until(&self, node: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_for(node, what, |cluster| {
            let replica = cluster.replica(node);
            wanted(&replica).then_some(replica)
        })
    }

    pub(crate) fn until_in_sync(&self, primary: &str) {
        self.until(primary, "all peers in sync", |replica| {
            let peers = replica["peers"].as_array().unwrap();
            peers.iter().all(|peer| {
                peer["in-sync"] == true
                    && peer["connection"] == "established"
                    && peer["progress"].is_null()
            })
        });
    }

    /// A client of a node's export.
    pub(crate) fn client(&self, node: &str) -> Client {
        let uri = format!(
            "nbd+unix:///r0?socket={}",
            self.path(&format!("{node}/r0.sock")).display()
        );
        let options = ConnectOptions {
            timeout: Some(PATIENCE),
            ..ConnectOptions::default()
        };
        Client::connect(&uri.parse().unwrap(), &options).unwrap()
    }

    pub(crate) fn wait_for<T>(
        &self,
        node: &str,
        what: &str,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "{node} did not come to {what}: {:?}\n{}",
                self.run(node, &["status"]),
                self.log(node)
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn command(&self, node: &str, arguments: &[&str]) -> Command {
        let mut command = clean_command();
        command
            .args(arguments)
            .arg("--config")
            .arg(self.path("twindisk.toml"))
            .args(["--node", node]);
        command
    }

    fn take(&mut self, node: &str) -> Child {
        let index = self.running.iter().position(|(name, _)| name == node);
        self.running.remove(index.unwrap()).1
    }

    fn log(&self, node: &str) -> String {
        fs::read_to_string(self.path(&format!("{node}.log"))).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (node, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
            if thread::panicking() {
                let log = self.dir.path().join(format!("{node}.log"));
                eprintln!(
                    "--- {node}\n{}",
                    fs::read_to_string(log).unwrap_or_default()
                );
            }
        }
    }
}

/// The binary without anything inherited that it would listen to.
pub(crate) fn clean_command() -> Command {
    let mut command = Command::new(BINARY);
    for name in [
        "TWINDISK_CONFIG",
        "TWINDISK_NODE",
        "TWINDISK_LOG",
        "LISTEN_FDS",
        "NOTIFY_SOCKET",
        "LISTEN_PID",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs the binary without a cluster.
pub(crate) fn run(arguments: &[&str]) -> Said {
    said(&clean_command().args(arguments).output().unwrap())
}

pub(crate) fn said(output: &Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Whether two files hold the same.
pub(crate) fn equal(one: &Path, other: &Path) -> bool {
    fs::read(one).unwrap() == fs::read(other).unwrap()
}
