//! What our codes and tokens carry. Small: clients keep a whole token answer in 1,280 characters.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::grants::{GrantId, Keepsake};
use crate::oauth::{ClientDigest, CodeChallenge, Scopes};
use crate::seal::Kind;
use crate::store::epoch::Epoch;

/// An authorization code (RFC 6749 §4.1.2), bound to everything that its redemption must repeat.
#[derive(Debug, Serialize, Deserialize)]
pub struct Code {
    pub grant: GrantId,
    pub client: ClientDigest,
    /// Hash of the redirect URI that the code was sent to.
    pub redirect_uri: [u8; 16],
    pub challenge: CodeChallenge,
    pub expires: Timestamp,
    /// Whether the client wanted refresh tokens when it asked for the code.
    pub refreshes: bool,
    /// Of the store that has its grant.
    pub epoch: Epoch,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct RefreshToken {
    pub grant: GrantId,
    pub client: ClientDigest,
    pub generation: u32,
    pub issued: Timestamp,
    /// Of the store that has its grant.
    pub epoch: Epoch,
    /// What the grant can be rebuilt from, should the store lose it.
    pub keepsake: Option<Keepsake>,
}

/// Enough to judge a request without I/O.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccessToken {
    pub grant: GrantId,
    pub generation: u32,
    pub client: ClientDigest,
    /// Digest of the one resource that it is good for.
    pub resource: [u8; 16],
    pub issued: Timestamp,
    pub expires: Timestamp,
    pub scopes: Scopes,
    pub holder: Holder,
    /// Digest of the access rules that admitted the person when the token was issued.
    pub rules: [u8; 8],
}

/// Whom an access token was issued for.
#[derive(Debug, Serialize, Deserialize)]
pub enum Holder {
    Person {
        key: String,
        email: Option<String>,
        /// `None` if there are too many to carry: the grant's row has them.
        groups: Option<Vec<String>>,
    },
    /// By its id. Its grant has no row: it ends with its token.
    ServiceAccount(String),
}

pub const CODE: Kind<Code> = Kind::new("doorman_ac_", 3);
pub const ACCESS_TOKEN: Kind<AccessToken> = Kind::new("doorman_at_", 3);
pub const REFRESH_TOKEN: Kind<RefreshToken> = Kind::new("doorman_rt_", 2);
