//! Attaches an export to `/dev/nbdN`: the handshake is done here, the kernel's nbd driver takes the
//! sockets over and does the rest (Linux, drivers/block/nbd.c, controlled by generic netlink).
//!
//! The sockets belong to the kernel after that: this process may end and the device lives on.

mod attributes;
mod command;
mod devices;
mod error;
mod events;
mod kernel;
mod message;
mod socket;
mod supervision;

pub use command::DeviceStatus;
pub use devices::{AttachedDevice, attached_devices, backend_of};
pub use error::{AttachError, MalformedNetlink};
pub use events::{LinkEvent, LinkEvents};
pub use kernel::{AttachOptions, Attached, BackendId, ClientFlags, Kernel};
pub use supervision::Supervision;

/// Feeds foreign bytes to every netlink decoder.
pub(crate) fn decode_noise(bytes: &[u8]) {
    for message in message::decode_all(bytes).unwrap_or_default() {
        if let message::Body::Generic { attributes, .. } = message.body {
            let _ = message::Family::decode(attributes, command::MULTICAST_GROUP);
            let _ = command::decode_index(attributes);
            let _ = command::decode_status(attributes);
        }
    }
}
