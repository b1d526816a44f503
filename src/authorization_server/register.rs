//! `POST /register`: dynamic client registration (RFC 7591). Next: the client comes to `authorize`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::authorization_server::clients::registered::{CLIENT_ID, Registration};
use crate::authorization_server::error::{Refused, UNAVAILABLE};
use crate::authorization_server::{AuthorizationServer, LARGEST_BODY};
use crate::jose::json;
use crate::oauth::redirect_uri::RedirectTarget;
use crate::oauth::{ClientDigest, ErrorCode, RegisteredRedirectUri, Scopes};
use crate::pages::readable;
use crate::secret;
use crate::wire::body::{Unread, read_whole};
use crate::wire::{Arrival, Request, Response, answer};

/// What arrives, as far as it may be registered.
#[derive(Debug)]
pub struct Metadata {
    /// As the client calls itself; nobody has verified it.
    pub name: Option<String>,
    /// One to ten.
    pub redirect_uris: Vec<RegisteredRedirectUri>,
    /// Of authentication at the token endpoint.
    pub method: &'static str,
    /// Whether the client wants refresh tokens.
    pub refreshes: bool,
    /// All that it names.
    pub scopes: Scopes,
    pub client_uri: Option<String>,
    pub application_type: Option<String>,
}

/// Unknown members are ignored (RFC 7591 §2).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    redirect_uris: Option<Vec<String>>,
    client_name: Option<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    client_uri: Option<Value>,
    application_type: Option<Value>,
    scope: Option<String>,
}

/// What is answered: everything as registered (RFC 7591 §3.2.1), nothing without a value.
#[derive(Serialize)]
struct Registered<'a> {
    client_id: &'a str,
    client_id_issued_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    /// 0: never. Required beside a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<&'a str>,
    redirect_uris: &'a [String],
    token_endpoint_auth_method: &'a str,
    grant_types: Vec<&'a str>,
    response_types: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    client_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

pub async fn handle(server: &AuthorizationServer, request: Request, arrival: Arrival) -> Response {
    match register(server, request, arrival).await {
        Ok(response) => response,
        Err(refused) => refused.answer("registration", arrival),
    }
}

async fn register(
    server: &AuthorizationServer,
    request: Request,
    arrival: Arrival,
) -> Result<Response, Refused> {
    let body =
        read_whole(request.into_body(), LARGEST_BODY).await.map_err(|unread| match unread {
            Unread::TooLarge => TOO_LARGE,
            Unread::TooSlow | Unread::BrokeOff => NOT_JSON,
        })?;
    let metadata = Metadata::parse(&body, &server.registration.redirect_schemes)?;
    let client_secret = match metadata.method {
        "none" => None,
        _ => Some(new_secret(server)?),
    };
    let redirect_uris = metadata.redirect_uris.iter().map(|uri| uri.as_str().to_owned());
    let registration = Registration {
        name: metadata.name,
        redirect_uris: redirect_uris.collect(),
        secret: client_secret.as_ref().map(|own| secret::sha256(own.as_bytes())),
        refreshes: metadata.refreshes,
        at: arrival.at,
    };
    let client_id = server.ring.seal(&CLIENT_ID, &registration).map_err(|_| UNAVAILABLE)?;
    if client_id.len() > LONGEST_CLIENT_ID {
        return Err(TOO_MUCH);
    }
    tracing::info!(
        request_id = %arrival.id,
        client_id = %ClientDigest::of(&client_id),
        client_name = registration.name,
        redirect_uris = registration.redirect_uris.join(" "),
        "client registered",
    );
    let mut grant_types = vec!["authorization_code"];
    grant_types.extend(registration.refreshes.then_some("refresh_token"));
    let registered = Registered {
        client_id: &client_id,
        client_id_issued_at: arrival.at.seconds(),
        client_secret: client_secret.as_deref(),
        client_secret_expires_at: client_secret.as_ref().map(|_| 0),
        client_name: registration.name.as_deref(),
        redirect_uris: &registration.redirect_uris,
        token_endpoint_auth_method: metadata.method,
        grant_types,
        response_types: ["code"],
        client_uri: metadata.client_uri.as_deref(),
        application_type: metadata.application_type.as_deref(),
        scope: known_scopes(server, &metadata.scopes),
    };
    Ok(answer::private_json(StatusCode::CREATED, &registered))
}

impl Metadata {
    /// Read the body of a request. Errors: `invalid_redirect_uri`, or `invalid_client_metadata` for all else.
    pub fn parse(body: &[u8], redirect_schemes: &[String]) -> Result<Self, Refused> {
        let asked: Asked = json::object(body).map_err(|_| NOT_JSON)?;
        let redirect_uris = checked_redirect_uris(&asked, redirect_schemes)?;
        let method = authentication_method(&asked, &redirect_uris)?;
        check_grant_types(&asked)?;
        let text = |value| {
            let Some(Value::String(text)) = value else { return None };
            Some(text)
        };
        let wants_refresh = |types: &Vec<String>| names(types, "refresh_token");
        Ok(Self {
            name: asked.client_name.as_deref().map(readable).filter(|name| !name.is_empty()),
            redirect_uris,
            method,
            refreshes: asked.grant_types.as_ref().is_none_or(wants_refresh),
            scopes: asked.scope.as_deref().map(Scopes::parse).unwrap_or_default(),
            client_uri: text(asked.client_uri),
            application_type: text(asked.application_type),
        })
    }
}

fn checked_redirect_uris(
    asked: &Asked,
    redirect_schemes: &[String],
) -> Result<Vec<RegisteredRedirectUri>, Refused> {
    let uris = asked.redirect_uris.as_deref().unwrap_or_default();
    if uris.is_empty() || uris.len() > MOST_REDIRECT_URIS {
        return Err(REDIRECT_URI_COUNT);
    }
    let checked = uris.iter().map(|uri| {
        RegisteredRedirectUri::parse(uri, redirect_schemes).map_err(|reason| {
            let redirect_uri: String = uri.chars().take(200).collect();
            tracing::debug!(redirect_uri, %reason, "redirect URI not registered; registration.redirect_schemes lists the schemes that may be");
            BAD_REDIRECT_URI
        })
    });
    checked.collect()
}

/// What the client asked for; if it did not say, `none` where every redirect URI leads to the person's
/// own machine, else a secret (RFC 7591 §2: the default is `client_secret_basic`).
fn authentication_method(
    asked: &Asked,
    uris: &[RegisteredRedirectUri],
) -> Result<&'static str, Refused> {
    match asked.token_endpoint_auth_method.as_deref() {
        Some("none") => Ok("none"),
        Some("client_secret_post") => Ok("client_secret_post"),
        Some("client_secret_basic") => Ok("client_secret_basic"),
        Some(_) => Err(BAD_METHOD),
        None if uris.iter().all(|uri| uri.target() != RedirectTarget::Web) => Ok("none"),
        None => Ok("client_secret_basic"),
    }
}

fn check_grant_types(asked: &Asked) -> Result<(), Refused> {
    let wants_code =
        asked.grant_types.as_ref().is_none_or(|types| names(types, "authorization_code"));
    let wants_response = asked.response_types.as_ref().is_none_or(|types| names(types, "code"));
    if wants_code && wants_response { Ok(()) } else { Err(NO_CODE) }
}

/// What a client asks for beyond our scopes is left out, not refused: some ask for every IdP's.
fn known_scopes(server: &AuthorizationServer, asked: &Scopes) -> Option<String> {
    let offered =
        |name: &&str| server.resources.iter().any(|resource| resource.scopes.contains(name));
    let known: Vec<&str> = asked.names().filter(offered).collect();
    (!known.is_empty()).then(|| known.join(" "))
}

fn new_secret(server: &AuthorizationServer) -> Result<String, Refused> {
    let random: [u8; 32] = server.chance.bytes().map_err(|_| UNAVAILABLE)?;
    Ok(format!("doorman_cs_{}", URL_SAFE_NO_PAD.encode(random)))
}

fn names(types: &[String], name: &str) -> bool {
    types.iter().any(|own| own == name)
}

const MOST_REDIRECT_URIS: usize = 10;
/// Characters. Windows keeps 1,280 for a client's whole record.
const LONGEST_CLIENT_ID: usize = 1000;

const NOT_JSON: Refused = Refused::new(
    ErrorCode::InvalidClientMetadata,
    "the body is not a JSON object of client metadata",
);
const TOO_LARGE: Refused =
    Refused::new(ErrorCode::InvalidClientMetadata, "the body is larger than 16 KiB");
const TOO_MUCH: Refused = Refused::new(
    ErrorCode::InvalidClientMetadata,
    "the metadata is too long: register fewer or shorter redirect URIs",
);
const REDIRECT_URI_COUNT: Refused =
    Refused::new(ErrorCode::InvalidRedirectUri, "redirect_uris needs one to ten entries");
const BAD_REDIRECT_URI: Refused = Refused::new(
    ErrorCode::InvalidRedirectUri,
    "a redirect URI must be https, http on loopback, or of an allowed private-use scheme, \
     without fragment or credentials",
);
const BAD_METHOD: Refused = Refused::new(
    ErrorCode::InvalidClientMetadata,
    "token_endpoint_auth_method must be none, client_secret_post or client_secret_basic",
);
const NO_CODE: Refused = Refused::new(
    ErrorCode::InvalidClientMetadata,
    "only the authorization_code grant with response_type code is offered",
);
