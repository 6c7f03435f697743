//! A watchdog device: it resets the host unless it is fed (Linux: Documentation/watchdog/watchdog-api.rst).

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// Something that resets the host when it is not fed.
pub(crate) trait Watchdog {
    /// The host is well.
    ///
    /// # Errors
    /// When the device is gone: it may fire.
    fn feed(&mut self) -> io::Result<()>;

    /// It is to watch no longer.
    fn disarm(&mut self);
}

/// `/dev/watchdog`. Its timeout is the driver's: 60 s unless the driver was told another when it was loaded.
#[derive(Debug)]
pub(crate) struct Device(File);

impl Device {
    /// Opens it: from now on it must be fed. Whoever dies without [`Watchdog::disarm`] leaves it armed, on purpose.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut device = Self(OpenOptions::new().write(true).open(path)?);
        device.feed()?;
        Ok(device)
    }
}

impl Watchdog for Device {
    fn feed(&mut self) -> io::Result<()> {
        self.0.write_all(b"\0")
    }

    fn disarm(&mut self) {
        // The magic close: without this letter the device fires after it was closed.
        let _ = self.0.write_all(b"V");
    }
}

/// Feeds it as long as the host is well.
pub(crate) fn tend(watchdog: &mut dyn Watchdog, well: bool) {
    if well && let Err(error) = watchdog.feed() {
        tracing::error!("the watchdog can't be fed, and may reset this host: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn it_is_fed_while_the_host_is_well_and_closed_with_the_letter() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("watchdog");
        assert!(Device::open(&path).is_err(), "it is not created");
        std::fs::write(&path, "").expect("a fake");
        let mut device = Device::open(&path).expect("opened");
        tend(&mut device, true);
        tend(&mut device, false);
        tend(&mut device, true);
        device.disarm();
        let mut told = Vec::new();
        File::open(&path)
            .expect("there")
            .read_to_end(&mut told)
            .expect("read");
        assert_eq!(told, b"\0\0\0V");
    }
}
