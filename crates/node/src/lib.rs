//! Wiring of a node: token, store, control and edges.
