//! An ID token, checked to the letter (OIDC Core §3.1.3.7, §12.2).

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::idp::claims::{Claims, seconds};
use crate::idp::identity::ClaimFault;
use crate::idp::profile::{TENANT, Tenants};
use crate::idp::token_endpoint::LoginFault;
use crate::idp::{Discovered, Idp};
use crate::jose::jws::{Jws, NotSigned};
use crate::secret;

/// What ties an ID token to what it was asked for with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected<'a> {
    /// Of a login: the nonce that was sent along.
    Nonce(&'a str),
    /// Of a refresh: there should be no nonce (OIDC Core §12.2). The caller compares the person.
    NoNonce,
}

impl Idp {
    /// What it says. `discovered` holds the keys as they were last seen; they may have changed.
    pub(super) async fn read_id_token(
        self: &Arc<Self>,
        id_token: &str,
        access_token: &str,
        expected: Expected<'_>,
        discovered: &Discovered,
    ) -> Result<Claims, LoginFault> {
        let payload = match payload(id_token, discovered) {
            Err(NotSigned::KeyId) => payload(id_token, &*self.discovered_anew().await?),
            other => other,
        };
        let payload = payload.map_err(|fault| bad(fault.to_string()))?;
        let claims = Claims::parse(&payload)
            .map_err(|reason| bad(format!("its claims can't be read: {reason}")))?;
        self.check(&claims, expected)?;
        check_access_token_hash(&claims, id_token, access_token)?;
        Ok(claims)
    }

    /// §3.1.3.7: issuer, audience, authorized party, expiry, nonce.
    fn check(&self, claims: &Claims, expected: Expected<'_>) -> Result<(), LoginFault> {
        self.check_issuer(claims)?;
        self.check_audience(claims)?;
        let expires = claims.named("exp").and_then(seconds).ok_or_else(|| bad("it has no exp"))?;
        if Timestamp::from_seconds(expires).after(SKEW) <= self.clock.now() {
            return Err(bad("it has expired"));
        }
        if claims.named("iat").and_then(seconds).is_none() {
            return Err(bad("it has no iat"));
        }
        if claims.text("sub").is_none() {
            return Err(bad("it has no sub"));
        }
        match expected {
            Expected::NoNonce => Ok(()),
            Expected::Nonce(nonce) => {
                let own = claims.text("nonce").ok_or_else(|| bad("it has no nonce"))?;
                let is_ours = secret::same(own.as_bytes(), nonce.as_bytes());
                if is_ours { Ok(()) } else { Err(bad("its nonce is of another login")) }
            }
        }
    }

    fn check_issuer(&self, claims: &Claims) -> Result<(), LoginFault> {
        let settings = &self.settings;
        let issuer = claims.text("iss").ok_or_else(|| bad("it has no iss"))?;
        if let Some(tenants) = &settings.tenants {
            return check_tenant(tenants, issuer, claims);
        }
        if settings.is_issuer(issuer) { Ok(()) } else { Err(bad("its iss is not idp.issuer")) }
    }

    /// 3 to 5: with several audiences we must be the party that the token was made for, and whoever is named
    /// as that party must be us.
    fn check_audience(&self, claims: &Claims) -> Result<(), LoginFault> {
        let client_id = &self.settings.client_id;
        let (names_us, others) = match claims.named("aud") {
            Some(Value::Array(many)) => (many.iter().any(|one| one == client_id), many.len() > 1),
            Some(one) => (one == client_id, false),
            None => (false, false),
        };
        if !names_us {
            return Err(bad("its aud does not name idp.client_id"));
        }
        match claims.named("azp") {
            Some(party) if party != client_id => Err(bad("its azp is another client")),
            None if others => Err(bad("it has several audiences and no azp")),
            Some(_) | None => Ok(()),
        }
    }
}

/// Each tenant has an issuer of its own, which names it as the claim does.
fn check_tenant(tenants: &Tenants, issuer: &str, claims: &Claims) -> Result<(), LoginFault> {
    let tenant = claims.text(&tenants.claim).ok_or_else(|| bad("it names no tenant"))?;
    if issuer != tenants.template.replace(TENANT, tenant) {
        return Err(bad("its iss is not that of the tenant that it names"));
    }
    if !tenants.allowed.iter().any(|allowed| allowed == tenant) {
        return Err(ClaimFault::Tenant(tenant.chars().take(80).collect()).into());
    }
    Ok(())
}

/// §3.1.3.8, if there is one: the left half of the access token's hash.
fn check_access_token_hash(
    claims: &Claims,
    id_token: &str,
    access_token: &str,
) -> Result<(), LoginFault> {
    let Some(told) = claims.named("at_hash") else { return Ok(()) };
    let algorithm = algorithm(id_token).ok_or_else(|| bad("its header can't be read"))?;
    let hash = match algorithm.as_str() {
        "RS256" | "PS256" | "ES256" => &SHA256,
        "RS384" | "PS384" | "ES384" => &SHA384,
        _ => &SHA512,
    };
    let hash = digest::digest(hash, access_token.as_bytes());
    let half = hash.as_ref().get(..hash.as_ref().len() / 2).unwrap_or_default();
    if *told == URL_SAFE_NO_PAD.encode(half) {
        Ok(())
    } else {
        Err(bad("its at_hash is of another access token"))
    }
}

fn payload(id_token: &str, discovered: &Discovered) -> Result<Vec<u8>, NotSigned> {
    let jws = Jws::parse_within(LONGEST, id_token, &TYPES)?;
    let keys = discovered.signing_keys.as_ref().ok_or(NotSigned::KeyId)?;
    jws.verified_with(keys)
}

/// Of a token that was verified before.
fn algorithm(id_token: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(id_token.split('.').next()?).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    header.get("alg")?.as_str().map(str::to_owned)
}

fn bad(reason: impl Into<String>) -> LoginFault {
    LoginFault::IdToken(reason.into())
}

/// Where it says so at all.
const TYPES: [&str; 1] = ["jwt"];
/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(60);
/// Bytes. Two hundred groups make twelve thousand.
const LONGEST: usize = 64 * 1024;
