//! A whole cluster in one process, under every fault, from a seed
