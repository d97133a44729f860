//! What convoke says about mistakes is tested in `tests/`.
