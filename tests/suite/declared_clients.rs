//! Clients that the operator set up: what they must show, and what nobody else can show for them
//! (RFC 6749 §2.3, RFC 7523 §3).

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mcp_doorman::oauth::Scopes;
use mcp_doorman::store::StateSettings;
use mcp_doorman::telemetry::LogLevel;
use serde_json::{Value, json};

use crate::support::assertion::{Assertion, ClientKey, signed_texts};
use crate::support::client::Client;
use crate::support::doorman::{
    Builder, Doorman, MINUTE, ORIGIN, REDIRECT, RESOURCE, WEB_REDIRECT, code_form,
};
use crate::support::exchange::{Exchange, Request};
use crate::support::fake_mcp_server::FakeMcpServer;

/// A client that asks people for a client id needs nobody's permission but the operator's.
#[tokio::test]
async fn a_public_client_comes_with_its_id_alone() {
    let doorman = in_front().await.no_dynamic_registration().start().await;

    let login = doorman.log_in_with(client("public")).await;

    doorman.call(&login.tokens.access).await.assert_status(200);
    let newest = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();
    doorman.revoke(&login.client, &newest.refresh).await.assert_status(200);
    doorman.call(&newest.access).await.assert_status(401);
}

/// Without dynamic registration, those that the operator set up are all there are.
#[tokio::test]
async fn nobody_else_is_known() {
    let registering = in_front().await.start().await;
    let registered = registering.register().await;
    let doorman = in_front().await.no_dynamic_registration().start().await;
    let mut seen = 0;

    for id in [registered.id.as_str(), "publi", "Public", "public ", "public\n", ""] {
        let stranger = Client { id: id.to_owned(), redirect_uri: REDIRECT.to_owned() };
        doorman.browser().open(&doorman.authorization(&stranger).url()).await.assert_page(400);
        doorman.refresh(&stranger, "x").await.assert_error(401, "invalid_client");
        seen += 1;
    }

    assert_eq!(seen, 6);
}

/// RFC 6749 §2.3.1
#[tokio::test]
async fn a_secret_may_be_shown_by_basic_or_in_the_form() {
    let doorman = in_front().await.start().await;
    let client = client("by-secret");
    let mut seen = 0;

    for by_basic in [true, false] {
        let granted = doorman.authorize(&client).await;
        let form = code_form(&client, &granted, RESOURCE);
        let answer = if by_basic {
            doorman.send(basic("/token", "by-secret", SECRET).form(&form)).await
        } else {
            doorman.token(&[&form[..], &[("client_secret", SECRET)]].concat()).await
        };
        let tokens = answer.tokens();
        doorman.call(&tokens.access).await.assert_status(200);
        let form = [("token", tokens.refresh.as_str())];
        let answer = doorman.send(basic("/revoke", "by-secret", SECRET).form(&form)).await;
        answer.assert_status(200);
        doorman.call(&tokens.access).await.assert_status(401);
        seen += 1;
    }

    assert_eq!(seen, 2);
}

#[tokio::test]
async fn a_client_with_a_secret_cannot_come_without_it() {
    let doorman = in_front().await.start().await;
    let client = client("by-secret");
    let granted = doorman.authorize(&client).await;
    let form = code_form(&client, &granted, RESOURCE);
    let assertion = Assertion::of("by-secret", &KEY, ORIGIN, doorman.now());
    let by_hmac = assertion.clone().head("alg", "HS256").authenticated_with(SECRET.as_bytes());
    let mut seen = 0;

    for more in [
        Vec::new(),
        vec![("client_secret", "")],
        vec![("client_secret", "wrong")],
        vec![("client_secret", OTHER_SECRET)],
        vec![("client_assertion_type", JWT_BEARER), ("client_assertion", &by_hmac)],
        vec![
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", &assertion.signed_by(&KEY)),
        ],
    ] {
        let answer = doorman.token(&[&form[..], &more].concat()).await;
        answer.assert_error(401, "invalid_client");
        let token = [("token", "x"), ("client_id", "by-secret")];
        let request = Request::post("/revoke").form(&[&token[..], &more].concat());
        doorman.send(request).await.assert_error(401, "invalid_client");
        seen += 1;
    }
    let wrong = doorman.send(basic("/token", "by-secret", "wrong").form(&form[..3])).await;
    wrong.assert_error(401, "invalid_client");
    assert!(wrong.header("www-authenticate").starts_with("Basic "), "\n{wrong}");

    assert_eq!(seen, 6);
    doorman.token(&[&form[..], &[("client_secret", SECRET)]].concat()).await.assert_status(200);
}

/// RFC 7523 §2.2, from the code to the end
#[tokio::test]
async fn a_client_with_keys_signs_each_request() {
    let keys =
        [ClientKey::rsa("1"), ClientKey::p256("2"), ClientKey::p384("3"), ClientKey::ed25519("4")];
    let jwks = json!({ "keys": keys.iter().map(ClientKey::jwk).collect::<Vec<_>>() });
    let doorman = server().await.declaring(CLIENTS, &jwks).start().await;
    let client = client("by-keys");
    let mut seen = 0;

    for (key, alg) in [
        (&keys[0], "RS256"),
        (&keys[0], "RS512"),
        (&keys[0], "PS256"),
        (&keys[0], "PS384"),
        (&keys[1], "ES256"),
        (&keys[2], "ES384"),
        (&keys[3], "EdDSA"),
        (&keys[3], "Ed25519"),
    ] {
        let sign = |audience: &str| {
            let assertion = Assertion::of("by-keys", key, audience, doorman.now());
            assertion.head("alg", alg).signed_by(key)
        };
        let granted = doorman.authorize(&client).await;
        let form = code_form(&client, &granted, RESOURCE);
        let first = signed(&doorman, "/token", &form, &sign(ORIGIN)).await.tokens();
        doorman.call(&first.access).await.assert_status(200);
        // RFC 7521 §4.2: who it is stands in the assertion.
        let form = [("grant_type", "refresh_token"), ("refresh_token", &first.refresh)];
        let next = signed(&doorman, "/token", &form, &sign(TOKEN_ENDPOINT)).await.tokens();
        let form = [("token", next.refresh.as_str())];
        signed(&doorman, "/revoke", &form, &sign(ORIGIN)).await.assert_status(200);
        doorman.call(&next.access).await.assert_status(401);
        seen += 1;
    }

    assert_eq!(seen, 8);
}

#[tokio::test]
async fn a_client_with_keys_cannot_come_without_signing() {
    let doorman = in_front().await.start().await;
    let client = client("by-keys");
    let granted = doorman.authorize(&client).await;
    let form = code_form(&client, &granted, RESOURCE);
    let revocation = [("token", "x"), ("client_id", "by-keys")];

    for (path, form) in [("/token", &form[..]), ("/revoke", &revocation[..])] {
        let nothing = doorman.send(Request::post(path).form(form)).await;
        nothing.assert_error(401, "invalid_client");
        let form = [form, &[("client_secret", SECRET)]].concat();
        let secret = doorman.send(Request::post(path).form(&form)).await;
        secret.assert_error(401, "invalid_client");
        let empty = doorman.send(basic(path, "by-keys", "").form(&form[..2])).await;
        empty.assert_error(401, "invalid_client");
    }

    let honest = honest(&doorman).signed_by(&KEY);
    signed(&doorman, "/token", &form, &honest).await.assert_status(200);
}

/// RFC 8725 §2.1, §3.1: the key decides, and only one that the operator named
#[tokio::test]
async fn an_assertion_that_the_client_did_not_sign_is_refused() {
    assert_each_is_refused(|doorman| {
        let honest = || honest(doorman);
        let jwk = KEY.jwk();
        let (other, stranger) = (&*OTHERS_KEY, ClientKey::rsa(KEY.kid));
        let mut forged = Vec::new();
        for none in ["none", "None", "nOnE", ""] {
            forged.push((ALG, honest().head("alg", none).without_signature()));
        }
        for secret in [jwk.to_string(), jwk["n"].to_string(), jwk["n"].as_str().unwrap().to_owned()]
        {
            let by_hmac = honest().head("alg", "HS256").authenticated_with(secret.as_bytes());
            forged.push((ALG, by_hmac));
        }
        let embedded = honest().head("jwk", stranger.jwk());
        let whole = honest().signed_by(&KEY);
        let (message, signature) = whole.rsplit_once('.').unwrap();
        let changed = signature.replacen(|c: char| c != 'A', "A", 1);
        let zero = "A".repeat(signature.len());
        forged.extend([
            (HEADER, honest().without_head("alg").signed_by(&KEY)),
            (SIGNATURE, honest().without_signature()),
            (SIGNATURE, format!("{message}.{changed}")),
            (SIGNATURE, format!("{message}.{zero}")),
            (SIGNATURE, honest().signed_by(&stranger)),
            (SIGNATURE, honest().signed_by(other)),
            (KID, honest().head("kid", other.kid).signed_by(other)),
            (SIGNATURE, honest().without_head("kid").signed_by(other)),
            (SIGNATURE, embedded.signed_by(&stranger)),
            (SIGNATURE, embedded.without_head("kid").signed_by(&stranger)),
            ("its alg is none for that key", honest().head("alg", "ES256").signed_by(&KEY)),
            (SIGNATURE, renamed(&honest(), "RS256", "PS256")),
            (SIGNATURE, renamed(&honest(), "PS256", "RS256")),
        ]);
        for where_to in ["jku", "x5u"] {
            let elsewhere = honest().head(where_to, format!("{}/jwks", doorman.idp().issuer()));
            forged.push((SIGNATURE, elsewhere.signed_by(&stranger)));
        }
        forged
    })
    .await;
}

/// RFC 7515 §4; what could be read in two ways is not read
#[tokio::test]
async fn an_assertion_with_an_odd_header_is_refused() {
    assert_each_is_refused(|doorman| {
        let honest = || honest(doorman);
        let mut forged = Vec::new();
        for kid in ["unknown", "", "../../etc/passwd", "' OR 1=1 --", "key-of-agent\0"] {
            forged.push((KID, honest().head("kid", kid).signed_by(&KEY)));
        }
        forged.push((KID, honest().head("kid", "k".repeat(5000)).signed_by(&KEY)));
        forged.push((HEADER, honest().head("kid", json!(["key-of-agent"])).signed_by(&KEY)));
        let claims = honest().claims.to_string();
        for header in [
            r#"{"alg":"RS256","kid":"key-of-agent","kid":"unknown"}"#,
            r#"{"alg":"RS256","kid":"unknown","kid":"key-of-agent"}"#,
            r#"{"alg":"none","alg":"RS256"}"#,
        ] {
            forged.push(("duplicate field", signed_texts(header, &claims, &KEY)));
        }
        for crit in [json!(["b64"]), json!(["exp"]), json!([]), Value::Null] {
            let critical = honest().head("crit", crit).head("b64", false);
            forged.push(("its header has crit", critical.signed_by(&KEY)));
        }
        for typ in ["at+jwt", "dpop+jwt", "logout+jwt", "oauth-id-jag+jwt"] {
            let typed = honest().head("typ", typ);
            forged.push(("its typ is of something else", typed.signed_by(&KEY)));
        }
        let whole = honest().signed_by(&KEY);
        let (message, _) = whole.rsplit_once('.').unwrap();
        for text in [
            "x",
            "a.b",
            message,
            &format!("{whole}.x.x"),
            &format!("{whole}="),
            &format!("{whole} "),
        ] {
            forged.push(("not three parts of base64url", text.to_owned()));
        }
        let long = honest().claim("more", "x".repeat(8000)).signed_by(&KEY);
        forged.push(("longer than 8192", long));
        forged
    })
    .await;
}

/// RFC 7523 §3: by the client, about the client, for us
#[tokio::test]
async fn an_assertion_of_another_or_for_another_is_refused() {
    assert_each_is_refused(|doorman| {
        let honest = || honest(doorman);
        let mut forged = Vec::new();
        for name in ["iss", "sub"] {
            for id in ["by-other-keys", "public", "BY-KEYS", "by-keys ", ""] {
                forged.push((CLIENT, honest().claim(name, id).signed_by(&KEY)));
            }
            forged.push((CLAIMS, honest().claim(name, json!(["by-keys"])).signed_by(&KEY)));
            forged.push(("missing field", honest().without_claim(name).signed_by(&KEY)));
        }
        for audience in [
            json!("https://other.example"),
            json!("https://tools.example.com/"),
            json!("https://tools.example.com.evil.example"),
            json!("https://tools.example.com/token/"),
            json!("https://tools.example.com/tok"),
            json!("HTTPS://tools.example.com"),
            json!(RESOURCE),
            json!(doorman.idp().issuer()),
            json!("by-keys"),
            json!(""),
            json!([]),
            json!([ORIGIN, "https://other.example"]),
            json!([ORIGIN, ORIGIN]),
            json!([[ORIGIN]]),
            json!({ "aud": ORIGIN }),
            json!(5),
            Value::Null,
        ] {
            forged.push((AUDIENCE, honest().claim("aud", audience).signed_by(&KEY)));
        }
        forged.push(("missing field `aud`", honest().without_claim("aud").signed_by(&KEY)));
        let (header, claims) = (honest().header.to_string(), honest().claims.to_string());
        let twice = claims.replace(r#""iss":"#, r#""iss":"by-other-keys","iss":"#);
        forged.push(("duplicate field `iss`", signed_texts(&header, &twice, &KEY)));
        for claims in ["", "null", "[]", "\"x\"", "{}", "{", &format!("{claims}x")] {
            forged.push((CLAIMS, signed_texts(&header, claims, &KEY)));
        }
        forged
    })
    .await;
}

/// RFC 7523 §3, OIDC Core §9: short-lived, and with a name
#[tokio::test]
async fn an_assertion_without_a_time_and_a_name_is_refused() {
    assert_each_is_refused(|doorman| {
        let honest = || honest(doorman);
        let now = doorman.now();
        let mut forged = vec![
            ("missing field `exp`", honest().without_claim("exp").signed_by(&KEY)),
            ("missing field `jti`", honest().without_claim("jti").signed_by(&KEY)),
        ];
        for (why, exp) in [
            (EXPIRED, json!(now - 30)),
            (EXPIRED, json!(now - 3600)),
            (EXPIRED, json!(0)),
            (FAR, json!(now + 631)),
            (FAR, json!(now + 86_400)),
            (FAR, json!(u64::MAX)),
            (CLAIMS, json!(-1)),
            (CLAIMS, json!((now + 60).to_string())),
            (CLAIMS, json!(1.0e300)),
            (CLAIMS, json!([now + 60])),
            (CLAIMS, Value::Null),
        ] {
            forged.push((why, honest().claim("exp", exp).signed_by(&KEY)));
        }
        for name in ["nbf", "iat"] {
            for time in [now + 31, now + 3600, u64::MAX] {
                let early = honest().claim(name, time).signed_by(&KEY);
                forged.push(("its nbf or iat is in the future", early));
            }
            forged.push((CLAIMS, honest().claim(name, "soon").signed_by(&KEY)));
        }
        for (why, jti) in [
            ("its jti is empty", json!("")),
            ("or longer than 256", json!("j".repeat(257))),
            (CLAIMS, json!(7)),
            (CLAIMS, Value::Null),
        ] {
            forged.push((why, honest().claim("jti", jti).signed_by(&KEY)));
        }
        forged
    })
    .await;
}

/// What honest clients send in more than one form
#[tokio::test]
async fn an_honest_assertion_has_some_freedom() {
    let doorman = in_front().await.start().await;
    let now = doorman.now();
    let honest = || honest(&doorman);
    let mut seen = 0;

    for assertion in [
        honest(),
        honest().claim("aud", json!([ORIGIN])),
        honest().claim("aud", TOKEN_ENDPOINT),
        honest().claim("aud", json!([TOKEN_ENDPOINT])),
        honest().without_head("kid"),
        honest().without_head("typ"),
        honest().head("typ", "jwt"),
        honest().head("typ", "client-authentication+jwt"),
        honest().head("typ", "application/client-authentication+jwt"),
        honest().head("x5t", "AAAA").head("jku", "https://evil.example/jwks"),
        honest().without_claim("iat"),
        honest().claim("nbf", now + 30).claim("iat", now + 30),
        honest().claim("exp", now - 29),
        honest().claim("exp", now + 630),
        honest().claim("jti", "j".repeat(256)),
        honest().claim("more", json!({ "deep": [1.5, null] })),
    ] {
        let form = [("token", "x")];
        let answer = signed(&doorman, "/revoke", &form, &assertion.signed_by(&KEY)).await;
        assert_eq!(answer.status, 200, "{assertion:?}\n{answer}");
        seen += 1;
    }

    assert_eq!(seen, 16);
}

/// OIDC Core §9: `jti` for one use, as long as it could be used
#[tokio::test]
async fn an_assertion_counts_once() {
    let doorman = in_front().await.start().await;
    let now = doorman.now();
    let assertion = honest(&doorman).claim("exp", now + 600);
    let (text, again) = (assertion.signed_by(&KEY), assertion.clone().claim("exp", now + 500));
    let use_it = || signed(&doorman, "/revoke", &[("token", "x")], &text);

    let answers = tokio::join!(use_it(), use_it(), use_it(), use_it());

    let answers = [answers.0, answers.1, answers.2, answers.3];
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        refused.assert_error(401, "invalid_client");
    }
    // Not the text counts, but its name.
    let again = signed(&doorman, "/revoke", &[("token", "x")], &again.signed_by(&KEY)).await;
    again.assert_error(401, "invalid_client");
    for _ in 0..11 {
        use_it().await.assert_error(401, "invalid_client");
        doorman.later(MINUTE);
    }
    assert!(doorman.now() > now + 630);
    use_it().await.assert_error(401, "invalid_client");
}

/// Two clients don't know of each other's.
#[tokio::test]
async fn another_client_may_use_the_same_jti() {
    let doorman = in_front().await.start().await;
    let honest = honest(&doorman).claim("jti", "1");
    let other =
        Assertion::of("by-other-keys", &OTHERS_KEY, ORIGIN, doorman.now()).claim("jti", "1");

    for text in [honest.signed_by(&KEY), other.signed_by(&OTHERS_KEY)] {
        signed(&doorman, "/revoke", &[("token", "x")], &text).await.assert_status(200);
    }
}

/// RFC 6749 §2.3; RFC 7521 §4.2
#[tokio::test]
async fn one_method_at_a_time_and_for_one_client() {
    let doorman = in_front().await.start().await;
    let text = honest(&doorman).signed_by(&KEY);
    let (of_type, assertion) =
        (("client_assertion_type", JWT_BEARER), ("client_assertion", text.as_str()));
    let send = |form: Vec<(&'static str, &str)>| {
        let form = [&[("token", "x")], &form[..]].concat();
        doorman.send(Request::post("/revoke").form(&form))
    };

    for (form, status, code) in [
        (vec![of_type, assertion, ("client_secret", SECRET)], 400, "invalid_request"),
        (vec![of_type, assertion, assertion], 400, "invalid_request"),
        (vec![of_type, of_type, assertion], 400, "invalid_request"),
        (vec![assertion], 400, "invalid_request"),
        (vec![of_type, ("client_id", "by-keys")], 400, "invalid_request"),
        (vec![("client_assertion_type", "jwt-bearer"), assertion], 401, "invalid_client"),
        (vec![("client_assertion_type", SAML_BEARER), assertion], 401, "invalid_client"),
        (vec![of_type, assertion, ("client_id", "by-other-keys")], 401, "invalid_client"),
        (vec![of_type, assertion, ("client_id", "by-secret")], 401, "invalid_client"),
        (vec![of_type, assertion, ("client_id", "public")], 401, "invalid_client"),
        (vec![of_type, assertion, ("client_id", "nobody")], 401, "invalid_client"),
    ] {
        let answer = send(form.clone()).await;
        assert_eq!(answer.status, status, "{form:?}\n{answer}");
        answer.assert_error(status, code);
    }
    let form = [("token", "x"), of_type, assertion];
    let both = doorman.send(basic("/revoke", "by-keys", SECRET).form(&form)).await;
    both.assert_error(400, "invalid_request");

    send(vec![of_type, assertion]).await.assert_status(200);
}

/// RFC 6749 §10.5: a code, and a refresh token, are for the client that they were given to.
#[tokio::test]
async fn what_one_client_got_is_nothing_to_another() {
    let doorman = in_front().await.start().await;
    let client = client("by-keys");
    let granted = doorman.authorize(&client).await;
    let form = code_form(&client, &granted, RESOURCE);
    let thief = || {
        let assertion = Assertion::of("by-other-keys", &OTHERS_KEY, ORIGIN, doorman.now());
        assertion.signed_by(&OTHERS_KEY)
    };
    let mut for_thief = form;
    for_thief[3].1 = "by-other-keys";

    let stolen = signed(&doorman, "/token", &for_thief, &thief()).await;
    let honest = honest(&doorman).signed_by(&KEY);
    let tokens = signed(&doorman, "/token", &form, &honest).await.tokens();
    let form = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh.as_str())];
    let refreshed = signed(&doorman, "/token", &form, &thief()).await;
    let form = [("token", tokens.refresh.as_str())];
    let revoked = signed(&doorman, "/revoke", &form, &thief()).await;

    stolen.assert_error(400, "invalid_grant");
    refreshed.assert_error(400, "invalid_grant");
    revoked.assert_error(400, "invalid_grant");
    doorman.call(&tokens.access).await.assert_status(200);
}

/// RFC 8414 §2: the algorithms are REQUIRED where the method is listed, and `none` MUST NOT be among them
#[tokio::test]
async fn the_metadata_lists_signing_where_a_client_signs() {
    let doorman = in_front().await.start().await;
    let without = server().await.declaring(PUBLIC, &json!({})).start().await;
    let path = "/.well-known/oauth-authorization-server";

    let (with, without) = (doorman.get(path).await.json(), without.get(path).await.json());

    for endpoint in ["token", "revocation"] {
        let methods = format!("{endpoint}_endpoint_auth_methods_supported");
        let algorithms = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
        assert!(with[&methods].as_array().unwrap().contains(&json!("private_key_jwt")));
        assert!(with[&methods].as_array().unwrap().contains(&json!("none")));
        let listed = with[&algorithms].as_array().unwrap();
        assert!(listed.contains(&json!("RS256")) && listed.contains(&json!("ES256")));
        assert!(listed.iter().all(|name| name != "none" && !name.to_string().contains("HS")));
        assert!(!without[&methods].as_array().unwrap().contains(&json!("private_key_jwt")));
        assert_eq!(without.get(&algorithms), None);
    }
}

/// Who registered itself may have any name; this one is the operator's.
#[tokio::test]
async fn the_consent_page_says_who_set_the_client_up() {
    let doorman = in_front().await.start().await;
    let registered = doorman.register().await;

    let page = doorman.browser().open(&doorman.authorization(&client("public")).url()).await;
    let other = doorman.browser().open(&doorman.authorization(&registered).url()).await;

    let html = page.assert_page(200).shown();
    assert!(html.contains("Our <b>client</b> (set up by whoever runs this server)"), "\n{page}");
    assert!(!page.text().contains("<b>"), "the name is not escaped\n{page}");
    assert!(!html.contains("unverified"), "\n{page}");
    assert!(other.shown().contains("(unverified name, registered just now)"), "\n{other}");
}

/// OAuth 2.1 §2.3.1, but for what the operator left open
#[tokio::test]
async fn a_client_is_answered_where_the_operator_said() {
    let doorman = in_front().await.start().await;
    let at = |uri: &str| Client { id: "chat".to_owned(), redirect_uri: uri.to_owned() };

    for uri in [
        "https://chat.example/connector/oauth/eaQ3VyiNzLuI",
        "https://chat.example/legacy",
        "com.example.agent:/callback",
        "http://localhost:4711/cb",
    ] {
        let login = doorman.log_in_with(at(uri)).await;
        doorman.call(&login.tokens.access).await.assert_status(200);
    }
    let mut seen = 0;
    for uri in [
        "https://chat.example/connector/oauth/",
        "https://chat.example/connector/oauth/*",
        "https://chat.example/connector/oauth/a/b",
        "https://chat.example/connector/oauth/..",
        "https://chat.example/connector/oauth/%2e%2e",
        "https://chat.example/connector/oauth/a%2fb",
        "https://chat.example/connector/oauth/a?x=y",
        "https://chat.example/connector/oauth/a#x",
        "https://chat.example/connector/oauth/a\\b",
        "https://chat.example.evil.example/connector/oauth/a",
        "https://evil.example/connector/oauth/a",
        "https://chat.example/legacy/a",
        "com.example.agent:/callback/a",
        "com.example.agent://callback",
        "cursor://callback",
        REDIRECT,
    ] {
        let page = doorman.browser().open(&doorman.authorization(&at(uri)).url()).await;
        assert_eq!(page.status, 400, "{uri}\n{page}");
        page.assert_page(400);
        seen += 1;
    }

    assert_eq!(seen, 16);
}

/// The name of a path left open does not reach another when the code is redeemed.
#[tokio::test]
async fn a_code_is_redeemed_with_the_redirect_uri_that_it_went_to() {
    let doorman = in_front().await.start().await;
    let [one, other] = ["one", "other"].map(|segment| Client {
        id: "chat".to_owned(),
        redirect_uri: format!("https://chat.example/connector/oauth/{segment}"),
    });
    let granted = doorman.authorize(&one).await;

    let wrong = doorman.exchange(&other, &granted).await;

    wrong.assert_error(400, "invalid_grant");
    doorman.exchange(&one, &granted).await.assert_status(200);
}

/// RFC 6749 §3.3; a person must not log in to be refused
#[tokio::test]
async fn a_client_gets_no_scope_that_it_may_not_have() {
    let doorman = in_front().await.start().await;

    let refused = doorman.browser().open(&doorman.authorization(&client("limited")).url()).await;

    refused.assert_page(400);
    assert!(refused.shown().contains("a scope that may not be granted"), "\n{refused}");
}

/// What the operator takes away is gone with the next refresh, not with the login.
#[tokio::test]
async fn a_client_loses_the_scope_that_it_may_no_longer_have() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateSettings::Dir(directory.path().to_owned());
    let doorman = in_front().await.scopes("tools:read tools:write").state(state).start().await;
    let client = client("public");
    let authorization = doorman.authorization(&client).with("scope", "tools:read tools:write");
    let granted = doorman.complete(&doorman.browser(), &authorization).await;
    let tokens = doorman.exchange(&client, &granted).await.tokens();

    let doorman = doorman.restarted_with(|config| {
        let public = config.clients.iter_mut().find(|client| client.id == "public").unwrap();
        public.scopes = Some(Scopes::parse("tools:read"));
    });
    let answer = doorman.await.refresh(&client, &tokens.refresh).await;

    assert_eq!(answer.assert_status(200).json()["scope"], "tools:read");
}

#[tokio::test]
async fn a_client_gets_refresh_tokens_unless_the_operator_says_no() {
    let doorman = in_front().await.start().await;
    let client = client("fleeting");
    let granted = doorman.authorize(&client).await;

    let answer = doorman.exchange(&client, &granted).await;

    assert_eq!(answer.assert_status(200).json().get("refresh_token"), None, "\n{answer}");
}

/// The client is told nothing; the operator why, but never the proof itself.
#[tokio::test]
async fn the_log_says_why_a_proof_was_refused_and_shows_none() {
    let doorman = in_front().await.log_level(LogLevel::Trace).start().await;
    let late = honest(&doorman).claim("exp", doorman.now() - 60).signed_by(&KEY);
    let good = honest(&doorman).signed_by(&KEY);
    let form = [("token", "x")];
    let by_secret = [("token", "x"), ("client_id", "by-secret"), ("client_secret", SECRET)];

    signed(&doorman, "/revoke", &form, &late).await.assert_status(401);
    signed(&doorman, "/revoke", &form, &good).await.assert_status(200);
    signed(&doorman, "/revoke", &form, &good).await.assert_status(401);
    doorman.send(basic("/revoke", "by-secret", SECRET).form(&form)).await.assert_status(200);
    doorman.send(Request::post("/revoke").form(&by_secret)).await.assert_status(200);

    let log = doorman.log().text();
    assert!(log.contains("its exp has passed") && log.contains("it was used before"), "{log}");
    let basic = STANDARD.encode(format!("by-secret:{SECRET}"));
    for proof in [&late, &good, SECRET, &basic] {
        assert!(!log.contains(proof), "{proof}");
        let (_, end) = proof.split_at(proof.len() / 2);
        assert!(!log.contains(end), "half of {proof}");
    }
}

/// Refused for the reason that it was forged for, which only the log tells; and nothing is burnt.
async fn assert_each_is_refused(forge: impl FnOnce(&Doorman) -> Vec<(&'static str, String)>) {
    let doorman = in_front().await.start().await;
    let client = client("by-keys");
    let granted = doorman.authorize(&client).await;
    let form = code_form(&client, &granted, RESOURCE);
    let keys_of_idp = doorman.idp().asked("/jwks").len();
    let forged = forge(&doorman);
    let mut bodies = Vec::new();

    for (why, text) in &forged {
        let before = doorman.log().text().len();
        let answer = signed(&doorman, "/token", &form, text).await;
        answer.assert_error(401, "invalid_client");
        let log = doorman.log().text().split_off(before);
        assert!(log.contains("client assertion refused") && log.contains(why), "{why}: {log}");
        bodies.push(answer.text());
    }

    assert!(forged.len() > 15, "only {} were tried", forged.len());
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(doorman.idp().asked("/jwks").len(), keys_of_idp, "somebody's keys were fetched");
    let honest = honest(&doorman).signed_by(&KEY);
    signed(&doorman, "/token", &form, &honest).await.assert_status(200);
}

async fn in_front() -> Builder {
    let keys = json!({ "keys": [KEY.jwk()] });
    let builder = server().await.declaring(&format!("{CLIENTS}{OTHERS}"), &keys);
    builder.declaring(OTHER_CLIENT, &json!({ "keys": [OTHERS_KEY.jwk()] }))
}

async fn server() -> Builder {
    Doorman::in_front_of(FakeMcpServer::start().await)
}

fn client(id: &str) -> Client {
    let redirect_uri = if id == "public" { REDIRECT } else { WEB_REDIRECT };
    Client { id: id.to_owned(), redirect_uri: redirect_uri.to_owned() }
}

/// What the client with keys would send now.
fn honest(doorman: &Doorman) -> Assertion {
    Assertion::of("by-keys", &KEY, ORIGIN, doorman.now())
}

/// Signed with one algorithm, and said to be with another.
fn renamed(assertion: &Assertion, signed_with: &str, said: &str) -> String {
    let text = assertion.clone().head("alg", signed_with).signed_by(&KEY);
    let said = assertion.clone().head("alg", said).signed_by(&KEY);
    let (_, signature) = text.rsplit_once('.').unwrap();
    let (message, _) = said.rsplit_once('.').unwrap();
    format!("{message}.{signature}")
}

async fn signed(doorman: &Doorman, path: &str, form: &[(&str, &str)], text: &str) -> Exchange {
    let proof = [("client_assertion_type", JWT_BEARER), ("client_assertion", text)];
    doorman.send(Request::post(path).form(&[form, &proof[..]].concat())).await
}

fn basic(path: &str, id: &str, secret: &str) -> Request {
    let credentials = STANDARD.encode(format!("{id}:{secret}"));
    Request::post(path).header("authorization", &format!("Basic {credentials}"))
}

static KEY: LazyLock<ClientKey> = LazyLock::new(|| ClientKey::rsa("key-of-agent"));
static OTHERS_KEY: LazyLock<ClientKey> = LazyLock::new(|| ClientKey::rsa("key-of-other"));

/// Why an assertion is refused, as the log has it.
const ALG: &str = "its alg is not a signature with a public key";
const AUDIENCE: &str = "its aud is not one text that names us";
const CLAIMS: &str = "its claims can't be read";
const CLIENT: &str = "its iss or sub is not the client's id";
const EXPIRED: &str = "its exp has passed";
const FAR: &str = "its exp is more than ten minutes ahead";
const HEADER: &str = "its header can't be read";
const KID: &str = "its kid names none of the keys";
const SIGNATURE: &str = "its signature is not by one of the keys";

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const SAML_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
const TOKEN_ENDPOINT: &str = "https://tools.example.com/token";
const SECRET: &str = "a secret + 100% of the odd characters";
const OTHER_SECRET: &str = "another secret that is as long as it";

const PUBLIC: &str = r#"
  - { id: public, name: Our <b>client</b>, redirect_uris: ["http://127.0.0.1:33418/callback"] }
"#;
const CLIENTS: &str = r#"
  - { id: public, name: Our <b>client</b>, redirect_uris: ["http://127.0.0.1:33418/callback"] }
  - id: by-secret
    name: Web client
    redirect_uris: ["https://client.example.com/callback"]
    secret: { insecure_inline: "a secret + 100% of the odd characters" }
  - id: by-other-secret
    name: Other web client
    redirect_uris: ["https://client.example.com/callback"]
    secret: { insecure_inline: "another secret that is as long as it" }
  - id: by-keys
    name: Agent
    redirect_uris: ["https://client.example.com/callback"]
    keys: { file: /jwks.json }
"#;
const OTHERS: &str = r#"
  - id: chat
    name: Chat
    redirect_uris:
      - https://chat.example/connector/oauth/*
      - https://chat.example/legacy
      - com.example.agent:/callback
      - http://localhost:3000/cb
  - id: limited
    name: Limited
    redirect_uris: ["https://client.example.com/callback"]
    scopes: ["tools:read"]
  - { id: fleeting, name: F, redirect_uris: ["https://client.example.com/callback"], refresh: false }
"#;
const OTHER_CLIENT: &str = r#"
  - id: by-other-keys
    name: Other agent
    redirect_uris: ["https://client.example.com/callback"]
    keys: { file: /jwks.json }
"#;
