//! `GET /oauth/callback`: the person comes back from the IdP (OIDC Core §3.1.2.5). Next: the browser
//! takes a code to the client, which redeems it at `token`. If it is not the person whom the short page was
//! made for, they get the full one, and their answer goes to `consent`.
//!
//! Two steps. Until it is sure that this browser began the login, a fault is a page; from then on the
//! client waits for an answer and gets one.

use http::HeaderMap;
use http::header::SET_COOKIE;

use crate::authorization_server::authorization_response::{self, AuthorizationError, Outcome};
use crate::authorization_server::authorize::{browser_of, full_page};
use crate::authorization_server::login::{self, LoginBegun};
use crate::authorization_server::pending::{
    FINISHED, FinishedLogin, LOGIN_LIFETIME, PendingLogin, StateFault, login_of,
};
use crate::authorization_server::{AuthorizationServer, problem_pages, resource_indicator};
use crate::browser::AuthorizationRequest;
use crate::browser::consent::{ClientInWords, Forms, NotTheirs, PersonalConsent};
use crate::browser::cookies::{self, CookieValue};
use crate::browser::memory::Memory;
use crate::browser::person::{LastPerson, PersonDigest};
use crate::grants::{CODE_LIFETIME, CreateFault, NewGrant};
use crate::idp::login::LoginFor;
use crate::idp::{Discovered, Identity, IdpSettings, LoggedIn, LoginFault};
use crate::pages::{ConsentPage, readable};
use crate::policy::Resource;
use crate::secret;
use crate::store::{Created, StoreFault};
use crate::token::sealed::{CODE, Code};
use crate::wire::{Arrival, Form, Response, answer};

/// A login that was begun in this browser.
#[derive(Debug)]
struct Begun {
    login: PendingLogin,
    mark: CookieValue,
    /// The other logins of this browser, which go on.
    others: Vec<CookieValue>,
}

/// Why this is not the end of a login that this browser began. Shown on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NotBegun {
    #[error("there is no state")]
    NoState,
    #[error(transparent)]
    State(#[from] StateFault),
    #[error("the login was begun in another browser, or finished before")]
    AnotherBrowser,
}

/// Why a login that was begun here does not end with a code.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the login was finished before")]
    Finished,
    #[error("the IdP answered error {0:?}")]
    IdpError(String),
    #[error("the answer says it is from {0:?}, which is not the IdP")]
    AnotherIssuer(String),
    #[error("the answer does not say that it is from the IdP, which promised to say so")]
    NoIssuer,
    #[error("the IdP sent neither code nor error")]
    NoCode,
    #[error(transparent)]
    Login(#[from] LoginFault),
    #[error("the access rules do not admit {:?}, who is in {} groups", .0.key, .0.groups.len())]
    NotAllowed(Identity),
    #[error("the resource is no longer served here")]
    ResourceGone,
    #[error("the consent is another person's")]
    NotTheirs,
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
    let begun = match begun_here(server, &form, headers, arrival).await {
        Ok(begun) => begun,
        Err(fault) => {
            let whose_fault = match fault {
                NotBegun::State(StateFault::Elsewhere) => "us",
                NotBegun::State(StateFault::Store(_)) => "store",
                NotBegun::State(StateFault::NotOurs | StateFault::Stale)
                | NotBegun::NoState
                | NotBegun::AnotherBrowser => "client",
            };
            tracing::warn!(request_id = %arrival.id, %fault, whose_fault, "callback refused");
            return server.pages.problem(&page_of(fault), arrival.id);
        }
    };
    let mut response = match finish(server, &form, headers, &begun.login, arrival).await {
        Ok(response) => response,
        Err(fault) => {
            let another = if let Fault::NotAllowed(_) = fault {
                another_account(server, &begun.login, arrival).await
            } else {
                None
            };
            let url = another.as_ref().map(|login| login.url.clone());
            let mut response = answer_to(server, &fault, &begun.login, url, arrival);
            if let Some(login) = another {
                let set = server.cookies.begin_login(&login.mark, &begun.others, LOGIN_LIFETIME);
                response.headers_mut().extend(set.map(|cookie| (SET_COOKIE, cookie)));
            }
            response
        }
    };
    // However it ended, it is over: the same answer of the IdP won't be heard again.
    if let Some(cookie) = server.cookies.end_login(&begun.mark) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

async fn begun_here(
    server: &AuthorizationServer,
    form: &Form,
    headers: &HeaderMap,
    arrival: Arrival,
) -> Result<Begun, NotBegun> {
    let state = form.one("state").ok().flatten().ok_or(NotBegun::NoState)?;
    let login = login_of(server, state, arrival.at).await?;
    let mark = cookies::value_from(login.secret().browser_mark());
    let mut others = server.cookies.logins(headers);
    let begun = others.len();
    others.retain(|own| !secret::same(own.as_bytes(), mark.as_bytes()));
    if others.len() == begun {
        // Who began it may have sent somebody else to the IdP, and must not get hold of what came of it.
        let _ = once(server, &login, arrival).await;
        return Err(NotBegun::AnotherBrowser);
    }
    Ok(Begun { login, mark, others })
}

/// A login whose person has consented, at last: to the client with a code, or with an error.
pub(super) async fn conclude(
    server: &AuthorizationServer,
    login: &PendingLogin,
    consent: &PersonalConsent,
    logged_in: LoggedIn,
    arrival: Arrival,
) -> Response {
    match issue_code(server, login, consent, logged_in, arrival).await {
        Ok(response) => response,
        Err(fault) => answer_to(server, &fault, login, None, arrival),
    }
}

/// A login for the same, for who came as somebody that may not. Without it they can still go back.
async fn another_account(
    server: &AuthorizationServer,
    login: &PendingLogin,
    arrival: Arrival,
) -> Option<LoginBegun> {
    let discovered = server.idp.discovered().await.ok()?;
    let again = LoginFor::AnotherAccount(login.consent());
    login::begin(server, &discovered, again, arrival.at).await.ok()
}

async fn finish(
    server: &AuthorizationServer,
    form: &Form,
    headers: &HeaderMap,
    login: &PendingLogin,
    arrival: Arrival,
) -> Result<Response, Fault> {
    let discovered = server.idp.discovered().await.map_err(LoginFault::from)?;
    let code = code_from(server.idp.settings(), &discovered, form)?;
    once(server, login, arrival).await?;
    let logged_in = server.idp.exchange(code, login.secret(), &login.request().resource).await?;
    let resource = admitted(server, login.request(), &logged_in)?;
    let person = PersonDigest::of(server.idp.issuer(), &logged_in.person.key);
    match login.consent().of(person, memory(server), arrival.at).await {
        Ok(consent) => issue_code(server, login, &consent, logged_in, arrival).await,
        Err(NotTheirs::AskAgain(client)) => {
            ask_again(server, headers, login, client, resource, logged_in, arrival).await
        }
        Err(NotTheirs::Store(_)) => Err(Fault::Unavailable),
    }
}

/// An IdP that sees its code twice takes back what the first one bought (RFC 6749 §4.1.2), and a person may
/// reload the page while it thinks.
async fn once(
    server: &AuthorizationServer,
    login: &PendingLogin,
    arrival: Arrival,
) -> Result<(), Fault> {
    let (key, until) = (login.grant().callback_key(), arrival.at.after(LOGIN_LIFETIME));
    match server.store.create(&key, String::new(), until).await {
        Ok(Created::New(_)) => Ok(()),
        Ok(Created::Present) => Err(Fault::Finished),
        Err(StoreFault) => Err(Fault::Unavailable),
    }
}

/// May they use what they signed in for?
fn admitted<'a>(
    server: &'a AuthorizationServer,
    request: &AuthorizationRequest,
    logged_in: &LoggedIn,
) -> Result<&'a Resource, Fault> {
    let resource = resource_indicator::by_url(&server.resources, &request.resource)
        .ok_or(Fault::ResourceGone)?;
    if resource.access.admits(&logged_in.person) {
        Ok(resource)
    } else {
        Err(Fault::NotAllowed(logged_in.person.clone()))
    }
}

/// The full page for somebody who has signed in. Their login waits, so that a yes is enough.
async fn ask_again(
    server: &AuthorizationServer,
    headers: &HeaderMap,
    login: &PendingLogin,
    client: &ClientInWords,
    resource: &Resource,
    logged_in: LoggedIn,
    arrival: Arrival,
) -> Result<Response, Fault> {
    let (request, name) = (login.request(), name_of(&logged_in.person));
    let person = PersonDigest::of(server.idp.issuer(), &logged_in.person.key);
    let finished = FinishedLogin::new(login.clone(), logged_in);
    let finished = server.ring.seal(&FINISHED, &finished).map_err(|_| Fault::Unavailable)?;
    let browser = browser_of(server, headers).map_err(|_| Fault::Unavailable)?;
    let forms = Forms {
        ring: &server.ring,
        store: &*server.store,
        chance: server.chance,
        browser: &browser,
        now: arrival.at,
    };
    let ticket = forms.after_login(request, person, finished).await;
    let ticket = ticket.map_err(|_| Fault::Unavailable)?;
    tracing::info!(
        request_id = %arrival.id,
        client_id = %request.client,
        grant_id = %login.grant(),
        "signed in, but nothing of theirs is remembered: consent page shown"
    );
    let page = full_page(server, client, request, resource, ticket);
    let mut response = server.pages.consent(&ConsentPage { signed_in_as: Some(name), ..page });
    let cookie = server.cookies.set_browser(&browser).ok_or(Fault::Unavailable)?;
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(response)
}

fn code_from<'a>(
    idp: &IdpSettings,
    discovered: &Discovered,
    form: &'a Form,
) -> Result<&'a str, Fault> {
    // RFC 9207 §2.4: an answer that says who it is from must be from the IdP, and an IdP that promised
    // to say so does. One of several tenants may name itself or the person's tenant.
    match form.one("iss").map_err(|_| Fault::NoIssuer)? {
        Some(other) if other != idp.issuer && !idp.is_issuer(other) => {
            return Err(Fault::AnotherIssuer(other.chars().take(200).collect()));
        }
        None if discovered.sends_issuer => return Err(Fault::NoIssuer),
        Some(_) | None => {}
    }
    if let Some(error) = form.one("error").map_err(|_| Fault::NoCode)? {
        return Err(Fault::IdpError(error.chars().take(64).collect()));
    }
    form.one("code").map_err(|_| Fault::NoCode)?.ok_or(Fault::NoCode)
}

/// The browser goes to the client with a code, and keeps in mind who was here.
async fn issue_code(
    server: &AuthorizationServer,
    login: &PendingLogin,
    consent: &PersonalConsent,
    logged_in: LoggedIn,
    arrival: Arrival,
) -> Result<Response, Fault> {
    let who = logged_in.person.key.clone();
    let person = PersonDigest::of(server.idp.issuer(), &who);
    let last = LastPerson::new(person, name_of(&logged_in.person), arrival.at);
    let request = consent.request_of(person).ok_or(Fault::NotTheirs)?;
    admitted(server, request, &logged_in)?;
    let can_be_rechecked = logged_in.refresh_token.is_some();
    let new = NewGrant {
        id: login.grant(),
        login: logged_in,
        client: request.client,
        client_name: request.client_name.clone(),
        resource: request.resource.clone(),
        scopes: request.scopes.clone(),
    };
    server.grants.create(new).await.map_err(|fault| match fault {
        CreateFault::Present => Fault::Finished,
        CreateFault::Store(_) => Fault::Unavailable,
    })?;
    let code = Code {
        grant: login.grant(),
        client: request.client,
        redirect_uri: secret::short_hash(request.redirect_uri.as_str().as_bytes()),
        challenge: request.challenge,
        // From now, as the row: the IdP may have taken its time.
        expires: server.grants.now().after(CODE_LIFETIME),
        refreshes: request.refreshes,
        epoch: server.grants.epoch().await.map_err(|_| Fault::Unavailable)?,
    };
    let code = server.ring.seal(&CODE, &code).map_err(|_| Fault::Unavailable)?;
    tracing::info!(
        request_id = %arrival.id,
        client_id = %request.client,
        grant_id = %login.grant(),
        user = who,
        can_be_rechecked,
        redirect_to = request.redirect_uri.destination(),
        "signed in, code sent to the client"
    );
    // It costs the person a longer page next time, and nothing else.
    if let Err(fault) = consent.remember(memory(server), arrival.at).await {
        tracing::warn!(request_id = %arrival.id, %fault, whose_fault = "store", "consent not remembered");
    }
    let location = authorization_response::location(server, request, Outcome::Code(&code));
    let mut response = sent_back(server, &location, arrival);
    let sealed = last.seal(&server.ring).map_err(|_| Fault::Unavailable)?;
    if let Some(cookie) = server.cookies.set_person(&sealed) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

fn memory(server: &AuthorizationServer) -> Memory<'_> {
    Memory { store: &*server.store, ring: &server.ring }
}

/// As the person knows themselves, on our pages.
fn name_of(person: &Identity) -> String {
    readable(person.email.as_ref().unwrap_or(&person.key))
}

fn page_of(fault: NotBegun) -> crate::pages::Problem {
    match fault {
        NotBegun::AnotherBrowser => problem_pages::another_browser(),
        NotBegun::State(StateFault::Store(_)) => problem_pages::unavailable(),
        NotBegun::State(StateFault::Elsewhere) => problem_pages::elsewhere(),
        NotBegun::NoState | NotBegun::State(StateFault::NotOurs | StateFault::Stale) => {
            problem_pages::stale()
        }
    }
}

/// Back to the client, which waits for an answer; a page only where a person must read it. `another` is
/// where they can sign in with another account.
fn answer_to(
    server: &AuthorizationServer,
    fault: &Fault,
    login: &PendingLogin,
    another: Option<String>,
    arrival: Arrival,
) -> Response {
    let request = login.request();
    tracing::warn!(
        request_id = %arrival.id,
        client_id = %request.client,
        grant_id = %login.grant(),
        resource = request.resource,
        idp = server.idp.issuer(),
        %fault,
        whose_fault = whose(fault),
        "login not finished"
    );
    let location = |error| {
        authorization_response::location(server, request, Outcome::Error(error, arrival.id))
    };
    match fault {
        Fault::NotAllowed(person) => {
            let back = location(AuthorizationError::AccessDenied);
            let who = name_of(person);
            let problem = problem_pages::not_allowed(&who, &request.resource, another, back);
            server.pages.problem(&problem, arrival.id)
        }
        Fault::Finished => server.pages.problem(&problem_pages::stale(), arrival.id),
        Fault::IdpError(code) => sent_back(server, &location(our_word_for(code)), arrival),
        // Claims of another shape than configured decide nothing, so they let nobody in.
        Fault::Login(LoginFault::Claims(_)) => {
            sent_back(server, &location(AuthorizationError::AccessDenied), arrival)
        }
        Fault::Login(fault) if fault.is_passing() => {
            sent_back(server, &location(AuthorizationError::TemporarilyUnavailable), arrival)
        }
        Fault::Unavailable => {
            sent_back(server, &location(AuthorizationError::TemporarilyUnavailable), arrival)
        }
        Fault::AnotherIssuer(_)
        | Fault::NoIssuer
        | Fault::NoCode
        | Fault::Login(_)
        | Fault::NotTheirs
        | Fault::ResourceGone => {
            sent_back(server, &location(AuthorizationError::ServerError), arrival)
        }
    }
}

/// The IdP's errors in words that the client may rely on (OAuth 2.1 §4.1.2.1).
fn our_word_for(idp_error: &str) -> AuthorizationError {
    match idp_error {
        // The person, or a rule about them, ended the login at the IdP.
        "access_denied" | "login_required" | "consent_required" | "interaction_required" => {
            AuthorizationError::AccessDenied
        }
        "temporarily_unavailable" => AuthorizationError::TemporarilyUnavailable,
        _ => AuthorizationError::ServerError,
    }
}

fn sent_back(server: &AuthorizationServer, location: &str, arrival: Arrival) -> Response {
    let page = || server.pages.problem(&problem_pages::unavailable(), arrival.id);
    answer::see_other(location).unwrap_or_else(page)
}

const fn whose(fault: &Fault) -> &'static str {
    match fault {
        Fault::Finished | Fault::NotAllowed(_) => "client",
        Fault::IdpError(_)
        | Fault::AnotherIssuer(_)
        | Fault::NoIssuer
        | Fault::NoCode
        | Fault::Login(_) => "idp",
        Fault::ResourceGone | Fault::NotTheirs => "us",
        Fault::Unavailable => "store",
    }
}
