//! From a presented text to a `VerifiedToken`: the only way to make one.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::grants::{GrantId, Grants, Revocations};
use crate::idp::{Identity, Idp, Validation};
use crate::oauth::{ClientDigest, Scopes};
use crate::seal::KeyRing;
use crate::store::StoreFault;
use crate::token::cache::VerifiedCache;
use crate::token::introspected::{BadIntrospection, IntrospectionVerifier};
use crate::token::jwt::{BadJwt, JwtVerifier};
use crate::token::rules::{BadClaims, Rules};
use crate::token::sealed::{ACCESS_TOKEN, Holder};
use crate::token::{Audience, Caller, MachineSettings, People};

/// Proof that a token was judged good for one resource, at this moment. Not kept: each request makes
/// its own.
#[derive(Debug)]
pub struct VerifiedToken(Arc<TokenFacts>);

/// What is known of a good token.
#[derive(Debug)]
pub struct TokenFacts {
    pub grant: GrantId,
    pub generation: u32,
    pub client: ClientDigest,
    pub resource: [u8; 16],
    pub issued: Timestamp,
    pub expires: Timestamp,
    pub scopes: Scopes,
    pub caller: Caller,
    /// Digest of the access rules that admitted the caller. `None`: they have yet to be asked.
    pub rules: Option<[u8; 8]>,
    pub voucher: Voucher,
    /// What the upstream is told, ready to send.
    pub headers: IdentityValues,
    /// The caller at the resource, in digest, once it was worked out.
    pub holder: OnceLock<[u8; 16]>,
}

/// Whose word a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voucher {
    /// We sealed it.
    Ourselves,
    /// The IdP signed it, with one of the keys of this digest: when they change it is verified again.
    Keys([u8; 16]),
    /// The IdP said so when it was asked, which it is again from `until`.
    Answer { until: Timestamp },
}

/// The verified identity as header values. Bytes that can't stand in a header are percent-encoded.
#[derive(Clone, Debug)]
pub struct IdentityValues {
    pub user: HeaderValue,
    pub email: Option<HeaderValue>,
    /// Separated by commas; a comma within a name is encoded.
    pub groups: Option<HeaderValue>,
}

/// Why a presented token was not accepted. The client learns only which of the two it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error(transparent)]
    Bad(#[from] BadToken),
    /// We could not tell: never an answer that makes a client drop its login.
    #[error(transparent)]
    Unjudged(#[from] Unjudged),
}

/// What is missing to judge a token by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unjudged {
    #[error(transparent)]
    Store(#[from] StoreFault),
    #[error("the IdP's keys, or the one that the token names, can't be had now")]
    Keys,
    #[error("the IdP does not say now what it is worth")]
    Introspection,
}

/// For the log alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    #[error(transparent)]
    Jwt(#[from] BadJwt),
    #[error(transparent)]
    Introspected(#[from] BadIntrospection),
    #[error(transparent)]
    Claims(#[from] BadClaims),
    #[error("it is not an access token of ours")]
    NotOurs,
    #[error("it is one of ours, and tokens are issued by the IdP (tokens.issued_by)")]
    NotIssued,
    #[error("it has expired")]
    Expired,
    #[error("it was issued before tokens.not_before")]
    CutOff,
    #[error("it is for another resource")]
    AnotherResource,
    #[error("its grant has ended")]
    Revoked,
    #[error("who it is for can't be told in a header")]
    Unspeakable,
}

/// Judges access tokens.
#[derive(Debug)]
pub struct Verifier {
    accepts: Accepts,
    ring: Arc<KeyRing>,
    grants: Grants,
    revocations: Arc<Revocations>,
    cache: VerifiedCache,
    first_seen: mpsc::Sender<(GrantId, u32)>,
}

/// Whose tokens are taken.
#[derive(Debug)]
struct Accepts {
    /// Whether we issue any.
    ours: bool,
    jwts: Option<JwtVerifier>,
    /// Those that the IdP is asked about: what is no JWT in form, or everything.
    introspected: Option<IntrospectionVerifier>,
}

/// The form of a token says which verifier judges it. What that one says is final: no token is tried twice.
#[derive(Debug)]
enum Form<'a> {
    Ours(&'a str),
    Jwt(&'a str),
    Opaque(&'a str),
    Unreadable,
}

impl Verifier {
    /// `first_seen` is told, off the request's path, of each grant's generation that is in use.
    pub fn new(
        ring: Arc<KeyRing>,
        grants: Grants,
        revocations: Arc<Revocations>,
        first_seen: mpsc::Sender<(GrantId, u32)>,
    ) -> Self {
        let accepts = Accepts { ours: true, jwts: None, introspected: None };
        Self { accepts, ring, grants, revocations, cache: VerifiedCache::new(), first_seen }
    }

    /// Take tokens of `idp` too. Where we issue some ourselves, only JWTs, and only those of machines.
    pub fn with_tokens_of(
        self,
        idp: &Arc<Idp>,
        people: People,
        machines: Option<MachineSettings>,
    ) -> Self {
        let ours = people == People::Refused;
        let validation =
            if ours { Validation::Jwt } else { idp.settings().access_tokens.validation };
        let rules = Arc::new(Rules::new(idp.settings(), people, machines));
        let jwts = || JwtVerifier::new(Arc::clone(idp), Arc::clone(&rules));
        let introspected = || IntrospectionVerifier::new(Arc::clone(idp), Arc::clone(&rules));
        let accepts = Accepts {
            ours,
            jwts: validation.takes_jwts().then(jwts),
            introspected: (validation != Validation::Jwt).then(introspected),
        };
        Self { accepts, ..self }
    }

    /// Is `token` good for the resource of `audience` now?
    pub async fn verify(
        &self,
        token: &[u8],
        audience: &Audience,
        now: Timestamp,
    ) -> Result<VerifiedToken, TokenFault> {
        let facts = match Form::of(token) {
            Form::Ours(token) => self.ours(token, now).await?,
            // Boxed: waiting for keys is rare, and every request would hold room for it.
            Form::Jwt(token) if self.accepts.jwts.is_some() => {
                Box::pin(self.jwt(token, audience, now)).await?
            }
            Form::Jwt(token) | Form::Opaque(token) => match &self.accepts.introspected {
                Some(verifier) => Box::pin(verifier.verify(token, audience, now)).await?,
                None => return Err(BadToken::NotOurs.into()),
            },
            Form::Unreadable => return Err(BadToken::NotOurs.into()),
        };
        if facts.expires <= now {
            return Err(BadToken::Expired.into());
        }
        if self.grants.is_cut_off(facts.issued) {
            return Err(BadToken::CutOff.into());
        }
        if facts.resource != audience.resource {
            return Err(BadToken::AnotherResource.into());
        }
        if self.revocations.contains(facts.grant) {
            return Err(BadToken::Revoked.into());
        }
        Ok(VerifiedToken(facts))
    }

    async fn ours(&self, token: &str, now: Timestamp) -> Result<Arc<TokenFacts>, TokenFault> {
        if !self.accepts.ours {
            return Err(BadToken::NotIssued.into());
        }
        let key = VerifiedCache::key(token.as_bytes());
        if let Some(facts) = self.cache.find(&key) {
            return Ok(facts);
        }
        let facts = Arc::new(self.open(token, now).await?);
        self.cache.keep(key, &facts);
        // A full channel loses a confirmation, which makes rotation more patient, not less safe.
        let _ = self.first_seen.try_send((facts.grant, facts.generation));
        Ok(facts)
    }

    async fn jwt(
        &self,
        token: &str,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<Arc<TokenFacts>, TokenFault> {
        let Some(jwts) = &self.accepts.jwts else { return Err(BadToken::NotOurs.into()) };
        let key = VerifiedCache::key_at(token.as_bytes(), &audience.resource);
        if let Some(facts) = self.cache.find(&key)
            && let Voucher::Keys(keys) = &facts.voucher
            && jwts.still_vouches(keys)
        {
            return Ok(facts);
        }
        let facts = Arc::new(jwts.verify(token, audience, now).await?);
        self.cache.keep(key, &facts);
        Ok(facts)
    }

    async fn open(&self, token: &str, now: Timestamp) -> Result<TokenFacts, TokenFault> {
        let opened = self.ring.open(&ACCESS_TOKEN, token).map_err(|_| BadToken::NotOurs)?;
        if opened.expires <= now {
            return Err(BadToken::Expired.into());
        }
        let caller = match opened.holder {
            Holder::Person { key, email, groups } => {
                let groups = match groups {
                    Some(groups) => groups,
                    None => self.groups_of(opened.grant).await?,
                };
                // Their other claims are asked about when a token is issued.
                Caller::Person(Identity { key, email, groups, claims: Vec::new() })
            }
            Holder::ServiceAccount(id) => Caller::ServiceAccount(id),
        };
        Ok(TokenFacts {
            grant: opened.grant,
            generation: opened.generation,
            client: opened.client,
            resource: opened.resource,
            issued: opened.issued,
            expires: opened.expires,
            scopes: opened.scopes,
            rules: Some(opened.rules),
            voucher: Voucher::Ourselves,
            headers: caller.headers().ok_or(BadToken::Unspeakable)?,
            caller,
            holder: OnceLock::new(),
        })
    }

    async fn groups_of(&self, grant: GrantId) -> Result<Vec<String>, TokenFault> {
        let read = self.grants.read(grant).await.map_err(Unjudged::Store)?;
        Ok(read.ok_or(BadToken::Revoked)?.grant.person.groups)
    }
}

impl<'a> Form<'a> {
    fn of(token: &'a [u8]) -> Self {
        match std::str::from_utf8(token) {
            Ok(token) if token.starts_with(OURS) => Self::Ours(token),
            Ok(token) if token.split('.').take(4).count() == 3 => Self::Jwt(token),
            Ok(token) => Self::Opaque(token),
            Err(_) => Self::Unreadable,
        }
    }
}

impl From<BadJwt> for TokenFault {
    fn from(fault: BadJwt) -> Self {
        Self::Bad(fault.into())
    }
}

impl VerifiedToken {
    pub fn facts(&self) -> &TokenFacts {
        &self.0
    }
}

impl TokenFacts {
    /// About how many bytes it takes to keep.
    pub(super) fn size(&self) -> usize {
        let groups = match &self.caller {
            Caller::Person(person) => {
                person.groups.iter().map(|group| 2 * group.len() + 32).sum::<usize>()
            }
            Caller::ServiceAccount(_) | Caller::Machine(_) => 0,
        };
        BASIC_SIZE + self.caller.name().len() * 2 + groups
    }
}

impl IdentityValues {
    pub(super) fn of(caller: &Caller) -> Option<Self> {
        let person = match caller {
            Caller::Person(person) => person,
            // A comma is encoded in whatever a person is called, so no person is called that.
            Caller::ServiceAccount(id) => {
                let user = HeaderValue::from_str(&format!("service-account,{}", encoded(id)));
                return Some(Self { user: user.ok()?, email: None, groups: None });
            }
            Caller::Machine(client) => {
                let user = HeaderValue::from_str(&format!("machine,{}", encoded(client)));
                return Some(Self { user: user.ok()?, email: None, groups: None });
            }
        };
        let groups: Vec<_> = person.groups.iter().map(|group| encoded(group)).collect();
        Some(Self {
            user: HeaderValue::from_str(&encoded(&person.key)).ok()?,
            email: match &person.email {
                Some(email) => Some(HeaderValue::from_str(&encoded(email)).ok()?),
                None => None,
            },
            groups: if groups.is_empty() {
                None
            } else {
                Some(HeaderValue::try_from(groups.join(",")).ok()?)
            },
        })
    }
}

/// Spaces at the ends are encoded too: who reads a list trims its entries, and `staff ` is not `staff`.
fn encoded(text: &str) -> Cow<'_, str> {
    let from_start = text.trim_start_matches(' ');
    let inner = from_start.trim_end_matches(' ');
    let encoded = utf8_percent_encode(inner, NOT_IN_A_LIST).into();
    if inner.len() == text.len() {
        return encoded;
    }
    let before = "%20".repeat(text.len() - from_start.len());
    let after = "%20".repeat(from_start.len() - inner.len());
    Cow::Owned([&before, &*encoded, &after].concat())
}

/// Controls and everything beyond ASCII can't stand in a header; a comma would end a list entry; a
/// percent sign would make the rest ambiguous.
const NOT_IN_A_LIST: &AsciiSet = &CONTROLS.add(b',').add(b'%');

/// Each kind of ours begins so.
const OURS: &str = "doorman_";

const BASIC_SIZE: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9700 §4.15
    #[test]
    fn no_person_is_called_what_a_machine_is() {
        let machine = Caller::ServiceAccount("nightly".to_owned());
        let named_alike = "service-account,nightly".to_owned();
        let person = Identity { key: named_alike, ..Identity::default() };

        let machine = IdentityValues::of(&machine).unwrap().user;

        assert_eq!(machine, "service-account,nightly");
        assert_ne!(IdentityValues::of(&Caller::Person(person)).unwrap().user, machine);
    }

    #[test]
    fn a_claim_cannot_add_a_header_or_a_group() {
        let person = Identity {
            key: "a\r\nX-Admin: 1".to_owned(),
            email: Some("a@b.example".to_owned()),
            groups: ["plain", "two,groups", "größe", " two words "].map(str::to_owned).to_vec(),
            ..Identity::default()
        };

        let values = IdentityValues::of(&Caller::Person(person)).unwrap();

        assert_eq!(values.user, "a%0D%0AX-Admin: 1");
        assert_eq!(values.groups.unwrap(), "plain,two%2Cgroups,gr%C3%B6%C3%9Fe,%20two words%20");
    }
}
