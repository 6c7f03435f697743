//! A device as the kernel shows it, in a folder that stands for /sys/block.

use std::{
    fs,
    io::{self, Write},
    time::Duration,
};

use nix::{
    mount::{MsFlags, mount, umount},
    sched::{CloneFlags, unshare},
};
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::{process::Environment, stack::Programs, state::Io};

struct Scene {
    folder: TempDir,
    attach: Attach,
}

impl Scene {
    /// `twindisk` is a script that keeps the kernel's book.
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let sysfs = folder.path().join("nbd7");
        fs::create_dir(&sysfs).unwrap();
        let script = format!(
            "cd {}; case $1 in attach) echo 1 >pid; echo twindisk:here:$2@4-1f2e3d4c5b6a7988 >backend; echo $* >asked;; detach) rm pid backend; echo $* >asked;; esac",
            sysfs.display()
        );
        let twindisk = ["/bin/sh", "-c", &script, "twindisk"]
            .map(str::to_owned)
            .to_vec();
        let host = Host {
            cluster: "c".to_owned(),
            resource: "r0".to_owned(),
            node: "a".to_owned(),
            run_dir: folder.path().to_owned(),
            term: 0,
            programs: Programs::new(twindisk),
        };
        let mut attach = Attach::new(Path::new("/dev/nbd7"), &host);
        assert_eq!(attach.sysfs, Path::new("/sys/block/nbd7"));
        attach.sysfs = sysfs;
        Self { folder, attach }
    }

    fn run<'a, T>(&'a self, run: impl AsyncFnOnce(&'a Attach, Step<'_>) -> T) -> T {
        let environment = Environment(Vec::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let step = Step {
                environment: &environment,
                until: Instant::now() + Duration::from_secs(30),
                io: Io::Flows,
            };
            run(&self.attach, step).await
        })
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.folder.path().join("nbd7/asked")).unwrap()
    }
}

#[test]
fn attaches_and_detaches_with_the_given_program() {
    let scene = Scene::new();
    assert_eq!(scene.attach.state(), ServiceState::Down);
    scene.run(Attach::start).unwrap();
    assert_eq!(scene.asked(), "attach r0 /dev/nbd7\n");
    assert_eq!(scene.attach.state(), ServiceState::Up);
    scene.run(Attach::stop).unwrap();
    assert_eq!(scene.asked(), "detach /dev/nbd7\n");
    assert_eq!(scene.attach.state(), ServiceState::Down);
}

#[test]
fn leaves_the_device_of_another_resource_alone() {
    let scene = Scene::new();
    let sysfs = scene.folder.path().join("nbd7");
    fs::write(sysfs.join("pid"), "1\n").unwrap();
    fs::write(sysfs.join("backend"), "twindisk:here:other\n").unwrap();
    assert_eq!(scene.attach.state(), ServiceState::Down);
    let error = scene.run(Attach::start).unwrap_err().to_string();
    assert!(error.contains("/dev/nbd7 is attached to other"), "{error}");
    scene.run(Attach::stop).unwrap();
    assert!(!sysfs.join("asked").exists(), "{}", scene.asked());
    // Kernels that do not tell: it must be taken for ours, or a stop would leave it.
    fs::remove_file(sysfs.join("backend")).unwrap();
    assert_eq!(scene.attach.state(), ServiceState::Up);
}

#[test]
fn a_device_that_nobody_supervises_gets_a_supervisor() {
    let scene = Scene::new();
    let asked = scene.folder.path().join("nbd7/asked");
    scene.run(Attach::tend).unwrap();
    assert!(!asked.exists(), "it is not attached");
    scene.run(Attach::start).unwrap();
    fs::remove_file(&asked).unwrap();

    let supervision = Supervision::take(scene.folder.path(), 7).unwrap();
    scene.run(Attach::tend).unwrap();
    assert!(!asked.exists(), "somebody does");
    drop(supervision);
    scene.run(Attach::tend).unwrap();
    assert_eq!(scene.asked(), "attach r0 /dev/nbd7\n");

    // That of another resource is its business.
    fs::remove_file(&asked).unwrap();
    let backend = scene.folder.path().join("nbd7/backend");
    fs::write(backend, "twindisk:here:other@4-1f2e3d4c5b6a7988\n").unwrap();
    scene.run(Attach::tend).unwrap();
    assert!(!asked.exists());
}

#[test]
fn does_not_detach_beneath_a_mount() {
    if !nix::unistd::geteuid().is_root() {
        // Past the test harness, which shows nothing of tests that pass.
        let text = b"SKIPPED does_not_detach_beneath_a_mount: needs root for a mount namespace\n";
        io::stderr().write_all(text).unwrap();
        return;
    }
    let scene = Scene::new();
    scene.run(Attach::start).unwrap();
    let mounted_on = scene.folder.path().join("mnt");
    fs::create_dir(&mounted_on).unwrap();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(
        Some("/dev/nbd7"),
        &mounted_on,
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )
    .unwrap();
    let error = scene.run(Attach::stop).unwrap_err().to_string();
    let expected = format!(
        "/dev/nbd7 is in use by the filesystem on {}",
        mounted_on.display()
    );
    assert_eq!(error, expected);
    assert_eq!(scene.attach.state(), ServiceState::Up);
    umount(&mounted_on).unwrap();
    scene.run(Attach::stop).unwrap();
}
