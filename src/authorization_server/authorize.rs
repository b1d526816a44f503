//! `GET /authorize`: check what the client asks for and show the consent page (OAuth 2.1 §4.1.1), a short
//! one to a person who consented to the same not long ago. Next: the person submits the form to `consent`.
//!
//! Every error here is a page: until the person has answered, nothing redirects (RFC 9700 §4.11).

use std::sync::Arc;

use http::HeaderMap;
use http::header::SET_COOKIE;
use url::form_urlencoded;

use crate::authorization_server::clients::document::DocumentFault;
use crate::authorization_server::clients::{self, Client, KnownBy, Unknown};
use crate::authorization_server::{
    AUTHORIZE, AuthorizationServer, CONSENT, endpoint, problem_pages, resource_indicator,
};
use crate::browser::AuthorizationRequest;
use crate::browser::consent::{ClientInWords, Forms, Remembered, Shown};
use crate::browser::cookies::{self, CookieValue};
use crate::browser::memory::{ConsentDigest, Memory, Parts};
use crate::browser::person::LastPerson;
use crate::chance::NoEntropy;
use crate::clock::Timestamp;
use crate::oauth::redirect_uri::RedirectTarget;
use crate::oauth::{
    ClientDigest, ClientIdUrl, CodeChallenge, RedirectUri, RegisteredRedirectUri, Scopes,
};
use crate::pages::{ConsentPage, Problem, ShortPage};
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
    match show_consent(server, query, &form, headers, arrival).await {
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
    query: &str,
    form: &Form,
    headers: &HeaderMap,
    arrival: Arrival,
) -> Result<Response, Fault> {
    let (client, asked, resource) = check(server, form).await?;
    let in_words = in_words(&client, arrival.at);
    let last = remembered(server, form, headers, &asked, arrival).await?;
    let browser = browser_of(server, headers).map_err(|_| Fault::Unavailable)?;
    let forms = Forms {
        ring: &server.ring,
        store: &*server.store,
        chance: server.chance,
        browser: &browser,
        now: arrival.at,
    };
    tracing::info!(
        request_id = %arrival.id,
        client_id = %client.digest,
        client_name = client.name,
        client_url = form.one("client_id")?.filter(|id| ClientIdUrl::is_claimed_by(id)),
        redirect_to = asked.redirect_uri.destination(),
        resource = asked.resource,
        is_short = last.is_some(),
        "consent page shown",
    );
    let mut response = if let Some(last) = last {
        let shown = Shown::Short(Remembered { person: last.digest, client: in_words.clone() });
        let ticket = forms.before_login(&asked, shown).map_err(|_| Fault::Unavailable)?;
        let page = full_page(server, &in_words, &asked, &resource, ticket);
        let everything = with_prompt_consent(server, query);
        server.pages.short(&ShortPage { page, person: last.name, everything })
    } else {
        let ticket = forms.before_login(&asked, Shown::Everything);
        let ticket = ticket.map_err(|_| Fault::Unavailable)?;
        server.pages.consent(&full_page(server, &in_words, &asked, &resource, ticket))
    };
    let cookie = server.cookies.set_browser(&browser).ok_or(Fault::Unavailable)?;
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(response)
}

/// The cookie of this browser, or a new one.
pub(super) fn browser_of(
    server: &AuthorizationServer,
    headers: &HeaderMap,
) -> Result<CookieValue, NoEntropy> {
    match server.cookies.browser(headers) {
        Some(known) => Ok(known),
        None => server.chance.bytes().map(cookies::value_from),
    }
}

/// Who was here last, if they consented to this very thing not long ago.
async fn remembered(
    server: &AuthorizationServer,
    form: &Form,
    headers: &HeaderMap,
    asked: &AuthorizationRequest,
    arrival: Arrival,
) -> Result<Option<LastPerson>, Fault> {
    // OpenID Connect Core §3.1.2.1: `prompt` is a list.
    let prompt = form.one("prompt")?.unwrap_or_default();
    let (Some(what), Some(cookie)) = (asked.remembered_as, server.cookies.person(headers)) else {
        return Ok(None);
    };
    let Some(last) = LastPerson::open(&server.ring, &cookie, arrival.at) else { return Ok(None) };
    if prompt.split(' ').any(|word| word == "consent") {
        return Ok(None);
    }
    let memory = Memory { store: &*server.store, ring: &server.ring };
    match memory.has(last.digest, what, arrival.at).await {
        Ok(is_remembered) => Ok(is_remembered.then_some(last)),
        Err(fault) => {
            tracing::warn!(
                request_id = %arrival.id,
                %fault,
                whose_fault = "store",
                "what was consented to can't be read: asked in full"
            );
            Ok(None)
        }
    }
}

/// The same request again, for the full page.
fn with_prompt_consent(server: &AuthorizationServer, query: &str) -> String {
    let mut again = form_urlencoded::Serializer::new(String::new());
    again.extend_pairs(
        form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "prompt"),
    );
    let again = again.append_pair("prompt", "consent").finish();
    format!("{}?{again}", endpoint(&server.issuer, AUTHORIZE))
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
    let scopes = granted(&client, &resource.scopes, form.one("scope")?)?;
    let asked = AuthorizationRequest {
        client: client.digest,
        client_name: client.name.clone(),
        remembered_as: remembered_as(&client, &redirect_uri, &scopes, &resource),
        redirect_uri,
        challenge,
        scopes,
        resource: resource.url.as_str().to_owned(),
        state,
        refreshes: client.refreshes,
    };
    Ok((client, asked, resource))
}

/// A document that changes is another client for this: its name, and wherever its answers may go.
fn remembered_as(
    client: &Client,
    redirect_uri: &RedirectUri,
    scopes: &Scopes,
    resource: &Resource,
) -> Option<ConsentDigest> {
    let who_says_so = match &client.known_by {
        KnownBy::Config => "config",
        KnownBy::Registration(_) => "registration",
        KnownBy::Document(host) => host,
    };
    let said = [who_says_so, &client.name].into_iter();
    let said: Vec<_> =
        said.chain(client.redirect_uris.iter().map(RegisteredRedirectUri::as_str)).collect();
    ConsentDigest::of(&Parts {
        client: client.digest,
        redirect_uri,
        scopes,
        resource: resource.url.as_str(),
        refreshes: client.refreshes,
        said: &said,
    })
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

fn in_words(client: &Client, now: Timestamp) -> ClientInWords {
    ClientInWords {
        known_by: known_by(&client.known_by, now),
        document_host: match &client.known_by {
            KnownBy::Document(host) => Some(host.clone()),
            KnownBy::Config | KnownBy::Registration(_) => None,
        },
        is_only_local: client.is_only_local(),
    }
}

/// The page with everything, before the login.
pub(super) fn full_page(
    server: &AuthorizationServer,
    client: &ClientInWords,
    asked: &AuthorizationRequest,
    resource: &Resource,
    ticket: String,
) -> ConsentPage {
    ConsentPage {
        client_name: asked.client_name.clone(),
        destination: asked.redirect_uri.destination().to_owned(),
        redirect_uri: asked.redirect_uri.as_str().to_owned(),
        is_local: match asked.redirect_uri.target() {
            RedirectTarget::Web => false,
            RedirectTarget::Loopback | RedirectTarget::CustomScheme => true,
        },
        known_by: client.known_by.clone(),
        document_host: client.document_host.clone(),
        is_only_local: client.is_only_local,
        resource: asked.resource.clone(),
        resource_name: resource.name.clone(),
        scopes: asked.scopes.names().map(str::to_owned).collect(),
        idp: server.idp.issuer().to_owned(),
        signed_in_as: None,
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
