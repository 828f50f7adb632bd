//! The audit trail: events, schema, sinks.
