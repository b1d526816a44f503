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
use crate::oauth::{ClientDigest, ErrorCode, RegisteredRedirectUri, Scopes};
use crate::pages::readable;
use crate::secret;
use crate::wire::body::{Unread, read_whole};
use crate::wire::{Arrival, Request, Response, answer};

/// What arrives. Unknown members are ignored (RFC 7591 §2).
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
    client_uri: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_type: Option<&'a Value>,
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
    let asked: Asked = json::object(&body).map_err(|_| NOT_JSON)?;
    let redirect_uris = checked_redirect_uris(server, &asked)?;
    let method = authentication_method(&asked, &redirect_uris)?;
    check_grant_types(&asked)?;
    let client_secret = match method {
        "none" => None,
        _ => Some(new_secret(server)?),
    };
    let name = asked.client_name.as_deref().map(readable).filter(|name| !name.is_empty());
    let registration = Registration {
        name,
        redirect_uris,
        secret: client_secret.as_ref().map(|own| secret::sha256(own.as_bytes())),
        refreshes: asked.grant_types.as_ref().is_none_or(|types| names(types, "refresh_token")),
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
        token_endpoint_auth_method: method,
        grant_types,
        response_types: ["code"],
        client_uri: asked.client_uri.as_ref().filter(|value| value.is_string()),
        application_type: asked.application_type.as_ref().filter(|value| value.is_string()),
        scope: known_scopes(server, &asked),
    };
    Ok(answer::private_json(StatusCode::CREATED, &registered))
}

fn checked_redirect_uris(
    server: &AuthorizationServer,
    asked: &Asked,
) -> Result<Vec<String>, Refused> {
    let uris = asked.redirect_uris.as_deref().unwrap_or_default();
    if uris.is_empty() || uris.len() > MOST_REDIRECT_URIS {
        return Err(REDIRECT_URI_COUNT);
    }
    for uri in uris {
        RegisteredRedirectUri::parse(uri, &server.registration.redirect_schemes).map_err(
            |reason| {
                let redirect_uri: String = uri.chars().take(200).collect();
                tracing::debug!(redirect_uri, %reason, "redirect URI not registered; registration.redirect_schemes lists the schemes that may be");
                BAD_REDIRECT_URI
            },
        )?;
    }
    Ok(uris.to_vec())
}

/// What the client asked for; if it did not say, `none` where every redirect URI leads to the person's
/// own machine, else a secret (RFC 7591 §2: the default is `client_secret_basic`).
fn authentication_method(asked: &Asked, uris: &[String]) -> Result<&'static str, Refused> {
    match asked.token_endpoint_auth_method.as_deref() {
        Some("none") => Ok("none"),
        Some("client_secret_post") => Ok("client_secret_post"),
        Some("client_secret_basic") => Ok("client_secret_basic"),
        Some(_) => Err(BAD_METHOD),
        None if uris.iter().all(|uri| !uri.starts_with("https:")) => Ok("none"),
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
fn known_scopes(server: &AuthorizationServer, asked: &Asked) -> Option<String> {
    let asked = Scopes::parse(asked.scope.as_deref()?);
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
