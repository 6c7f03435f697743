//! Block devices that forget when their power is cut: a [`Powered`] disk, nbdfuse, a loop device with direct I/O.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use super::{
    eventually,
    platter::Powered,
    programs::{command, run},
    random::Random,
};

/// What [`Disk`] needs, besides root, FUSE and loop devices.
pub(crate) const PROGRAMS: &[&str] = &["nbdfuse", "losetup", "fusermount3"];

/// A block device with a volatile cache.
pub(crate) struct Disk {
    dir: PathBuf,
    random: Random,
    on: Option<On>,
}

struct On {
    powered: Powered,
    nbdfuse: Child,
    device: String,
}

impl Disk {
    /// A new one of zeroes, its file and sockets in `dir`; with power.
    pub(crate) fn new(dir: &Path, bytes: u64, seed: u64) -> Self {
        fs::create_dir_all(dir.join("fuse")).expect("a folder");
        let file = fs::File::create(dir.join("platter")).expect("a file");
        file.set_len(bytes).expect("room for it");
        let mut disk = Self {
            dir: dir.to_owned(),
            random: Random::new(seed),
            on: None,
        };
        disk.power_on();
        disk
    }

    /// Where the device is: the same path after each loss of power.
    pub(crate) fn link(&self) -> PathBuf {
        self.dir.join("device")
    }

    /// What is on it: what it will remember.
    pub(crate) fn platter(&self) -> PathBuf {
        self.dir.join("platter")
    }

    /// The disk itself.
    pub(crate) fn powered(&self) -> &Powered {
        &self.on.as_ref().expect("it has power").powered
    }

    /// On again, with what is on the platter.
    pub(crate) fn power_on(&mut self) {
        assert!(self.on.is_none(), "it has power");
        let platter = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.platter())
            .expect("a file");
        let socket = self.dir.join("nbd.sock");
        let powered = Powered::new(platter, &socket);
        let file = self.dir.join("fuse/disk");
        let nbdfuse = command("nbdfuse")
            .arg(&file)
            .arg("--unix")
            .arg(&socket)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nbdfuse runs");
        eventually("nbdfuse has mounted", String::new, || {
            file.exists().then_some(())
        });
        let options = ["--find", "--show", "--direct-io=on"].map(OsStr::new);
        let found = run("losetup", &[&options[..], &[file.as_os_str()]].concat());
        let device = found.trim().to_owned();
        let _ = fs::remove_file(self.link());
        std::os::unix::fs::symlink(&device, self.link()).expect("a link");
        self.on = Some(On {
            powered,
            nbdfuse,
            device,
        });
    }

    /// Cuts the power. Whoever used the device must be dead already, as it would be.
    pub(crate) fn power_off(&mut self) {
        let Some(mut on) = self.on.take() else {
            return;
        };
        // First of all: nothing that is torn down below can carry a flush to the platter any more.
        on.powered.cut(&mut self.random);
        let quietly = |program: &str, arguments: &[&OsStr]| {
            let output = command(program).args(arguments).output();
            output.is_ok_and(|output| output.status.success())
        };
        quietly("losetup", &["--detach".as_ref(), on.device.as_ref()]);
        // The loop device lets go when its last user's requests have failed.
        let fuse = self.dir.join("fuse");
        for _ in 0..400 {
            if quietly("fusermount3", &["-uq".as_ref(), fuse.as_os_str()]) {
                break;
            }
            std::thread::sleep(super::LOOK);
        }
        quietly("fusermount3", &["-uqz".as_ref(), fuse.as_os_str()]);
        let _ = on.nbdfuse.kill();
        let _ = on.nbdfuse.wait();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.power_off();
    }
}
