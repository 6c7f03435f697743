//! The devices of this host and what is behind each, as the kernel says in sysfs (drivers/block/nbd.c): `pid` is there while
//! a device is attached, `backend` (since Linux 5.14) holds its [`BackendId`](super::BackendId).

use std::{fs, io, path::Path};

/// A device that is attached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttachedDevice {
    /// N of `/dev/nbdN`.
    pub index: u32,
    /// What it was attached with; empty where nobody said, or the kernel does not tell.
    pub backend: String,
}

/// All of them, by their numbers.
///
/// # Errors
/// If sysfs can't be read. Without the driver there are none.
pub fn attached_devices() -> io::Result<Vec<AttachedDevice>> {
    devices_in(Path::new("/sys/block"))
}

fn devices_in(sysfs: &Path) -> io::Result<Vec<AttachedDevice>> {
    let entries = match fs::read_dir(sysfs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut devices = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("nbd"));
        let Some(index) = number.and_then(|number| number.parse().ok()) else {
            continue;
        };
        if let Some(backend) = backend_of(&entry.path())? {
            devices.push(AttachedDevice { index, backend });
        }
    }
    devices.sort();
    Ok(devices)
}

/// What is behind a device, which is a folder of sysfs; `None`: nothing, it is not attached.
///
/// # Errors
/// If sysfs can't be read.
pub fn backend_of(device: &Path) -> io::Result<Option<String>> {
    let read = |name| match fs::read_to_string(device.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    if read("pid")?.is_none() {
        return Ok(None);
    }
    let backend = read("backend")?.unwrap_or_default();
    Ok(Some(backend.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_those_that_are_attached() {
        let sysfs = tempfile::tempdir().unwrap();
        let device = |name: &str, files: &[(&str, &str)]| {
            let folder = sysfs.path().join(name);
            fs::create_dir(&folder).unwrap();
            for (file, text) in files {
                fs::write(folder.join(file), text).unwrap();
            }
        };
        device("nbd10", &[("pid", "12\n"), ("backend", "b\n")]);
        device("nbd2", &[("pid", "11\n")]);
        device("nbd3", &[("backend", "of before\n")]);
        device("sda", &[("pid", "1\n")]);
        device("nbdx", &[("pid", "1\n")]);
        let found = devices_in(sysfs.path()).unwrap();
        let is = |index, backend: &str| AttachedDevice {
            index,
            backend: backend.to_owned(),
        };
        assert_eq!(found, [is(2, ""), is(10, "b")]);
        assert_eq!(devices_in(&sysfs.path().join("none")).unwrap(), []);
    }
}
