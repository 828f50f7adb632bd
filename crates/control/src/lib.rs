//! Services over the view: registry, attestation, authorizer, keys, channels; no sockets.
