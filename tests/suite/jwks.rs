//! The keys of an IdP whose tokens clients bring: changes, floods, outages (threats B11, B12).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::access_token::{IDP_KEY, of_alice, set_of, start};
use crate::support::assertion::ClientKey;
use crate::support::doorman::{Doorman, HOUR, MINUTE};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::soon;

async fn usual() -> Doorman {
    start(Doorman::in_front_of(FakeMcpServer::start().await)).await
}

fn fetches(doorman: &Doorman) -> usize {
    doorman.idp().asked("/jwks").len()
}

async fn until_fetches(doorman: &Doorman, count: usize) {
    let fetched = async {
        while fetches(doorman) < count {
            tokio::task::yield_now().await;
        }
    };
    soon("keys to be fetched", fetched).await;
}

/// A new key signs at once, and its first token waits for one request to the IdP.
#[tokio::test]
async fn a_new_key_is_fetched_for_its_first_token() {
    let doorman = usual().await;
    let new = ClientKey::p256("access-2");
    let old_token = of_alice(&doorman).signed_by(&IDP_KEY);
    let token = of_alice(&doorman).head("alg", "ES256").head("kid", "access-2").signed_by(&new);
    doorman.call(&old_token).await.assert_status(200);
    doorman.idp().publish_keys(200, set_of(&[&IDP_KEY, &new]));

    doorman.call(&token).await.assert_status(200);

    assert_eq!(fetches(&doorman), 2);
    doorman.call(&old_token).await.assert_status(200);
    doorman.call(&token).await.assert_status(200);
    assert_eq!(fetches(&doorman), 2);
}

/// Within ten minutes, though its token was verified before and lives for an hour.
#[tokio::test]
async fn a_key_that_is_taken_back_verifies_nothing_after_ten_minutes() {
    let doorman = usual().await;
    let new = ClientKey::p256("access-2");
    let token = of_alice(&doorman).signed_by(&IDP_KEY);
    doorman.call(&token).await.assert_status(200);
    doorman.idp().publish_keys(200, set_of(&[&new]));
    doorman.later(9 * MINUTE);
    doorman.call(&token).await.assert_status(200);

    doorman.later(MINUTE);
    until_fetches(&doorman, 2).await;

    let refused = async {
        while doorman.call(&token).await.status != 401 {
            tokio::task::yield_now().await;
        }
    };
    soon("the old key to be gone", refused).await;
    let token = of_alice(&doorman).head("alg", "ES256").head("kid", "access-2").signed_by(&new);
    doorman.call(&token).await.assert_status(200);
}

/// Threat B11. Who has a good token notices nothing.
#[tokio::test]
async fn a_flood_of_unknown_keys_makes_us_ask_twice_at_most() {
    let doorman = Arc::new(usual().await);
    let good = of_alice(&doorman).signed_by(&IDP_KEY);
    let stranger = ClientKey::ed25519("x");
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (doorman, good, is_over) = (doorman.clone(), good.clone(), is_over.clone());
            tokio::spawn(async move {
                let mut calls = 0;
                while !is_over.load(Ordering::Relaxed) {
                    doorman.call(&good).await.assert_status(200);
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let (mut refused, mut unjudged) = (0, 0);

    for n in 0..FLOOD {
        let token = of_alice(&doorman).head("alg", "EdDSA").head("kid", format!("random-{n}"));
        let answer = doorman.call(&token.signed_by(&stranger)).await;
        match answer.status.as_u16() {
            401 => refused += 1,
            // It may be a key that nobody could ask for yet.
            503 => unjudged += 1,
            other => panic!("answered {other}"),
        }
    }

    is_over.store(true, Ordering::Relaxed);
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.unwrap();
    }
    assert!(calls > 100, "only {calls} good calls");
    assert!(fetches(&doorman) <= 2, "{} fetches", fetches(&doorman));
    assert_eq!(refused, 1);
    assert_eq!(unjudged, FLOOD - 1);
    // Nor do strangers put a new key out of reach for longer than half a minute.
    let new = ClientKey::p256("access-2");
    doorman.idp().publish_keys(200, set_of(&[&IDP_KEY, &new]));
    let token = of_alice(&doorman).head("alg", "ES256").head("kid", "access-2").signed_by(&new);
    let waits = doorman.call(&token).await;
    waits.assert_status(503);
    assert!(!waits.header("retry-after").is_empty());
    doorman.later(Duration::from_secs(30));
    doorman.call(&token).await.assert_status(200);
}

/// Ten thousand come to the same.
const FLOOD: usize = 1_000;

/// One unknown key is asked for once in a while, however often it is named.
#[tokio::test]
async fn a_key_that_is_not_published_is_remembered() {
    let doorman = usual().await;
    let stranger = ClientKey::p256("stranger");
    let token = of_alice(&doorman).head("alg", "ES256").head("kid", "stranger");
    let token = token.signed_by(&stranger);

    for _ in 0..5 {
        doorman.call(&token).await.assert_status(401);
        doorman.later(Duration::from_secs(10));
    }

    assert_eq!(fetches(&doorman), 2);
}

/// RFC 7515 §4.1.4: `kid` may be left out. Then any key may be meant, one that is new too.
#[tokio::test]
async fn a_new_key_that_no_token_names_is_fetched_all_the_same() {
    let doorman = usual().await;
    let new = ClientKey::p256("access-2");
    let old_token = of_alice(&doorman).without_head("kid").signed_by(&IDP_KEY);
    let token = of_alice(&doorman).head("alg", "ES256").without_head("kid").signed_by(&new);
    doorman.call(&old_token).await.assert_status(200);
    assert_eq!(fetches(&doorman), 1);
    doorman.idp().publish_keys(200, set_of(&[&IDP_KEY, &new]));

    doorman.call(&token).await.assert_status(200);

    assert_eq!(fetches(&doorman), 2);
    doorman.call(&old_token).await.assert_status(200);
    doorman.call(&token).await.assert_status(200);
    assert_eq!(fetches(&doorman), 2);
}

/// Nobody's signature is asked about more often than a key's name, and who asks again within a minute is told
/// the same.
#[tokio::test]
async fn forged_tokens_that_name_no_key_make_us_ask_seldom() {
    let doorman = usual().await;
    let stranger = ClientKey::rsa("access-1");
    let good = of_alice(&doorman).signed_by(&IDP_KEY);
    let forged = |n: u64| of_alice(&doorman).without_head("kid").claim("n", n).signed_by(&stranger);
    let first = forged(0);
    doorman.call(&first).await.assert_status(401);

    for n in 1..20 {
        // It may be by a key that nobody could ask for yet.
        doorman.call(&forged(n)).await.assert_status(503);
        doorman.call(&first).await.assert_status(401);
        doorman.call(&good).await.assert_status(200);
    }
    assert_eq!(fetches(&doorman), 2);
    doorman.later(Duration::from_secs(30));
    doorman.call(&forged(20)).await.assert_status(401);
    assert_eq!(fetches(&doorman), 3);

    // While the IdP is away nobody can tell, and a good one without a name is good.
    doorman.idp().go_down();
    doorman.later(Duration::from_secs(30));
    let answer = doorman.call(&forged(21)).await;
    answer.assert_status(503);
    assert!(!answer.header("retry-after").is_empty());
    let unnamed = of_alice(&doorman).without_head("kid").signed_by(&IDP_KEY);
    doorman.call(&unnamed).await.assert_status(200);
}

/// Faults 1 and 3: an IdP that is away locks nobody out who has a good token.
#[tokio::test]
async fn the_idp_may_be_away_for_a_day() {
    let doorman = usual().await;
    let now = doorman.now();
    let token = |n: u64| of_alice(&doorman).claim("exp", now + 200_000).claim("n", n);
    doorman.idp().go_down();
    let unknown = of_alice(&doorman).head("kid", "unknown").signed_by(&IDP_KEY);

    for minutes in 0..60 {
        for n in 0..100 {
            // Half of them were never seen before.
            let n = if n % 2 == 0 { n } else { 1_000 + minutes * 100 + n };
            doorman.call(&token(n).signed_by(&IDP_KEY)).await.assert_status(200);
        }
        let answer = doorman.call(&unknown).await;
        answer.assert_status(503);
        assert!(!answer.header("retry-after").is_empty());
        doorman.later(MINUTE);
    }
    let tries = doorman.idp().in_vain();
    assert!((10..=120).contains(&tries), "{tries} tries in an hour");
    doorman.later(22 * HOUR + 59 * MINUTE);
    let last = token(0).signed_by(&IDP_KEY);
    doorman.call(&last).await.assert_status(200);

    // Then nobody knows whether the keys are still good.
    doorman.later(2 * MINUTE);
    doorman.call(&last).await.assert_status(503);
    doorman.idp().come_up();
    let judged = async {
        while doorman.call(&last).await.status != 200 {
            doorman.later(Duration::from_secs(30));
        }
    };
    soon("the IdP to be asked again", judged).await;
}

/// Threat B12: what is no set of keys leaves the last good one.
#[tokio::test]
async fn a_garbled_answer_leaves_the_keys_that_are_known() {
    let doorman = usual().await;
    let many = vec![ClientKey::ed25519("x").jwk().to_string(); 5_000].join(",");
    let secret = r#"{"keys":[{"kty":"oct","kid":"access-1","k":"AAAA","alg":"HS256"}]}"#;
    let mut fetched = fetches(&doorman);
    for (n, (status, text)) in [
        (200, "<html>Sign in</html>".to_owned()),
        (200, String::new()),
        (200, "{}".to_owned()),
        (200, r#"{"keys":[]}"#.to_owned()),
        (200, r#"{"keys":null}"#.to_owned()),
        (200, secret.to_owned()),
        (200, set_of(&[&IDP_KEY])[..100].to_owned()),
        (200, format!(r#"{{"keys":[{many}]}}"#)),
        (200, format!("{}{}", set_of(&[&IDP_KEY]), " ".repeat(300_000))),
        (302, set_of(&[&IDP_KEY])),
        (404, set_of(&[&IDP_KEY])),
        (500, set_of(&[&IDP_KEY])),
    ]
    .into_iter()
    .enumerate()
    {
        doorman.idp().publish_keys(status, text.clone());
        doorman.later(10 * MINUTE);
        fetched += 1;
        until_fetches(&doorman, fetched).await;
        // A token that was not seen before: its signature is verified now.
        for _ in 0..3 {
            let now = doorman.now();
            let token = of_alice(&doorman).claim("exp", now + 600).claim("n", n);
            let answer = doorman.call(&token.signed_by(&IDP_KEY)).await;
            assert_eq!(answer.status, 200, "{status} {text:.60}");
        }
    }
}

/// R4: without any keys nothing can be judged, and nobody is told that their token is bad.
#[tokio::test]
async fn before_the_keys_are_known_nothing_is_judged() {
    let builder = Doorman::in_front_of(FakeMcpServer::start().await).issued_by_the_idp();
    let doorman = builder.keys_of_the_idp(set_of(&[&IDP_KEY])).idp_down().start().await;
    let token = of_alice(&doorman).signed_by(&IDP_KEY);

    for _ in 0..3 {
        let answer = doorman.call(&token).await;
        answer.assert_json_rpc_error(503);
        assert!(!answer.header("retry-after").is_empty());
    }
    // What is no JWT in form needs no keys.
    doorman.call("a.b.c").await.assert_status(401);
    doorman.idp().come_up();

    let judged = async {
        while doorman.call(&token).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    soon("the keys", judged).await;
}

/// Fault 5: who has a known key does not wait, who has not does not wait long.
#[tokio::test]
async fn keys_that_take_long_hold_up_nobody() {
    let doorman = Arc::new(usual().await);
    let good = of_alice(&doorman).signed_by(&IDP_KEY);
    let new = ClientKey::p256("access-2");
    let token = of_alice(&doorman).head("alg", "ES256").head("kid", "access-2").signed_by(&new);
    doorman.idp().publish_keys(200, set_of(&[&IDP_KEY, &new]));
    doorman.idp().hold_keys();
    let waiting = {
        let (doorman, token) = (doorman.clone(), token.clone());
        tokio::spawn(async move { doorman.call(&token).await })
    };
    until_fetches(&doorman, 2).await;

    for _ in 0..20 {
        doorman.call(&good).await.assert_status(200);
    }
    soon("an answer", waiting).await.unwrap().assert_status(503);
    doorman.call(&token).await.assert_status(503);
    assert_eq!(fetches(&doorman), 2);

    // The one that asked first has not given up.
    doorman.idp().release_keys();
    let judged = async {
        while doorman.call(&token).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    soon("the new key", judged).await;
    assert_eq!(fetches(&doorman), 2);
}
