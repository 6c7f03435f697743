//! A small blocking client: for the demonstration, the tests, the benchmarks, and the handshake in
//! front of a kernel attachment. One thread, one connection, no hidden retries.
//!
//! [`Client`] is the type to know. Its plain methods wait for their reply; [`Client::submit`] and
//! [`Client::receive`] keep many requests in flight.

mod error;
mod negotiate;
mod pending;
mod stream;
mod transmission;
mod uri;

pub use error::{ClientError, RequestError};
pub use negotiate::{ConnectOptions, ExportInfo, ListedExport, list_exports};
pub use pending::{Answer, Completion};
pub use stream::Stream;
pub use transmission::{Client, Fua, Zeroing};
pub use uri::{Address, InvalidUri, Uri};
