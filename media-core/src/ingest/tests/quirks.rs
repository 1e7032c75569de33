//! Quirks of cameras, one test each.
