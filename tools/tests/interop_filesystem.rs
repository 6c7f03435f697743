//! A real filesystem on a replicated device, without kernel modules: nbdfuse, a loop device, ext4. Its primary is killed
//! in the middle of a copy; what was there at the last sync is there after the promotion.

mod harness;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use harness::{
    PATIENCE,
    cluster::{ALPHA, BETA, Cluster},
    eventually,
    process::pause,
    programs::{command, have, have_loop_and_fuse, output, run},
    random::{Random, seed},
};

const PROGRAMS: &[&str] = &[
    "nbdfuse",
    "fusermount3",
    "losetup",
    "mkfs.ext4",
    "e2fsck",
    "mount",
    "umount",
    "cp",
];

#[test]
fn what_was_synced_outlives_the_primary() {
    if !have(PROGRAMS) || !have_loop_and_fuse() {
        return;
    }
    let mut random = Random::new(seed("TWINDISK_FILESYSTEM_SEED"));
    let mut cluster = Cluster::pair("256MiB", "");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");

    let mut device = Device::attach(&cluster.path("device"), &cluster.uri_text(ALPHA));
    run("mkfs.ext4", &["-q", "-F", &device.path()]);
    device.mount();
    for folder in ["nbd", "replicator", "tools"] {
        let (from, to) = (sources.join(folder), device.root().join(folder));
        copy_tree(&from, &to);
    }
    sync(&device.root());
    let synced = tree(&device.root());
    assert!(synced.len() > 100, "{} files", synced.len());

    // Files that are being written when it happens: only those that were synced one by one are promised.
    let root = device.root().join("unsynced");
    let promised = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_until_it_fails(&sources.join("replicator"), &root));
        pause(
            &mut random,
            Duration::from_millis(50),
            Duration::from_millis(1500),
        );
        cluster.kill(ALPHA);
        writer.join().expect("the writer")
    });
    device.abandon();

    cluster.fail_over(ALPHA, BETA);
    let mut device = Device::attach(&cluster.path("device-after"), &cluster.uri_text(BETA));
    // The journal is replayed by the mount; before it the filesystem is only as clean as after a loss of power.
    device.mount();
    let found = tree(&device.root());
    for (path, content) in &synced {
        assert!(
            found.get(path) == Some(content),
            "{} is not as it was at the last sync",
            path.display()
        );
    }
    for (path, content) in &promised {
        let path = Path::new("unsynced").join(path);
        assert!(
            found.get(&path) == Some(content),
            "{} was synced, and is not as it was",
            path.display()
        );
    }
    println!(
        "{} files were synced, {} more one by one while the primary died: all are there",
        synced.len(),
        promised.len()
    );
    device.unmount();
    run("e2fsck", &["-fn", &device.path()]);

    // It is a filesystem to work with, and the other node follows.
    device.mount();
    fs::write(device.root().join("later"), "written after the fail-over").expect("a file");
    cluster.serve(ALPHA);
    cluster.until_in_sync(BETA);
    device.detach();
    cluster.ok(BETA, &["demote"]);
    cluster.compare_images();
}

/// A replicated device as a block device of this host.
struct Device {
    dir: PathBuf,
    nbdfuse: Child,
    device: Option<String>,
    mounted: bool,
}

impl Device {
    fn attach(dir: &Path, uri: &str) -> Self {
        for folder in ["fuse", "root"] {
            fs::create_dir_all(dir.join(folder)).expect("a mount point");
        }
        let nbdfuse = command("nbdfuse")
            .arg("-C4")
            .arg(dir.join("fuse/disk"))
            .arg(uri)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nbdfuse runs");
        let mut device = Self {
            dir: dir.to_owned(),
            nbdfuse,
            device: None,
            mounted: false,
        };
        let disk = dir.join("fuse/disk");
        eventually("nbdfuse has mounted", String::new, || {
            disk.exists().then_some(())
        });
        let options = ["--find", "--show", "--direct-io=on"].map(OsStr::new);
        let found = run("losetup", &[&options[..], &[disk.as_os_str()]].concat());
        device.device = Some(found.trim().to_owned());
        device
    }

    fn path(&self) -> String {
        self.device.clone().expect("it is attached")
    }

    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    fn mount(&mut self) {
        let root = self.root();
        run("mount", &[OsStr::new(&self.path()), root.as_os_str()]);
        self.mounted = true;
    }

    fn unmount(&mut self) {
        run("umount", &[self.root()]);
        self.mounted = false;
    }

    fn detach(mut self) {
        self.unmount();
        self.take_down();
    }

    /// Its server is dead: whatever is left of it is thrown away.
    fn abandon(mut self) {
        // Writes back what it can, which is nothing.
        let _ = output("umount", &[self.root()], PATIENCE);
        self.mounted = false;
        self.take_down();
    }

    fn take_down(&mut self) {
        if self.mounted {
            let _ = command("umount").arg("-l").arg(self.root()).output();
            self.mounted = false;
        }
        if let Some(device) = self.device.take() {
            let _ = command("losetup").args(["--detach", &device]).output();
        }
        let fuse = self.dir.join("fuse");
        for _ in 0..200 {
            let done = command("fusermount3").arg("-uq").arg(&fuse).output();
            if done.is_ok_and(|done| done.status.success()) {
                break;
            }
            std::thread::sleep(harness::LOOK);
        }
        let _ = command("fusermount3").arg("-uqz").arg(&fuse).output();
        let _ = self.nbdfuse.kill();
        let _ = self.nbdfuse.wait();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.take_down();
    }
}

/// Copies what is not made by a build.
fn copy_tree(from: &Path, to: &Path) {
    for (path, content) in tree(from) {
        let to = to.join(path);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::write(to, content).expect("room for it");
    }
}

/// Writes copies of a tree until the device is gone. Returns what was synced, file by file.
fn write_until_it_fails(from: &Path, to: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = tree(from);
    let mut promised = BTreeMap::new();
    for round in 0.. {
        for (number, (path, content)) in files.iter().enumerate() {
            let short = Path::new(&round.to_string()).join(path);
            let path = to.join(&short);
            let written = fs::create_dir_all(path.parent().expect("a folder"))
                .and_then(|()| fs::File::create(&path))
                .and_then(|mut file| {
                    file.write_all(content)?;
                    if number % 3 == 0 {
                        file.sync_all()
                    } else {
                        Ok(())
                    }
                });
            match written {
                Ok(()) if number % 3 == 0 => drop(promised.insert(short, content.clone())),
                Ok(()) => {}
                Err(_) => return promised,
            }
        }
    }
    promised
}

fn sync(root: &Path) {
    run("sync", &[OsStr::new("-f"), root.as_os_str()]);
}

/// Every file with its content, but what a build has made.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.file_name().is_some_and(|name| name == "target") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let short = path.strip_prefix(root).expect("below it").to_owned();
                found.insert(short, fs::read(&path).expect("a file"));
            }
        }
    }
    found
}
