//! Agent link and REST: bytes in, calls of control, bytes out.
