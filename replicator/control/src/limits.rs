//! Every bound of the control plane, each with its reason.

use std::time::Duration;

/// Largest configuration file. A thousand resources fit in 1 MiB; more is a mistaken path.
pub const MAX_CONFIG_BYTES: u64 = 4 * 1024 * 1024;

/// Shortest shared secret: below 16 characters it can be guessed from one recorded handshake.
pub const MIN_SECRET_BYTES: usize = 16;

/// Longest shared secret: a longer file is surely not one.
pub const MAX_SECRET_BYTES: usize = 4096;

/// Longest path of a Unix socket (`sun_path` less its closing zero).
pub const MAX_UNIX_PATH_BYTES: usize = 107;

/// Longest name of a cluster, node or resource: it stands in paths and in NBD export names.
pub const MAX_NAME_BYTES: usize = 64;

/// Members of etcd that are named: more than it has.
pub const MAX_ETCD_ENDPOINTS: usize = 9;

/// Longest beginning of keys in etcd: a longer one is surely a mistake.
pub const MAX_ETCD_PREFIX_BYTES: usize = 256;

/// Most resources of one node: each has a thread and its buffers.
pub const MAX_RESOURCES: usize = 256;

/// Least memory for clients' payloads: two of the largest requests (32 MiB each).
pub const MIN_CLIENT_BUFFER_BYTES: u64 = 64 << 20;

/// Least memory for peers' payloads and for resync: 4 frames of 1 MiB.
pub const MIN_PEER_BUFFER_BYTES: u64 = 4 << 20;

/// Most memory for one kind of buffer: beyond it the number is surely a mistake.
pub const MAX_BUFFER_BYTES: u64 = 64 << 30;

/// Longest time a peer or a client may take to prove itself or to negotiate.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that have not proved themselves yet, at once, besides those from the addresses of nodes. Each costs a task and
/// a few KiB; with TLS a key exchange, a signature, and what rustls keeps of a handshake: some tens of KiB, at most what it takes
/// of unread records.
pub const MAX_UNAUTHENTICATED: usize = 32;

/// The same from one source: a node that comes back has one for each resource, and those that find no place wait for one.
pub const MAX_UNAUTHENTICATED_OF_SOURCE: usize = 16;

/// So long a connection from a node's address may take to prove itself before it yields to others from there: some
/// round trips and two signatures, on a busy machine.
pub const STRANGER_PATIENCE: Duration = Duration::from_millis(250);

/// One refused peer in so long is told in the event log; the others are counted. Who knocks for days fills a hundredth of it
/// a day.
pub const KNOCK_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes read from a peer before it has proved itself.
pub const MAX_AUTH_BYTES: usize = 4096;

/// Time between two attempts to reach a peer, at the start.
pub const DIAL_MIN: Duration = Duration::from_millis(100);

/// Time between two attempts to reach a peer, at most.
pub const DIAL_MAX: Duration = Duration::from_secs(5);

/// Longest time that one attempt to connect may take before the next is made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest line on the control socket, either way. A status of 256 resources with 7 peers each is well below.
pub const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// Longest request line: requests carry names and a reason.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// Connections to the control socket at once.
pub const MAX_CONTROL_CONNECTIONS: usize = 64;

/// Events kept in memory for a subscriber that starts late or reads slowly; older ones are in the file.
pub const MAX_RECENT_EVENTS: usize = 1024;

/// Notices of one resource that wait for the control plane. A verify reports 1000 differences one by one.
pub const MAX_WAITING_NOTICES: usize = 4096;

/// Bytes read from a client that has not finished its negotiation, at a time.
pub const NBD_READ_BYTES: usize = 16 * 1024;

/// How often it is looked whether whoever gave a command still waits for it.
pub const CALLER_LOOK: Duration = Duration::from_millis(100);

/// How long a resource's thread may take to say how it stands before it is called stuck.
pub const STATUS_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long the process may take to answer a question about its state before it is said to stand still: longer than one of
/// its threads.
pub const STATUS_PATIENCE: Duration = Duration::from_millis(2500);

/// How much longer than its own stop timeout a replica may take to stop before the process ends without it.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
