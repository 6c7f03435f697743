//! Configuration, listeners, dialling and the control socket: everything about a node that is not on the way of a write
