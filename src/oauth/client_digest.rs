//! Which client, without its whole id: ids of ours are hundreds of characters.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secret;

/// A hash of a `client_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientDigest([u8; 16]);

impl ClientDigest {
    pub fn of(client_id: &str) -> Self {
        Self(secret::short_hash(client_id.as_bytes()))
    }

    /// Of a client that has no choice but to prove who it is. Whoever comes with the same id and no proof is
    /// another client.
    pub fn of_signing(client_id: &str) -> Self {
        // No id has a line break.
        Self::of(&format!("{client_id}\nsigns"))
    }

    /// The whole digest, for who must tell one client from all others.
    pub fn hex(&self) -> String {
        self.0.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    }
}

/// For logs: enough to follow a client from line to line.
impl fmt::Display for ClientDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
