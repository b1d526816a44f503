//! `GET /authorize`: check what the client asks for and show the consent page (OAuth 2.1 §4.1.1).
//! Next: the person submits the form to `consent`.
//!
//! Every error here is a page: until the person has answered, nothing redirects (RFC 9700 §4.11).

use std::sync::Arc;

use http::HeaderMap;
use http::header::SET_COOKIE;

use crate::authorization_server::clients::document::DocumentFault;
use crate::authorization_server::clients::{self, Client, KnownBy, Unknown};
use crate::authorization_server::{
    AuthorizationServer, CONSENT, endpoint, problem_pages, resource_indicator,
};
use crate::browser::consent::{self, AuthorizationRequest};
use crate::browser::cookies;
use crate::clock::Timestamp;
use crate::oauth::redirect_uri::RedirectTarget;
use crate::oauth::{ClientDigest, ClientIdUrl, CodeChallenge, RedirectUri, Scopes};
use crate::pages::{ConsentPage, Problem};
use crate::policy::Resource;
use crate::wire::form::Repeated;
use crate::wire::{Arrival, Form, Response};

/// Why the consent page is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("a parameter was sent more than once")]
    Repeated,
    #[error("client_id is missing")]
    NoClient,
    #[error(transparent)]
    UnknownClient(#[from] Unknown),
    #[error("redirect_uri is missing")]
    NoRedirectUri,
    #[error("redirect_uri is not one that the client registered")]
    RedirectUri,
    #[error("response_type is not \"code\"")]
    ResponseType,
    #[error("code_challenge is missing: PKCE is required")]
    NoChallenge,
    #[error("code_challenge_method is not \"S256\"")]
    ChallengeMethod,
    #[error("code_challenge is not 43 characters of base64url")]
    Challenge,
    #[error("state is longer than 2048 bytes")]
    State,
    #[error("resource names no server here, or more than one")]
    Resource,
    #[error("this server needs a scope that may not be granted to this client")]
    Scopes,
    #[error("request and request_uri are not supported: send the parameters themselves")]
    RequestObject,
    #[error("prompt=none is not possible: consent is always asked for")]
    PromptNone,
    #[error("no random bytes, or nothing to seal with")]
    Unavailable,
}

impl From<Repeated> for Fault {
    fn from(_: Repeated) -> Self {
        Self::Repeated
    }
}

pub async fn handle(
    server: &AuthorizationServer,
    query: &str,
    headers: &HeaderMap,
    arrival: Arrival,
) -> Response {
    let form = Form::parse(query.as_bytes());
    match show_consent(server, &form, headers, arrival).await {
        Ok(response) => response,
        Err(fault) => {
            let sent =
                |name| form.all(name).next().map(|text| text.chars().take(200).collect::<String>());
            tracing::info!(
                request_id = %arrival.id,
                client_id = form.all("client_id").next().map(|id| ClientDigest::of(id).to_string()),
                client_url = sent("client_id").filter(|id| ClientIdUrl::is_claimed_by(id)),
                redirect_uri = sent("redirect_uri"),
                resource = sent("resource"),
                %fault,
                whose_fault = "client",
                "authorization request refused"
            );
            server.pages.problem(&problem(&fault), arrival.id)
        }
    }
}

async fn show_consent(
    server: &AuthorizationServer,
    form: &Form,
    headers: &HeaderMap,
    arrival: Arrival,
) -> Result<Response, Fault> {
    let (client, asked, resource) = check(server, form).await?;
    let browser = match server.cookies.browser(headers) {
        Some(known) => known,
        None => cookies::value_from(server.chance.bytes().map_err(|_| Fault::Unavailable)?),
    };
    let ticket = consent::issue_ticket(&server.ring, server.chance, &browser, &asked, arrival.at)
        .map_err(|_| Fault::Unavailable)?;
    tracing::info!(
        request_id = %arrival.id,
        client_id = %client.digest,
        client_name = client.name,
        client_url = form.one("client_id")?.filter(|id| ClientIdUrl::is_claimed_by(id)),
        redirect_to = asked.redirect_uri.destination(),
        resource = asked.resource,
        "consent page shown",
    );
    let mut response =
        server.pages.consent(&page(server, &client, &asked, &resource, ticket, arrival.at));
    let cookie = server.cookies.set_browser(&browser).ok_or(Fault::Unavailable)?;
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(response)
}

/// The order of OAuth 2.1 §4.1.2.1: the client, where to answer, then what is asked.
async fn check(
    server: &AuthorizationServer,
    form: &Form,
) -> Result<(Client, AuthorizationRequest, Arc<Resource>), Fault> {
    let client_id = form.one("client_id")?.ok_or(Fault::NoClient)?;
    let client = clients::ask(server, client_id).await?;
    let redirect_uri = redirect_uri(&client, form)?;
    if form.one("response_type")? != Some("code") {
        return Err(Fault::ResponseType);
    }
    let challenge = challenge(form)?;
    let state = form.one("state")?.map(str::to_owned);
    if state.as_ref().is_some_and(|state| state.len() > LONGEST_STATE) {
        return Err(Fault::State);
    }
    // RFC 9101: ignoring a request object would ignore what the client says it asked for.
    if form.one("request")?.or(form.one("request_uri")?).is_some() {
        return Err(Fault::RequestObject);
    }
    if form.one("prompt")? == Some("none") {
        return Err(Fault::PromptNone);
    }
    let resource = resource_indicator::named(&server.resources, form.all("resource"))
        .map_err(|_| Fault::Resource)?;
    let asked = AuthorizationRequest {
        client: client.digest,
        client_name: client.name.clone(),
        redirect_uri,
        challenge,
        scopes: granted(&client, &resource.scopes, form.one("scope")?)?,
        resource: resource.url.as_str().to_owned(),
        state,
        refreshes: client.refreshes,
    };
    Ok((client, asked, resource))
}

fn redirect_uri(client: &Client, form: &Form) -> Result<RedirectUri, Fault> {
    let presented = form.one("redirect_uri")?.ok_or(Fault::NoRedirectUri)?;
    client.redirect_uri(presented).ok_or(Fault::RedirectUri)
}

/// RFC 7636 §4.3: a missing method means `plain`, which we refuse like any other than S256.
fn challenge(form: &Form) -> Result<CodeChallenge, Fault> {
    let text = form.one("code_challenge")?.ok_or(Fault::NoChallenge)?;
    if form.one("code_challenge_method")? != Some("S256") {
        return Err(Fault::ChallengeMethod);
    }
    CodeChallenge::parse(text).ok_or(Fault::Challenge)
}

/// What is granted of what was asked: clients send scopes of other servers, so unknown ones are left
/// out; if that leaves none, the resource's own are the default (RFC 6749 §3.3).
fn granted(client: &Client, offered: &Scopes, asked: Option<&str>) -> Result<Scopes, Fault> {
    // A token without one of them opens nothing, so the person would log in to be refused.
    if client.allowed(offered) != *offered {
        return Err(Fault::Scopes);
    }
    let known = offered.intersection(&Scopes::parse(asked.unwrap_or_default()));
    Ok(if known.is_empty() { offered.clone() } else { known })
}

fn page(
    server: &AuthorizationServer,
    client: &Client,
    asked: &AuthorizationRequest,
    resource: &Resource,
    ticket: String,
    now: Timestamp,
) -> ConsentPage {
    ConsentPage {
        client_name: client.name.clone(),
        destination: asked.redirect_uri.destination().to_owned(),
        redirect_uri: asked.redirect_uri.as_str().to_owned(),
        is_local: match asked.redirect_uri.target() {
            RedirectTarget::Web => false,
            RedirectTarget::Loopback | RedirectTarget::CustomScheme => true,
        },
        known_by: known_by(&client.known_by, now),
        document_host: match &client.known_by {
            KnownBy::Document(host) => Some(host.clone()),
            KnownBy::Config | KnownBy::Registration(_) => None,
        },
        is_only_local: client.is_only_local(),
        resource: asked.resource.clone(),
        resource_name: resource.name.clone(),
        scopes: asked.scopes.names().map(str::to_owned).collect(),
        idp: server.idp.issuer().to_owned(),
        action: endpoint(&server.issuer, CONSENT),
        ticket,
    }
}

fn known_by(known_by: &KnownBy, now: Timestamp) -> String {
    match known_by {
        KnownBy::Document(host) => format!("as {host} says"),
        KnownBy::Config => "set up by whoever runs this server".to_owned(),
        KnownBy::Registration(at) => {
            format!("unverified name, registered {}", ago(at.until(now).as_secs() / 60))
        }
    }
}

fn ago(minutes: u64) -> String {
    match minutes {
        0 => "just now".to_owned(),
        1 => "a minute ago".to_owned(),
        2..120 => format!("{minutes} minutes ago"),
        120..2880 => format!("{} hours ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1440),
    }
}

fn problem(fault: &Fault) -> Problem {
    match fault {
        Fault::UnknownClient(Unknown::NotRegistered | Unknown::Document(DocumentFault::Off)) => {
            problem_pages::unknown_client()
        }
        Fault::UnknownClient(Unknown::Document(fault)) => problem_pages::document(fault),
        Fault::Unavailable => problem_pages::unavailable(),
        Fault::Repeated
        | Fault::NoClient
        | Fault::NoRedirectUri
        | Fault::RedirectUri
        | Fault::ResponseType
        | Fault::NoChallenge
        | Fault::ChallengeMethod
        | Fault::Challenge
        | Fault::State
        | Fault::Resource
        | Fault::Scopes
        | Fault::RequestObject
        | Fault::PromptNone => {
            problem_pages::bad_request(format!("What it asked for is not valid: {fault}."))
        }
    }
}

const LONGEST_STATE: usize = 2048;
