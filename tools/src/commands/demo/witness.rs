//! The demo's witness: a third process of this very program, as if on a third host.

use std::{
    ffi::OsStr,
    net::TcpStream,
    path::Path,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use super::{configuration, process};
use crate::exit::Failure;

/// It listens within this time or never.
const PATIENCE: Duration = Duration::from_secs(20);

/// Its process; ends with this one, unless it is let go.
pub(super) struct Witness {
    process: Option<Child>,
}

impl Witness {
    /// Starts it in the demo's folder, and waits until it can be reached.
    pub(super) fn start(
        dir: &Path,
        address: &str,
        secret: &str,
        keep: bool,
    ) -> Result<Self, Failure> {
        let config = dir.join("witness.toml");
        configuration::write(&config, &configuration::of_witness(address))?;
        configuration::write(&dir.join("witness.secret"), secret)?;
        let log_path = dir.join("witness.log");
        let arguments = ["witness", "--witness-config"].map(OsStr::new);
        let arguments = [&arguments[..], &[config.as_os_str()]].concat();
        let process = process::start(&arguments, &log_path, keep)?;
        let mut witness = Self {
            process: Some(process),
        };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let ended = witness
                .process
                .as_mut()
                .is_none_or(|process| !matches!(process.try_wait(), Ok(None)));
            if ended || Instant::now() > deadline {
                return Err(Failure::Error(format!(
                    "the witness does not answer at {address}; its log: {}",
                    log_path.display()
                )));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(witness)
    }

    /// It outlives this process; its number.
    pub(super) fn let_go(mut self) -> Option<u32> {
        self.process.take().map(|process| process.id())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
