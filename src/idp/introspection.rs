//! Asking the IdP what an access token is worth (RFC 7662), or, at an endpoint of its own kind, what it knows
//! about it. `token::introspected` asks, and judges what it hears.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::{Request, Response};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::clock::Timestamp;
use crate::idp::access_tokens::Validation;
use crate::idp::breaker::Breaker;
use crate::idp::claims::seconds;
use crate::idp::token_endpoint::authenticated;
use crate::idp::{DiscoveryFault, Idp};
use crate::jose::{Claims, json};
use crate::outbound::Unreachable;
use crate::secret::Secret;

/// What the IdP says of a token.
#[derive(Debug)]
pub enum Introspected {
    /// It is good for something, and this is known of it. What is `null` is left out.
    Active(Claims),
    /// It is good for nothing; why, nobody says (RFC 7662 §2.2).
    Inactive,
}

/// Why the IdP did not say. Completes "…: ".
#[derive(Debug, thiserror::Error)]
pub enum IntrospectionFault {
    #[error("it was not asked: it failed several times in a row a moment ago")]
    Resting,
    #[error("the IdP can't be used now: {0}")]
    Discovery(#[from] Arc<DiscoveryFault>),
    #[error("its metadata names no endpoint for it that can be used")]
    NoEndpoint,
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("no answer within {} s", LONGEST_WAIT.as_secs())]
    TooSlow,
    #[error("it does not take our own credentials: {0}")]
    Credentials(u16),
    #[error("answered {0} in place of 200")]
    Status(u16),
    #[error("answered what we can't read: {0}")]
    Garbled(String),
    #[error("the token can't be sent")]
    Token,
}

impl IntrospectionFault {
    /// Is the endpoint well, and only this token more than it can bear? Else a stranger's tokens could have
    /// it left alone.
    fn is_about_the_token(&self) -> bool {
        match self {
            Self::Status(status) => *status == 400,
            Self::Token => true,
            Self::Resting
            | Self::Discovery(_)
            | Self::NoEndpoint
            | Self::Unreachable(_)
            | Self::TooSlow
            | Self::Credentials(_)
            | Self::Garbled(_) => false,
        }
    }

    fn fix(&self) -> &'static str {
        match self {
            Self::Credentials(_) => {
                "have the provider let idp.client_id introspect tokens, and check client_secret and client_authentication"
            }
            Self::NoEndpoint => "set idp.endpoints.introspection, or access_token_validation: jwt",
            Self::Discovery(_)
            | Self::Unreachable(_)
            | Self::TooSlow
            | Self::Status(_)
            | Self::Garbled(_)
            | Self::Token
            | Self::Resting => "none here, if the provider recovers",
        }
    }
}

/// How the endpoint does, and how many ask it now.
#[derive(Debug)]
pub(super) struct Introspection {
    few: Semaphore,
    breaker: Breaker,
}

impl Introspection {
    pub fn new() -> Self {
        Self { few: Semaphore::new(MOST_AT_ONCE), breaker: Breaker::default() }
    }
}

impl Idp {
    /// What is `token` worth? Answers within 10 s.
    pub async fn introspect(
        self: &Arc<Self>,
        token: &Secret,
    ) -> Result<Introspected, IntrospectionFault> {
        let Introspection { few, breaker } = &self.introspection;
        let until = Instant::now() + LONGEST_WAIT;
        if breaker.is_open(self.clock.now()) {
            return Err(IntrospectionFault::Resting);
        }
        let Ok(Ok(_one_of_few)) = timeout_at(until, few.acquire()).await else {
            return Err(IntrospectionFault::TooSlow);
        };
        // What waited for its turn may have become pointless.
        if !breaker.begin(self.clock.now()) {
            return Err(IntrospectionFault::Resting);
        }
        let answer = timeout_at(until, self.ask_about(token.expose(), until)).await;
        let answer = answer.unwrap_or(Err(IntrospectionFault::TooSlow));
        match &answer {
            Ok(_) => breaker.went_well(),
            Err(fault) => {
                self.tell(fault);
                if fault.is_about_the_token() {
                    breaker.went_well();
                } else if breaker.failed(self.clock.now()) {
                    let idp = self.issuer();
                    tracing::error!(
                        idp,
                        whose_fault = "idp",
                        "the IdP is not asked about access tokens for a moment: it failed several times in a row"
                    );
                }
            }
        }
        answer
    }

    async fn ask_about(
        self: &Arc<Self>,
        token: &str,
        until: Instant,
    ) -> Result<Introspected, IntrospectionFault> {
        let (request, read): (_, Reader) = match self.settings.access_tokens.validation {
            Validation::Tokeninfo => (self.tokeninfo_with_header(token)?, told_of),
            Validation::TokeninfoQuery => (self.tokeninfo_with_query(token)?, told_of),
            Validation::Jwt | Validation::JwtOrIntrospection | Validation::Introspection => {
                (self.introspection_request(token).await?, introspected)
            }
        };
        let within = until.saturating_duration_since(Instant::now());
        let answer = self.connection.send_within(request, within).await?;
        read(&answer, self.clock.now())
    }

    /// §2.1
    async fn introspection_request(
        self: &Arc<Self>,
        token: &str,
    ) -> Result<Request<Vec<u8>>, IntrospectionFault> {
        let configured = &self.settings.endpoints.introspection;
        let endpoint = match configured {
            Some(_) => configured.clone(),
            None => self.discovered().await?.introspection_endpoint.clone(),
        };
        let endpoint = endpoint.ok_or(IntrospectionFault::NoEndpoint)?;
        let parameters = [("token", token), ("token_type_hint", "access_token")];
        authenticated(&self.settings, &endpoint, &parameters).map_err(|_| IntrospectionFault::Token)
    }

    fn tokeninfo_with_header(&self, token: &str) -> Result<Request<Vec<u8>>, IntrospectionFault> {
        let mut credentials = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| IntrospectionFault::Token)?;
        credentials.set_sensitive(true);
        let request = Request::get(self.tokeninfo_endpoint()?.as_str());
        let request = request.header(ACCEPT, "application/json").header(AUTHORIZATION, credentials);
        request.body(Vec::new()).map_err(|_| IntrospectionFault::Token)
    }

    fn tokeninfo_with_query(&self, token: &str) -> Result<Request<Vec<u8>>, IntrospectionFault> {
        let mut url = self.tokeninfo_endpoint()?.clone();
        url.query_pairs_mut().append_pair("access_token", token);
        let request = Request::get(url.as_str()).header(ACCEPT, "application/json");
        request.body(Vec::new()).map_err(|_| IntrospectionFault::Token)
    }

    fn tokeninfo_endpoint(&self) -> Result<&Url, IntrospectionFault> {
        self.settings.endpoints.tokeninfo.as_ref().ok_or(IntrospectionFault::NoEndpoint)
    }

    fn tell(&self, fault: &IntrospectionFault) {
        let (idp, fix) = (self.issuer(), fault.fix());
        tracing::error!(idp, %fault, fix, whose_fault = "idp", "the IdP does not say what an access token is worth");
    }
}

type Reader = fn(&Response<Vec<u8>>, Timestamp) -> Result<Introspected, IntrospectionFault>;

/// §2.2
pub fn introspected(
    answer: &Response<Vec<u8>>,
    _: Timestamp,
) -> Result<Introspected, IntrospectionFault> {
    match answer.status().as_u16() {
        200 => {}
        // §2.3: of us, never of the token.
        status @ (401 | 403) => return Err(IntrospectionFault::Credentials(status)),
        status => return Err(IntrospectionFault::Status(status)),
    }
    let members = object(answer)?;
    match members.get("active") {
        Some(Value::Bool(true)) => Ok(Introspected::Active(Claims::from(members))),
        Some(Value::Bool(false)) => Ok(Introspected::Inactive),
        Some(_) | None => {
            Err(IntrospectionFault::Garbled("its active is not true or false".to_owned()))
        }
    }
}

/// Of an endpoint that asks for no credentials of ours, so what it refuses is the token.
pub fn told_of(
    answer: &Response<Vec<u8>>,
    now: Timestamp,
) -> Result<Introspected, IntrospectionFault> {
    let status = answer.status().as_u16();
    let says_why = |members: &Map<String, Value>| {
        ["error", "error_description"].iter().any(|name| members.contains_key(*name))
    };
    match status {
        200 => {}
        400 | 401 if object(answer).is_ok_and(|members| says_why(&members)) => {
            return Ok(Introspected::Inactive);
        }
        _ => return Err(IntrospectionFault::Status(status)),
    }
    let mut members = object(answer)?;
    if says_why(&members) || members.get("active").is_some_and(|active| active != true) {
        return Err(IntrospectionFault::Garbled("an error with status 200".to_owned()));
    }
    for name in ["exp", "iat", "nbf"] {
        // Some write numbers as texts. What is neither stays, and is refused.
        if let Some(time) = members.get(name).and_then(seconds) {
            members.insert(name.to_owned(), time.into());
        }
    }
    let left = members.get("expires_in").and_then(seconds).map(Duration::from_secs);
    if let Some(left) = left
        && !members.contains_key("exp")
    {
        members.insert("exp".to_owned(), now.after(left).seconds().into());
    }
    Ok(Introspected::Active(Claims::from(members)))
}

fn object(answer: &Response<Vec<u8>>) -> Result<Map<String, Value>, IntrospectionFault> {
    match json::parse(answer.body()).map_err(IntrospectionFault::Garbled)? {
        Value::Object(mut members) => {
            members.retain(|_, value| !value.is_null());
            Ok(members)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(IntrospectionFault::Garbled("it is not a JSON object".to_owned()))
        }
    }
}

/// Everything that one question takes.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A provider's budget for one application is not large.
const MOST_AT_ONCE: usize = 32;
