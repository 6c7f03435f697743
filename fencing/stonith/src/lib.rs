//! Powers nodes off through fence agents, and believes it only when their status says so (DESIGN section 9).
