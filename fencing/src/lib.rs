//! Heartbeat, fencing and service takeover (see the issues: built after the replicated device)
