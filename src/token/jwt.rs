//! A JWT that the IdP issued for a client to bring here (RFC 9068 §4, RFC 8725). Who it speaks of is told by
//! data: `idp::AccessTokenProfile`.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::grants::GrantId;
use crate::idp::identity::ClaimFault;
use crate::idp::{AudienceClaim, ExpectedClaim, Identity, Idp, IdpSettings, NoKey};
use crate::jose::Claims;
use crate::jose::claims::ClaimsFault;
use crate::jose::jws::{Jws, NotSigned};
use crate::oauth::{ClientDigest, Scopes};
use crate::secret;
use crate::token::machines::MachineSettings;
use crate::token::verified::{BadToken, TokenFacts, TokenFault, Unjudged, Voucher};
use crate::token::{Audience, Caller};

/// Judges JWTs of the IdP.
#[derive(Debug)]
pub(super) struct JwtVerifier {
    idp: Arc<Idp>,
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

/// Why a JWT is not a token for here. For the log alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJwt {
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    #[error("its header has no typ, and that of access tokens is not jwt")]
    NoType,
    #[error(transparent)]
    Key(NoKey),
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

/// A JWT whose signature and times are good.
struct Judged {
    claims: Claims,
    client: Option<String>,
    issued: Timestamp,
    expires: Timestamp,
}

impl JwtVerifier {
    pub fn new(idp: Arc<Idp>, people: People, machines: Option<MachineSettings>) -> Self {
        let user_key = idp.settings().access_tokens.user_key.clone();
        let settings = IdpSettings { user_key, ..idp.settings().clone() };
        Self { idp, settings, people, machines }
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
        let keys = match self.idp.keys_with(kid).await {
            Ok(keys) => keys,
            Err(NoKey::NotPublished) => return Err(BadJwt::Key(NoKey::NotPublished).into()),
            Err(NoKey::NotKnown) => return Err(TokenFault::Unjudged(Unjudged::Keys)),
        };
        let payload = jws.verified_with(&keys.set).map_err(BadJwt::from)?;
        let judged = self.judge(&payload, now)?;
        let caller = self.caller(&judged, audience)?;
        let client = judged.client.as_deref().unwrap_or_default();
        let facts = TokenFacts {
            // Of no row: it ends with its token.
            grant: GrantId::new(secret::short_hash(text.as_bytes())),
            generation: 0,
            client: ClientDigest::of(client),
            resource: audience.resource,
            issued: judged.issued,
            expires: judged.expires,
            scopes: self.scopes(&judged.claims)?,
            headers: caller.headers().ok_or(BadToken::Unspeakable)?,
            caller,
            rules: None,
            voucher: Voucher::Keys(keys.set.digest()),
        };
        Ok(facts)
    }

    fn parse<'a>(&self, text: &'a str) -> Result<Jws<'a>, BadJwt> {
        let types: Vec<&str> = self.profile().types.iter().map(String::as_str).collect();
        let jws = Jws::parse(text, &types)?;
        if !jws.has_type() && !types.contains(&"jwt") {
            return Err(BadJwt::NoType);
        }
        Ok(jws)
    }

    /// What holds for every access token, whoever it speaks of.
    fn judge(&self, payload: &[u8], now: Timestamp) -> Result<Judged, BadJwt> {
        let claims = Claims::parse(payload)?;
        if claims.text("iss")? != Some(self.settings.issuer.as_str()) {
            return Err(BadJwt::AnotherIssuer);
        }
        // RFC 8725 §3.11: what else the IdP signs must not pass for an access token.
        if let Some(name) = OF_OTHER_KINDS.into_iter().find(|name| claims.has(name)) {
            return Err(BadJwt::AnotherKind(name));
        }
        let exp = claims.time("exp")?.ok_or(ClaimsFault::Missing("exp"))?;
        let expires = Timestamp::from_seconds(exp).after(LEEWAY);
        if expires <= now {
            return Err(BadJwt::Expired);
        }
        let (nbf, iat) = (claims.time("nbf")?, claims.time("iat")?);
        let is_ahead =
            |time: Option<u64>| time.is_some_and(|time| time > now.after(LEEWAY).seconds());
        if is_ahead(nbf) || is_ahead(iat) {
            return Err(BadJwt::NotYet);
        }
        claims.text("sub")?.ok_or(ClaimsFault::Missing("sub"))?;
        let client = client(&claims)?.map(str::to_owned);
        // Without `iat` it is as old as can be.
        let issued = Timestamp::from_seconds(iat.unwrap_or(0));
        Ok(Judged { claims, client, issued, expires })
    }

    /// A machine, if it has every mark of one (RFC 9700 §4.15); else a person.
    fn caller(&self, judged: &Judged, audience: &Audience) -> Result<Caller, BadJwt> {
        let client = judged.client.as_deref();
        let has = |expected: &&ExpectedClaim| {
            let value = judged.claims.all().get(&expected.name).and_then(serde_json::Value::as_str);
            expected.is(value, client)
        };
        let marks = &self.profile().machine;
        if let Some(client) = client
            && !marks.is_empty()
            && marks.iter().all(|mark| has(&mark))
        {
            let is_listed = |machines: &MachineSettings| {
                machines.lists(client) && names(&judged.claims, &machines.audience) == Ok(true)
            };
            return match &self.machines {
                Some(machines) if is_listed(machines) => Ok(Caller::Machine(client.to_owned())),
                Some(_) | None => Err(BadJwt::Machine),
            };
        }
        if self.people == People::Refused {
            return Err(BadJwt::Person);
        }
        if let Some(missing) = self.profile().person.iter().find(|expected| !has(expected)) {
            return Err(BadJwt::NotAPersons(missing.name.clone()));
        }
        match self.profile().audience {
            AudienceClaim::Client if !judged.claims.has("aud") => {
                // Without a list, any client's tokens for anything would do.
                if audience.allowed_clients.is_empty() {
                    return Err(BadJwt::Client);
                }
            }
            AudienceClaim::Audience | AudienceClaim::Client => {
                if !names(&judged.claims, &audience.name)? {
                    return Err(BadJwt::Audience);
                }
            }
        }
        if !audience.allows(client) {
            return Err(BadJwt::Client);
        }
        Ok(Caller::Person(Identity::from_claims(judged.claims.all(), &self.settings)?))
    }

    fn scopes(&self, claims: &Claims) -> Result<Scopes, BadJwt> {
        let claim = self.profile().scopes.iter().find(|name| claims.has(name));
        let Some(name) = claim else { return Ok(Scopes::default()) };
        // No scope at all may be written as an empty text.
        if claims.all().get(name) == Some(&serde_json::Value::String(String::new())) {
            return Ok(Scopes::default());
        }
        let listed = claims.texts(name)?.unwrap_or_default();
        Ok(Scopes::parse(&listed.join(" ")))
    }

    fn profile(&self) -> &crate::idp::AccessTokenProfile {
        &self.settings.access_tokens
    }
}

/// The id of the client that the token was issued to, by whichever name it goes. One value: else it would be
/// a guess which counts.
fn client(claims: &Claims) -> Result<Option<&str>, BadJwt> {
    let mut found = None;
    for name in CLIENT_CLAIMS {
        match (found, claims.text(name)?) {
            (Some(one), Some(other)) if one != other => return Err(BadJwt::TwoClients),
            (None, Some(client)) => found = Some(client),
            (_, _) => {}
        }
    }
    Ok(found)
}

/// RFC 7519 §4.1.3. The same text, not a part of it.
fn names(claims: &Claims, audience: &str) -> Result<bool, BadJwt> {
    let named = claims.texts("aud")?.ok_or(ClaimsFault::Missing("aud"))?;
    Ok(named.contains(&audience))
}

/// How far clocks may be apart.
const LEEWAY: Duration = Duration::from_secs(60);

const CLIENT_CLAIMS: [&str; 4] = ["client_id", "azp", "cid", "appid"];

/// Of ID tokens (OpenID Connect Core §2, §3.3.2.11) and of what tells of events (RFC 8417).
const OF_OTHER_KINDS: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "events"];
