//! A node from its parts: opens token, store and ledger, starts the services, serves the edges, stops in order.
//!
//! [`init()`] makes a trust domain in an empty folder; [`Node::start`] serves it. Everything that decides is below
//! (`burgrave-control`) and everything that listens beside (`burgrave-edge`); here is only who is given what, and in
//! which order things start and stop.
//!
//! Threat notes: the data folder and all that is secret in it belong to one user (0700, 0600); what others can read is
//! refused. Secrets come from files or descriptors, never from arguments. A `production` domain takes neither a key file
//! nor a bearer token.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests may fail loudly"
    )
)]

mod certificates;
mod collateral;
mod config;
mod files;
mod init;
mod node;
mod roots;

pub use burgrave_edge::link::{Address, RelayTap};
pub use config::{AttestationConfig, CollateralConfig, LinkConfig, NodeConfig, RestConfig, TokenConfig};
pub use files::DataDir;
pub use init::{InitOptions, Initialized, init, issue_admin};
pub use node::{Addresses, Node, NodeOptions};
