//! `POST /oauth/backchannel-logout`: who is logged out at the IdP is out here too (OpenID Connect Back-Channel
//! Logout 1.0).

use std::time::Duration;

use mcp_doorman::telemetry::LogLevel;
use serde_json::{Value, json};

use crate::support::doorman::{Doorman, Login, MINUTE};
use crate::support::exchange::{Exchange, Request};
use crate::support::fake_idp::{CLIENT_ID, Conduct, DISCOVERY, LogoutToken, Person};
use crate::support::fake_mcp_server::FakeMcpServer;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const BOB: &str = "bob-1c55";

async fn start() -> Doorman {
    Doorman::in_front_of(FakeMcpServer::start().await).start().await
}

fn of_alice(doorman: &Doorman) -> LogoutToken {
    doorman.idp().logout_token(Person::alice().sub)
}

async fn log_in_bob(doorman: &Doorman) -> Login {
    doorman.idp().sign_in(Person { sub: BOB, email: "bob@example.com", ..Person::alice() });
    let login = doorman.log_in().await;
    doorman.idp().sign_in(Person::alice());
    login
}

async fn assert_goes_on(doorman: &Doorman, login: &mut Login) {
    doorman.call(&login.tokens.access).await.assert_status(200);
    login.tokens = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();
}

async fn assert_is_out(doorman: &Doorman, login: &Login) {
    // Every worker has to know.
    for _ in 0..3 {
        let answer = doorman.call(&login.tokens.access).await;
        answer.assert_json_rpc_error(401);
        assert_eq!(answer.challenge().parameter("error"), Some("invalid_token"));
    }
    let refresh = doorman.refresh(&login.client, &login.tokens.refresh).await;
    refresh.assert_error(400, "invalid_grant");
}

/// §2.8
fn assert_done(answer: &Exchange) {
    answer.assert_status(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.text().is_empty(), "{answer}");
}

/// §2.8
fn assert_refused(answer: &Exchange) {
    answer.assert_error(400, "invalid_request");
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// §2.4: without `sid`, all sessions; §2.7
#[tokio::test]
async fn a_person_who_logs_out_is_out_of_every_client() {
    let doorman = start().await;
    doorman.idp().begin_session("session-1");
    let first = doorman.log_in().await;
    doorman.idp().begin_session("session-2");
    let second = doorman.log_in().await;
    let mut bob = log_in_bob(&doorman).await;

    let answer = doorman.log_out(&of_alice(&doorman).signed()).await;

    assert_done(&answer);
    assert_is_out(&doorman, &first).await;
    assert_is_out(&doorman, &second).await;
    assert_goes_on(&doorman, &mut bob).await;
    let audit = doorman.log().lines();
    let ended = audit.iter().filter(|line| line.to_string().contains("logged out at the IdP"));
    let users: Vec<_> = ended.filter_map(|line| line.get("user")).collect();
    assert_eq!(users, ["alice-7f3a", "alice-7f3a"]);
    // And may come back.
    let mut again = doorman.log_in().await;
    assert_goes_on(&doorman, &mut again).await;
}

/// A code that is under way is of nobody who may come in.
#[tokio::test]
async fn a_code_that_was_not_redeemed_yet_is_worthless() {
    let doorman = start().await;
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;

    assert_done(&doorman.log_out(&of_alice(&doorman).signed()).await);

    doorman.exchange(&client, &granted).await.assert_error(400, "invalid_grant");
}

/// The stable key of a person need not be the `sub` that a logout token names.
#[tokio::test]
async fn people_are_found_by_sub_whatever_their_key_is_made_of() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).user_key("email").start().await;
    let login = doorman.log_in().await;
    let mut bob = log_in_bob(&doorman).await;

    assert_done(&doorman.log_out(&doorman.idp().logout_token("alice@example.com").signed()).await);
    doorman.call(&login.tokens.access).await.assert_status(200);
    assert_done(&doorman.log_out(&of_alice(&doorman).signed()).await);

    assert_is_out(&doorman, &login).await;
    assert_goes_on(&doorman, &mut bob).await;
}

/// People sign out of a browser in the evening, and don't mean their editor.
#[tokio::test]
async fn the_end_of_a_session_ends_no_connection_unless_it_is_configured() {
    let doorman = start().await;
    doorman.idp().begin_session("session-1");
    let mut login = doorman.log_in().await;

    let of_session = of_alice(&doorman).claim("sid", "session-1");
    assert_done(&doorman.log_out(&of_session.signed()).await);
    let of_session = of_alice(&doorman).claim("sid", "session-1").without_claim("sub");
    assert_done(&doorman.log_out(&of_session.signed()).await);

    assert_goes_on(&doorman, &mut login).await;
}

/// §2.4: with `sid`, that session
#[tokio::test]
async fn where_it_is_configured_the_end_of_a_session_ends_what_began_in_it() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).logout_ends_connections().start().await;
    let mut before = doorman.log_in().await;
    doorman.idp().begin_session("session-1");
    let first = doorman.log_in().await;
    doorman.idp().begin_session("session-2");
    let second = doorman.log_in().await;
    doorman.idp().begin_session("session-3");
    let mut third = doorman.log_in().await;

    let alone = of_alice(&doorman).claim("sid", "session-1").without_claim("sub");
    assert_done(&doorman.log_out(&alone.signed()).await);
    assert_is_out(&doorman, &first).await;
    doorman.call(&second.tokens.access).await.assert_status(200);
    let both = of_alice(&doorman).claim("sid", "session-2");
    assert_done(&doorman.log_out(&both.signed()).await);
    assert_is_out(&doorman, &second).await;

    // Nobody's, and of somebody else.
    let unknown = of_alice(&doorman).claim("sid", "session-9");
    assert_done(&doorman.log_out(&unknown.signed()).await);
    let of_bob = doorman.idp().logout_token(BOB).claim("sid", "session-3");
    assert_done(&doorman.log_out(&of_bob.signed()).await);
    assert_goes_on(&doorman, &mut third).await;
    assert_goes_on(&doorman, &mut before).await;
}

/// §2.6: each of these is honest but for one thing.
#[tokio::test]
async fn a_token_that_fails_one_check_ends_nothing() {
    let doorman = start().await;
    let mut login = doorman.log_in().await;
    let now = doorman.now();
    let usual = || of_alice(&doorman);
    let events = |events: Value| usual().claim("events", events).signed();
    let twice = |name: &str, value: &str| {
        let claims = usual().claims.to_string();
        usual().signed_text(&claims.replacen('{', &format!("{{\"{name}\":{value},"), 1))
    };
    let signed = usual().signed();
    let (message, _) = signed.rsplit_once('.').unwrap();
    let cut = format!("{message}.AAAA");
    let cases = [
        ("none", "its alg is not", usual().signed_as(Conduct::AlgNone)),
        ("signature", "its signature is not", usual().signed_as(Conduct::BadSignature)),
        ("public key as secret", "its alg is not", usual().signed_as(Conduct::HmacWithPublicKey)),
        ("client secret", "its alg is not", usual().signed_as(Conduct::HmacWithClientSecret)),
        ("key", "its kid names none", usual().signed_as(Conduct::UnknownKey)),
        ("typ of an access token", "its typ is", usual().head("typ", "at+jwt").signed()),
        ("typ of a security event", "its typ is", usual().head("typ", "secevent+jwt").signed()),
        ("crit", "its header has crit", usual().head("crit", json!(["x"])).signed()),
        ("cut", "its signature is not", cut),
        ("no token", "three parts", "x".to_owned()),
        ("iss", "its iss is not", usual().claim("iss", "https://other-idp.example").signed()),
        (
            "iss with a slash",
            "its iss is not",
            usual().claim("iss", format!("{}/", doorman.idp().issuer())).signed(),
        ),
        ("no iss", "missing field `iss`", usual().without_claim("iss").signed()),
        ("aud", "its aud does not", usual().claim("aud", "another-client").signed()),
        (
            "aud that begins alike",
            "its aud does not",
            usual().claim("aud", format!("{CLIENT_ID}-2")).signed(),
        ),
        (
            "aud of others",
            "its aud does not",
            usual().claim("aud", json!(["another-client", "a-third"])).signed(),
        ),
        ("aud list of nobody", "its aud does not", usual().claim("aud", json!([])).signed()),
        ("no aud", "missing field `aud`", usual().without_claim("aud").signed()),
        ("iat", "too long ago", usual().without_claim("exp").claim("iat", now - 661).signed()),
        ("iat ahead", "in the future", usual().claim("iat", now + 61).signed()),
        ("no iat", "missing field `iat`", usual().without_claim("iat").signed()),
        ("iat as text", "can't be read", usual().claim("iat", now.to_string()).signed()),
        ("exp", "too long ago", usual().claim("exp", now - 61).signed()),
        ("no jti", "missing field `jti`", usual().without_claim("jti").signed()),
        ("empty jti", "its jti", usual().claim("jti", "").signed()),
        ("long jti", "its jti", usual().claim("jti", "x".repeat(257)).signed()),
        ("no events", "missing field `events`", usual().without_claim("events").signed()),
        ("empty events", "its events have", events(json!({}))),
        (
            "another event",
            "its events have",
            events(
                json!({ "https://schemas.openid.net/secevent/risc/event-type/account-disabled": {} }),
            ),
        ),
        ("event as text", "its events have", events(json!({ EVENT: "yes" }))),
        ("events as a list", "can't be read", events(json!([EVENT]))),
        ("nonce", "it has a nonce", usual().claim("nonce", "n").signed()),
        ("null nonce", "it has a nonce", usual().claim("nonce", Value::Null).signed()),
        ("nobody", "neither sub nor sid", usual().without_claim("sub").signed()),
        ("empty sub", "neither sub nor sid", usual().claim("sub", "").signed()),
        ("empty sid", "neither sub nor sid", usual().claim("sid", "").signed()),
        ("sub as a number", "can't be read", usual().claim("sub", 7).signed()),
        (
            "claims without names",
            "expected an object",
            usual().signed_text(
                &json!([doorman.idp().issuer(), CLIENT_ID, now, now + 60, "j", { EVENT: {} }, "alice-7f3a", null])
                    .to_string(),
            ),
        ),
        ("two subs", "duplicate field `sub`", twice("sub", "\"bob-1c55\"")),
        ("two audiences", "duplicate field `aud`", twice("aud", "\"another-client\"")),
    ];

    for (what, why, token) in &cases {
        let before = doorman.log().text().len();
        let answer = doorman.log_out(token).await;
        assert_eq!(answer.status, 400, "{what}\n{answer}");
        assert_refused(&answer);
        let log = doorman.log().text().split_off(before);
        assert!(log.contains("logout token refused") && log.contains(why), "{what}: {log}");
    }

    assert!(cases.len() > 30);
    assert_goes_on(&doorman, &mut login).await;
    // And the honest one is honest.
    assert_done(&doorman.log_out(&usual().signed()).await);
    assert_is_out(&doorman, &login).await;
}

/// What the specification leaves open, and what lies within what clocks may differ.
#[tokio::test]
async fn what_idps_may_do_differently_counts() {
    let changes: [fn(LogoutToken, u64) -> LogoutToken; 11] = [
        |token, _| token.without_head("typ"),
        |token, _| token.head("typ", "JWT"),
        |token, _| token.head("typ", "application/logout+jwt"),
        |token, _| token.without_head("kid"),
        |token, _| token.without_claim("exp"),
        |token, now| token.without_claim("exp").claim("iat", now - 659),
        |token, now| token.claim("iat", now + 60),
        |token, now| token.claim("exp", now - 59),
        |token, _| token.claim("aud", json!([CLIENT_ID])),
        |token, _| token.claim("events", json!({ EVENT: { "later": 1 }, "https://x.example": {} })),
        |token, _| token.claim("email", "alice@example.com"),
    ];

    for change in changes {
        let doorman = start().await;
        let login = doorman.log_in().await;
        let token = change(of_alice(&doorman), doorman.now());

        assert_done(&doorman.log_out(&token.signed()).await);

        assert_is_out(&doorman, &login).await;
    }
}

/// A key set that can't be used, whenever it is asked for, leaves the last good one.
#[tokio::test]
async fn keys_that_come_garbled_stop_no_logout() {
    let mut seen = 0;
    for (status, text, told) in [
        (200, r#"{"keys":[]}"#, "the IdP can't be used"),
        (200, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, "the IdP can't be used"),
        (200, "<html>Sign in</html>", "the IdP can't be used"),
        (500, "", "the IdP does not answer"),
    ] {
        let doorman = start().await;
        let login = doorman.log_in().await;
        doorman.idp().publish_keys(status, text);
        // Old enough to be asked for anew, which the next login does beside its way.
        doorman.later(11 * MINUTE);
        let mut bob = log_in_bob(&doorman).await;
        doorman.log().line_with(told).await;

        assert_done(&doorman.log_out(&of_alice(&doorman).signed()).await);

        assert_is_out(&doorman, &login).await;
        assert_goes_on(&doorman, &mut bob).await;
        seen += 1;
    }
    assert_eq!(seen, 4);
}

/// No other token of the IdP's is one of these.
#[tokio::test]
async fn an_id_token_logs_nobody_out() {
    let doorman = start().await;
    let mut login = doorman.log_in().await;
    let issued = doorman.idp().issued();
    let id_token = issued.iter().find(|issued| issued.matches('.').count() == 2).unwrap();

    assert_refused(&doorman.log_out(id_token).await);

    assert_goes_on(&doorman, &mut login).await;
}

/// §2.6 step 7
#[tokio::test]
async fn a_token_counts_once() {
    let doorman = start().await;
    let token = of_alice(&doorman).without_claim("exp");
    assert_done(&doorman.log_out(&token.signed()).await);
    let mut login = doorman.log_in().await;

    // Until it would be too old anyway.
    for minutes in [0, 5, 5] {
        doorman.later(minutes * MINUTE);
        assert_refused(&doorman.log_out(&token.signed()).await);
    }
    doorman.later(Duration::from_secs(59));
    assert_refused(&doorman.log_out(&token.signed()).await);
    doorman.later(Duration::from_secs(1));
    assert_refused(&doorman.log_out(&token.signed()).await);

    assert_goes_on(&doorman, &mut login).await;
    assert_done(&doorman.log_out(&of_alice(&doorman).signed()).await);
}

/// One that was refused spends nothing.
#[tokio::test]
async fn a_forgery_does_not_use_up_the_jti() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    let token = of_alice(&doorman);

    assert_refused(&doorman.log_out(&token.signed_as(Conduct::BadSignature)).await);
    assert_refused(&doorman.log_out(&token.clone().claim("aud", "another-client").signed()).await);

    assert_done(&doorman.log_out(&token.signed()).await);
    assert_is_out(&doorman, &login).await;
}

/// OIDC Core §10.1.1
#[tokio::test]
async fn a_key_that_the_idp_published_since_is_found() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    doorman.idp().conduct(Conduct::NewKey);

    let token = of_alice(&doorman).signed_as(Conduct::NewKey);

    assert_done(&doorman.log_out(&token).await);
    assert_is_out(&doorman, &login).await;
}

#[tokio::test]
async fn unknown_keys_are_not_asked_for_again_and_again() {
    let doorman = start().await;
    doorman.log_in().await;
    let before = doorman.idp().asked(DISCOVERY).len();

    for _ in 0..20 {
        assert_refused(&doorman.log_out(&of_alice(&doorman).signed_as(Conduct::UnknownKey)).await);
    }

    assert_eq!(doorman.idp().asked(DISCOVERY).len(), before + 1);
}

/// What is known is enough; what is not known yet is no verdict.
#[tokio::test]
async fn while_the_idp_is_down_nothing_is_spent() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    let second = log_in_bob(&doorman).await;
    doorman.idp().go_down();
    let new_key = of_alice(&doorman).signed_as(Conduct::NewKey);

    let answer = doorman.log_out(&new_key).await;
    answer.assert_error(503, "temporarily_unavailable");
    answer.header("retry-after");
    let known_key = doorman.idp().logout_token(BOB).signed();
    assert_done(&doorman.log_out(&known_key).await);

    assert_is_out(&doorman, &second).await;
    doorman.idp().come_up();
    doorman.idp().conduct(Conduct::NewKey);
    doorman.later(MINUTE);
    assert_done(&doorman.log_out(&new_key).await);
    assert_is_out(&doorman, &login).await;
}

#[tokio::test]
async fn without_the_idp_s_keys_the_answer_is_to_try_again() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).idp_down().start().await;
    let token = of_alice(&doorman).signed();

    doorman.log_out(&token).await.assert_error(503, "temporarily_unavailable");

    doorman.idp().come_up();
    assert_done(&doorman.log_out(&token).await);
}

/// §2.5
#[tokio::test]
async fn what_is_no_logout_request_is_refused() {
    let doorman = start().await;
    let url = doorman.endpoint("/oauth/backchannel-logout");
    let token = of_alice(&doorman).signed();
    let twice = [("logout_token", token.as_str()), ("logout_token", token.as_str())];

    assert_refused(&doorman.send(Request::post(&url).form(&[("token", "x")])).await);
    assert_refused(&doorman.send(Request::post(&url).form(&twice)).await);
    assert_refused(
        &doorman.send(Request::post(&url).json(&json!({ "logout_token": token }))).await,
    );
    assert_refused(&doorman.log_out(&"x".repeat(9000)).await);
    doorman.get(&url).await.assert_status(405);

    // No page of another site has any business here.
    let preflight = Request::new(http::Method::OPTIONS, &url)
        .header("origin", "https://inspector.example.com")
        .header("access-control-request-method", "POST");
    doorman.send(preflight).await.assert_status(405);
    assert_done(&doorman.log_out(&token).await);
}

#[tokio::test]
async fn a_flood_of_bad_tokens_is_stopped() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).behind_a_proxy().start().await;
    let send = |address, token: String| {
        let url = doorman.endpoint("/oauth/backchannel-logout");
        let request = Request::post(&url).form(&[("logout_token", token.as_str())]);
        doorman.send(request.header("x-forwarded-for", address))
    };

    let mut last = send("198.51.100.1", "x".to_owned()).await;
    for _ in 0..300 {
        last = send("198.51.100.1", "x".to_owned()).await;
    }

    last.assert_status(429);
    // A good one from there is still heard.
    assert_done(&send("198.51.100.1", of_alice(&doorman).signed()).await);
}

/// What the IdP says of people is for nobody else.
#[tokio::test]
async fn neither_the_token_nor_its_names_are_told_or_logged() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server)
        .logout_ends_connections()
        .log_level(LogLevel::Trace)
        .start()
        .await;
    doorman.idp().begin_session("canary-sid");
    doorman.log_in().await;
    let good = of_alice(&doorman).claim("sid", "canary-sid").claim("jti", "canary-jti");
    let nobody = doorman.idp().logout_token("canary-sub");
    let bad = [
        good.clone().claim("iss", "canary-iss"),
        good.clone().claim("aud", "canary-aud"),
        good.clone().claim("nonce", "canary-nonce"),
        good.clone().claim("sub", json!(["canary-type"])),
    ];
    let mut sent = vec![good.signed(), nobody.signed(), good.signed_as(Conduct::BadSignature)];
    sent.extend(bad.iter().map(LogoutToken::signed));

    for token in &sent {
        doorman.log_out(token).await;
    }

    let mut seen = String::new();
    for answer in doorman.said() {
        if answer.asked().contains("/oauth/backchannel-logout") {
            seen.push_str(&answer.answer());
        }
    }
    assert!(seen.contains("invalid_request"), "{seen}");
    seen.push_str(&doorman.log().text());
    assert!(seen.contains("logged out at the IdP"), "{seen}");
    for name in
        ["canary-sid", "canary-jti", "canary-sub", "canary-iss", "canary-aud", "canary-nonce"]
    {
        assert!(!seen.contains(name), "{name}");
    }
    for token in &sent {
        let signature = token.rsplit('.').next().unwrap();
        assert!(!seen.contains(signature), "{token}");
    }
}
