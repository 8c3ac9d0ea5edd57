//! Everything that decides, without I/O.
