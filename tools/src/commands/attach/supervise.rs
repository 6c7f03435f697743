//! A process that replaces the dead connections of a device, for as long as there is the device.

use std::{
    os::unix::net::UnixDatagram,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use twindisk_nbd::{
    attach::{AttachError, AttachOptions, Kernel, LinkEvent, LinkEvents, Supervision},
    client::{ClientError, Uri},
    protocol::option_reply,
};

use crate::{exit::Failure, out};

/// How often a dead connection is tried to be replaced: at first as fast as a service manager restarts the server, for its
/// users wait; later, when it takes long, at leisure.
const RETRY: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];
const LATER: Duration = Duration::from_secs(5);

/// How often the supervisor looks whether the device is still there.
const LOOK: Duration = Duration::from_secs(2);

/// An attached device.
pub(super) struct Device {
    pub(super) index: u32,
    pub(super) uri: Uri,
    pub(super) options: AttachOptions,
    /// Where supervisors of this node find each other.
    pub(super) locks: PathBuf,
}

/// What comes of trying once to replace connections, should they be dead.
pub(super) enum First {
    /// None is dead any more.
    Connected,
    /// The server does not answer, or does not serve the resource now.
    Waits(AttachError),
    /// The device is not to be had any more, and why.
    Over(String),
}

/// What came of a dead connection.
enum Reconnected {
    /// There is another one.
    Again,
    /// The device is gone: somebody has detached it.
    Gone,
    /// The device is not to be had any more, and why.
    Over(String),
}

impl Device {
    /// Replaces dead connections until the device is gone. When another process does so already, it waits until that ends.
    pub(super) fn supervise(&self, kernel: &mut Kernel) -> Result<(), Failure> {
        let mut events = LinkEvents::open().map_err(Failure::error)?;
        let Some(_supervision) = self.until_alone(kernel)? else {
            return Ok(());
        };
        // It may have died while nobody looked.
        let mut dead = match self.connect_at_once(kernel)? {
            First::Connected => false,
            First::Waits(_) => true,
            First::Over(why) => return self.end(kernel, why),
        };
        loop {
            if dead {
                match self.reconnect(kernel)? {
                    Reconnected::Again => {}
                    Reconnected::Gone => return Ok(()),
                    Reconnected::Over(why) => return self.end(kernel, why),
                }
            }
            let news = events.next(LOOK).map_err(Failure::error)?;
            if !self.is_there(kernel)? {
                return Ok(());
            }
            dead = match news {
                Some(LinkEvent::LinkDead { index }) => index == self.index,
                Some(LinkEvent::Lost) => true,
                None => false,
            };
        }
    }

    /// Whether some process replaces its dead connections.
    pub(super) fn is_supervised(&self) -> Result<bool, Failure> {
        Supervision::is_taken(&self.locks, self.index).map_err(|error| self.lock_failed(&error))
    }

    /// Tries once. The kernel takes new connections for dead ones alone, so it does no harm where none is dead.
    pub(super) fn connect_at_once(&self, kernel: &mut Kernel) -> Result<First, Failure> {
        match kernel.reattach(self.index, &self.uri, &self.options) {
            Ok(_) => Ok(First::Connected),
            Err(error) if is_over(&error) => Ok(First::Over(error.to_string())),
            Err(error @ AttachError::NotPermitted { .. }) => Err(Failure::error(error)),
            Err(error) => Ok(First::Waits(error)),
        }
    }

    /// R17: who waits gets errors, not a device whose contents its caches contradict.
    pub(super) fn end(&self, kernel: &mut Kernel, why: String) -> Result<(), Failure> {
        let index = self.index;
        say(&format!(
            "/dev/nbd{index}: disconnected, its users get I/O errors: {why}"
        ));
        kernel.detach(index).map_err(Failure::error)?;
        Err(Failure::Refused {
            code: None,
            why,
            next: format!(
                "stop what uses /dev/nbd{index} and unmount it; then attach it anew where the resource is primary"
            ),
        })
    }

    /// The right to supervise; `None`: the device is gone.
    fn until_alone(&self, kernel: &mut Kernel) -> Result<Option<Supervision>, Failure> {
        loop {
            let taken = Supervision::take(&self.locks, self.index);
            if let Some(supervision) = taken.map_err(|error| self.lock_failed(&error))? {
                return Ok(Some(supervision));
            }
            thread::sleep(LOOK);
            if !self.is_there(kernel)? {
                return Ok(None);
            }
        }
    }

    fn is_there(&self, kernel: &mut Kernel) -> Result<bool, Failure> {
        let devices = kernel.status(Some(self.index)).map_err(Failure::error)?;
        let mut devices = devices.iter();
        Ok(devices.any(|device| device.index == self.index && device.connected))
    }

    /// Tries until it works, or the device is gone. The kernel has the last word: after its dead-connection timeout it
    /// fails what waits.
    fn reconnect(&self, kernel: &mut Kernel) -> Result<Reconnected, Failure> {
        let index = self.index;
        let mut said = false;
        let dead = Instant::now();
        loop {
            match self.connect_at_once(kernel)? {
                First::Connected => {
                    say(&format!("/dev/nbd{index}: connected again"));
                    return Ok(Reconnected::Again);
                }
                First::Over(why) => return Ok(Reconnected::Over(why)),
                First::Waits(error) if !said => {
                    said = true;
                    say(&format!(
                        "/dev/nbd{index}: the connection is dead, I/O waits: {error}"
                    ));
                }
                First::Waits(_) => {}
            }
            thread::sleep(RETRY[usize::from(dead.elapsed() > LATER)]);
            if !self.is_there(kernel)? {
                return Ok(Reconnected::Gone);
            }
        }
    }

    fn lock_failed(&self, error: &std::io::Error) -> Failure {
        Failure::Error(format!(
            "who supervises /dev/nbd{} can't be told by the lock in {}: {error}",
            self.index,
            self.locks.display()
        ))
    }
}

/// The server says that the role which the device was attached in will never be served again.
fn is_over(error: &AttachError) -> bool {
    let AttachError::Client(ClientError::Refused { reply, .. }) = error else {
        return false;
    };
    *reply == option_reply::ERR_UNKNOWN
}

/// Also to the system's log: a supervisor that was left behind has no terminal.
fn say(text: &str) {
    out::err!("{text}");
    let line = format!("<28>twindisk[{}]: {text}", std::process::id());
    let sent = UnixDatagram::unbound().and_then(|log| {
        log.set_nonblocking(true)?;
        log.send_to(line.as_bytes(), "/dev/log")
    });
    // A host without a log keeps none.
    let _ = sent;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_is_over_ends_a_device() {
        let refused = |reply| {
            AttachError::Client(ClientError::Refused {
                option: "GO",
                reply,
                message: String::new(),
            })
        };
        assert!(is_over(&refused(option_reply::ERR_UNKNOWN)));
        // A server that restarts, a standby, one that has not read its metadata yet: the device waits.
        for reply in [option_reply::ERR_POLICY, option_reply::ERR_SHUTDOWN] {
            assert!(!is_over(&refused(reply)));
        }
        assert!(!is_over(&AttachError::Client(ClientError::Closed("x"))));
        assert!(!is_over(&AttachError::Busy { index: 0 }));
    }
}
