//! What the tests share: stacks from text, a runtime as the agent has it, waiting, namespaces that vanish.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    unistd::geteuid,
};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::task::LocalSet;
use twindisk_services::{Host, Programs, Role, ServiceState, Stack, config::Services};

/// Far more than anything here takes on a loaded machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    folder: TempDir,
}

#[derive(Deserialize)]
struct Written {
    services: Services,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// DIR in the text stands for this scene's folder.
    pub(crate) fn stack(&self, services: &str) -> Stack {
        self.stack_with(services, |_| {})
    }

    pub(crate) fn stack_with(&self, services: &str, change: impl FnOnce(&mut Programs)) -> Stack {
        let folder = self.folder.path().to_str().unwrap();
        let text = format!("services = [{services}]").replace("DIR", folder);
        let file: Written = toml::from_str(&text).unwrap();
        let mut programs = Programs::new(vec!["/no/such/twindisk".to_owned()]);
        change(&mut programs);
        let host = Host {
            cluster: "test".to_owned(),
            resource: "r0".to_owned(),
            node: "alpha".to_owned(),
            run_dir: self.folder.path().to_owned(),
            term: 0,
            programs,
        };
        Stack::new(&file.services, host)
    }

    pub(crate) fn script(&self, name: &str, text: &str) {
        let text = text.replace("DIR", self.folder.path().to_str().unwrap());
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        tool("chmod", &["+x", path.to_str().unwrap()]);
    }

    /// The lines that scripts have written since the last time.
    pub(crate) fn told(&self) -> Vec<String> {
        let log = self.path("log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(log);
        text.lines().map(str::to_owned).collect()
    }
}

/// On one thread, beside tasks that are not `Send`: as in the agent.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, future)
}

pub(crate) async fn states(stack: &Stack) -> Vec<ServiceState> {
    let lines = stack.status(Role::Primary).await;
    lines.into_iter().map(|line| line.state).collect()
}

/// Lets the runtime go on until it is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A process that is there and no zombie.
pub(crate) fn alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

/// Runs a tool that must succeed.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs `test` on a thread with mounts and a network of its own. They vanish with it, however it ends.
pub(crate) fn isolated(name: &str, test: impl FnOnce() + Send) {
    if !geteuid().is_root() {
        // Past the test harness, which shows nothing of tests that pass.
        let text = format!("SKIPPED {name}: needs root for namespaces of its own\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        return;
    }
    on_a_thread(|| {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount_tmpfs("run", Path::new("/run"));
        test();
    });
}

pub(crate) fn mount_tmpfs(source: &str, path: &Path) {
    let none: Option<&str> = None;
    mount(Some(source), path, Some("tmpfs"), MsFlags::empty(), none).unwrap();
}

/// Runs on a thread inside a network namespace that `ip netns add` has made.
pub(crate) fn inside<T: Send>(namespace: &str, run: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    on_a_thread(|| {
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
        run()
    })
}

fn on_a_thread<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(run).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
