//! The agent of a node: it drives the failover decisions with real heartbeats, fence agents, replicas and services.
