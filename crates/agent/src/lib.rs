//! What stands beside an application in its enclave.
