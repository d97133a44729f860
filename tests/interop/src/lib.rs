//! Tests against implementations that others wrote: see `tests/`.
