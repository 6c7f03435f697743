//! Drives a core with a real ring, real disks and real sockets: one thread per resource
