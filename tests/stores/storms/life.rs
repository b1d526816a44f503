//! The life of a login, each step at another replica: registration, consent, the IdP, the code, tokens.
//!
//! `Interrupted` is what a person or a client meets when a replica dies under them.

use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

use crate::load_balancer::{LoadBalancer, Lost};
use crate::support::client::{Authorization, Client, metadata};
use crate::support::doorman::{Granted, ORIGIN, REDIRECT, RESOURCE, code_form, mcp_request};
use crate::support::exchange::{Exchange, Request};
use crate::support::soon;

/// Try again from the beginning of what was tried.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted;

impl From<Lost> for Interrupted {
    fn from(Lost: Lost) -> Self {
        Self
    }
}

pub async fn register(replicas: &LoadBalancer) -> Result<Client, Interrupted> {
    let request = Request::post(&format!("{ORIGIN}/register")).json(&metadata(REDIRECT));
    let answer = expect(201, replicas.send(request).await?)?;
    let id = answer.json()["client_id"].as_str().unwrap().to_owned();
    Ok(Client { id, redirect_uri: REDIRECT.to_owned() })
}

/// From the authorization request to the code.
pub async fn authorize(replicas: &LoadBalancer, client: &Client) -> Result<Granted, Interrupted> {
    let authorization = Authorization::of(client, &format!("{ORIGIN}/authorize"), RESOURCE);
    let mut cookies = Vec::new();

    let asked = Request::get(&authorization.url()).header("accept", "text/html");
    let page = expect(200, replicas.send(asked).await?)?;
    keep(&mut cookies, &page);

    let form = page.form();
    let mut fields: Vec<(&str, &str)> =
        form.hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.push(("decision", "approve"));
    let consent = Request::post(form.action.as_str())
        .header("origin", ORIGIN)
        .header("sec-fetch-site", "same-origin")
        .header("cookie", &shown(&cookies))
        .form(&fields);
    let consented = expect(303, replicas.send(consent).await?)?;
    keep(&mut cookies, &consented);

    let back = ask_idp(&consented.location()).await;
    let callback = Request::get(&back).header("cookie", &shown(&cookies));
    let landing = expect(303, replicas.send(callback).await?)?.landing();
    assert_eq!(landing.parameter("state"), Some(authorization.state.clone()));
    Ok(Granted { code: landing.code(), verifier: authorization.verifier })
}

pub fn redemption(client: &Client, granted: &Granted) -> Request {
    Request::post(&format!("{ORIGIN}/token")).form(&code_form(client, granted, RESOURCE))
}

pub fn refresh(client: &Client, refresh_token: &str) -> Request {
    Request::post(&format!("{ORIGIN}/token")).form(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
        ("client_id", &client.id),
    ])
}

pub fn call(access_token: &str) -> Request {
    mcp_request(RESOURCE).bearer(access_token)
}

/// Of a replica that can't answer just now, nothing is expected.
fn expect(status: u16, answer: Exchange) -> Result<Exchange, Interrupted> {
    if answer.status.is_server_error() {
        return Err(Interrupted);
    }
    answer.assert_status(status);
    Ok(answer)
}

/// Sign in at the IdP, which sends the browser back at once.
async fn ask_idp(url: &Url) -> String {
    let address = *url.socket_addrs(|| None).unwrap().first().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(url.as_str()).into_http(&address.to_string(), Full::new);
    let answer = soon("the IdP", sender.send_request(request)).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let answer = Exchange::of(head.status, head.headers, body);
    answer.assert_status(302);
    answer.header("location").to_owned()
}

fn keep(cookies: &mut Vec<(String, String)>, answer: &Exchange) {
    for header in answer.headers.get_all("set-cookie") {
        let pair = header.to_str().unwrap().split(';').next().unwrap();
        let (name, value) = pair.split_once('=').unwrap();
        cookies.retain(|(own, _)| own != name);
        cookies.push((name.to_owned(), value.to_owned()));
    }
}

fn shown(cookies: &[(String, String)]) -> String {
    let pairs: Vec<String> =
        cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("; ")
}
