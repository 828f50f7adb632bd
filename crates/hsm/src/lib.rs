//! The Hsm trait and the software token.
