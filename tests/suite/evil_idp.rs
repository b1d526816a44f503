//! An IdP that lies and fails.
