//! Services that go where the primary is: up in order, down in reverse (DESIGN section 9).
