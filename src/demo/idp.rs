//! The login of `try`: an OpenID provider that knows one client, the sidecar, and one person. For trying
//! only, on loopback only.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use minijinja::{Environment, context};
use serde_json::{Value, json};
use url::Url;

use crate::chance::{Chance, NoEntropy};
use crate::clock::{Clock, Timestamp};
use crate::oauth::CodeChallenge;
use crate::secret::{self, Secret};
use crate::wire::body::read_whole;
use crate::wire::form::Repeated;
use crate::wire::{Form, Request, Response, answer};

/// What the person types.
#[derive(Debug)]
pub struct Login {
    pub username: String,
    pub password: Secret,
}

/// The one client.
#[derive(Debug)]
pub struct RegisteredClient {
    pub id: &'static str,
    pub secret: Secret,
    pub redirect_uri: String,
}

pub struct DemoIdp {
    issuer: String,
    client: RegisteredClient,
    login: Login,
    key: Ed25519KeyPair,
    codes: Mutex<HashMap<String, IssuedCode>>,
    /// There is one person, so there is one: good, and the same, until this process ends.
    refresh_token: Secret,
    pages: Environment<'static>,
    clock: Clock,
    chance: Chance,
}

/// What the sidecar must present with the code, and gets for it.
struct IssuedCode {
    challenge: CodeChallenge,
    nonce: String,
    until: Timestamp,
}

/// A login request of the sidecar's, checked (OIDC Core §3.1.2.1).
struct LoginRequest {
    challenge: CodeChallenge,
    nonce: String,
    state: String,
}

/// The demo can't be prepared.
#[derive(Debug, thiserror::Error)]
pub enum NotPrepared {
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    #[error("no signing key: {0}")]
    Key(#[from] aws_lc_rs::error::KeyRejected),
    #[error("a page template is broken: {0}")]
    Page(#[from] minijinja::Error),
}

impl fmt::Debug for DemoIdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DemoIdp").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl DemoIdp {
    pub fn new(
        issuer: String,
        client: RegisteredClient,
        login: Login,
        clock: Clock,
        chance: Chance,
    ) -> Result<Self, NotPrepared> {
        let key = Ed25519KeyPair::from_seed_unchecked(&chance.bytes::<32>()?)?;
        let mut pages = Environment::new();
        pages.add_template("frame.html", include_str!("../pages/frame.html"))?;
        pages.add_template("login.html", include_str!("login.html"))?;
        let codes = Mutex::default();
        let refresh_token = Secret::new(URL_SAFE_NO_PAD.encode(chance.bytes::<32>()?));
        Ok(Self { issuer, client, login, key, codes, refresh_token, pages, clock, chance })
    }

    pub async fn answer(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or("").as_bytes();
        match (head.method.as_str(), head.uri.path()) {
            ("GET", "/.well-known/openid-configuration") => self.metadata(),
            ("GET", "/keys") => self.keys(),
            ("GET", "/authorize") => match self.check(&Form::parse(query)) {
                Ok(_) => self.login_page(StatusCode::OK, false),
                Err(problem) => refuse_person(problem),
            },
            ("POST", "/authorize") => match read_whole(body, LARGEST_FORM).await {
                Ok(form) => self.log_in(&Form::parse(query), &Form::parse(&form)),
                Err(_) => refuse_person("the form did not arrive whole"),
            },
            ("POST", "/token") => match read_whole(body, LARGEST_FORM).await {
                Ok(form) => self.token(&head.headers, &Form::parse(&form)),
                Err(_) => refuse(StatusCode::BAD_REQUEST, "invalid_request"),
            },
            _ => answer::not_found(),
        }
    }

    fn metadata(&self) -> Response {
        let issuer = &self.issuer;
        let metadata = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        answer::json(StatusCode::OK, &metadata)
    }

    /// RFC 8037 §2
    fn keys(&self) -> Response {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref());
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": KEY_ID, "use": "sig", "alg": "EdDSA" });
        answer::json(StatusCode::OK, &json!({ "keys": [key] }))
    }

    /// Strict, as a good provider is: what the sidecar gets wrong here it would get wrong elsewhere.
    fn check(&self, query: &Form) -> Result<LoginRequest, &'static str> {
        let one = |name| match query.one(name) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err("a parameter is missing"),
            Err(Repeated) => Err("a parameter was sent more than once"),
        };
        if one("client_id")? != self.client.id || one("redirect_uri")? != self.client.redirect_uri {
            return Err(
                "client_id and redirect_uri are not those of the sidecar that was started here",
            );
        }
        if one("response_type")? != "code" || one("code_challenge_method")? != "S256" {
            return Err("response_type must be code, and code_challenge_method S256");
        }
        let challenge = CodeChallenge::parse(one("code_challenge")?).ok_or("bad code_challenge")?;
        let (nonce, state) = (one("nonce")?.to_owned(), one("state")?.to_owned());
        Ok(LoginRequest { challenge, nonce, state })
    }

    fn log_in(&self, query: &Form, form: &Form) -> Response {
        let request = match self.check(query) {
            Ok(request) => request,
            Err(problem) => return refuse_person(problem),
        };
        // Copied from a terminal, often with a space.
        let typed = |name| form.one(name).ok().flatten().unwrap_or("").trim();
        let is_right = secret::same(typed("username").as_bytes(), self.login.username.as_bytes())
            & secret::same(typed("password").as_bytes(), self.login.password.expose().as_bytes());
        if !is_right {
            return self.login_page(StatusCode::UNAUTHORIZED, true);
        }
        let Some(location) = self.issue_code(request) else {
            return refuse_person("no code could be made");
        };
        answer::see_other(location.as_str()).unwrap_or_else(|| refuse_person("bad redirect"))
    }

    /// Where the browser goes with a new code (OIDC Core §3.1.2.5, RFC 9207 §2).
    fn issue_code(&self, LoginRequest { challenge, nonce, state }: LoginRequest) -> Option<Url> {
        let code = URL_SAFE_NO_PAD.encode(self.chance.bytes::<32>().ok()?);
        let mut location = Url::parse(&self.client.redirect_uri).ok()?;
        location
            .query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", &state)
            .append_pair("iss", &self.issuer);
        let now = self.clock.now();
        let mut codes = self.codes();
        codes.retain(|_, issued| issued.until > now);
        codes.insert(code, IssuedCode { challenge, nonce, until: now.after(CODE_LIFETIME) });
        Some(location)
    }

    /// OIDC Core §3.1.3, §12
    fn token(&self, headers: &HeaderMap, form: &Form) -> Response {
        if !self.is_our_client(headers) {
            return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
        }
        match form.one("grant_type").ok().flatten() {
            Some("authorization_code") => self.redeem(form),
            Some("refresh_token") => self.refresh(form),
            _ => refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
        }
    }

    fn redeem(&self, form: &Form) -> Response {
        let of = |name| form.one(name).ok().flatten().unwrap_or("");
        let issued = self.codes().remove(of("code"));
        let is_good = |issued: &IssuedCode| {
            issued.until > self.clock.now()
                && issued.challenge.is_met_by(of("code_verifier"))
                && of("redirect_uri") == self.client.redirect_uri
        };
        let Some(issued) = issued.filter(is_good) else {
            return refuse(StatusCode::BAD_REQUEST, "invalid_grant");
        };
        self.issue(Some(&issued.nonce))
    }

    fn refresh(&self, form: &Form) -> Response {
        let sent = form.one("refresh_token").ok().flatten().unwrap_or("");
        if !secret::same(sent.as_bytes(), self.refresh_token.expose().as_bytes()) {
            return refuse(StatusCode::BAD_REQUEST, "invalid_grant");
        }
        self.issue(None)
    }

    /// The `nonce` is that of the login; a refresh has none (OIDC Core §12.2).
    fn issue(&self, nonce: Option<&str>) -> Response {
        let Ok(access_token) = self.chance.bytes::<32>() else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
        };
        let tokens = json!({
            "token_type": "Bearer",
            "access_token": URL_SAFE_NO_PAD.encode(access_token),
            "expires_in": TOKEN_LIFETIME.as_secs(),
            "refresh_token": self.refresh_token.expose(),
            "id_token": self.id_token(nonce),
        });
        answer::private_json(StatusCode::OK, &tokens)
    }

    /// RFC 6749 §2.3.1
    fn is_our_client(&self, headers: &HeaderMap) -> bool {
        let pair = [self.client.id, self.client.secret.expose()].join(":");
        let expected = format!("Basic {}", STANDARD.encode(pair));
        let sent = headers.get(AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
        secret::same(sent, expected.as_bytes())
    }

    /// OIDC Core §2, signed as RFC 8037 §3.1 says.
    fn id_token(&self, nonce: Option<&str>) -> String {
        let now = self.clock.now();
        let header = json!({ "alg": "EdDSA", "kid": KEY_ID, "typ": "JWT" });
        let mut claims = json!({
            "iss": self.issuer,
            "aud": self.client.id,
            "sub": SUBJECT,
            "iat": now.seconds(),
            "exp": now.after(TOKEN_LIFETIME).seconds(),
            "email": EMAIL,
            "email_verified": true,
            "groups": GROUPS,
        });
        if let (Some(nonce), Some(claims)) = (nonce, claims.as_object_mut()) {
            claims.insert("nonce".to_owned(), json!(nonce));
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = [part(&header), part(&claims)].join(".");
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn login_page(&self, status: StatusCode, refused: bool) -> Response {
        let username = &self.login.username;
        let page = self.pages.get_template("login.html");
        match page.and_then(|page| page.render(context! { username, refused })) {
            Ok(html) => answer::page(status, html),
            Err(error) => {
                tracing::error!(fault = %error, "the login page could not be rendered");
                answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "this page could not be shown")
            }
        }
    }

    fn codes(&self) -> MutexGuard<'_, HashMap<String, IssuedCode>> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// RFC 6749 §5.2
fn refuse(status: StatusCode, error: &'static str) -> Response {
    answer::private_json(status, &json!({ "error": error }))
}

fn refuse_person(problem: &'static str) -> Response {
    answer::page(
        StatusCode::BAD_REQUEST,
        Bytes::from(format!(
            "<!doctype html><title>Demo login</title><p>This login can't go on: {problem}."
        )),
    )
}

const KEY_ID: &str = "demo";
const SUBJECT: &str = "demo-person";
const EMAIL: &str = "demo@example.com";
const GROUPS: [&str; 1] = ["demo"];
const CODE_LIFETIME: Duration = Duration::from_mins(1);
const TOKEN_LIFETIME: Duration = Duration::from_hours(1);

/// Bytes.
const LARGEST_FORM: usize = 16 * 1024;
