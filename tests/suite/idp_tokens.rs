//! `tokens.issued_by: idp`: clients log in at the IdP and bring its JWTs (RFC 9068, RFC 8725).

use std::time::Duration;

use mcp_doorman::policy::AccessEntry;
use serde_json::{Value, json};

use crate::support::access_token::{EDITOR, IDP_KEY, of_alice, start, with};
use crate::support::assertion::{Assertion, ClientKey, signed_texts};
use crate::support::doorman::{Builder, Doorman, ORIGIN, RESOURCE, mcp_request};
use crate::support::exchange::Request;
use crate::support::fake_idp::{CLIENT_ID, DISCOVERY};
use crate::support::fake_mcp_server::FakeMcpServer;

const OTHER: &str = "https://tools.example.com/other";

async fn builder() -> Builder {
    Doorman::in_front_of(FakeMcpServer::start().await)
}

async fn usual() -> Doorman {
    start(builder().await).await
}

/// RFC 9728 §2, RFC 8414 §3.3: clients compare the issuer byte by byte.
#[tokio::test]
async fn clients_are_sent_to_the_idp_and_find_no_authorization_server_here() {
    let doorman = usual().await;

    let challenged = doorman.send(mcp_request(RESOURCE)).await;

    challenged.assert_status(401);
    let metadata = challenged.challenge().parameter("resource_metadata").unwrap().to_owned();
    for url in [metadata.as_str(), "/.well-known/oauth-protected-resource"] {
        let document = doorman.get(url).await.assert_status(200).json();
        assert_eq!(document["authorization_servers"], json!([doorman.idp().issuer()]));
        assert_eq!(document["resource"], RESOURCE);
    }
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/openid-configuration",
        "/mcp/.well-known/openid-configuration",
        "/authorize",
        "/oauth/callback",
        "/oauth/jwks",
    ] {
        doorman.get(&format!("{ORIGIN}{path}")).await.assert_status(404);
    }
    for path in ["/token", "/register", "/revoke", "/oauth/consent", "/oauth/backchannel-logout"] {
        let request = Request::post(&format!("{ORIGIN}{path}")).form(&[("a", "b")]);
        doorman.send(request).await.assert_status(404);
    }
}

/// RFC 9068 §4
#[tokio::test]
async fn a_token_of_the_idp_lets_its_person_in() {
    let doorman = usual().await;
    let token = of_alice(&doorman).signed_by(&IDP_KEY);

    for _ in 0..3 {
        doorman.call(&token).await.assert_status(200);
    }

    let told = doorman.upstream().received().pop().unwrap();
    assert_eq!(told.values("x-forwarded-user"), ["alice-7f3a"]);
    assert_eq!(told.values("x-forwarded-groups"), ["engineers,mcp-users"]);
    assert!(told.values("x-forwarded-email").is_empty(), "nobody verified an address");
    assert!(told.values("authorization").is_empty());
    assert_eq!(doorman.idp().asked("/jwks").len(), 1);
}

/// RFC 8725 §3.1 to §3.12. Every one differs from a good token in one thing.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table: one thing that is wrong in each line")]
async fn what_is_not_an_access_token_for_here_is_refused_alike() {
    let doorman = usual().await;
    let (good, now) = (of_alice(&doorman), doorman.now());
    let stranger = ClientKey::rsa("access-1");
    let elliptic = ClientKey::p256("access-1");
    let signed = |token: &Assertion| token.signed_by(&IDP_KEY);
    let claim = |name: &str, value: Value| signed(&with(&good, |claims| claims[name] = value));
    let without = |name: &str| signed(&good.clone().without_claim(name));
    let head = |name: &str, value: Value| signed(&good.clone().head(name, value));
    let whole = signed(&good);
    let (message, signature) = whole.rsplit_once('.').unwrap();
    let jwk = IDP_KEY.jwk();
    let modulus = jwk["n"].as_str().unwrap();
    let mut bad: Vec<(&str, String)> = vec![
        ("not ours", signed_by(&good, &stranger)),
        ("another curve", signed_by(&good.clone().head("alg", "ES256"), &elliptic)),
        ("no signature", format!("{message}.")),
        ("half a signature", format!("{message}.{}", &signature[..signature.len() / 2])),
        ("two parts", message.to_owned()),
        ("four parts", format!("{whole}.{signature}")),
        ("a JWE has five parts", format!("{whole}.{signature}.{signature}")),
        ("padded", format!("{whole}=")),
        ("not base64", format!("{message}.!!!!")),
        ("too long", claim("x", json!("x".repeat(9000)))),
    ];
    for none in ["none", "None", "nOnE", "NONE", ""] {
        bad.push(("no algorithm", good.clone().head("alg", none).without_signature()));
    }
    for (alg, secret) in [
        ("HS256", jwk.to_string()),
        ("HS256", modulus.to_owned()),
        ("HS384", jwk.to_string()),
        ("HS512", modulus.to_owned()),
        ("HS256", String::new()),
    ] {
        let forged = good.clone().head("alg", alg).authenticated_with(secret.as_bytes());
        bad.push(("the public key as a secret", forged));
    }
    // The key is RS256 to RS512 or PS256 to PS512: the text must fit the signature.
    for alg in ["RS384", "PS256", "ES256", "EdDSA", "RS1", "rs256"] {
        let renamed = good.clone().head("alg", alg);
        let text = renamed.without_signature();
        bad.push(("another algorithm", format!("{text}{signature}")));
    }
    for (name, value) in [
        ("crit", json!(["x"])),
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("kid", json!("")),
        ("kid", json!("k".repeat(300))),
        ("kid", json!(1)),
        ("typ", json!("JWT")),
        ("typ", json!("logout+jwt")),
        ("typ", json!("at+jwtx")),
    ] {
        bad.push(("a header", head(name, value)));
    }
    bad.push(("no typ", signed(&good.clone().without_head("typ"))));
    for (name, value) in [
        ("exp", json!(now - 60)),
        ("exp", json!(0)),
        ("exp", json!("9999999999")),
        ("exp", json!(null)),
        ("exp", json!(-1)),
        ("exp", json!(9_999_999_999.5)),
        ("exp", json!([now + 3600])),
        ("exp", json!(true)),
        ("nbf", json!(now + 61)),
        ("nbf", json!("1")),
        ("nbf", json!(null)),
        ("iat", json!(now + 61)),
        ("iat", json!("1")),
        ("iss", json!("https://other-idp.example")),
        ("iss", json!(format!("{}/", doorman.idp().issuer()))),
        ("iss", json!(doorman.idp().issuer().to_uppercase())),
        ("iss", json!([doorman.idp().issuer()])),
        ("iss", json!(null)),
        ("sub", json!("")),
        ("sub", json!(["alice-7f3a"])),
        ("sub", json!(1)),
        ("sub", json!(EDITOR)),
        ("aud", json!("")),
        ("aud", json!([])),
        ("aud", json!(null)),
        ("aud", json!(1)),
        ("aud", json!({ "aud": RESOURCE })),
        ("aud", json!([[RESOURCE]])),
        ("aud", json!([RESOURCE, 1])),
        ("aud", json!("https://tools.example.com")),
        ("aud", json!("https://tools.example.com/")),
        ("aud", json!("https://tools.example.com/mcp/")),
        ("aud", json!("https://tools.example.com/mcp-evil")),
        ("aud", json!("https://tools.example.com/MCP")),
        ("aud", json!("https://tools.example.com.evil.example/mcp")),
        ("aud", json!(["https://a.example", "https://b.example"])),
        ("aud", json!(CLIENT_ID)),
        ("client_id", json!(1)),
        ("client_id", json!("")),
        ("azp", json!("another-client")),
        ("scope", json!({})),
        ("scope", json!([1])),
        ("groups", json!({})),
        // What an ID token or a logout token says (threat B8).
        ("nonce", json!("n")),
        ("at_hash", json!("x")),
        ("c_hash", json!("x")),
        ("events", json!({})),
        ("cnf", json!({ "jkt": "x" })),
    ] {
        bad.push(("a claim", claim(name, value)));
    }
    for name in ["exp", "iss", "aud", "sub"] {
        bad.push(("a claim is missing", without(name)));
    }
    let (header, claims) = (good.header.to_string(), good.claims.to_string());
    for more in [
        format!(r#","aud":"{RESOURCE}"}}"#),
        r#","\u0065xp":9999999999}"#.to_owned(),
        r#","x":{"a":1,"a":2}}"#.to_owned(),
        r#","x":1e400}"#.to_owned(),
        format!(r#","x":{}1{}}}"#, "[".repeat(500), "]".repeat(500)),
    ] {
        let claims = format!("{}{more}", claims.strip_suffix('}').unwrap());
        bad.push(("a claim comes twice", signed_texts(&header, &claims, &IDP_KEY)));
    }
    let twice = format!(r#"{},"alg":"none"}}"#, header.strip_suffix('}').unwrap());
    bad.push(("a header comes twice", signed_texts(&twice, &claims, &IDP_KEY)));
    let mut bodies = Vec::new();

    for (what, token) in &bad {
        let answer = doorman.call(token).await;
        answer.assert_status(401);
        let error = answer.challenge().parameter("error").map(str::to_owned);
        assert_eq!(error.as_deref(), Some("invalid_token"), "{what}: {token:.200}");
        bodies.push(answer.text());
    }

    assert!(bad.len() > 90, "only {}", bad.len());
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "an answer tells what was wrong");
    doorman.upstream().assert_untouched();
    assert_eq!(doorman.idp().asked("/jwks").len(), 1, "a bad token made us ask for keys");
    doorman.call(&whole).await.assert_status(200);
}

fn signed_by(token: &Assertion, key: &ClientKey) -> String {
    token.signed_by(key)
}

/// RFC 7515 §4.1.2, §4.1.3, §4.1.5, §4.1.6: what says where keys are is not even read.
#[tokio::test]
async fn a_key_that_a_token_brings_or_names_is_not_used() {
    let doorman = usual().await;
    let stranger = ClientKey::p256("stranger");
    let witness = FakeMcpServer::start().await;
    let url = witness.url("/jwks");

    for (name, value) in [
        ("jwk", stranger.jwk()),
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("AAAA")),
    ] {
        let token = of_alice(&doorman).head("alg", "ES256").head(name, value.clone());
        let anonymous = token.clone().without_head("kid");
        doorman.call(&token.signed_by(&stranger)).await.assert_status(401);
        // Once the IdP could be asked again whether it has a new key.
        doorman.later(Duration::from_secs(30));
        doorman.call(&anonymous.signed_by(&stranger)).await.assert_status(401);
        // And it does no harm to a good one.
        let honest = of_alice(&doorman).head(name, value);
        doorman.call(&honest.signed_by(&IDP_KEY)).await.assert_status(200);
    }

    witness.assert_untouched();
}

/// A clock may be a minute off, and not more.
#[tokio::test]
async fn times_count_with_a_minute_of_leeway() {
    let doorman = usual().await;
    let now = doorman.now();
    for (name, time, status) in [
        ("exp", now - 59, 200),
        ("exp", now - 60, 401),
        ("nbf", now + 60, 200),
        ("nbf", now + 61, 401),
        ("iat", now + 60, 200),
        ("iat", now + 61, 401),
    ] {
        let token = of_alice(&doorman).claim(name, time).signed_by(&IDP_KEY);
        assert_eq!(doorman.call(&token).await.status, status, "{name} {time}");
    }
    // Also one that was verified before.
    let token = of_alice(&doorman).signed_by(&IDP_KEY);
    doorman.call(&token).await.assert_status(200);
    doorman.later(Duration::from_secs(3659));
    doorman.call(&token).await.assert_status(200);
    doorman.later(Duration::from_secs(1));
    doorman.call(&token).await.assert_status(401);
}

/// RFC 8707 §2, threat B6. Each with a token that was good elsewhere a moment before.
#[tokio::test]
async fn a_token_for_one_resource_opens_no_other() {
    let other = FakeMcpServer::start().await;
    let doorman = start(builder().await.and_at(OTHER, &other)).await;
    let here = of_alice(&doorman).signed_by(&IDP_KEY);
    let both = of_alice(&doorman).claim("aud", json!(["x", OTHER, RESOURCE])).signed_by(&IDP_KEY);
    let call = |token: &str, url: &str| mcp_request(url).bearer(token);

    for _ in 0..2 {
        doorman.send(call(&here, RESOURCE)).await.assert_status(200);
        doorman.send(call(&here, OTHER)).await.assert_status(401);
    }
    other.assert_untouched();
    doorman.send(call(&both, RESOURCE)).await.assert_status(200);
    doorman.send(call(&both, OTHER)).await.assert_status(200);
}

#[tokio::test]
async fn an_audience_of_its_own_is_for_the_clients_that_are_listed() {
    let builder = builder().await.audience(RESOURCE, "api://tools", &[EDITOR]);
    let doorman = start(builder).await;
    let token = || of_alice(&doorman).claim("aud", "api://tools");
    for (token, status) in [
        (token(), 200),
        (token().claim("aud", RESOURCE), 401),
        (token().claim("client_id", "crm"), 401),
        (token().without_claim("client_id"), 401),
        (token().without_claim("client_id").claim("azp", EDITOR), 200),
        (token().without_claim("client_id").claim("cid", EDITOR), 200),
        (token().without_claim("client_id").claim("appid", "crm"), 401),
    ] {
        let answer = doorman.call(&token.signed_by(&IDP_KEY)).await;
        assert_eq!(answer.status, status, "{}", token.claims);
    }
}

/// Where the IdP has no `aud`, a listed client stands for it; an `aud` that is there still counts.
#[tokio::test]
async fn a_client_stands_for_the_audience_only_where_there_is_none() {
    use mcp_doorman::idp::AudienceClaim;
    let builder = builder().await.audience(RESOURCE, RESOURCE, &[EDITOR]).access_tokens(|own| {
        own.audience = AudienceClaim::Client;
        own.types = vec!["jwt".to_owned()];
        let access = mcp_doorman::idp::ExpectedClaim {
            name: "token_use".to_owned(),
            value: "access".to_owned(),
        };
        own.person = vec![access];
    });
    let doorman = start(builder).await;
    let token = || {
        let token = of_alice(&doorman).without_head("typ").without_claim("aud");
        token.claim("token_use", "access")
    };
    for (token, status) in [
        (token(), 200),
        (token().head("typ", "JWT"), 200),
        (token().head("typ", "at+jwt"), 401),
        (token().claim("token_use", "id"), 401),
        (token().without_claim("token_use"), 401),
        (token().claim("client_id", "crm"), 401),
        (token().without_claim("client_id"), 401),
        (token().claim("aud", RESOURCE), 200),
        (token().claim("aud", "https://elsewhere.example"), 401),
    ] {
        let answer = doorman.call(&token.signed_by(&IDP_KEY)).await;
        assert_eq!(answer.status, status, "{} {}", token.header, token.claims);
    }
}

/// RFC 6750 §3.1: whole names, all that is missing at once.
#[tokio::test]
async fn scopes_are_read_as_texts_or_lists_from_the_first_claim_that_is_there() {
    let builder = builder().await.access_tokens(|own| {
        own.scopes = ["scope", "scp", "permissions"].map(str::to_owned).to_vec();
    });
    let doorman = start(builder).await;
    let both = "tools:read tools:write";
    for (claims, status) in [
        (json!({ "scope": both }), 200),
        (json!({ "scope": "x  tools:write tools:read" }), 200),
        (json!({ "scp": ["tools:read", "tools:write"] }), 200),
        (json!({ "scp": both }), 200),
        (json!({ "permissions": ["tools:read", "tools:write"] }), 200),
        (json!({ "scope": "tools:read" }), 403),
        (json!({ "scope": "tools:readwrite tools:write" }), 403),
        (json!({ "scope": "" }), 403),
        (json!({ "scope": "", "permissions": ["tools:read", "tools:write"] }), 403),
        (json!({}), 403),
    ] {
        let token = with(&of_alice(&doorman).without_claim("scope"), |own| {
            own.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        });
        let answer = doorman.call(&token.signed_by(&IDP_KEY)).await;
        assert_eq!(answer.status, status, "{claims}");
        if status == 403 {
            let challenge = answer.challenge();
            assert_eq!(challenge.parameter("error"), Some("insufficient_scope"));
            assert_eq!(challenge.parameter("scope"), Some(both));
        }
    }
}

#[tokio::test]
async fn the_access_rules_speak_of_the_person_that_the_token_names() {
    let entry = AccessEntry { groups: vec!["staff".to_owned()], ..AccessEntry::default() };
    let doorman = start(builder().await.access(&[entry])).await;
    for (groups, status) in
        [(json!(["staff"]), 200), (json!("staff"), 200), (json!(["staff2", "st"]), 403)]
    {
        let token = of_alice(&doorman).claim("groups", groups.clone()).signed_by(&IDP_KEY);
        assert_eq!(doorman.call(&token).await.status, status, "{groups}");
    }
}

/// The form of a token picks one verifier, whose verdict is final.
#[tokio::test]
async fn no_token_is_tried_twice() {
    let doorman = builder().await.start().await;
    let ours = doorman.log_in().await.tokens.access;
    let jwt = of_alice(&doorman).signed_by(&IDP_KEY);
    doorman.idp().publish_keys(200, crate::support::access_token::set_of(&[&IDP_KEY]));
    let asked = || doorman.idp().asked("/jwks").len() + doorman.idp().asked(DISCOVERY).len();
    let before = asked();

    // We issue the tokens: those of the IdP are nothing here.
    doorman.call(&jwt).await.assert_status(401);
    doorman.call("opaque").await.assert_status(401);
    doorman.later(Duration::from_secs(7200));
    doorman.call(&ours).await.assert_status(401);
    assert_eq!(asked(), before);

    // The IdP issues them: ours are nothing, not even with dots in them.
    let doorman = usual().await;
    let before = doorman.idp().asked("/jwks").len();
    for token in [ours.as_str(), "doorman_at_a.b.c", "doorman_rt_x", "opaque", "a.b", "a.b.c.d"] {
        doorman.call(token).await.assert_status(401);
    }
    assert_eq!(doorman.idp().asked("/jwks").len(), before);
}

/// The person's ID token, from the same IdP with the same keys, is for us as a login client, not for here.
#[tokio::test]
async fn an_id_token_is_no_access_token() {
    let builder = builder().await.access_tokens(|own| {
        own.types = vec!["jwt".to_owned(), "at+jwt".to_owned()];
    });
    let doorman = start(builder).await;
    let id_token = of_alice(&doorman).head("typ", "JWT").claim("aud", CLIENT_ID);
    // As an IdP issues it to an MCP client that asked for `openid`.
    let of_the_client = of_alice(&doorman).head("typ", "JWT").claim("nonce", "n");

    doorman.call(&id_token.signed_by(&IDP_KEY)).await.assert_status(401);
    doorman.call(&of_the_client.signed_by(&IDP_KEY)).await.assert_status(401);
    doorman
        .call(&of_alice(&doorman).head("typ", "JWT").signed_by(&IDP_KEY))
        .await
        .assert_status(200);
    doorman.upstream().only_request();
}

/// What clients would only say in their own words is told at the start, with what to do.
#[tokio::test]
async fn what_stops_clients_at_the_idp_is_told() {
    for (announced, told) in [
        (vec![], Some("it lets no client register")),
        (
            vec![
                ("registration_endpoint", json!("https://idp.example/register")),
                ("code_challenge_methods_supported", Value::Null),
            ],
            Some("has no S256 in code_challenge_methods_supported"),
        ),
        (
            vec![
                ("client_id_metadata_document_supported", json!(true)),
                ("protected_resources", json!(["https://elsewhere.example/mcp"])),
            ],
            Some("https://tools.example.com/mcp is not among them"),
        ),
        (
            vec![
                ("client_id_metadata_document_supported", json!(true)),
                ("protected_resources", json!([RESOURCE])),
            ],
            None,
        ),
    ] {
        let doorman = start(builder().await.announcing(announced)).await;
        let line = doorman.log().line_with("MCP clients").await;

        match told {
            Some(told) => {
                assert!(line.contains(told), "{line}");
                assert!(line.contains("\"fix\""), "{line}");
            }
            None => assert!(line.contains("nothing is known that stops"), "{line}"),
        }
    }
}
