//! What must hold of an access token of the IdP's once it is sure that it is one, whether by its signature
//! (`jwt`) or because the IdP said so (`introspected`): times, client, for whom it is, of whom. How IdPs differ
//! is data: `idp::AccessTokenProfile`.

use std::sync::OnceLock;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::grants::GrantId;
use crate::idp::access_tokens::Validation;
use crate::idp::identity::ClaimFault;
use crate::idp::{AccessTokenProfile, AudienceClaim, ExpectedClaim, Identity, IdpSettings};
use crate::jose::Claims;
use crate::jose::claims::ClaimsFault;
use crate::oauth::{ClientDigest, Scopes};
use crate::secret;
use crate::token::machines::MachineSettings;
use crate::token::verified::{BadToken, TokenFacts, Voucher};
use crate::token::{Audience, Caller};

/// Of one IdP.
#[derive(Debug)]
pub(super) struct Rules {
    /// Those of ID tokens, but for how a person is told from others.
    settings: IdpSettings,
    people: People,
    machines: Option<MachineSettings>,
}

/// Whether people may come with tokens of the IdP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum People {
    /// `tokens.issued_by: idp`
    Accepted,
    /// People get tokens from us.
    Refused,
}

/// Why claims are not those of a token for here. For the log alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadClaims {
    #[error("its claims: {0}")]
    Claims(#[from] ClaimsFault),
    #[error("its iss is not idp.issuer")]
    AnotherIssuer,
    #[error("its exp has passed")]
    Expired,
    #[error("its nbf or iat is in the future")]
    NotYet,
    #[error("it has {0}, which no access token has")]
    AnotherKind(&'static str),
    #[error("its {0} is not that of an access token that may be brought so")]
    AnotherType(&'static str),
    #[error("its claims do not agree on the client's id")]
    TwoClients,
    #[error("its aud does not name this resource")]
    Audience,
    #[error("its client is not one of allowed_clients")]
    Client,
    #[error("it is a machine's, and machines: does not list the client or has another audience")]
    Machine,
    #[error("it is a person's, and people get their tokens from us (tokens.issued_by)")]
    Person,
    #[error("its claim {0} is not that of a person's access token")]
    NotAPersons(String),
    #[error(transparent)]
    Identity(#[from] ClaimFault),
}

impl Rules {
    pub fn new(settings: &IdpSettings, people: People, machines: Option<MachineSettings>) -> Self {
        let mut settings = settings.clone();
        settings.user_key.clone_from(&settings.access_tokens.user_key);
        // Where numbers are texts, so is `true`.
        settings.email.verified_may_be_text |= settings.access_tokens.validation.is_tokeninfo();
        Self { settings, people, machines }
    }

    pub fn settings(&self) -> &IdpSettings {
        &self.settings
    }

    pub fn profile(&self) -> &AccessTokenProfile {
        &self.settings.access_tokens
    }

    /// What is known of the token `text`, if its claims make it one for `audience` now.
    pub fn facts(
        &self,
        text: &str,
        claims: &Claims,
        audience: &Audience,
        now: Timestamp,
        voucher: Voucher,
    ) -> Result<TokenFacts, BadToken> {
        let (issued, expires) = times(claims, now)?;
        let client = client(claims)?;
        let caller = self.caller(claims, client, audience)?;
        Ok(TokenFacts {
            // Of no row: it ends with its token.
            grant: GrantId::new(secret::short_hash(text.as_bytes())),
            generation: 0,
            client: ClientDigest::of(client.unwrap_or_default()),
            resource: audience.resource,
            issued,
            expires,
            scopes: self.scopes(claims)?,
            headers: caller.headers().ok_or(BadToken::Unspeakable)?,
            caller,
            rules: None,
            voucher,
            holder: OnceLock::new(),
        })
    }

    /// A machine, if it has every mark of one (RFC 9700 §4.15); else a person.
    fn caller(
        &self,
        claims: &Claims,
        client: Option<&str>,
        audience: &Audience,
    ) -> Result<Caller, BadClaims> {
        let has = |expected: &&ExpectedClaim| {
            let value = claims.all().get(&expected.name).and_then(serde_json::Value::as_str);
            expected.is(value, client)
        };
        let marks = &self.profile().machine;
        if let Some(client) = client
            && !marks.is_empty()
            && marks.iter().all(|mark| has(&mark))
        {
            let is_listed = |machines: &MachineSettings| {
                machines.lists(client) && names(claims, &machines.audience) == Ok(true)
            };
            return match &self.machines {
                Some(machines) if is_listed(machines) => Ok(Caller::Machine(client.to_owned())),
                Some(_) | None => Err(BadClaims::Machine),
            };
        }
        if self.people == People::Refused {
            return Err(BadClaims::Person);
        }
        if let Some(missing) = self.profile().person.iter().find(|expected| !has(expected)) {
            return Err(BadClaims::NotAPersons(missing.name.clone()));
        }
        match self.profile().validation {
            Validation::Tokeninfo | Validation::TokeninfoQuery => {
                is_of_an_application(claims, client, audience)?;
            }
            Validation::Jwt | Validation::JwtOrIntrospection | Validation::Introspection => {
                self.is_for(claims, client, audience)?;
            }
        }
        Ok(Caller::Person(Identity::from_claims(claims.all(), &self.settings)?))
    }

    fn is_for(
        &self,
        claims: &Claims,
        client: Option<&str>,
        audience: &Audience,
    ) -> Result<(), BadClaims> {
        match self.profile().audience {
            AudienceClaim::Client if !claims.has("aud") => {
                // Without a list, any client's tokens for anything would do.
                if audience.allowed_clients.is_empty() {
                    return Err(BadClaims::Client);
                }
            }
            AudienceClaim::Audience | AudienceClaim::Client => {
                if !names(claims, &audience.name)? {
                    return Err(BadClaims::Audience);
                }
            }
        }
        if audience.allows(client) { Ok(()) } else { Err(BadClaims::Client) }
    }

    fn scopes(&self, claims: &Claims) -> Result<Scopes, BadClaims> {
        let claim = self.profile().scopes.iter().find(|name| claims.has(name));
        let Some(name) = claim else { return Ok(Scopes::default()) };
        // No scope at all may be written as an empty text.
        if claims.all().get(name) == Some(&serde_json::Value::String(String::new())) {
            return Ok(Scopes::default());
        }
        let listed = claims.texts(name)?.unwrap_or_default();
        Ok(Scopes::parse(&listed.join(" ")))
    }
}

/// When it was issued, and until when it may be used. Without `iat` it is as old as can be; without `exp`,
/// which a JWT must have, it is worth an hour from now.
fn times(claims: &Claims, now: Timestamp) -> Result<(Timestamp, Timestamp), BadClaims> {
    let expires = match claims.time("exp")? {
        Some(exp) => Timestamp::from_seconds(exp).after(LEEWAY),
        None => now.after(UNSAID),
    };
    if expires <= now {
        return Err(BadClaims::Expired);
    }
    let (nbf, iat) = (claims.time("nbf")?, claims.time("iat")?);
    let is_ahead = |time: Option<u64>| time.is_some_and(|time| time > now.after(LEEWAY).seconds());
    if is_ahead(nbf) || is_ahead(iat) {
        return Err(BadClaims::NotYet);
    }
    Ok((Timestamp::from_seconds(iat.unwrap_or(0)), expires))
}

/// The id of the client that the token was issued to, by whichever name it goes. One value: else it would be
/// a guess which counts.
fn client(claims: &Claims) -> Result<Option<&str>, BadClaims> {
    let mut found = None;
    for name in CLIENT_CLAIMS {
        match (found, claims.text(name)?) {
            (Some(one), Some(other)) if one != other => return Err(BadClaims::TwoClients),
            (None, Some(client)) => found = Some(client),
            (_, _) => {}
        }
    }
    Ok(found)
}

/// RFC 7519 §4.1.3. The same text, not a part of it.
fn names(claims: &Claims, audience: &str) -> Result<bool, BadClaims> {
    let named = claims.texts("aud")?.ok_or(ClaimsFault::Missing("aud"))?;
    Ok(named.contains(&audience))
}

/// Where `aud` names applications as `azp` does: each that is named must be one that may come. A token of
/// another application's is good for that alone.
fn is_of_an_application(
    claims: &Claims,
    client: Option<&str>,
    audience: &Audience,
) -> Result<(), BadClaims> {
    let mut named = claims.texts("aud")?.unwrap_or_default();
    named.extend(client);
    let may = |own: &&str| audience.allowed_clients.iter().any(|allowed| allowed == own);
    if named.is_empty() || !named.iter().all(may) {
        return Err(BadClaims::Client);
    }
    Ok(())
}

/// How far clocks may be apart.
const LEEWAY: Duration = Duration::from_secs(60);
const UNSAID: Duration = Duration::from_hours(1);

const CLIENT_CLAIMS: [&str; 4] = ["client_id", "azp", "cid", "appid"];
