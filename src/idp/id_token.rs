//! An ID token, checked to the letter (OIDC Core §3.1.3.7, §12.2).

use std::str::FromStr as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use openidconnect::core::{CoreIdToken, CoreIdTokenClaims, CoreIdTokenVerifier};
use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, ClientId, IssuerUrl, Nonce,
    SignatureVerificationError,
};
use serde_json::{Map, Value};

use crate::idp::identity::Identity;
use crate::idp::token_endpoint::LoginFault;
use crate::idp::{Discovered, Idp};
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
    /// Who is it about? `discovered` holds the keys as they were last seen; they may have changed.
    pub(super) async fn read_id_token(
        self: &Arc<Self>,
        id_token: &str,
        access_token: &str,
        expected: Expected<'_>,
        discovered: &Discovered,
    ) -> Result<Identity, LoginFault> {
        let parsed = CoreIdToken::from_str(id_token)
            .map_err(|_| LoginFault::IdToken("it is not a JWT that we can read".to_owned()))?;
        let checked = self.check(&parsed, access_token, expected, discovered);
        if let Err(IdTokenFault::UnknownKey) = checked {
            // The IdP may have changed its keys since we last asked.
            let discovered = self.discovered_anew().await?;
            self.check(&parsed, access_token, expected, &discovered)
                .map_err(IdTokenFault::into_fault)?;
        } else {
            checked.map_err(IdTokenFault::into_fault)?;
        }
        Ok(Identity::from_claims(&payload(id_token)?, &self.settings)?)
    }

    /// OIDC Core §3.1.3.7: issuer, audience, authorized party, signature, algorithm, expiry, nonce; and
    /// §3.1.3.8: the access token's hash.
    fn check(
        &self,
        id_token: &CoreIdToken,
        access_token: &str,
        expected: Expected<'_>,
        discovered: &Discovered,
    ) -> Result<(), IdTokenFault> {
        let verifier = self.verifier(discovered)?;
        let claims = match expected {
            Expected::Nonce(nonce) => id_token.claims(&verifier, &Nonce::new(nonce.to_owned())),
            Expected::NoNonce => id_token.claims(&verifier, |_: Option<&Nonce>| Ok(())),
        };
        let claims = claims.map_err(|error| IdTokenFault::from(&error))?;
        self.check_authorized_party(claims)?;
        if let Some(hash) = claims.access_token_hash() {
            let algorithm = id_token.signing_alg().map_err(IdTokenFault::other)?;
            let key = id_token.signing_key(&verifier).map_err(IdTokenFault::other)?;
            let access_token = AccessToken::new(access_token.to_owned());
            let actual = AccessTokenHash::from_token(&access_token, algorithm, key)
                .map_err(IdTokenFault::other)?;
            if actual != *hash {
                return Err(IdTokenFault::Bad("at_hash is of another access token".to_owned()));
            }
        }
        Ok(())
    }

    /// OIDC Core §3.1.3.7, 3 to 5: with several audiences we must be the party that the token was made
    /// for, and whoever is named as that party must be us. The library leaves this to its caller.
    fn check_authorized_party(&self, claims: &CoreIdTokenClaims) -> Result<(), IdTokenFault> {
        let party = claims.authorized_party().map(|party| party.as_str());
        match party {
            Some(party) if party != self.settings.client_id => {
                Err(IdTokenFault::Bad("azp is another client".to_owned()))
            }
            None if claims.audiences().len() > 1 => {
                Err(IdTokenFault::Bad("it has several audiences and no azp".to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn verifier(
        &self,
        discovered: &Discovered,
    ) -> Result<CoreIdTokenVerifier<'static>, IdTokenFault> {
        let settings = &self.settings;
        let issuer = IssuerUrl::new(settings.issuer.clone()).map_err(IdTokenFault::other)?;
        let client = ClientId::new(settings.client_id.clone());
        let keys = discovered.keys.clone();
        // Our secret signs nothing: only asymmetric algorithms are allowed below.
        let verifier = CoreIdTokenVerifier::new_public_client(client, issuer, keys)
            // Judged by `azp`, in `check_authorized_party`.
            .set_other_audience_verifier_fn(|_| true);
        let clock = self.clock.clone();
        Ok(verifier.set_allowed_algs(discovered.algorithms.clone()).set_time_fn(move || {
            let seconds = i64::try_from(clock.now().seconds()).unwrap_or(i64::MAX);
            // Out of range is the far future: every token is then expired.
            DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::<chrono::Utc>::MAX_UTC)
        }))
    }
}

#[derive(Debug)]
enum IdTokenFault {
    /// Signed with a key that is not in the set.
    UnknownKey,
    Bad(String),
}

impl IdTokenFault {
    fn other(error: impl std::fmt::Display) -> Self {
        Self::Bad(error.to_string())
    }

    fn into_fault(self) -> LoginFault {
        match self {
            Self::UnknownKey => LoginFault::IdToken(
                "it is signed with a key that the IdP does not publish".to_owned(),
            ),
            Self::Bad(reason) => LoginFault::IdToken(reason),
        }
    }
}

impl From<&ClaimsVerificationError> for IdTokenFault {
    #[expect(clippy::wildcard_enum_match_arm, reason = "foreign, non-exhaustive: the rest is bad")]
    fn from(error: &ClaimsVerificationError) -> Self {
        match error {
            ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            ) => Self::UnknownKey,
            other => Self::Bad(other.to_string()),
        }
    }
}

/// Hash of a claim of a token that was checked before, as `logout_token` hashes the same claim.
pub(super) fn hash_of(claim: &str, id_token: &str) -> Option<[u8; 16]> {
    let claims = payload(id_token).ok()?;
    Some(secret::short_hash(claims.get(claim)?.as_str()?.as_bytes()))
}

/// The claims of a token whose signature was checked before.
fn payload(jwt: &str) -> Result<Map<String, Value>, LoginFault> {
    let unreadable = || LoginFault::IdToken("its claims can't be read".to_owned());
    let encoded = jwt.split('.').nth(1).ok_or_else(unreadable)?;
    let bytes = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).map_err(|_| unreadable())?;
    serde_json::from_slice(&bytes).map_err(|_| unreadable())
}
