//! Cedar schema, decisions and their explanation.
