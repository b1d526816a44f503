//! Access tokens that only the IdP can read: it is asked (RFC 7662), or tells at an endpoint of its own kind
//! (threat B13, fault 6).

use std::sync::Arc;
use std::time::Duration;

use mcp_doorman::idp::{AudienceClaim, ClientAuthentication, Validation};
use mcp_doorman::policy::AccessEntry;
use serde_json::{Value, json};

use crate::support::access_token::{EDITOR, IDP_KEY, of_alice, start};
use crate::support::doorman::{Builder, Doorman, HOUR, MINUTE, RESOURCE, mcp_request};
use crate::support::exchange::Exchange;
use crate::support::fake_idp::{CLIENT_ID, Person};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::idp_quirks::Quirks;
use crate::support::soon;

const OTHER: &str = "https://tools.example.com/other";
const TOKEN: &str = "canary-opaque-token";
const SECOND: Duration = Duration::from_secs(1);

async fn builder() -> Builder {
    let builder = Doorman::in_front_of(FakeMcpServer::start().await);
    builder.access_tokens(|own| own.validation = Validation::JwtOrIntrospection)
}

async fn usual() -> Doorman {
    start(builder().await).await
}

/// RFC 7662 §2.2, as an IdP says it that says all.
fn alice(doorman: &Doorman) -> Value {
    let now = doorman.now();
    json!({
        "active": true,
        "iss": doorman.idp().issuer(),
        "sub": Person::alice().sub,
        "aud": RESOURCE,
        "client_id": EDITOR,
        "scope": "tools:read tools:write",
        "token_type": "Bearer",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "groups": ["engineers", "mcp-users"],
    })
}

/// The same with these members; `null` leaves one out.
fn with(mut answer: Value, members: &Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        answer.as_object_mut().unwrap().remove(name);
        if !value.is_null() {
            answer[name] = value.clone();
        }
    }
    answer
}

fn questions(doorman: &Doorman) -> usize {
    doorman.idp().asked("/introspect").len()
}

fn assert_unjudged(answer: &Exchange) {
    answer.assert_json_rpc_error(503);
    assert!(!answer.header("retry-after").is_empty());
    assert!(!answer.headers.contains_key("www-authenticate"));
}

/// RFC 7662 §2.1
#[tokio::test]
async fn a_token_that_the_idp_vouches_for_lets_its_person_in() {
    for method in [ClientAuthentication::Basic, ClientAuthentication::Post] {
        let doorman = start(builder().await.client_authentication(method)).await;
        doorman.idp().introspection().say(TOKEN, alice(&doorman).to_string());

        for _ in 0..3 {
            doorman.call(TOKEN).await.assert_status(200);
        }

        let told = doorman.upstream().received().pop().unwrap();
        assert_eq!(told.values("x-forwarded-user"), ["alice-7f3a"]);
        assert_eq!(told.values("x-forwarded-groups"), ["engineers,mcp-users"]);
        assert!(told.values("authorization").is_empty());
        let asked = doorman.idp().asked("/introspect");
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].parameters["token"], TOKEN);
        assert_eq!(asked[0].parameters["token_type_hint"], "access_token");
        assert!(!doorman.log().text().contains(TOKEN));
    }
}

/// RFC 7662 §2.2, §4. Every one differs from a good answer in one thing.
#[tokio::test]
async fn only_an_active_access_token_for_here_is_taken() {
    let builder = builder().await.user_key("sub").scopes("tools:read");
    let doorman = start(builder).await;
    let (now, issuer) = (doorman.now(), doorman.idp().issuer().to_owned());
    let mut cases = vec![
        (json!({}), 200),
        // What may be left out.
        (json!({ "iss": null }), 200),
        (json!({ "exp": null, "nbf": null, "iat": null }), 200),
        (json!({ "client_id": null }), 200),
        (json!({ "token_type": null }), 200),
        (json!({ "username": "alice", "jti": "x", "ext": { "a": 1 }, "groups": null }), 200),
        (json!({ "aud": ["x", RESOURCE] }), 200),
        (json!({ "active": false }), 401),
        // No answer at all, in the words of §2.2.
        (json!({ "active": "true" }), 503),
        (json!({ "active": "false" }), 503),
        (json!({ "active": 1 }), 503),
        (json!({ "active": [true] }), 503),
        (json!({ "active": null }), 503),
        (json!({ "iss": "https://other-idp.example" }), 401),
        (json!({ "iss": format!("{issuer}/") }), 401),
        (json!({ "iss": [issuer] }), 401),
        (json!({ "aud": null }), 401),
        (json!({ "aud": [] }), 401),
        (json!({ "aud": OTHER }), 401),
        (json!({ "aud": format!("{RESOURCE}/") }), 401),
        (json!({ "aud": ["x", "y"] }), 401),
        (json!({ "aud": { "a": RESOURCE } }), 401),
        (json!({ "aud": CLIENT_ID }), 401),
        (json!({ "sub": null }), 401),
        (json!({ "sub": "" }), 401),
        (json!({ "sub": [Person::alice().sub] }), 401),
        // A machine's.
        (json!({ "sub": EDITOR }), 401),
        (json!({ "azp": "another-client" }), 401),
        (json!({ "client_id": 1 }), 401),
        (json!({ "scope": [1] }), 401),
        (json!({ "scope": null }), 403),
        (json!({ "scope": "tools:readwrite" }), 403),
        (json!({ "groups": {} }), 401),
        (json!({ "cnf": { "jkt": "x" } }), 401),
    ];
    for (name, good, bad) in [
        ("exp", [now + 3600, now + 1, now - 59], vec![json!(now - 60), json!(0)]),
        ("nbf", [now, now + 60, 0], vec![json!(now + 61)]),
        ("iat", [now, now + 60, 0], vec![json!(now + 61)]),
    ] {
        cases.extend(good.map(|time| (json!({ name: time }), 200)));
        cases.extend(bad.into_iter().map(|time| (json!({ name: time }), 401)));
        for value in [json!(now.to_string()), json!(-1), json!([now]), json!(true), json!({})] {
            cases.push((json!({ name: value }), 401));
        }
    }
    for name in ["token_type", "token_use", "typ"] {
        for good in ["Bearer", "bearer", "access_token", "access", "at+jwt"] {
            cases.push((json!({ name: good }), 200));
        }
        for bad in ["refresh_token", "Refresh", "Offline", "id_token", "ID", "DPoP", "N_A"] {
            cases.push((json!({ name: bad }), 401));
        }
        cases.push((json!({ name: ["Bearer"] }), 401));
    }
    assert!(cases.len() > 70, "only {}", cases.len());
    // Time moves at these.
    cases.sort_by_key(|(_, status)| *status == 503);

    for (n, (members, status)) in cases.iter().enumerate() {
        let token = format!("token-{n}");
        let answer = with(alice(&doorman), members);
        doorman.idp().introspection().say(&token, answer.to_string());
        if *status == 503 {
            // What went before may have had it left alone.
            doorman.later(5 * SECOND);
        }
        let called = doorman.call(&token).await;
        assert_eq!(called.status, *status, "{members}");
        // And so it stays while it is remembered.
        let again = doorman.call(&token).await;
        assert_eq!(again.status, *status, "{members}, the second time");
    }

    let good = cases.iter().filter(|(_, status)| *status == 200).count();
    assert_eq!(doorman.upstream().received().len(), 2 * good);
}

/// What is no answer is no verdict: R4, fault 6.
#[tokio::test]
async fn an_endpoint_in_trouble_logs_nobody_out_and_lets_nobody_in() {
    let doorman = usual().await;
    let good = alice(&doorman).to_string();
    let twice = good.replacen('{', r#"{"active":false,"#, 1);
    let mut seen = 0;
    for (status, text) in [
        (500, good.clone()),
        (502, String::new()),
        (503, r#"{"active":false}"#.to_owned()),
        (429, good.clone()),
        (401, r#"{"error":"invalid_client"}"#.to_owned()),
        (403, r#"{"active":false}"#.to_owned()),
        (400, r#"{"error":"invalid_request"}"#.to_owned()),
        (404, "<html>Not Found</html>".to_owned()),
        (302, good.clone()),
        (204, String::new()),
        (201, good.clone()),
        (200, String::new()),
        (200, "<html>Sign in</html>".to_owned()),
        (200, good[..good.len() - 1].to_owned()),
        (200, format!("{good}{good}")),
        (200, format!("[{good}]")),
        (200, "true".to_owned()),
        (200, "{}".to_owned()),
        (200, twice),
        (200, format!("{good}{}", " ".repeat(300_000))),
    ] {
        doorman.idp().introspection().fail(status, text.clone());
        let token = format!("token-{seen}");
        assert_unjudged(&doorman.call(&token).await);
        // Nothing of that is remembered.
        doorman.idp().introspection().recover();
        doorman.idp().introspection().say(&token, good.clone());
        let recovered = async {
            while doorman.call(&token).await.status != 200 {
                doorman.later(SECOND);
            }
        };
        soon(&format!("recovery from {status} {text:.40}"), recovered).await;
        doorman.later(MINUTE);
        seen += 1;
    }
    assert_eq!(seen, 20);
    let log = doorman.log().text();
    assert!(log.contains("does not take our own credentials: 401"));
    assert!(log.contains("have the provider let idp.client_id introspect tokens"));
}

/// However the person's token looks, one verifier judges it, and its verdict is final.
#[tokio::test]
async fn the_form_of_a_token_picks_who_judges_it() {
    for (validation, of_jwt, of_dots, of_opaque, asked) in [
        (Validation::Jwt, 200, 401, 401, 0),
        (Validation::JwtOrIntrospection, 200, 401, 200, 1),
        (Validation::Introspection, 401, 200, 200, 3),
    ] {
        let doorman = start(builder().await.access_tokens(|own| own.validation = validation)).await;
        for token in ["opaque", "a.b.c", "doorman_at_x"] {
            doorman.idp().introspection().say(token, alice(&doorman).to_string());
        }
        let jwt = of_alice(&doorman).signed_by(&IDP_KEY);

        assert_eq!(doorman.call(&jwt).await.status, of_jwt, "{validation:?}");
        assert_eq!(doorman.call("a.b.c").await.status, of_dots, "{validation:?}");
        assert_eq!(doorman.call("opaque").await.status, of_opaque, "{validation:?}");
        doorman.call("doorman_at_x").await.assert_status(401);
        doorman.call(&"x".repeat(8193)).await.assert_status(401);
        assert_eq!(questions(&doorman), asked, "{validation:?}");
    }
}

/// Where we issue the tokens, nobody is asked about others.
#[tokio::test]
async fn where_we_issue_tokens_none_is_introspected() {
    for validation in [Validation::JwtOrIntrospection, Validation::Introspection] {
        let builder = builder().await.access_tokens(|own| own.validation = validation);
        let doorman = builder.machines("api://machines", &["robot"]).start().await;
        doorman.idp().introspection().say(TOKEN, alice(&doorman).to_string());

        doorman.call(TOKEN).await.assert_status(401);
        doorman.call("a.b.c").await.assert_status(401);

        assert_eq!(questions(&doorman), 0);
    }
}

/// Threat B6: what was heard for one resource is not for another.
#[tokio::test]
async fn a_token_for_one_resource_opens_no_other() {
    let other = FakeMcpServer::start().await;
    let doorman = start(builder().await.and_at(OTHER, &other)).await;
    doorman.idp().introspection().say(TOKEN, alice(&doorman).to_string());

    for _ in 0..2 {
        doorman.call(TOKEN).await.assert_status(200);
        doorman.send(mcp_request(OTHER).bearer(TOKEN)).await.assert_status(401);
    }

    other.assert_untouched();
}

/// Without `aud`, whose client it is decides.
#[tokio::test]
async fn a_client_stands_for_the_audience_only_where_that_is_configured() {
    let builder = builder().await.audience(RESOURCE, RESOURCE, &[EDITOR]);
    let doorman = start(builder.access_tokens(|own| own.audience = AudienceClaim::Client)).await;
    for (n, (members, status)) in [
        (json!({ "aud": null }), 200),
        (json!({ "aud": null, "client_id": null, "azp": EDITOR }), 200),
        (json!({ "aud": null, "client_id": "crm" }), 401),
        (json!({ "aud": null, "client_id": null }), 401),
        (json!({ "aud": OTHER }), 401),
        (json!({}), 200),
        (json!({ "client_id": "crm" }), 401),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("token-{n}");
        let answer = with(alice(&doorman), &members);
        doorman.idp().introspection().say(&token, answer.to_string());
        assert_eq!(doorman.call(&token).await.status, status, "{members}");
    }
}

/// RFC 9700 §4.15
#[tokio::test]
async fn a_machine_is_never_a_person() {
    let entry = AccessEntry { clients: vec!["robot".to_owned()], ..AccessEntry::default() };
    let builder = builder().await.access(&[entry]).machines("api://machines", &["robot"]);
    let doorman = start(builder).await;
    let of = |members: Value| with(alice(&doorman), &members).to_string();
    let robot = json!({ "sub": "robot", "client_id": "robot", "aud": "api://machines" });
    doorman.idp().introspection().say("robot", of(robot));
    doorman.idp().introspection().say("person", of(json!({ "client_id": "robot" })));
    doorman.idp().introspection().say("stranger", of(json!({ "sub": "x", "client_id": "x" })));

    doorman.call("robot").await.assert_status(200);
    doorman.call("person").await.assert_status(403);
    doorman.call("stranger").await.assert_status(401);

    let told = doorman.upstream().only_request();
    assert_eq!(told.values("x-forwarded-user"), ["machine,robot"]);
}

/// RFC 7662 §4: what was heard is kept for a short while, and not beyond `exp`.
#[tokio::test]
async fn a_word_of_the_idp_holds_until_the_ttl_or_the_end_of_the_token() {
    for (exp, kept) in [(3600, 30), (20, 20), (30, 30), (31, 30)] {
        let doorman = usual().await;
        let answer = with(alice(&doorman), &json!({ "exp": doorman.now() + exp }));
        doorman.idp().introspection().say(TOKEN, answer.to_string());
        doorman.call(TOKEN).await.assert_status(200);
        doorman.idp().introspection().revoke(TOKEN);

        doorman.later(Duration::from_secs(kept - 1));
        doorman.call(TOKEN).await.assert_status(200);
        doorman.later(SECOND);
        doorman.call(TOKEN).await.assert_status(401);
        assert_eq!(questions(&doorman), 2, "{exp}");
    }
    let builder = builder().await.access_tokens(|own| own.introspection_ttl = MINUTE);
    let doorman = start(builder).await;
    doorman.idp().introspection().say(TOKEN, alice(&doorman).to_string());
    doorman.call(TOKEN).await.assert_status(200);
    doorman.idp().introspection().revoke(TOKEN);
    doorman.later(59 * SECOND);
    doorman.call(TOKEN).await.assert_status(200);
    doorman.later(SECOND);
    doorman.call(TOKEN).await.assert_status(401);
}

/// Short: a token may be asked about before all of the IdP knows it.
#[tokio::test]
async fn a_no_is_forgotten_after_five_seconds() {
    let doorman = usual().await;
    for _ in 0..3 {
        doorman.call(TOKEN).await.assert_status(401);
    }
    assert_eq!(questions(&doorman), 1);
    doorman.idp().introspection().say(TOKEN, alice(&doorman).to_string());
    doorman.later(4 * SECOND);
    doorman.call(TOKEN).await.assert_status(401);

    doorman.later(SECOND);

    doorman.call(TOKEN).await.assert_status(200);
    assert_eq!(questions(&doorman), 2);
}

/// Threat B13
#[tokio::test]
async fn a_storm_with_one_new_token_is_one_question() {
    let doorman = Arc::new(usual().await);
    for (token, status) in [("good", 200), ("bad", 401)] {
        if status == 200 {
            doorman.idp().introspection().say(token, alice(&doorman).to_string());
        }
        let before = questions(&doorman);
        doorman.idp().introspection().hold();
        let storm: Vec<_> = (0..200)
            .map(|_| {
                let doorman = doorman.clone();
                tokio::spawn(async move { doorman.call(token).await.status.as_u16() })
            })
            .collect();
        let asked = async {
            while questions(&doorman) == before {
                tokio::task::yield_now().await;
            }
        };
        soon("a question", asked).await;
        // The one who asked first goes away: the others still get the answer.
        storm[0].abort();
        doorman.idp().introspection().release();
        let mut answered = 0;
        for call in storm {
            match soon("an answer", call).await {
                // Too many of them are told so.
                Ok(429) if status == 401 => answered += 1,
                Ok(got) => {
                    assert_eq!(got, status);
                    answered += 1;
                }
                Err(gone) => assert!(gone.is_cancelled()),
            }
        }
        assert!(answered >= 199);
        assert_eq!(questions(&doorman), before + 1, "{token}");
    }
}

/// Threat B13. They are asked about, 32 at a time, and nobody with a good token notices.
#[tokio::test]
async fn a_flood_of_invented_tokens_evicts_no_good_one() {
    const FLOOD: usize = 10_000;
    const ABREAST: usize = 64;
    let builder = builder().await.access_tokens(|own| own.introspection_ttl = 5 * MINUTE);
    let doorman = Arc::new(start(builder).await);
    doorman.idp().introspection().say(TOKEN, alice(&doorman).to_string());
    doorman.call(TOKEN).await.assert_status(200);

    let flood: Vec<_> = (0..ABREAST)
        .map(|lane| {
            let doorman = doorman.clone();
            tokio::spawn(async move {
                for n in 0..=FLOOD / ABREAST {
                    let status = doorman.call(&format!("random-{lane}-{n}")).await.status;
                    assert!([401, 429].contains(&status.as_u16()), "{status}");
                }
            })
        })
        .collect();
    for lane in flood {
        lane.await.unwrap();
    }
    let asked = questions(&doorman);
    assert!(asked > FLOOD);
    doorman.call(TOKEN).await.assert_status(200);

    assert_eq!(questions(&doorman), asked, "the good one was asked about again");
}

/// A provider's budget for one application is not large.
#[tokio::test]
async fn no_more_than_32_are_asked_about_at_the_same_time() {
    let doorman = Arc::new(usual().await);
    doorman.idp().introspection().hold();
    let calls: Vec<_> = (0..48)
        .map(|n| {
            let (doorman, token) = (doorman.clone(), format!("token-{n}"));
            doorman.idp().introspection().say(&token, alice(&doorman).to_string());
            tokio::spawn(async move { doorman.call(&token).await.status.as_u16() })
        })
        .collect();
    let until_asked = |count: usize| {
        let doorman = doorman.clone();
        async move {
            while questions(&doorman) < count {
                tokio::task::yield_now().await;
            }
        }
    };
    soon("32 questions", until_asked(32)).await;
    // Each of the others has come as far as it gets.
    for _ in 0..20 {
        doorman.get("/.well-known/oauth-protected-resource").await.assert_status(200);
    }
    assert_eq!(questions(&doorman), 32);

    doorman.idp().introspection().release();

    for call in calls {
        assert_eq!(soon("an answer", call).await.unwrap(), 200);
    }
    assert_eq!(questions(&doorman), 48);
}

/// Fault 6
#[tokio::test]
async fn an_outage_is_survived_until_the_ttl_and_never_longer() {
    let doorman = usual().await;
    doorman.idp().introspection().say(TOKEN, alice(&doorman).to_string());
    doorman.call(TOKEN).await.assert_status(200);
    doorman.idp().go_down();

    doorman.later(29 * SECOND);
    doorman.call(TOKEN).await.assert_status(200);
    assert_unjudged(&doorman.call("another").await);
    doorman.later(SECOND);
    for _ in 0..10 {
        assert_unjudged(&doorman.call(TOKEN).await);
    }
    doorman.idp().come_up();
    doorman.later(5 * SECOND);

    doorman.call(TOKEN).await.assert_status(200);
}

/// Fault 6: who would wait in vain is told at once, and one at a time finds out whether it is over.
#[tokio::test]
async fn an_endpoint_that_fails_five_times_is_left_alone() {
    let doorman = Arc::new(usual().await);
    doorman.idp().introspection().say("good", alice(&doorman).to_string());
    doorman.call("good").await.assert_status(200);
    doorman.idp().introspection().fail(500, "");

    for n in 0..20 {
        assert_unjudged(&doorman.call(&format!("token-{n}")).await);
        // What is known is not touched by it.
        doorman.call("good").await.assert_status(200);
    }
    assert_eq!(questions(&doorman), 6);
    doorman.log().line_with("it failed several times in a row").await;

    // One asks when the pause is over, and fails.
    doorman.later(5 * SECOND);
    for n in 0..20 {
        assert_unjudged(&doorman.call(&format!("token-{n}")).await);
    }
    assert_eq!(questions(&doorman), 7);

    // One asks, and nobody else while it is not answered.
    doorman.later(5 * SECOND);
    doorman.idp().introspection().recover();
    doorman.idp().introspection().hold();
    let probe = {
        let doorman = doorman.clone();
        tokio::spawn(async move { doorman.call("probe").await.status.as_u16() })
    };
    let asked = async {
        while questions(&doorman) < 8 {
            tokio::task::yield_now().await;
        }
    };
    soon("a probe", asked).await;
    assert_unjudged(&doorman.call("token").await);
    assert_eq!(questions(&doorman), 8);
    doorman.idp().introspection().release();
    assert_eq!(soon("an answer", probe).await.unwrap(), 401);

    for n in 0..20 {
        doorman.call(&format!("late-{n}")).await.assert_status(401);
    }
    assert_eq!(questions(&doorman), 28);
}

/// A stranger's odd tokens have nobody left alone.
#[tokio::test]
async fn tokens_that_the_endpoint_chokes_on_do_not_silence_it() {
    let doorman = usual().await;
    doorman.idp().introspection().say("good", alice(&doorman).to_string());
    doorman.idp().introspection().fail(400, r#"{"error":"invalid_request"}"#);
    for n in 0..10 {
        assert_unjudged(&doorman.call(&format!("odd-{n}")).await);
    }
    doorman.idp().introspection().recover();

    doorman.call("good").await.assert_status(200);
}

/// Nobody waits longer than 10 s.
#[tokio::test]
async fn an_endpoint_that_hangs_is_given_up() {
    let doorman = usual().await;
    doorman.idp().introspection().say(TOKEN, alice(&doorman).to_string());
    doorman.idp().introspection().hold();

    assert_unjudged(&doorman.call(TOKEN).await);

    doorman.idp().introspection().release();
    doorman.call(TOKEN).await.assert_status(200);
}

/// The rules and the clock are asked each time.
#[tokio::test]
async fn what_is_remembered_is_still_judged() {
    let entry = AccessEntry { groups: vec!["staff".to_owned()], ..AccessEntry::default() };
    let doorman = start(builder().await.access(&[entry])).await;
    doorman.idp().introspection().say("alice", alice(&doorman).to_string());
    let staff = with(alice(&doorman), &json!({ "groups": ["staff"] }));
    doorman.idp().introspection().say("staff", staff.to_string());

    for _ in 0..2 {
        doorman.call("alice").await.assert_status(403);
        doorman.call("staff").await.assert_status(200);
    }
    assert_eq!(questions(&doorman), 2);
}

const TOKENINFO: &str =
    "  issuer: ORIGIN\n  endpoints: { tokeninfo: ORIGIN/tokeninfo }\n  access_token_validation: ";

async fn with_tokeninfo(word: &str) -> Doorman {
    let builder = Doorman::in_front_of(FakeMcpServer::start().await);
    let builder = builder.audience(RESOURCE, RESOURCE, &[EDITOR, "viewer"]).scopes("email");
    let yaml = format!("{TOKENINFO}{word}");
    start(builder.logging_in_at(Quirks::default(), &yaml)).await
}

/// Numbers are texts, `aud` and `azp` name applications, and a bad token is a 400.
#[tokio::test]
async fn a_token_of_another_application_is_none_for_here() {
    for (word, parameter) in [("tokeninfo", None), ("tokeninfo_query", Some(TOKEN))] {
        let doorman = with_tokeninfo(word).await;
        let now = doorman.now();
        let good = json!({
            "azp": EDITOR,
            "aud": EDITOR,
            "sub": "1184",
            "scope": "openid email",
            "exp": (now + 3599).to_string(),
            "expires_in": "3599",
            "email": "alice@example.com",
            "email_verified": "true",
            "access_type": "online",
        });
        doorman.idp().introspection().say(TOKEN, good.to_string());
        doorman.call(TOKEN).await.assert_status(200);
        let told = doorman.upstream().only_request();
        assert_eq!(told.values("x-forwarded-user"), ["1184"]);
        assert_eq!(told.values("x-forwarded-email"), ["alice@example.com"]);
        let asked = doorman.idp().asked("/tokeninfo");
        assert_eq!(asked[0].parameters.get("access_token").map(String::as_str), parameter);
        assert_eq!(asked[0].headers.contains_key("authorization"), parameter.is_none());

        let soon_over = (now + 100).to_string();
        for (n, (members, status)) in [
            (json!({ "azp": null }), 200),
            (json!({ "aud": null }), 200),
            (json!({ "aud": "viewer" }), 200),
            (json!({ "aud": [EDITOR, "viewer"] }), 200),
            (json!({ "exp": null }), 200),
            (json!({ "exp": now + 100 }), 200),
            (json!({ "exp": soon_over }), 200),
            (json!({ "active": true }), 200),
            (json!({ "aud": null, "azp": null }), 401),
            (json!({ "aud": "crm" }), 401),
            (json!({ "azp": "crm" }), 401),
            (json!({ "aud": "crm", "azp": "crm" }), 401),
            (json!({ "aud": [EDITOR, "crm"] }), 401),
            (json!({ "aud": RESOURCE, "azp": null }), 401),
            (json!({ "aud": format!("{EDITOR}2"), "azp": null }), 401),
            (json!({ "aud": "", "azp": null }), 401),
            (json!({ "aud": [], "azp": null }), 401),
            (json!({ "aud": 1 }), 401),
            (json!({ "exp": (now - 60).to_string() }), 401),
            (json!({ "exp": "soon" }), 401),
            (json!({ "sub": null }), 401),
            (json!({ "scope": "openid" }), 403),
            (json!({ "active": false }), 503),
            (json!({ "error": "invalid_token" }), 503),
        ]
        .into_iter()
        .enumerate()
        {
            let token = format!("token-{n}");
            let answer = with(good.clone(), &members);
            doorman.idp().introspection().say(&token, answer.to_string());
            assert_eq!(doorman.call(&token).await.status, status, "{word} {members}");
        }
        // Not known there, and what is no word about the token.
        doorman.call("unknown").await.assert_status(401);
        doorman.idp().introspection().fail(401, r#"{"error":"invalid_token"}"#);
        doorman.call("expired").await.assert_status(401);
        for (n, (status, text)) in
            [(400, "<html>"), (403, r#"{"error":"x"}"#), (404, ""), (500, r#"{"error":"x"}"#)]
                .into_iter()
                .enumerate()
        {
            doorman.idp().introspection().fail(status, text);
            assert_unjudged(&doorman.call(&format!("trouble-{n}")).await);
        }
    }
}

/// `expires_in` says as much as `exp`.
#[tokio::test]
async fn a_token_without_exp_ends_when_it_says() {
    let doorman = with_tokeninfo("tokeninfo").await;
    let answer = json!({ "aud": EDITOR, "sub": "1184", "scope": "email", "expires_in": "10" });
    doorman.idp().introspection().say(TOKEN, answer.to_string());
    doorman.call(TOKEN).await.assert_status(200);
    doorman.idp().introspection().revoke(TOKEN);

    doorman.later(9 * SECOND);
    doorman.call(TOKEN).await.assert_status(200);
    doorman.later(SECOND);
    doorman.call(TOKEN).await.assert_status(401);
}

/// The start log says so, and until it is there nothing is judged.
#[tokio::test]
async fn an_idp_without_the_endpoint_is_told_of() {
    let announced = vec![("introspection_endpoint", Value::Null)];
    let doorman = start(builder().await.announcing(announced)).await;

    let line = doorman.log().line_with("has no introspection_endpoint").await;

    assert!(line.contains("set idp.endpoints.introspection"), "{line}");
    assert_unjudged(&doorman.call(TOKEN).await);
    // JWTs need no such thing.
    doorman.call(&of_alice(&doorman).signed_by(&IDP_KEY)).await.assert_status(200);
}

/// What is configured counts, and needs no metadata.
#[tokio::test]
async fn the_endpoint_may_be_configured() {
    let builder = Doorman::in_front_of(FakeMcpServer::start().await);
    let yaml = "  issuer: ORIGIN\n  endpoints: { introspection: ORIGIN/mine }\n  access_token_validation: introspection\n  introspection_ttl: 5m";
    let routes: &[_] = &[("/mine", "/introspect"), ("/introspect", "/nothing")];
    let quirks = Quirks { routes, ..Quirks::default() };
    let doorman = start(builder.logging_in_at(quirks, yaml)).await;
    doorman.idp().introspection().say(TOKEN, alice(&doorman).to_string());

    doorman.call(TOKEN).await.assert_status(200);

    assert_eq!(questions(&doorman), 1);
    doorman.later(HOUR + 2 * MINUTE);
    doorman.call(TOKEN).await.assert_status(401);
}
