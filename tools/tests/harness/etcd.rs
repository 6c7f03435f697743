//! A real etcd on loopback: one member or three, each a process of its own that comes and goes, and `etcdctl` as its operator.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{
    eventually,
    process::{free_port, signal},
};

/// What a test of it needs.
pub(crate) const PROGRAMS: &[&str] = &["etcd", "etcdctl"];

/// What differs between the tests.
#[derive(Clone, Copy, Default)]
pub(crate) struct Plan {
    /// How many members.
    pub(crate) members: usize,
    /// More arguments of each.
    pub(crate) arguments: &'static [&'static str],
    /// Clients are answered over TLS, by the certificates in the folder.
    pub(crate) tls: bool,
}

impl Plan {
    pub(crate) const ONE: Self = Self::of(1);
    pub(crate) const THREE: Self = Self::of(3);

    const fn of(members: usize) -> Self {
        Self {
            members,
            arguments: &[],
            tls: false,
        }
    }
}

/// The processes with their folder.
pub(crate) struct Etcd {
    folder: tempfile::TempDir,
    plan: Plan,
    /// Of each member: for clients, and for the others.
    ports: Vec<[u16; 2]>,
    running: Vec<Option<Child>>,
}

impl Etcd {
    /// Starts all members, and waits until there is a leader.
    pub(crate) fn start(plan: Plan) -> Self {
        let mut etcd = Self::prepared(plan);
        etcd.run_all();
        etcd
    }

    /// Nothing runs yet.
    pub(crate) fn prepared(plan: Plan) -> Self {
        let held: Vec<_> = (0..2 * plan.members).map(|_| free_port()).collect();
        let port = |at: usize| held[at].local_addr().expect("an address").port();
        let ports = (0..plan.members).map(|member| [port(2 * member), port(2 * member + 1)]);
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            ports: ports.collect(),
            running: (0..plan.members).map(|_| None).collect(),
            plan,
        }
    }

    pub(crate) fn run_all(&mut self) {
        for member in 0..self.plan.members {
            self.run(member);
        }
        self.until_served();
    }

    /// Starts a member again, with what it has on its disk.
    pub(crate) fn run(&mut self, member: usize) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(&format!("m{member}.log")))
            .expect("a log");
        let own = |[client, peer]: [u16; 2]| (self.url(client), format!("http://127.0.0.1:{peer}"));
        let (client, peer) = own(self.ports[member]);
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("m{member}"), "--data-dir"])
            .arg(self.data(member))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.initial()])
            .args(["--log-level", "warn", "--logger", "zap"])
            .args(self.plan.arguments);
        if self.plan.tls {
            for (option, file) in [
                ("--cert-file", "server.pem"),
                ("--key-file", "server.key"),
                ("--trusted-ca-file", "ca.pem"),
            ] {
                command.arg(option).arg(self.path(file));
            }
            command.arg("--client-cert-auth");
        }
        let log_of_errors = log.try_clone().expect("a log");
        let child = command.stdout(log).stderr(log_of_errors).spawn();
        self.running[member] = Some(child.expect("the package etcd-server is installed"));
    }

    /// Waits until a question is answered by a majority.
    pub(crate) fn until_served(&self) {
        eventually(
            "etcd has a leader",
            || self.logs(),
            || self.tried(&["get", "nothing"]).then_some(()),
        );
    }

    /// Kills a member, as a host that loses its power.
    pub(crate) fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.running[member].take() {
            child.kill().expect("it is ours");
            child.wait().expect("it ends");
        }
    }

    pub(crate) fn kill_all(&mut self) {
        for member in 0..self.plan.members {
            self.kill(member);
        }
    }

    /// A process that runs, to be sent a signal.
    pub(crate) fn signal(&self, member: usize, which: nix::sys::signal::Signal) {
        signal(self.running[member].as_ref().expect("it runs"), which);
    }

    /// Which member leads.
    pub(crate) fn leader(&self) -> usize {
        eventually(
            "a member leads",
            || self.logs(),
            || {
                (0..self.plan.members).find(|member| {
                    let mut asked = self.ctl_at(&[self.ports[*member]]);
                    asked.args(["endpoint", "status", "-w", "json"]);
                    let said = asked
                        .output()
                        .expect("the package etcd-client is installed");
                    let said: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
                    let status = &said[0]["Status"];
                    status["leader"].is_u64() && status["leader"] == status["header"]["member_id"]
                })
            },
        )
    }

    /// Where clients ask.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        let ports = self.ports.iter();
        ports.map(|[client, _]| self.url(*client)).collect()
    }

    /// Does something as its operator; what it says.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = self.ctl_at(&self.ports);
        let output = command.args(arguments).output();
        let output = output.expect("the package etcd-client is installed");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}{errors}");
        said
    }

    /// The same as the user `root`, once there are users.
    pub(crate) fn ctl_as_root(&self, arguments: &[&str]) -> String {
        self.ctl(&[&["--user", "root:root"], arguments].concat())
    }

    fn tried(&self, arguments: &[&str]) -> bool {
        let mut command = self.ctl_at(&self.ports);
        command.args(["--command-timeout", "1s"]).args(arguments);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status
            .expect("the package etcd-client is installed")
            .success()
    }

    fn ctl_at(&self, ports: &[[u16; 2]]) -> Command {
        let urls: Vec<String> = ports.iter().map(|[client, _]| self.url(*client)).collect();
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3");
        command.args(["--endpoints", &urls.join(",")]);
        if self.plan.tls {
            for (option, file) in [
                ("--cacert", "ca.pem"),
                ("--cert", "client.pem"),
                ("--key", "client.key"),
            ] {
                command.arg(option).arg(self.path(file));
            }
        }
        command
    }

    /// Saves a snapshot, as a backup does.
    pub(crate) fn save(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        self.ctl(&["snapshot", "save", path.to_str().expect("a path")]);
        path
    }

    /// Restores it in place of what the only member has, with the same names: then all ids are the same, too.
    pub(crate) fn restore(&mut self, snapshot: &Path, token: &str) {
        self.kill(0);
        let data = self.data(0);
        fs::remove_dir_all(&data).expect("it was there");
        let mut command = Command::new("etcdctl");
        let [_, peer] = self.ports[0];
        let output = command
            .env("ETCDCTL_API", "3")
            .args(["snapshot", "restore"])
            .arg(snapshot)
            .args(["--name", "m0", "--data-dir"])
            .arg(&data)
            .args(["--initial-cluster", &self.initial()])
            .args(["--initial-cluster-token", token])
            .args([
                "--initial-advertise-peer-urls",
                &format!("http://127.0.0.1:{peer}"),
            ])
            .output()
            .expect("the package etcd-client is installed");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        self.run(0);
        self.until_served();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn logs(&self) -> String {
        let logs = (0..self.plan.members).map(|member| {
            let text = fs::read_to_string(self.path(&format!("m{member}.log")));
            format!("m{member}:\n{}", text.unwrap_or_default())
        });
        logs.collect()
    }

    fn data(&self, member: usize) -> PathBuf {
        self.path(&format!("m{member}.etcd"))
    }

    fn initial(&self) -> String {
        let all = self.ports.iter().enumerate();
        let each = all.map(|(member, [_, peer])| format!("m{member}=http://127.0.0.1:{peer}"));
        each.collect::<Vec<_>>().join(",")
    }

    fn url(&self, port: u16) -> String {
        let scheme = if self.plan.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{port}")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill_all();
    }
}
