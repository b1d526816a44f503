//! `GET /oauth/callback`: the person comes back from the IdP (OIDC Core §3.1.2.5). Next: the browser
//! takes a code to the client, which redeems it at `token`.

use http::HeaderMap;
use http::header::SET_COOKIE;

use crate::authorization_server::consent::{error_location, redirect_error};
use crate::authorization_server::pending::{PendingLogin, StateFault, login_of};
use crate::authorization_server::{AuthorizationServer, refusal};
use crate::browser::cookies;
use crate::grants::{CODE_LIFETIME, CreateFault, NewGrant};
use crate::idp::{Identity, LoginFault};
use crate::oauth::ErrorCode;
use crate::policy::Resource;
use crate::secret;
use crate::token::sealed::{CODE, Code};
use crate::wire::{Arrival, Form, Response, answer};

/// Why the login does not end with a code.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the IdP sent no usable state")]
    NoState,
    #[error(transparent)]
    State(#[from] StateFault),
    #[error("the login was begun in another browser")]
    AnotherBrowser,
    #[error("the login was finished before")]
    Finished,
    #[error("the IdP answered error {0:?}")]
    IdpError(String),
    #[error("the answer is from the issuer {0:?}, not from the IdP")]
    AnotherIssuer(String),
    #[error("the IdP sent neither code nor error")]
    NoCode,
    #[error(transparent)]
    Login(#[from] LoginFault),
    #[error("the access rules do not admit this person")]
    NotAllowed { who: String },
    #[error("the resource is no longer served here")]
    ResourceGone,
    #[error("no store, or nothing to seal with")]
    Unavailable,
}

pub async fn handle(
    server: &AuthorizationServer,
    query: &str,
    headers: &HeaderMap,
    arrival: Arrival,
) -> Response {
    let form = Form::parse(query.as_bytes());
    let mut pending = None;
    match finish(server, &form, headers, arrival, &mut pending).await {
        Ok(response) => response,
        Err(fault) => {
            let whose_fault = whose(&fault);
            let client_id = pending.as_ref().map(|pending| pending.request.client.to_string());
            tracing::warn!(
                request_id = %arrival.id,
                client_id,
                %fault,
                whose_fault,
                "login not finished",
            );
            answer_to(server, &fault, pending.as_ref(), arrival)
        }
    }
}

/// `known` is filled as soon as it is sure that this browser began the login: from then on the client
/// can be told what went wrong.
async fn finish(
    server: &AuthorizationServer,
    form: &Form,
    headers: &HeaderMap,
    arrival: Arrival,
    known: &mut Option<PendingLogin>,
) -> Result<Response, Fault> {
    let state = form.one("state").ok().flatten().ok_or(Fault::NoState)?;
    let pending = login_of(server, state, arrival.at).await?;
    let mark = cookies::value_from(pending.secret.browser_mark());
    let mut logins = server.cookies.logins(headers);
    let begun = logins.len();
    logins.retain(|own| !secret::same(own.as_bytes(), mark.as_bytes()));
    if logins.len() == begun {
        return Err(Fault::AnotherBrowser);
    }
    let pending = &*known.insert(pending);
    let code = code_from(server, form)?;
    let person = server.idp.exchange(code, &pending.secret).await?;
    let resource = resource(server, pending)?;
    if !resource.access.admits(&person) {
        return Err(Fault::NotAllowed { who: name_of(&person) });
    }
    let location = issue_code(server, pending, person, arrival).await?;
    let mut response = answer::see_other(&location).ok_or(Fault::Unavailable)?;
    let cookie = server.cookies.set_logins(&logins).ok_or(Fault::Unavailable)?;
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(response)
}

fn code_from<'a>(server: &AuthorizationServer, form: &'a Form) -> Result<&'a str, Fault> {
    // RFC 9207 §2.4: if the answer says who it is from, it must be from the IdP.
    if let Some(issuer) = form.one("iss").map_err(|_| Fault::NoCode)?
        && issuer != server.idp.issuer()
    {
        return Err(Fault::AnotherIssuer(issuer.chars().take(200).collect()));
    }
    if let Some(error) = form.one("error").map_err(|_| Fault::NoCode)? {
        return Err(Fault::IdpError(error.chars().take(64).collect()));
    }
    form.one("code").map_err(|_| Fault::NoCode)?.ok_or(Fault::NoCode)
}

fn resource<'a>(
    server: &'a AuthorizationServer,
    pending: &PendingLogin,
) -> Result<&'a Resource, Fault> {
    let mut resources = server.resources.iter();
    resources
        .find(|resource| resource.url.as_str() == pending.request.resource)
        .map(AsRef::as_ref)
        .ok_or(Fault::ResourceGone)
}

async fn issue_code(
    server: &AuthorizationServer,
    pending: &PendingLogin,
    person: Identity,
    arrival: Arrival,
) -> Result<String, Fault> {
    let request = &pending.request;
    let who = person.key.clone();
    let new = NewGrant {
        id: pending.grant,
        person,
        client: request.client,
        resource: request.resource.clone(),
        scopes: request.scopes.clone(),
    };
    server.grants.create(new).await.map_err(|fault| match fault {
        CreateFault::Present => Fault::Finished,
        CreateFault::Store(_) => Fault::Unavailable,
    })?;
    let code = Code {
        grant: pending.grant,
        client: request.client,
        redirect_uri: secret::short_hash(request.redirect_uri.as_str().as_bytes()),
        challenge: request.challenge,
        expires: arrival.at.after(CODE_LIFETIME),
    };
    let code = server.ring.seal(&CODE, &code).map_err(|_| Fault::Unavailable)?;
    tracing::info!(
        request_id = %arrival.id,
        client_id = %request.client,
        grant_id = %pending.grant,
        user = who,
        redirect_to = request.redirect_uri.destination(),
        "signed in, code sent to the client",
    );
    let mut parameters = vec![("code", code.as_str()), ("iss", server.issuer.as_str())];
    parameters.extend(request.state.as_deref().map(|state| ("state", state)));
    Ok(request.redirect_uri.with(&parameters))
}

/// A page where the browser may not be the right one, or a person must read it; else back to the
/// client, which waits for an answer.
fn answer_to(
    server: &AuthorizationServer,
    fault: &Fault,
    pending: Option<&PendingLogin>,
    arrival: Arrival,
) -> Response {
    let page = |problem| server.pages.problem(&problem, arrival.id);
    let Some(pending) = pending else {
        return page(match fault {
            Fault::AnotherBrowser => refusal::another_browser(),
            Fault::State(StateFault::Store(_)) | Fault::Unavailable => refusal::unavailable(),
            Fault::NoState
            | Fault::State(StateFault::NotOurs | StateFault::Stale)
            | Fault::Finished
            | Fault::IdpError(_)
            | Fault::AnotherIssuer(_)
            | Fault::NoCode
            | Fault::Login(_)
            | Fault::NotAllowed { .. }
            | Fault::ResourceGone => refusal::stale(),
        });
    };
    let error = match fault {
        Fault::NotAllowed { who } => {
            let back = error_location(server, &pending.request, ErrorCode::AccessDenied);
            return page(refusal::not_allowed(who, &pending.request.resource, back));
        }
        Fault::Finished | Fault::AnotherBrowser | Fault::NoState | Fault::State(_) => {
            return page(refusal::stale());
        }
        Fault::IdpError(code) if PERSONS_OWN.contains(&code.as_str()) => ErrorCode::AccessDenied,
        // Claims of another shape than configured decide nothing, so they let nobody in.
        Fault::Login(LoginFault::Claims(_)) => ErrorCode::AccessDenied,
        Fault::IdpError(code) if code == "temporarily_unavailable" => {
            ErrorCode::TemporarilyUnavailable
        }
        Fault::Login(fault) if fault.is_passing() => ErrorCode::TemporarilyUnavailable,
        Fault::Unavailable => ErrorCode::TemporarilyUnavailable,
        Fault::IdpError(_)
        | Fault::AnotherIssuer(_)
        | Fault::NoCode
        | Fault::Login(_)
        | Fault::ResourceGone => ErrorCode::ServerError,
    };
    redirect_error(server, &pending.request, error).unwrap_or_else(|| page(refusal::unavailable()))
}

const fn whose(fault: &Fault) -> &'static str {
    match fault {
        Fault::NoState | Fault::State(_) | Fault::AnotherBrowser | Fault::Finished => "browser",
        Fault::NotAllowed { .. } => "person",
        Fault::IdpError(_) | Fault::AnotherIssuer(_) | Fault::NoCode | Fault::Login(_) => "idp",
        Fault::ResourceGone | Fault::Unavailable => "us",
    }
}

fn name_of(person: &Identity) -> String {
    person.email.clone().unwrap_or_else(|| person.key.clone())
}

/// The person, or a rule about them, ended the login at the IdP.
const PERSONS_OWN: [&str; 4] =
    ["access_denied", "login_required", "consent_required", "interaction_required"];
