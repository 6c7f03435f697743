//! Failover decisions without I/O: heartbeats, suspicion, the fence race, promotion, return (DESIGN sections 7 and 9).
