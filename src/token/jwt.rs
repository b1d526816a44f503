//! A JWT that the IdP issued for a client to bring here (RFC 9068 §4, RFC 8725). What it says is judged by
//! `rules`.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::idp::{AccessTokenProfile, Idp, NoKey};
use crate::jose::Claims;
use crate::jose::claims::ClaimsFault;
use crate::jose::jws::{Jws, NotSigned};
use crate::token::Audience;
use crate::token::rules::{BadClaims, Rules};
use crate::token::verified::{TokenFacts, TokenFault, Unjudged, Voucher};

/// Judges JWTs of the IdP.
#[derive(Debug)]
pub(super) struct JwtVerifier {
    idp: Arc<Idp>,
    rules: Arc<Rules>,
}

/// Why a JWT is not a token for here. For the log alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJwt {
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    #[error("its header has no typ, and that of access tokens is not jwt")]
    NoType,
    #[error(transparent)]
    Key(NoKey),
    #[error(transparent)]
    Claims(#[from] BadClaims),
}

impl JwtVerifier {
    pub fn new(idp: Arc<Idp>, rules: Arc<Rules>) -> Self {
        Self { idp, rules }
    }

    /// Whether these are the IdP's keys now.
    pub fn still_vouches(&self, keys: &[u8; 16]) -> bool {
        self.idp.known_keys().is_some_and(|known| known.set.digest() == *keys)
    }

    /// Is `text` good for `audience` now?
    pub async fn verify(
        &self,
        text: &str,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<TokenFacts, TokenFault> {
        let jws = self.parse(text)?;
        let kid = jws.key_id().map_err(BadJwt::from)?;
        let names_a_key = kid.is_some();
        let mut keys = self.idp.keys_with(kid).await.map_err(no_key)?;
        let payload = match jws.verified_with(&keys.set) {
            // It may be by a key that has been published since.
            Err(_) if !names_a_key => {
                keys = self.idp.keys_after(&keys, text).await.map_err(no_key)?;
                self.parse(text)?.verified_with(&keys.set)
            }
            verified => verified,
        };
        let payload = payload.map_err(BadJwt::from)?;
        let claims = self.claims(&payload).map_err(BadJwt::from)?;
        let voucher = Voucher::Keys(keys.set.digest());
        Ok(self.rules.facts(text, &claims, audience, now, voucher)?)
    }

    fn parse<'a>(&self, text: &'a str) -> Result<Jws<'a>, BadJwt> {
        let types: Vec<&str> = self.profile().types.iter().map(String::as_str).collect();
        let jws = Jws::parse(text, &types)?;
        if !jws.has_type() && !types.contains(&"jwt") {
            return Err(BadJwt::NoType);
        }
        Ok(jws)
    }

    /// What a JWT must say, whoever it speaks of.
    fn claims(&self, payload: &[u8]) -> Result<Claims, BadClaims> {
        let claims = Claims::parse(payload)?;
        if claims.text("iss")? != Some(self.rules.settings().issuer.as_str()) {
            return Err(BadClaims::AnotherIssuer);
        }
        // RFC 8725 §3.11: what else the IdP signs must not pass for an access token.
        if let Some(name) = OF_OTHER_KINDS.into_iter().find(|name| claims.has(name)) {
            return Err(BadClaims::AnotherKind(name));
        }
        claims.time("exp")?.ok_or(ClaimsFault::Missing("exp"))?;
        claims.text("sub")?.ok_or(ClaimsFault::Missing("sub"))?;
        Ok(claims)
    }

    fn profile(&self) -> &AccessTokenProfile {
        self.rules.profile()
    }
}

fn no_key(fault: NoKey) -> TokenFault {
    match fault {
        NoKey::NotPublished => BadJwt::Key(NoKey::NotPublished).into(),
        NoKey::NotKnown => TokenFault::Unjudged(Unjudged::Keys),
    }
}

/// Of ID tokens (OpenID Connect Core §2, §3.3.2.11) and of what tells of events (RFC 8417).
/// The last is of a token that is bound to a key, which its bearer would have to show (RFC 9449 §7.1).
const OF_OTHER_KINDS: [&str; 6] = ["nonce", "at_hash", "c_hash", "s_hash", "events", "cnf"];
