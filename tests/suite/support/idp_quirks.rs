//! In what IdPs differ, as data for the fake one.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::fake_idp::Person;

/// In what an IdP differs from a plain OpenID provider.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a quirk of its own")]
pub struct Quirks {
    /// What its issuer has after the origin.
    pub path: &'static str,
    /// What its metadata has there in its place.
    pub path_in_metadata: Option<&'static str>,
    /// Paths of its endpoints, and which endpoint of the plain one it is.
    pub routes: &'static [(&'static str, &'static str)],
    /// Whether its metadata says that it takes PKCE.
    pub names_pkce: bool,
    /// Whether it says who it is beside a code (RFC 9207).
    pub sends_issuer: bool,
    /// Who it says it is there, in place of its issuer: what comes after the origin.
    pub path_beside_code: Option<&'static str>,
    /// All scopes that it knows: others end in an error page. `None`: it ignores them.
    pub scopes: Option<&'static [&'static str]>,
    pub refresh: Refresh,
    /// The parameter by which it must be told, at both endpoints, which resource a login is for. Any other
    /// that could mean one it refuses.
    pub resource_parameter: Option<&'static str>,
    pub has_id_token: bool,
    pub has_id_token_at_refresh: bool,
    /// Errors of its token endpoint come with this status.
    pub error_status: u16,
    /// What is bent of the claims of its ID token.
    pub claims: fn(&mut Value),
    /// What it answers, with 200, to who asks with an access token.
    pub resource: fn(&Visit<'_>) -> Option<Reply>,
    /// What becomes of the answers of its other endpoints, by path.
    pub tampering: Tampering,
}

/// When a login brings a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// If a scope asks for it.
    OfflineAccess,
    /// If a parameter asks for it, and the person is asked for consent.
    AccessType,
    Unasked,
    Never,
}

/// A request for a resource, with an access token that is good.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    pub origin: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub person: &'a Person,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// It never comes.
    pub is_held: bool,
}

impl Reply {
    pub fn json(body: &Value) -> Self {
        Self::text(body.to_string())
    }

    pub fn text(body: impl Into<String>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into(), is_held: false }
    }

    pub fn status(status: u16) -> Self {
        Self { status, ..Self::text("{}") }
    }

    pub fn held() -> Self {
        Self { is_held: true, ..Self::text("") }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What a test does to answers.
#[derive(Clone)]
pub struct Tampering(pub Arc<Bend>);

type Bend = dyn Fn(&str, Reply) -> Reply + Send + Sync;

impl fmt::Debug for Tampering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[tampering]")
    }
}

impl Tampering {
    /// Only with the answers at `at`.
    pub fn with(at: &'static str, bend: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |path, reply| if path == at { bend(reply) } else { reply }))
    }
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            path: "",
            path_in_metadata: None,
            routes: &[],
            names_pkce: true,
            sends_issuer: true,
            path_beside_code: None,
            scopes: None,
            refresh: Refresh::Unasked,
            resource_parameter: None,
            has_id_token: true,
            has_id_token_at_refresh: true,
            error_status: 400,
            claims: |_| {},
            resource: |visit| {
                (visit.path == "/userinfo").then(|| Reply::json(&userinfo(visit.person)))
            },
            tampering: Tampering(Arc::new(|_, reply| reply)),
        }
    }
}

/// OIDC Core §5.3.2
pub fn userinfo(person: &Person) -> Value {
    json!({
        "sub": person.sub,
        "email": person.email,
        "email_verified": person.email_verified,
        "groups": person.groups,
    })
}
