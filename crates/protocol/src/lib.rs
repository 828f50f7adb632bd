//! Frames and messages of the agent link, without I/O.
