//! The NBD protocol without I/O, a small blocking client, and the attachment to the kernel
