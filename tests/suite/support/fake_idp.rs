//! An IdP in this process: signs one person in at once, and lies about it when told to.
//!
//! Strict with us where a real one is: client authentication, redirect URI, code, PKCE.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each way to lie changes one thing and leaves the rest as it is"
)]

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mcp_doorman::clock::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::form_urlencoded;

use crate::support::idp_quirks::{Quirks, Refresh, Reply, Visit};
use crate::support::introspection::{self, Introspection};
use crate::support::trouble::IdpTrouble;
use crate::support::{hash_text, random_text, soon};

/// Our client at the IdP.
pub const CLIENT_ID: &str = "doorman-at-the-idp";
/// Needs form encoding inside `Basic`: RFC 6749 §2.3.1.
pub const CLIENT_SECRET: &str = "canary-idp-secret/+ %:x";

/// Whoever sits at the browser.
#[derive(Clone, Debug)]
pub struct Person {
    pub sub: &'static str,
    pub email: &'static str,
    pub email_verified: bool,
    pub groups: Value,
}

impl Person {
    pub fn alice() -> Self {
        Self {
            sub: "alice-7f3a",
            email: "alice@example.com",
            email_verified: true,
            groups: json!(["engineers", "mcp-users"]),
        }
    }
}

/// What the IdP sends when somebody logs out there, before it is signed. A test may bend every part of it.
#[derive(Clone, Debug)]
pub struct LogoutToken {
    pub header: Value,
    pub claims: Value,
}

impl LogoutToken {
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    pub fn without_claim(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name).unwrap();
        self
    }

    pub fn head(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    pub fn without_head(mut self, name: &str) -> Self {
        self.header.as_object_mut().unwrap().remove(name).unwrap();
        self
    }

    pub fn signed(&self) -> String {
        self.signed_as(Conduct::Honest)
    }

    /// As an IdP of this conduct signs: with which key, by which algorithm.
    pub fn signed_as(&self, conduct: Conduct) -> String {
        let (alg, kid) = named_by(conduct);
        let mut header = self.header.clone();
        header["alg"] = json!(alg);
        if header.get("kid").is_some() {
            header["kid"] = json!(kid);
        }
        with_signature(conduct, &header, &self.claims.to_string())
    }

    /// With claims as this text, for what `Value` can't hold.
    pub fn signed_text(&self, claims: &str) -> String {
        with_signature(Conduct::Honest, &self.header, claims)
    }
}

/// How the IdP lies or fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    Honest,
    WrongNonce,
    NoNonce,
    WrongAudience,
    /// Ours is among two audiences, but the token was made for the other party.
    WrongAuthorizedParty,
    /// For us alone, and yet made for another party.
    WrongAuthorizedPartyAlone,
    /// Ours is among two audiences, and no party is named.
    NoAuthorizedParty,
    /// Honest: two audiences, made for us.
    SeveralAudiences,
    /// `at_hash` of another access token.
    WrongAccessTokenHash,
    /// Honest: `at_hash` of the access token that comes along.
    AccessTokenHash,
    WrongIssuer,
    NoSubject,
    EmptySubject,
    /// Two people in one token: which of them it is depends on the reader.
    SubjectTwice,
    BadSignature,
    AlgNone,
    /// HS256 with our public key as the secret.
    HmacWithPublicKey,
    /// HS256 with our client secret, which OIDC allows only if it was agreed.
    HmacWithClientSecret,
    UnknownKey,
    Expired,
    NoExpiry,
    NoIdToken,
    GarbledIdToken,
    WrongIssParameter,
    /// Announced in the metadata, and left out.
    NoIssParameter,
    /// Signs with a key that it has just published beside the old one.
    NewKey,
    AccessDenied,
    LoginRequired,
    ErrorWithMarkup,
    TokenEndpointFails,
    TokenEndpointAnswersHtml,
    TokenEndpointHangsUp,
    CodeRefused,
    OurSecretExpired,
    /// Login and refresh bring no refresh token.
    NoRefreshToken,
    /// Refresh tokens last: none is replaced.
    KeepsRefreshToken,
    /// A refresh brings no ID token (OIDC Core §12.2 allows it).
    NoIdTokenAtRefresh,
    /// A refresh brings a new refresh token, and no access token.
    NoAccessTokenAtRefresh,
    /// A refresh brings an error, and a new refresh token beside it.
    ErrorBesideRefreshToken,
    /// 1,800 characters, as Entra's.
    LongRefreshToken,
    /// The person has left, or must log in again.
    RefusesRefresh(&'static str),
    RevocationFails,
}

/// A request that reached the IdP.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    /// Of the query, or of the form.
    pub parameters: HashMap<String, String>,
    pub headers: HeaderMap,
}

#[derive(Clone, Debug)]
pub struct FakeIdp {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    origin: String,
    issuer: String,
    quirks: Quirks,
    clock: Clock,
    state: Mutex<State>,
    asked: watch::Sender<Vec<Asked>>,
    discovery: watch::Sender<Discovery>,
    /// The grant type whose answers wait.
    held: watch::Sender<Option<&'static str>>,
    are_keys_held: watch::Sender<bool>,
    introspection: Introspection,
    /// What was asked while it was down: the path, and when.
    in_vain: Mutex<Vec<(String, u64)>>,
}

/// What becomes of a request for the discovery document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Discovery {
    Answered,
    Held,
    Failing,
}

#[derive(Debug)]
struct State {
    is_down: bool,
    trouble: Option<(&'static str, IdpTrouble)>,
    /// In place of the honest answer at the address of the keys.
    keys: Option<(u16, String)>,
    /// In its metadata, in place of what is there; `null` leaves a member out.
    announced: Vec<(&'static str, Value)>,
    conduct: Conduct,
    person: Person,
    /// Where the person signs in: told as `sid`.
    session: Option<&'static str>,
    codes: HashMap<String, Pending>,
    /// Those that are good.
    /// With what they are for.
    refresh_tokens: HashMap<String, Option<String>>,
    access_tokens: HashSet<String>,
    issued: Vec<String>,
}

#[derive(Debug)]
struct Pending {
    redirect_uri: String,
    gets_refresh_token: bool,
    resource: Option<String>,
    nonce: Option<String>,
    challenge: String,
}

impl FakeIdp {
    pub async fn start(clock: Clock) -> Self {
        Self::start_with(Quirks::default(), clock).await
    }

    pub async fn start_with(quirks: Quirks, clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let issuer = format!("{origin}{}", quirks.path);
        let (conduct, person) = (Conduct::Honest, Person::alice());
        let state = State {
            is_down: false,
            trouble: None,
            keys: None,
            announced: Vec::new(),
            conduct,
            person,
            session: None,
            codes: HashMap::new(),
            refresh_tokens: HashMap::new(),
            access_tokens: HashSet::new(),
            issued: Vec::new(),
        };
        let asked = watch::Sender::new(Vec::new());
        let inner = Inner {
            origin,
            issuer,
            quirks,
            clock,
            state: Mutex::new(state),
            asked,
            discovery: watch::Sender::new(Discovery::Answered),
            held: watch::Sender::new(None),
            are_keys_held: watch::Sender::new(false),
            introspection: Introspection::new(),
            in_vain: Mutex::default(),
        };
        let inner = Arc::new(inner);
        tokio::spawn(listen(listener, inner.clone()));
        Self { inner }
    }

    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    pub fn origin(&self) -> &str {
        &self.inner.origin
    }

    /// The person takes back what they allowed: no access token is good any more.
    pub fn withdraw_access(&self) {
        self.inner.state.lock().unwrap().access_tokens.clear();
    }

    /// From now on this becomes of every request for `path`.
    pub fn in_trouble(&self, path: &'static str, trouble: IdpTrouble) {
        self.inner.state.lock().unwrap().trouble = Some((path, trouble));
    }

    /// From now on every connection breaks, open ones too.
    pub fn go_down(&self) {
        self.inner.state.lock().unwrap().is_down = true;
    }

    pub fn come_up(&self) {
        self.inner.state.lock().unwrap().is_down = false;
    }

    /// How often somebody tried to reach it while it was down.
    pub fn in_vain(&self) -> usize {
        self.inner.in_vain.lock().unwrap().len()
    }

    /// When it was asked for one of `paths` while it was down: seconds since 1970, earliest first.
    pub fn asked_in_vain(&self, paths: &[&str]) -> Vec<u64> {
        let in_vain = self.inner.in_vain.lock().unwrap();
        let of_these = in_vain.iter().filter(|(path, _)| paths.contains(&path.as_str()));
        of_these.map(|(_, at)| *at).collect()
    }

    /// From now on who asks for the discovery document waits.
    pub fn hold_discovery(&self) {
        self.inner.discovery.send_replace(Discovery::Held);
    }

    /// Whoever waits for the discovery document, or asks for it from now on, gets a 500.
    pub fn fail_discovery(&self) {
        self.inner.discovery.send_replace(Discovery::Failing);
    }

    /// From now on a refresh is done, its refresh token is spent, and the answer waits.
    pub fn hold_refreshes(&self) {
        self.inner.held.send_replace(Some("refresh_token"));
    }

    /// From now on who exchanges a code waits.
    pub fn hold_codes(&self) {
        self.inner.held.send_replace(Some("authorization_code"));
    }

    pub fn release_codes(&self) {
        self.inner.held.send_replace(None);
    }

    /// Somebody has come to exchange a code.
    pub async fn until_a_code_came(&self) {
        let mut asked = self.inner.asked.subscribe();
        let is_exchange = |asked: &Asked| {
            asked.path == "/token" && asked.parameters["grant_type"] == "authorization_code"
        };
        let came = asked.wait_for(|all| all.iter().any(is_exchange));
        soon("a code at the IdP", came).await.unwrap();
    }

    /// What its metadata says of `name`; `null` leaves it out.
    pub fn announce(&self, name: &'static str, value: Value) {
        self.inner.state.lock().unwrap().announced.push((name, value));
    }

    /// From now on this is what stands where the keys are.
    pub fn publish_keys(&self, status: u16, text: impl Into<String>) {
        self.inner.state.lock().unwrap().keys = Some((status, text.into()));
    }

    /// From now on who asks for the keys waits.
    pub fn hold_keys(&self) {
        self.inner.are_keys_held.send_replace(true);
    }

    pub fn release_keys(&self) {
        self.inner.are_keys_held.send_replace(false);
    }

    pub fn release_refreshes(&self) {
        self.inner.held.send_replace(None);
    }

    pub fn conduct(&self, conduct: Conduct) {
        self.inner.state.lock().unwrap().conduct = conduct;
    }

    pub fn sign_in(&self, person: Person) {
        self.inner.state.lock().unwrap().person = person;
    }

    /// From now on people sign in in this session, and the IdP tells its name.
    pub fn begin_session(&self, sid: &'static str) {
        self.inner.state.lock().unwrap().session = Some(sid);
    }

    /// The honest one about this person, everywhere.
    pub fn logout_token(&self, sub: &str) -> LogoutToken {
        let now = self.inner.clock.now().seconds();
        LogoutToken {
            header: json!({ "alg": "RS256", "kid": KEY_ID, "typ": "logout+jwt" }),
            claims: json!({
                "iss": self.inner.issuer,
                "aud": CLIENT_ID,
                "iat": now,
                "exp": now + 120,
                "jti": random_text(),
                "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
                "sub": sub,
            }),
        }
    }

    /// What it says of tokens that only it can read.
    pub fn introspection(&self) -> &Introspection {
        &self.inner.introspection
    }

    /// What was asked of `path` so far.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        let asked = self.inner.asked.borrow();
        asked.iter().filter(|asked| asked.path == path).cloned().collect()
    }

    /// How often it was asked about somebody again.
    pub fn refreshes(&self) -> usize {
        refreshes(&self.inner.asked.borrow())
    }

    /// Is there a refresh token that it would take?
    pub fn takes_a_refresh_token(&self) -> bool {
        !self.inner.state.lock().unwrap().refresh_tokens.is_empty()
    }

    /// Wait until it has been asked about somebody again.
    pub async fn until_refreshed(&self) {
        let mut asked = self.inner.asked.subscribe();
        let refresh = asked.wait_for(|asked| refreshes(asked) > 0);
        soon("a refresh at the IdP", refresh).await.unwrap();
    }

    /// Every code and token that was handed out so far.
    pub fn issued(&self) -> Vec<String> {
        self.inner.state.lock().unwrap().issued.clone()
    }

    /// The next request, or an unsuccessful attempt to make one while the IdP is down.
    pub async fn next_contact(&self) {
        let mut asked = self.inner.asked.subscribe();
        soon("a request to the IdP", asked.changed()).await.unwrap();
    }
}

fn refreshes(asked: &[Asked]) -> usize {
    let is_refresh = |asked: &&Asked| {
        asked.path == "/token" && asked.parameters["grant_type"] == "refresh_token"
    };
    asked.iter().filter(is_refresh).count()
}

async fn listen(listener: TcpListener, idp: Arc<Inner>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let idp = idp.clone();
        let service = service_fn(move |request| answer(idp.clone(), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

type Answer = Result<Response<Full<Bytes>>, io::Error>;

async fn answer(idp: Arc<Inner>, request: http::Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    if idp.state.lock().unwrap().is_down {
        let at = idp.clock.now().seconds();
        idp.in_vain.lock().unwrap().push((idp.plain_path(head.uri.path()), at));
        idp.asked.send_modify(|_| {});
        // It breaks off, and nothing was answered.
        return Err(io::Error::other("down"));
    }
    let query = head.uri.query().unwrap_or("");
    let text = if head.method == Method::POST {
        String::from_utf8_lossy(&body).into_owned()
    } else {
        query.to_owned()
    };
    let parameters: HashMap<_, _> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    let path = idp.plain_path(head.uri.path());
    let asked =
        Asked { path: path.clone(), parameters: parameters.clone(), headers: head.headers.clone() };
    idp.asked.send_modify(|all| all.push(asked));
    let trouble = idp.state.lock().unwrap().trouble;
    if let Some((_, trouble)) = trouble.filter(|(at, _)| *at == path) {
        return match trouble {
            IdpTrouble::Error => Ok(json_answer(500, &json!({}))),
            IdpTrouble::Nonsense => Ok(Response::new(Full::from("<html>Sign in</html>"))),
            IdpTrouble::Reset => Err(io::Error::other("broke off")),
            IdpTrouble::Silence => std::future::pending().await,
        };
    }
    match (head.method.as_str(), path.as_str()) {
        ("GET", DISCOVERY) => {
            let mut state = idp.discovery.subscribe();
            let state = *state.wait_for(|state| *state != Discovery::Held).await.unwrap();
            let status = if state == Discovery::Failing { 500 } else { 200 };
            idp.bent(&path, json_answer(status, &discovery(&idp))).await
        }
        ("GET", "/jwks") => {
            let mut are_held = idp.are_keys_held.subscribe();
            are_held.wait_for(|are_held| !are_held).await.unwrap();
            if let Some((status, text)) = idp.state.lock().unwrap().keys.clone() {
                let answer = Response::builder().status(status);
                return Ok(answer.body(Full::from(text)).unwrap());
            }
            let conduct = idp.state.lock().unwrap().conduct;
            idp.bent(&path, json_answer(200, &published_keys(conduct))).await
        }
        ("GET", "/authorize") => {
            let answer = authorize(&idp, &parameters);
            idp.bent(&path, answer).await
        }
        ("POST", "/revoke") => Ok(revoke(&idp, &head.headers, &parameters)),
        ("POST", "/introspect") if !is_our_client(&head.headers, &parameters) => {
            Ok(json_answer(401, &json!({ "error": "invalid_client" })))
        }
        ("POST", "/introspect") => {
            let of = parameters["token"].as_str();
            let (status, text) = idp.introspection.answer(of, introspection::inactive()).await;
            Ok(Response::builder().status(status).body(Full::from(text)).unwrap())
        }
        ("GET", "/tokeninfo") => {
            let bearer = head.headers.get("authorization").map(|value| value.to_str().unwrap());
            let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
            let of = bearer.or(parameters.get("access_token").map(String::as_str)).unwrap();
            let refusal = (400, json!({ "error": "invalid_token" }));
            let (status, text) = idp.introspection.answer(of, refusal).await;
            Ok(Response::builder().status(status).body(Full::from(text)).unwrap())
        }
        ("POST", "/token") => {
            let answer = token(&idp, &head.headers, &parameters)?;
            let grant = parameters["grant_type"].as_str();
            let mut waiting = idp.held.subscribe();
            waiting.wait_for(|held| held.is_none_or(|held| held != grant)).await.unwrap();
            idp.bent(&path, answer).await
        }
        ("GET", path) => {
            let answer = resource(&idp, &head.headers, path, query);
            idp.bent(path, answer).await
        }
        _ => Ok(json_answer(404, &json!({ "error": "not_found" }))),
    }
}

impl Inner {
    /// The path at which a plain OpenID provider would have that.
    fn plain_path(&self, path: &str) -> String {
        let own = format!("{}{DISCOVERY}", self.quirks.path.trim_end_matches('/'));
        if path == own {
            return DISCOVERY.to_owned();
        }
        let route = self.quirks.routes.iter().find(|(theirs, _)| *theirs == path);
        route.map_or(path, |(_, plain)| plain).to_owned()
    }

    /// `answer`, as this one bends it.
    async fn bent(&self, path: &str, answer: Response<Full<Bytes>>) -> Answer {
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let reply = Reply {
            status: head.status.as_u16(),
            body: String::from_utf8(body.to_vec()).unwrap(),
            ..Reply::text("")
        };
        let reply = (self.quirks.tampering.0)(path, reply);
        if reply.is_held {
            std::future::pending::<()>().await;
        }
        let mut answer = Response::from_parts(head, Full::from(reply.body));
        *answer.status_mut() = StatusCode::from_u16(reply.status).unwrap();
        for (name, value) in reply.headers {
            answer.headers_mut().append(name, value.parse().unwrap());
        }
        Ok(answer)
    }
}

/// Something that is asked with an access token.
fn resource(idp: &Inner, headers: &HeaderMap, path: &str, query: &str) -> Response<Full<Bytes>> {
    let credentials = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = credentials.and_then(|value| value.strip_prefix("Bearer "));
    let state = idp.state.lock().unwrap();
    if !token.is_some_and(|token| state.access_tokens.contains(token)) {
        return json_answer(401, &json!({ "message": "Bad credentials" }));
    }
    let visit = Visit { origin: &idp.origin, path, query, person: &state.person };
    let Some(reply) = (idp.quirks.resource)(&visit) else {
        return json_answer(404, &json!({ "message": "Not Found" }));
    };
    let mut answer = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        answer = answer.header(name, value);
    }
    answer.body(Full::from(reply.body)).unwrap()
}

fn discovery(idp: &Inner) -> Value {
    let (origin, quirks) = (&idp.origin, &idp.quirks);
    let mut metadata = json!({
        "issuer": format!("{origin}{}", quirks.path_in_metadata.unwrap_or(quirks.path)),
        "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}/token"),
        "userinfo_endpoint": format!("{origin}/userinfo"),
        "revocation_endpoint": format!("{origin}/revoke"),
        "introspection_endpoint": format!("{origin}/introspect"),
        "jwks_uri": format!("{origin}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    });
    if quirks.names_pkce {
        metadata["code_challenge_methods_supported"] = json!(["S256"]);
    }
    if quirks.sends_issuer {
        metadata["authorization_response_iss_parameter_supported"] = json!(true);
    }
    let members = metadata.as_object_mut().unwrap();
    for (name, value) in &idp.state.lock().unwrap().announced {
        members.remove(*name);
        if !value.is_null() {
            members.insert((*name).to_owned(), value.clone());
        }
    }
    metadata
}

/// The login form, already filled in: straight back with a code.
fn authorize(idp: &Inner, asked: &HashMap<String, String>) -> Response<Full<Bytes>> {
    let of = |name: &str| asked.get(name).map_or("", String::as_str);
    let scopes = || of("scope").split(' ').filter(|scope| !scope.is_empty());
    let quirks = &idp.quirks;
    let problem = [
        (of("response_type") != "code", "response_type"),
        (of("client_id") != CLIENT_ID, "client_id"),
        (of("code_challenge_method") != "S256", "code_challenge_method"),
        (of("code_challenge").len() != 43, "code_challenge"),
        (of("state").is_empty(), "state"),
        (quirks.has_id_token && !scopes().any(|scope| scope == "openid"), "scope"),
    ];
    if let Some((_, name)) = problem.iter().find(|(is_wrong, _)| *is_wrong) {
        return json_answer(400, &json!({ "error": "invalid_request", "parameter": name }));
    }
    if let Some(known) = quirks.scopes
        && let Some(unknown) = scopes().find(|scope| !known.contains(scope))
    {
        return json_answer(400, &json!({ "error": "invalid_scope", "scope": unknown }));
    }
    let Ok(resource) = resource_of(quirks, asked) else { return another_resource() };
    let mut state = idp.state.lock().unwrap();
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("state", of("state"));
    match state.conduct {
        Conduct::WrongIssParameter => query.append_pair("iss", "https://other-idp.example"),
        Conduct::NoIssParameter => &mut query,
        _ if !quirks.sends_issuer => &mut query,
        _ => match quirks.path_beside_code {
            Some(path) => query.append_pair("iss", &format!("{}{path}", idp.origin)),
            None => query.append_pair("iss", &idp.issuer),
        },
    };
    let refusal = match state.conduct {
        Conduct::AccessDenied => Some(("access_denied", "canary-idp-description")),
        Conduct::LoginRequired => Some(("login_required", "canary-idp-description")),
        Conduct::ErrorWithMarkup => Some(("<b>x</b>", "<script>alert(1)</script>\r\nX-A: b")),
        _ => None,
    };
    if let Some((error, description)) = refusal {
        query.append_pair("error", error).append_pair("error_description", description);
    } else {
        let code = format!("canary-idp-code-{}", random_text());
        let is_offline = (of("access_type"), of("prompt")) == ("offline", "consent");
        let pending = Pending {
            redirect_uri: of("redirect_uri").to_owned(),
            gets_refresh_token: match quirks.refresh {
                Refresh::OfflineAccess => scopes().any(|scope| scope == "offline_access"),
                Refresh::AccessType => is_offline,
                Refresh::Unasked => true,
                Refresh::Never => false,
            },
            resource,
            nonce: asked.get("nonce").cloned(),
            challenge: of("code_challenge").to_owned(),
        };
        state.codes.insert(code.clone(), pending);
        state.issued.push(code.clone());
        query.append_pair("code", &code);
    }
    let location = format!("{}?{}", of("redirect_uri"), query.finish());
    let answer = Response::builder().status(StatusCode::FOUND).header("location", location);
    answer.body(Full::default()).unwrap()
}

/// A parameter that means a resource is missing, or not welcome.
struct AnotherResource;

/// What the parameters say a login or a token is for.
fn resource_of(
    quirks: &Quirks,
    asked: &HashMap<String, String>,
) -> Result<Option<String>, AnotherResource> {
    let is_wrong =
        |name: &&str| asked.contains_key(*name) != (quirks.resource_parameter == Some(*name));
    // Some IdPs refuse a parameter that they don't know: nothing of the MCP client's may reach them.
    if ["resource", "audience"].iter().any(is_wrong) {
        return Err(AnotherResource);
    }
    Ok(quirks.resource_parameter.map(|name| asked[name].clone()))
}

/// As Entra says it.
fn another_resource() -> Response<Full<Bytes>> {
    let why = "AADSTS9010010: the resource parameter doesn't match with the requested scopes";
    json_answer(400, &json!({ "error": "invalid_target", "error_description": why }))
}

fn token(idp: &Inner, headers: &http::HeaderMap, form: &HashMap<String, String>) -> Answer {
    let mut state = idp.state.lock().unwrap();
    let conduct = state.conduct;
    match conduct {
        Conduct::TokenEndpointFails => return Ok(json_answer(500, &json!({}))),
        Conduct::TokenEndpointHangsUp => return Err(io::Error::other("hung up")),
        Conduct::TokenEndpointAnswersHtml => {
            return Ok(Response::new(Full::from("<html>Welcome to the captive portal</html>")));
        }
        Conduct::CodeRefused => return Ok(json_answer(400, &json!({ "error": "invalid_grant" }))),
        Conduct::OurSecretExpired => {
            return Ok(json_answer(401, &json!({ "error": "invalid_client" })));
        }
        _ => {}
    }
    if !is_our_client(headers, form) {
        return Ok(json_answer(401, &json!({ "error": "invalid_client" })));
    }
    let of = |name: &str| form.get(name).map_or("", String::as_str);
    let Ok(asked_for) = resource_of(&idp.quirks, form) else { return Ok(another_resource()) };
    let (pending, resource) = if of("grant_type") == "refresh_token" {
        if let Conduct::RefusesRefresh(error) = conduct {
            return Ok(json_answer(idp.quirks.error_status, &json!({ "error": error })));
        }
        let presented = of("refresh_token").to_owned();
        // Each works once, as at a strict IdP.
        let good = match conduct {
            Conduct::KeepsRefreshToken => state.refresh_tokens.get(&presented).cloned(),
            _ => state.refresh_tokens.remove(&presented),
        };
        let Some(resource) = good else {
            return Ok(json_answer(400, &json!({ "error": "invalid_grant", "why": "spent" })));
        };
        (None, resource)
    } else {
        // Spent at the first attempt, as a strict IdP does.
        let Some(pending) = state.codes.remove(of("code")) else {
            return Ok(json_answer(400, &json!({ "error": "invalid_grant", "why": "code" })));
        };
        let is_right = of("grant_type") == "authorization_code"
            && of("redirect_uri") == pending.redirect_uri
            && hash_text(of("code_verifier")) == pending.challenge;
        if !is_right {
            return Ok(json_answer(400, &json!({ "error": "invalid_grant", "why": "proof" })));
        }
        let resource = pending.resource.clone();
        (Some(pending), resource)
    };
    // RFC 8707 §2.2
    if asked_for != resource {
        return Ok(another_resource());
    }
    let is_refresh = pending.is_none();
    let gets_refresh_token = pending.as_ref().is_none_or(|pending| pending.gets_refresh_token);
    let access_token = format!("canary-idp-access-{}", random_text());
    let mut answer =
        json!({ "access_token": access_token, "token_type": "Bearer", "expires_in": 300 });
    let keeps = is_refresh && conduct == Conduct::KeepsRefreshToken;
    state.access_tokens.insert(access_token.clone());
    if conduct != Conduct::NoRefreshToken && !keeps && gets_refresh_token {
        let padding = if conduct == Conduct::LongRefreshToken { 1738 } else { 0 };
        let refresh_token = format!("canary-idp-refresh-{}{}", random_text(), "x".repeat(padding));
        state.refresh_tokens.insert(refresh_token.clone(), resource);
        answer["refresh_token"] = json!(refresh_token);
    }
    let fields = answer.as_object_mut().unwrap();
    match conduct {
        Conduct::NoAccessTokenAtRefresh if is_refresh => {
            fields.remove("access_token");
        }
        Conduct::ErrorBesideRefreshToken if is_refresh => {
            fields.insert("error".to_owned(), json!("temporarily_unavailable"));
        }
        _ => {}
    }
    match conduct {
        Conduct::NoIdToken => {}
        _ if !idp.quirks.has_id_token => {}
        Conduct::NoIdTokenAtRefresh if is_refresh => {}
        _ if is_refresh && !idp.quirks.has_id_token_at_refresh => {}
        Conduct::GarbledIdToken => answer["id_token"] = json!("not.a.jwt"),
        _ => {
            let nonce = pending.and_then(|pending| pending.nonce);
            let mut claims = claims(idp, conduct, &state.person, nonce, &access_token);
            if let Some(sid) = state.session {
                claims["sid"] = json!(sid);
            }
            (idp.quirks.claims)(&mut claims);
            answer["id_token"] = json!(signed(conduct, &claims));
        }
    }
    let tokens = ["access_token", "refresh_token", "id_token"];
    state.issued.extend(tokens.iter().filter_map(|name| answer[name].as_str()).map(str::to_owned));
    Ok(json_answer(200, &answer))
}

/// RFC 7009
fn revoke(
    idp: &Inner,
    headers: &http::HeaderMap,
    form: &HashMap<String, String>,
) -> Response<Full<Bytes>> {
    let mut state = idp.state.lock().unwrap();
    if state.conduct == Conduct::RevocationFails {
        return json_answer(503, &json!({}));
    }
    if !is_our_client(headers, form) {
        return json_answer(401, &json!({ "error": "invalid_client" }));
    }
    state.refresh_tokens.remove(&form["token"]);
    Response::new(Full::default())
}

/// `client_secret_basic` (form-encoded inside, RFC 6749 §2.3.1) or `client_secret_post`, never both.
fn is_our_client(headers: &http::HeaderMap, form: &HashMap<String, String>) -> bool {
    let posted = form.get("client_secret");
    let Some(header) = headers.get("authorization") else {
        let id = form.get("client_id").map(String::as_str);
        return id == Some(CLIENT_ID) && posted.map(String::as_str) == Some(CLIENT_SECRET);
    };
    let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
    let decoded = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
    let (id, secret) = decoded.split_once(':').unwrap();
    let unescape = |text: &str| {
        let pair = format!("x={text}");
        form_urlencoded::parse(pair.as_bytes()).next().unwrap().1.into_owned()
    };
    posted.is_none() && unescape(id) == CLIENT_ID && unescape(secret) == CLIENT_SECRET
}

fn claims(
    idp: &Inner,
    conduct: Conduct,
    person: &Person,
    nonce: Option<String>,
    access_token: &str,
) -> Value {
    let now = idp.clock.now().seconds();
    let mut claims = json!({
        "iss": idp.issuer,
        "sub": person.sub,
        "aud": CLIENT_ID,
        "iat": now,
        "exp": now + 300,
        "email": person.email,
        "email_verified": person.email_verified,
        "groups": person.groups,
    });
    if let Some(nonce) = nonce {
        claims["nonce"] = json!(nonce);
    }
    let fields = claims.as_object_mut().unwrap();
    match conduct {
        Conduct::WrongNonce => fields.insert("nonce".to_owned(), json!(random_text())),
        Conduct::NoNonce => fields.remove("nonce"),
        Conduct::WrongAudience => fields.insert("aud".to_owned(), json!("another-client")),
        Conduct::WrongAuthorizedParty => {
            fields.insert("azp".to_owned(), json!("another-client"));
            fields.insert("aud".to_owned(), json!([CLIENT_ID, "another-client"]))
        }
        Conduct::WrongAuthorizedPartyAlone => {
            fields.insert("azp".to_owned(), json!("another-client"))
        }
        Conduct::NoAuthorizedParty => {
            fields.insert("aud".to_owned(), json!([CLIENT_ID, "another-client"]))
        }
        Conduct::SeveralAudiences => {
            fields.insert("azp".to_owned(), json!(CLIENT_ID));
            fields.insert("aud".to_owned(), json!([CLIENT_ID, "another-client"]))
        }
        Conduct::WrongAccessTokenHash => {
            fields.insert("at_hash".to_owned(), json!(left_half_of_hash("another token")))
        }
        Conduct::AccessTokenHash => {
            fields.insert("at_hash".to_owned(), json!(left_half_of_hash(access_token)))
        }
        Conduct::WrongIssuer => fields.insert("iss".to_owned(), json!("https://other-idp.example")),
        Conduct::NoSubject => fields.remove("sub"),
        Conduct::EmptySubject => fields.insert("sub".to_owned(), json!("")),
        Conduct::Expired => fields.insert("exp".to_owned(), json!(now - 3600)),
        Conduct::NoExpiry => fields.remove("exp"),
        _ => None,
    };
    claims
}

/// OpenID Connect Core §3.1.3.6, for RS256
fn left_half_of_hash(access_token: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
}

fn signed(conduct: Conduct, claims: &Value) -> String {
    let (alg, kid) = named_by(conduct);
    let header = json!({ "alg": alg, "kid": kid, "typ": "JWT" });
    let mut text = claims.to_string();
    if conduct == Conduct::SubjectTwice {
        text.insert_str(1, r#""sub":"bob","#);
    }
    with_signature(conduct, &header, &text)
}

/// Algorithm and key.
fn named_by(conduct: Conduct) -> (&'static str, &'static str) {
    match conduct {
        Conduct::AlgNone => ("none", KEY_ID),
        Conduct::HmacWithPublicKey | Conduct::HmacWithClientSecret => ("HS256", KEY_ID),
        Conduct::UnknownKey => ("RS256", "a-key-that-nobody-published"),
        Conduct::NewKey => ("RS256", NEW_KEY_ID),
        _ => ("RS256", KEY_ID),
    }
}

fn with_signature(conduct: Conduct, header: &Value, claims: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(&header.to_string()), encode(claims));
    let signature = match conduct {
        Conduct::AlgNone => Vec::new(),
        Conduct::HmacWithPublicKey => {
            hmac_sha256(SIGNING_KEY.public_key().as_der().unwrap().as_ref(), &message)
        }
        Conduct::HmacWithClientSecret => hmac_sha256(CLIENT_SECRET.as_bytes(), &message),
        Conduct::UnknownKey | Conduct::NewKey => rs256(&OTHER_KEY, &message),
        Conduct::BadSignature => {
            let mut signature = rs256(&SIGNING_KEY, &message);
            signature[7] ^= 1;
            signature
        }
        _ => rs256(&SIGNING_KEY, &message),
    };
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn rs256(key: &RsaKeyPair, message: &str) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    let random = SystemRandom::new();
    key.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
    signature
}

fn hmac_sha256(secret: &[u8], message: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
}

fn published_keys(conduct: Conduct) -> Value {
    let mut keys = vec![public_jwk(&SIGNING_KEY, KEY_ID)];
    if conduct == Conduct::NewKey {
        keys.push(public_jwk(&OTHER_KEY, NEW_KEY_ID));
    }
    json!({ "keys": keys })
}

fn public_jwk(key: &RsaKeyPair, kid: &str) -> Value {
    let key = key.public_key();
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": kid,
        "n": number(key.modulus().big_endian_without_leading_zero()),
        "e": number(key.exponent().big_endian_without_leading_zero()),
    })
}

fn json_answer(status: u16, value: &Value) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Full::from(value.to_string())).unwrap()
}

pub const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEY_ID: &str = "key-1";
const NEW_KEY_ID: &str = "key-2";

/// One for all tests of the process: making it takes longer than most of them.
static SIGNING_KEY: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
static OTHER_KEY: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
