//! An IdP whose refresh tokens are replaced at each use. It takes the one before as well, for as long as the
//! test says: so do IdPs that know of lost answers. Counts what it is shown.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mcp_doorman::clock::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use url::form_urlencoded;

use crate::dice::Dice;
use crate::support::random_text;

#[derive(Clone, Debug)]
pub struct RotatingIdp(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuer: String,
    key: EcdsaKeyPair,
    /// How long a refresh token that was replaced is taken.
    overlap: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The nonce of each code that was not redeemed.
    nonces: HashMap<String, String>,
    logins: Vec<Login>,
    login_of: HashMap<String, usize>,
    counted: Counted,
    dice: Dice,
}

#[derive(Debug)]
struct Login {
    newest: String,
    replaced: Option<(String, Instant)>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Refreshes that were granted.
    pub refreshes: usize,
    /// Of those, with a token that had been replaced.
    pub repeated: usize,
    /// Refreshes that were refused, because the token was replaced too long ago.
    pub refused: usize,
}

impl RotatingIdp {
    pub async fn start(overlap: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let state = State {
            nonces: HashMap::new(),
            logins: Vec::new(),
            login_of: HashMap::new(),
            counted: Counted::default(),
            dice: Dice::seeded(0),
        };
        let idp = Self(Arc::new(Inner { issuer, key, overlap, state: Mutex::new(state) }));
        tokio::spawn(listen(listener, idp.clone()));
        idp
    }

    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    pub fn counted(&self) -> Counted {
        self.0.state.lock().unwrap().counted
    }

    async fn answer(self, request: http::Request<Incoming>) -> Result<Answer, io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let query = head.uri.query().unwrap_or_default().as_bytes().to_vec();
        let fields = if body.is_empty() { query } else { body.to_vec() };
        let fields: HashMap<String, String> =
            form_urlencoded::parse(&fields).into_owned().collect();
        Ok(match head.uri.path() {
            "/.well-known/openid-configuration" => answer_with(200, &self.metadata()),
            "/jwks" => answer_with(200, &self.keys()),
            "/authorize" => self.authorize(&fields),
            "/token" => {
                let (answer, pause) = self.token(&fields);
                // It is done, and the answer is on its way.
                sleep(pause).await;
                answer
            }
            _ => answer_with(404, &json!({})),
        })
    }

    fn authorize(&self, asked: &HashMap<String, String>) -> Answer {
        let code = random_text();
        self.0.state.lock().unwrap().nonces.insert(code.clone(), asked["nonce"].clone());
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("state", &asked["state"]).append_pair("code", &code);
        let back = format!("{}?{}", asked["redirect_uri"], query.finish());
        Response::builder().status(302).header("location", back).body(Full::default()).unwrap()
    }

    fn token(&self, form: &HashMap<String, String>) -> (Answer, Duration) {
        let mut state = self.0.state.lock().unwrap();
        let pause = state.dice.pause(LONGEST_WAY);
        let granted = match form.get("code") {
            Some(code) => state.log_in(code).map(|(token, nonce)| (token, Some(nonce))),
            None => {
                state.refresh(&form["refresh_token"], self.0.overlap).map(|token| (token, None))
            }
        };
        let Some((refresh_token, nonce)) = granted else {
            return (answer_with(400, &json!({ "error": "invalid_grant" })), pause);
        };
        let answer = json!({
            "access_token": random_text(),
            "token_type": "Bearer",
            "refresh_token": refresh_token,
            "id_token": self.id_token(nonce.as_deref()),
        });
        (answer_with(200, &answer), pause)
    }

    fn id_token(&self, nonce: Option<&str>) -> String {
        let now = Clock::System.now().seconds();
        let claims = json!({
            "iss": self.0.issuer, "sub": "alice", "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": "ES256", "kid": "1" })), part(&claims));
        let signature = self.0.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn metadata(&self) -> Value {
        let issuer = self.issuer();
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    fn keys(&self) -> Value {
        // RFC 5480 §2.2: 4, then both coordinates.
        let point = self.0.key.public_key().as_ref();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (x, y) = (number(&point[1..33]), number(&point[33..]));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1", "x": x, "y": y }] })
    }
}

impl State {
    fn log_in(&mut self, code: &str) -> Option<(String, String)> {
        let nonce = self.nonces.remove(code)?;
        let token = random_text();
        self.login_of.insert(token.clone(), self.logins.len());
        self.logins.push(Login { newest: token.clone(), replaced: None });
        Some((token, nonce))
    }

    fn refresh(&mut self, presented: &str, overlap: Duration) -> Option<String> {
        let number = *self.login_of.get(presented)?;
        let login = &mut self.logins[number];
        let next = random_text();
        if login.newest == presented {
            login.replaced = Some((presented.to_owned(), Instant::now()));
        } else {
            let is_taken = login
                .replaced
                .as_ref()
                .is_some_and(|(token, at)| token == presented && at.elapsed() < overlap);
            if !is_taken {
                self.counted.refused += 1;
                return None;
            }
            self.counted.repeated += 1;
        }
        self.counted.refreshes += 1;
        login.newest.clone_from(&next);
        self.login_of.insert(next.clone(), number);
        Some(next)
    }
}

async fn listen(listener: TcpListener, idp: RotatingIdp) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let idp = idp.clone();
        let service = service_fn(move |request| idp.clone().answer(request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

type Answer = Response<Full<Bytes>>;

fn answer_with(status: u16, value: &Value) -> Answer {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Full::from(value.to_string())).unwrap()
}

const LONGEST_WAY: Duration = Duration::from_millis(30);
/// Ours at this IdP.
pub const CLIENT_ID: &str = "doorman";
