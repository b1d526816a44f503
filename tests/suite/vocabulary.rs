//! The vocabulary itself: a fake that is wrong must not be taken for a product that is wrong.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use mcp_doorman::clock::{Clock, ManualClock, Timestamp};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::support::exchange::{Door, Exchange, Request};
use crate::support::fake_idp::{CLIENT_ID, CLIENT_SECRET, Conduct, FakeIdp};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::hash_text;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

#[tokio::test]
async fn the_honest_idp_signs_what_it_was_asked() {
    let idp = FakeIdp::start(clock()).await;

    let answer = log_in_at(&idp, VERIFIER).await.assert_status(200).json();

    let (claims, is_genuine) = read(&idp, answer["id_token"].as_str().unwrap()).await;
    assert!(is_genuine);
    assert_eq!(claims["iss"], idp.issuer());
    assert_eq!(claims["aud"], CLIENT_ID);
    assert_eq!(claims["nonce"], "n-1");
    assert_eq!(claims["sub"], "alice-7f3a");
    assert_eq!(claims["exp"], 1_000_300);
}

#[tokio::test]
async fn the_idp_refuses_a_wrong_proof_and_a_spent_code() {
    let idp = FakeIdp::start(clock()).await;

    let answer = log_in_at(&idp, "another verifier").await;

    answer.assert_status(400);
    assert_eq!(answer.json()["why"], "proof");
}

#[tokio::test]
async fn the_idp_lies_when_told_to() {
    let idp = FakeIdp::start(clock()).await;

    for (conduct, is_signed) in [
        (Conduct::WrongNonce, true),
        (Conduct::NoSubject, true),
        (Conduct::BadSignature, false),
        (Conduct::AlgNone, false),
        (Conduct::HmacWithPublicKey, false),
        (Conduct::UnknownKey, false),
    ] {
        idp.conduct(conduct);
        let answer = log_in_at(&idp, VERIFIER).await.assert_status(200).json();
        let (claims, is_genuine) = read(&idp, answer["id_token"].as_str().unwrap()).await;
        assert_eq!(is_genuine, is_signed, "{conduct:?}");
        assert_eq!(claims["nonce"] == "n-1", conduct != Conduct::WrongNonce);
        assert_eq!(claims.get("sub").is_some(), conduct != Conduct::NoSubject);
    }
}

/// OpenID Connect Core §3.1.3.6
#[tokio::test]
async fn the_honest_idp_can_say_more() {
    let idp = FakeIdp::start(clock()).await;

    idp.conduct(Conduct::SeveralAudiences);
    let answer = log_in_at(&idp, VERIFIER).await.assert_status(200).json();
    let (claims, _) = read(&idp, answer["id_token"].as_str().unwrap()).await;
    assert_eq!(claims["aud"], json!([CLIENT_ID, "another-client"]));
    assert_eq!(claims["azp"], CLIENT_ID);
    idp.conduct(Conduct::AccessTokenHash);
    let answer = log_in_at(&idp, VERIFIER).await.assert_status(200).json();
    let (claims, _) = read(&idp, answer["id_token"].as_str().unwrap()).await;

    let whole = URL_SAFE_NO_PAD.decode(hash_text(answer["access_token"].as_str().unwrap()));
    let half = URL_SAFE_NO_PAD.decode(claims["at_hash"].as_str().unwrap()).unwrap();
    assert_eq!(half, whole.unwrap()[..16]);
}

#[tokio::test]
async fn the_mcp_server_notices_a_hang_up_and_nothing_else() {
    let server = FakeMcpServer::start().await;
    let door = door(&server.url(""));

    door.send(Request::post("/mcp").body("x")).await.assert_status(200);
    let feed = server.streams_events();
    let mut stream = door.open(Request::get("/mcp")).await;
    feed.event("one");
    stream.until("one").await;
    stream.hang_up();
    server.hang_up().await;

    let feed = server.streams_events();
    let stream = door.open(Request::get("/mcp")).await;
    feed.event("two");
    feed.end();
    assert_eq!(stream.whole().await.text(), "data: two\n\n");
    server.never_answers();
    server.arrival().await;
    server.arrival().await;
    server.arrival().await;
    tokio::select! {
        _ = door.open(Request::get("/mcp")) => panic!("answered"),
        () = server.arrival() => {}
    }
    server.hang_up().await;
}

#[tokio::test]
async fn the_mcp_server_can_break_off() {
    let server = FakeMcpServer::start().await;
    let feed = server.streams_events();
    let mut stream = door(&server.url("")).open(Request::get("/mcp")).await;
    feed.event("half");
    stream.until("half").await;

    feed.break_off();

    assert!(stream.next_bytes().await.unwrap().is_err());
}

#[test]
fn a_form_is_read_as_a_browser_reads_it() {
    let html = r#"<p><form class="x" method="post" action="&#x2f;oauth/consent">
        <input type="hidden" name="request" value="a&amp;b&quot;&#39;">
        <input type="hidden" name="empty" value="" />
        <button type="submit" name="decision" value="approve">Yes</button>
        <button type="submit" name="decision" value="deny">No</button></form>"#;
    let page = Exchange::of(StatusCode::OK, HeaderMap::new(), Bytes::from_static(html.as_bytes()));

    let form = page.form();

    assert_eq!(form.action.as_str(), "https://tools.example.com/oauth/consent");
    assert_eq!(form.hidden[0], ("request".to_owned(), "a&b\"'".to_owned()));
    assert_eq!(form.hidden[1], ("empty".to_owned(), String::new()));
    assert_eq!(form.decisions, ["approve", "deny"]);
}

/// A login at the IdP as a careful client does it, with `verifier` at its end.
async fn log_in_at(idp: &FakeIdp, verifier: &str) -> Exchange {
    let door = door(idp.issuer());
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("response_type", "code"),
            ("client_id", CLIENT_ID),
            ("redirect_uri", "https://us.example/back"),
            ("scope", "openid"),
            ("state", "s-1"),
            ("nonce", "n-1"),
            ("code_challenge", &hash_text(VERIFIER)),
            ("code_challenge_method", "S256"),
        ])
        .finish();
    let back = door.send(Request::get(&format!("/authorize?{query}"))).await;
    let back = Url::parse(back.assert_status(302).header("location")).unwrap();
    let code = back.query_pairs().find(|(name, _)| name == "code").unwrap().1;
    let escape = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let basic = STANDARD.encode(format!("{}:{}", escape(CLIENT_ID), escape(CLIENT_SECRET)));
    let request = Request::post("/token").header("authorization", &format!("Basic {basic}"));
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", "https://us.example/back"),
        ("code_verifier", verifier),
    ];
    door.send(request.form(&form)).await
}

/// The claims of a token, and whether the published key signed it.
async fn read(idp: &FakeIdp, token: &str) -> (Value, bool) {
    let keys = door(idp.issuer()).send(Request::get("/jwks")).await.json();
    let number = |name: &str| URL_SAFE_NO_PAD.decode(keys["keys"][0][name].as_str().unwrap());
    let key = RsaPublicKeyComponents { n: number("n").unwrap(), e: number("e").unwrap() };
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let verdict = key.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature);
    let claims = URL_SAFE_NO_PAD.decode(message.split('.').nth(1).unwrap()).unwrap();
    let header = URL_SAFE_NO_PAD.decode(message.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let is_ours = header["alg"] == json!("RS256") && header["kid"] == keys["keys"][0]["kid"];
    (serde_json::from_slice(&claims).unwrap(), is_ours && verdict.is_ok())
}

fn door(url: &str) -> Door {
    let url = Url::parse(url).unwrap();
    let address = *url.socket_addrs(|| None).unwrap().first().unwrap();
    Door::to(address, address.to_string())
}

fn clock() -> Clock {
    Clock::Manual(ManualClock::starting_at(Timestamp::from_seconds(1_000_000)))
}
