//! The row of a grant, as it is stored.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::grants::generations::Generations;
use crate::grants::vouch::Vouch;
use crate::idp::Identity;
use crate::oauth::{ClientDigest, Scopes};
use crate::seal::Kind;
use crate::store::Key;

/// 128 random bits that name a grant. Not secret, but only inside sealed tokens does it open anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GrantId([u8; 16]);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub id: GrantId,
    pub state: GrantState,
    pub generations: Generations,
    pub person: Identity,
    pub client: ClientDigest,
    /// What the client was called when the person said yes to it. Told to people, never compared.
    pub client_name: String,
    /// The resource's URL.
    pub resource: String,
    pub scopes: Scopes,
    /// When the person signed in.
    pub began: Timestamp,
    /// However often it is refreshed.
    pub ends_at: Timestamp,
    pub vouch: Vouch,
    /// Hash of the IdP's name for the person (`sub`).
    pub subject: Option<[u8; 16]>,
    /// Hash of the IdP's name for the session in which the person signed in (`sid`), if it has one.
    pub session: Option<[u8; 16]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantState {
    /// The client has been sent a code and has not redeemed it.
    CodeIssued,
    Live,
    Ended,
}

impl GrantId {
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// The whole id, which `parse` reads back. The `Display` below is shorter.
    pub fn hex(self) -> String {
        self.0.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    }

    pub fn parse(hex: &str) -> Option<Self> {
        let is_whole = hex.len() == 32 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = is_whole.then(|| u128::from_str_radix(hex, 16).ok())??;
        Some(Self(number.to_be_bytes()))
    }

    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    pub(super) fn key(self) -> Key {
        Key::new(KEYS, &self.0)
    }

    /// Of the one answer of the IdP that may become this grant.
    pub fn callback_key(self) -> Key {
        Key::new("callback", &self.0)
    }

    /// Of the right to ask the IdP about it.
    pub(super) fn lease_key(self) -> Key {
        Key::new("recheck", &self.0)
    }
}

/// For logs: enough to follow a grant from line to line.
impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Of the records that are grants.
pub(super) const KEYS: &str = "grant";
pub(super) const ROW: Kind<Grant> = Kind::new("doorman_row_", 4);
