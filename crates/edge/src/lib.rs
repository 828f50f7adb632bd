//! The edges of a node: bytes in, calls of `burgrave-control`, bytes out.
//!
//! An edge decides nothing. It knows who speaks (from TLS), reads what they say, calls [`burgrave_control::Control`], and
//! writes the answer; problems pass as they are. [`link`] is the agents' door.
//!
//! Left to others: decisions and state (`burgrave-control`), frames and messages (`burgrave-protocol`), certificates
//! (`burgrave-identity`), and when to start and stop (`burgrave-node`).
//!
//! Threat notes: whatever comes in is hostile until proven otherwise, and bounded in any case: connections, bytes, time.

pub mod link;
pub mod rest;
