//! Typed client of the REST interface, trusting a node only through genesis.
