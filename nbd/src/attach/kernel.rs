//! Making, changing and removing kernel devices.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::attach::AttachError;
use crate::attach::command::{
    Connect, DeviceStatus, FAMILY, MULTICAST_GROUP, Reconfigure, Request, decode_index,
    decode_status,
};
use crate::attach::message::{Body, Call, Family, decode_all};
use crate::attach::socket::{NetlinkSocket, Received};
use crate::client::{Client, ConnectOptions, ExportInfo, Stream, Uri};
use crate::limits;
use crate::protocol::transmission_flag;

/// A way to the kernel's nbd driver.
///
/// ```no_run
/// use twindisk_nbd::attach::{AttachOptions, Kernel};
///
/// let uri = "nbd+unix:///disk0?socket=/run/twindisk/disk0.sock".parse()?;
/// let mut kernel = Kernel::open()?;
/// let attached = kernel.attach(&uri, &AttachOptions::default())?;
/// println!("{}", attached.device_path().display());
/// kernel.detach(attached.index)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Kernel {
    socket: NetlinkSocket,
    sequence: u32,
    family: Family,
}

/// How to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    /// N of `/dev/nbdN`; `None` takes a free one.
    pub index: Option<u32>,
    /// Connections to the server. More than one needs `CAN_MULTI_CONN`.
    pub connections: usize,
    /// Block size of the device, in bytes: a power of two from 512 to 4096 (a page).
    pub block_size_bytes: u32,
    /// After this long without an answer the kernel gives a connection up: with others left it
    /// sends the request again there, without any it fails all I/O. `None`, the default, waits
    /// for ever: a frozen resource must not turn into I/O errors.
    pub request_timeout: Option<Duration>,
    /// How long requests wait for [`Kernel::reattach`] once all connections are dead, before they
    /// fail. `None` is not at all.
    pub dead_connection_timeout: Option<Duration>,
    /// Names what is behind the device; the kernel then refuses to reattach anything else.
    pub backend: Option<BackendId>,
    /// What the kernel does by itself.
    pub client_flags: ClientFlags,
    /// How long connecting and the handshake may take, for each connection.
    pub handshake_timeout: Option<Duration>,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self {
            index: None,
            connections: 1,
            block_size_bytes: 4096,
            request_timeout: None,
            dead_connection_timeout: Some(Duration::from_secs(120)),
            backend: None,
            client_flags: ClientFlags::default(),
            handshake_timeout: Some(limits::HANDSHAKE_TIMEOUT),
        }
    }
}

/// What the kernel does with a device by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientFlags {
    /// Remove the device once it is disconnected (`NBD_CFLAG_DESTROY_ON_DISCONNECT`).
    pub destroy_on_disconnect: bool,
    /// Disconnect when the last user closes the device (`NBD_CFLAG_DISCONNECT_ON_CLOSE`).
    pub disconnect_on_close: bool,
}

impl ClientFlags {
    fn to_wire(self) -> u64 {
        u64::from(self.destroy_on_disconnect) | u64::from(self.disconnect_on_close) << 1
    }
}

/// The kernel's guard against reattaching another backend: the resource's id, for instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendId(String);

impl BackendId {
    /// A checked identifier.
    ///
    /// # Errors
    /// If it is empty, longer than 256 bytes, or has a NUL.
    pub fn new(text: impl Into<String>) -> Result<Self, AttachError> {
        let text = text.into();
        if text.is_empty() || text.len() > 256 || text.contains('\0') {
            return Err(AttachError::BackendIdentifier);
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A device that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// N of `/dev/nbdN`.
    pub index: u32,
    /// What the server said about the export.
    pub export: ExportInfo,
}

impl Attached {
    /// `/dev/nbdN`. The node appears when udev or devtmpfs has made it, moments later.
    #[must_use]
    pub fn device_path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/nbd{}", self.index))
    }
}

impl Kernel {
    /// Finds the driver.
    ///
    /// # Errors
    /// If the kernel has none, or netlink fails.
    pub fn open() -> Result<Self, AttachError> {
        let mut socket = NetlinkSocket::open()?;
        let family = find_family(&mut socket, FAMILY)?;
        Ok(Self {
            socket,
            sequence: 1,
            family,
        })
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// Connects to the server and hands the connections to the kernel as a new device.
    ///
    /// # Errors
    /// If the server refuses, the options do not fit the export, or the kernel refuses.
    pub fn attach(&mut self, uri: &Uri, options: &AttachOptions) -> Result<Attached, AttachError> {
        let (streams, export) = open_connections(uri, options)?;
        check_block_size(&export, options.block_size_bytes)?;
        let sockets: Vec<BorrowedFd<'_>> = streams.iter().map(AsFd::as_fd).collect();
        let index = self.attach_sockets(&sockets, &export, options)?;
        Ok(Attached { index, export })
    }

    /// Hands connections that have finished their handshake (with simple replies) to the kernel
    /// as a new device. The kernel keeps the sockets itself: they may be closed here afterwards.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn attach_sockets(
        &mut self,
        sockets: &[BorrowedFd<'_>],
        export: &ExportInfo,
        options: &AttachOptions,
    ) -> Result<u32, AttachError> {
        check_connections(sockets.len())?;
        let sockets = raw(sockets);
        let request = Request::Connect(Connect {
            index: options.index,
            size_bytes: export.size_bytes,
            block_size_bytes: u64::from(options.block_size_bytes),
            server_flags: export.flags,
            client_flags: options.client_flags.to_wire(),
            timeout_s: options.request_timeout.map(seconds),
            dead_conn_timeout_s: options.dead_connection_timeout.map(seconds),
            backend_identifier: options.backend.as_ref().map(BackendId::as_str),
            sockets: &sockets,
        });
        let answers = self.call(&request)?;
        let missing = crate::attach::MalformedNetlink("no index for the new device");
        Ok(decode_index(answers.first().ok_or(missing)?)?)
    }

    /// Replaces dead connections of a device with new ones. The kernel takes sockets only for
    /// connections it has marked dead and drops the others without a word.
    ///
    /// # Errors
    /// If the server refuses, the backend is another one, or the kernel refuses.
    pub fn reattach(
        &mut self,
        index: u32,
        uri: &Uri,
        options: &AttachOptions,
    ) -> Result<ExportInfo, AttachError> {
        let (streams, export) = open_connections(uri, options)?;
        let sockets: Vec<RawFd> = streams.iter().map(|s| s.as_fd().as_raw_fd()).collect();
        self.call(&Request::Reconfigure(Reconfigure {
            index,
            size_bytes: None,
            timeout_s: options.request_timeout.map(seconds),
            dead_conn_timeout_s: options.dead_connection_timeout.map(seconds),
            backend_identifier: options.backend.as_ref().map(BackendId::as_str),
            sockets: &sockets,
        }))?;
        Ok(export)
    }

    /// Tells the kernel a device's new size. `backend` is the one given when attaching.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn resize(
        &mut self,
        index: u32,
        size_bytes: u64,
        backend: Option<&BackendId>,
    ) -> Result<(), AttachError> {
        self.call(&Request::Reconfigure(Reconfigure {
            index,
            size_bytes: Some(size_bytes),
            timeout_s: None,
            dead_conn_timeout_s: None,
            backend_identifier: backend.map(BackendId::as_str),
            sockets: &[],
        }))
        .map(drop)
    }

    /// Takes a device down at once: the server gets its goodbye and what is still in flight fails
    /// with I/O errors, so unmount or stop its users first. A device that is down already is no
    /// error.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn detach(&mut self, index: u32) -> Result<(), AttachError> {
        self.call(&Request::Disconnect { index }).map(drop)
    }

    /// The state of one device, or of all.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn status(&mut self, index: Option<u32>) -> Result<Vec<DeviceStatus>, AttachError> {
        let mut devices = Vec::new();
        for answer in self.call(&Request::Status { index })? {
            devices.extend(decode_status(&answer)?);
        }
        Ok(devices)
    }

    fn call(&mut self, request: &Request<'_>) -> Result<Vec<Vec<u8>>, AttachError> {
        self.sequence = self.sequence.wrapping_add(1);
        let call = request.to_call(self.family.id);
        let answers = transact(&mut self.socket, &call, self.sequence, request.name());
        answers.map_err(|error| match (error, request) {
            (
                AttachError::Kernel {
                    errno: libc::EBUSY, ..
                },
                Request::Connect(Connect {
                    index: Some(index), ..
                }),
            ) => AttachError::Busy { index: *index },
            (error, _) => error,
        })
    }
}

fn find_family(socket: &mut NetlinkSocket, name: &str) -> Result<Family, AttachError> {
    let answers = transact(socket, &Call::get_family(name), 1, "CTRL_CMD_GETFAMILY");
    match answers {
        Ok(answers) => {
            let answer = answers.first().ok_or(AttachError::NoDriver)?;
            Ok(Family::decode(answer, MULTICAST_GROUP)?)
        }
        Err(AttachError::Kernel {
            errno: libc::ENOENT,
            ..
        }) => Err(AttachError::NoDriver),
        Err(error) => Err(error),
    }
}

/// Sends a call and gathers the attributes of its answers up to the acknowledgement.
fn transact(
    socket: &mut NetlinkSocket,
    call: &Call,
    sequence: u32,
    command: &'static str,
) -> Result<Vec<Vec<u8>>, AttachError> {
    socket.send(&call.encode(sequence))?;
    let deadline = Instant::now().checked_add(limits::NETLINK_TIMEOUT);
    let mut answers = Vec::new();
    loop {
        let bytes = match socket.receive(deadline)? {
            Received::Bytes(bytes) => bytes,
            Received::Lost => continue,
            Received::Nothing => return Err(AttachError::TimedOut { command }),
        };
        // A late answer to an earlier call has an earlier number.
        for message in decode_all(bytes)?
            .into_iter()
            .filter(|m| m.sequence == sequence)
        {
            match message.body {
                Body::Generic {
                    family, attributes, ..
                } if family == call.family => {
                    answers.push(attributes.to_vec());
                }
                Body::Generic { .. } | Body::Other => {}
                Body::Acknowledged => return Ok(answers),
                Body::Failed {
                    errno: libc::EPERM, ..
                } => {
                    return Err(AttachError::NotPermitted { command });
                }
                Body::Failed { errno, message } => {
                    return Err(AttachError::Kernel {
                        command,
                        errno,
                        message,
                    });
                }
            }
        }
    }
}

/// Connects and negotiates as often as wished; all must lead to the same export.
fn open_connections(
    uri: &Uri,
    options: &AttachOptions,
) -> Result<(Vec<Stream>, ExportInfo), AttachError> {
    check_connections(options.connections)?;
    let connect = ConnectOptions {
        timeout: options.handshake_timeout,
        ..ConnectOptions::for_the_kernel()
    };
    let first = Client::connect(uri, &connect)?;
    let export = first.info().clone();
    if options.connections > 1 && !export.has(transmission_flag::CAN_MULTI_CONN) {
        return Err(AttachError::NotMultiConn {
            connections: options.connections,
        });
    }
    let mut streams = vec![first.into_stream()?];
    while streams.len() < options.connections {
        let next = Client::connect(uri, &connect)?;
        if *next.info() != export {
            return Err(AttachError::Mismatch);
        }
        streams.push(next.into_stream()?);
    }
    for stream in &streams {
        // The timeouts were for the handshake. The kernel has its own, and takes the socket's too:
        // left in place an idle device would lose its connection.
        stream.set_timeout(None)?;
    }
    Ok((streams, export))
}

fn check_connections(count: usize) -> Result<(), AttachError> {
    if count == 0 || count > limits::MAX_SOCKETS {
        return Err(AttachError::Connections(count));
    }
    Ok(())
}

fn check_block_size(export: &ExportInfo, block_size_bytes: u32) -> Result<(), AttachError> {
    let fits = block_size_bytes.is_power_of_two()
        && (512..=4096).contains(&block_size_bytes)
        && block_size_bytes >= export.minimum_block_bytes
        && export
            .size_bytes
            .is_multiple_of(u64::from(block_size_bytes));
    if !fits {
        return Err(AttachError::BlockSize {
            size_bytes: export.size_bytes,
            minimum_block_bytes: export.minimum_block_bytes,
            block_size_bytes,
        });
    }
    Ok(())
}

fn raw(sockets: &[BorrowedFd<'_>]) -> Vec<RawFd> {
    sockets.iter().map(AsRawFd::as_raw_fd).collect()
}

/// Whole seconds, rounded up: the kernel knows nothing finer, and zero would mean "none".
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::message::GENL_ID_CTRL;
    use crate::request::ReplyStyle;

    fn export(size_bytes: u64, minimum_block_bytes: u32) -> ExportInfo {
        ExportInfo {
            name: "disk0".to_owned(),
            description: String::new(),
            size_bytes,
            flags: 1,
            minimum_block_bytes,
            preferred_block_bytes: 4096,
            maximum_payload_bytes: 1 << 25,
            replies: ReplyStyle::Simple,
            base_allocation: None,
        }
    }

    #[test]
    fn block_sizes_must_fit_the_export() {
        assert!(check_block_size(&export(1 << 20, 1), 4096).is_ok());
        assert!(check_block_size(&export(1 << 20, 4096), 4096).is_ok());
        assert!(check_block_size(&export(4608, 1), 512).is_ok());
        for (size, minimum, block) in [
            (4608, 1, 4096),
            (1 << 20, 4096, 512),
            (1 << 20, 1, 256),
            (1 << 20, 1, 8192),
            (1536, 1, 768),
        ] {
            let result = check_block_size(&export(size, minimum), block);
            assert!(
                matches!(result, Err(AttachError::BlockSize { .. })),
                "{size} {minimum} {block}"
            );
        }
    }

    #[test]
    fn times_are_rounded_up_and_flags_have_their_bits() {
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_secs(30)), 30);
        let flags = ClientFlags {
            destroy_on_disconnect: true,
            disconnect_on_close: false,
        };
        assert_eq!(flags.to_wire(), 1);
        assert_eq!(
            ClientFlags {
                disconnect_on_close: true,
                ..flags
            }
            .to_wire(),
            3
        );
    }

    #[test]
    fn backend_identifiers_are_checked() {
        assert_eq!(BackendId::new("r0").unwrap().as_str(), "r0");
        for bad in ["", "a\0b", &"x".repeat(257)] {
            assert!(matches!(
                BackendId::new(bad),
                Err(AttachError::BackendIdentifier)
            ));
        }
    }

    #[test]
    fn the_number_of_connections_is_checked() {
        assert!(check_connections(1).is_ok() && check_connections(128).is_ok());
        assert!(matches!(
            check_connections(0),
            Err(AttachError::Connections(0))
        ));
        assert!(matches!(
            check_connections(129),
            Err(AttachError::Connections(129))
        ));
    }

    /// Talks to the kernel of this host, which always knows the family of families.
    #[test]
    fn the_kernel_answers_a_family_lookup() {
        let mut socket = match NetlinkSocket::open() {
            Ok(socket) => socket,
            // Some sandboxes have no generic netlink; then there is nothing to talk to.
            Err(AttachError::NoNetlink(_)) => return,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(find_family(&mut socket, "nlctrl").unwrap().id, GENL_ID_CTRL);
        let missing = find_family(&mut socket, "no-such-one").unwrap_err();
        assert!(missing.to_string().contains("modprobe nbd"), "{missing}");
    }
}
