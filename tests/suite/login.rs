//! The login at the IdP: what we ask of it, and what we don't believe.

use mcp_doorman::idp::ClientAuthentication;
use mcp_doorman::policy::AccessEntry;
use serde_json::json;

use crate::support::browser::Browser;
use crate::support::doorman::{Doorman, Granted, MINUTE, ORIGIN};
use crate::support::exchange::Exchange;
use crate::support::fake_idp::{CLIENT_ID, Conduct, Person};
use crate::support::fake_mcp_server::FakeMcpServer;

/// OpenID Connect Core §3.1.2.1; RFC 7636 §4.3
#[tokio::test]
async fn the_idp_is_asked_with_state_nonce_and_a_challenge() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    doorman.log_in().await;
    doorman.log_in().await;

    let asked = doorman.idp().asked("/authorize");

    assert_eq!(asked.len(), 2);
    for login in &asked {
        let parameter = |name: &str| login.parameters[name].as_str();
        assert_eq!(parameter("response_type"), "code");
        assert_eq!(parameter("client_id"), CLIENT_ID);
        assert_eq!(parameter("redirect_uri"), format!("{ORIGIN}/oauth/callback"));
        assert_eq!(parameter("code_challenge_method"), "S256");
        assert_eq!(parameter("scope"), "openid email");
        assert_eq!(parameter("hd"), "example.com");
        assert!(parameter("state").starts_with("doorman_st_"));
        // Neither is the IdP's business, and some refuse what they don't know.
        assert!(!login.parameters.contains_key("resource"));
    }
    for secret in ["state", "nonce", "code_challenge"] {
        assert_ne!(asked[0].parameters[secret], asked[1].parameters[secret], "{secret}");
    }
}

/// OpenID Connect Core §9
#[tokio::test]
async fn we_authenticate_at_the_idp_as_configured() {
    for method in [ClientAuthentication::Basic, ClientAuthentication::Post] {
        let server = FakeMcpServer::start().await;
        let doorman = Doorman::in_front_of(server).client_authentication(method).start().await;

        doorman.log_in().await;

        let form = &doorman.idp().asked("/token")[0].parameters;
        let is_posted = form.contains_key("client_secret");
        assert_eq!(is_posted, method == ClientAuthentication::Post);
    }
}

/// OpenID Connect Core §3.1.3.7
#[tokio::test]
async fn an_id_token_that_does_not_prove_the_login_gets_no_code() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut seen = 0;

    for conduct in [
        Conduct::WrongNonce,
        Conduct::NoNonce,
        Conduct::WrongAudience,
        Conduct::WrongAuthorizedParty,
        Conduct::WrongAuthorizedPartyAlone,
        Conduct::NoAuthorizedParty,
        Conduct::WrongAccessTokenHash,
        Conduct::WrongIssuer,
        Conduct::NoSubject,
        Conduct::EmptySubject,
        Conduct::SubjectTwice,
        Conduct::BadSignature,
        Conduct::AlgNone,
        Conduct::HmacWithPublicKey,
        Conduct::HmacWithClientSecret,
        Conduct::UnknownKey,
        Conduct::Expired,
        Conduct::NoExpiry,
        Conduct::NoIdToken,
        Conduct::GarbledIdToken,
    ] {
        doorman.idp().conduct(conduct);
        let end = try_to_log_in(&doorman).await;
        assert_no_code(&end, conduct);
        seen += 1;
    }

    assert_eq!(seen, 20);
    doorman.idp().conduct(Conduct::Honest);
    doorman.log_in().await;
}

/// OpenID Connect Core §3.1.3.7, 3 to 5; §3.1.3.8
#[tokio::test]
async fn an_id_token_may_say_more_than_it_must_if_all_of_it_is_right() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    for conduct in [Conduct::SeveralAudiences, Conduct::AccessTokenHash] {
        doorman.idp().conduct(conduct);
        try_to_log_in(&doorman).await.landing().code();
    }
}

/// OpenID Connect Core §10.1.1: an unknown key id means that the keys may have been rotated
#[tokio::test]
async fn a_new_key_of_the_idp_is_fetched_when_it_is_first_used() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    doorman.log_in().await;

    doorman.idp().conduct(Conduct::NewKey);

    try_to_log_in(&doorman).await.landing().code();
}

/// Whoever can make an IdP sign badly must not make us ask it for its keys each time.
#[tokio::test]
async fn keys_that_nobody_published_are_asked_for_once() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    doorman.log_in().await;
    let asked = doorman.idp().asked("/jwks").len();

    doorman.idp().conduct(Conduct::UnknownKey);
    for _ in 0..5 {
        assert_no_code(&try_to_log_in(&doorman).await, Conduct::UnknownKey);
    }

    assert_eq!(doorman.idp().asked("/jwks").len(), asked + 1);
}

/// RFC 9207 §2.4: an IdP that says it names itself must, and must name itself
#[tokio::test]
async fn an_answer_that_does_not_name_the_idp_is_not_exchanged() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    for conduct in [Conduct::WrongIssParameter, Conduct::NoIssParameter] {
        doorman.idp().conduct(conduct);
        let end = try_to_log_in(&doorman).await;
        assert_no_code(&end, conduct);
    }

    assert_eq!(doorman.idp().asked("/authorize").len(), 2);
    assert!(doorman.idp().asked("/token").is_empty());
}

/// RFC 6749 §4.1.2.1
#[tokio::test]
async fn a_person_whom_the_idp_refuses_goes_back_with_access_denied() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    doorman.idp().conduct(Conduct::AccessDenied);
    let client = doorman.register().await;
    let authorization = doorman.authorization(&client);

    let landing = doorman.browser().log_in(&authorization.url()).await;

    landing.assert_error(&["access_denied"]);
    assert_eq!(landing.parameter("state"), Some(authorization.state));
    assert_eq!(landing.parameter("iss").as_deref(), Some(ORIGIN));
    assert!(!landing.url.as_str().contains("canary-idp-description"), "{}", landing.url);
}

#[tokio::test]
async fn the_idps_words_are_not_repeated() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    doorman.idp().conduct(Conduct::ErrorWithMarkup);

    let end = try_to_log_in(&doorman).await;

    assert_no_code(&end, Conduct::ErrorWithMarkup);
    let answer = format!("{:?}{}", end.headers, end.text());
    assert!(!answer.contains("alert"), "\n{end}");
    assert!(!end.headers.contains_key("x-a"), "\n{end}");
}

/// The person may try again: it is not their fault, nor the client's.
#[tokio::test]
async fn a_failing_idp_is_told_apart_from_a_refusing_one() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut seen = 0;

    for conduct in [
        Conduct::TokenEndpointFails,
        Conduct::TokenEndpointAnswersHtml,
        Conduct::TokenEndpointHangsUp,
        Conduct::CodeRefused,
        Conduct::OurSecretExpired,
        Conduct::LoginRequired,
    ] {
        doorman.idp().conduct(conduct);
        let end = try_to_log_in(&doorman).await;
        let codes = ["temporarily_unavailable", "server_error", "access_denied"];
        let is_refusal = [Conduct::CodeRefused, Conduct::LoginRequired].contains(&conduct);
        end.landing().assert_error(&codes[..if is_refusal { 3 } else { 2 }]);
        seen += 1;
    }

    assert_eq!(seen, 6);
}

/// The attack that consent pages everywhere have missed: approve here, log in there.
#[tokio::test]
async fn a_callback_in_another_browser_gets_no_code() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let url = doorman.authorization(&client).url();
    let (attacker, victim, half_way) = (doorman.browser(), doorman.browser(), doorman.browser());
    half_way.open(&url).await;

    let callback = attacker.up_to_the_callback(&url).await;
    victim.get(&callback).await.assert_stopped_on_a_page();
    half_way.get(&callback).await.assert_stopped_on_a_page();

    assert!(doorman.idp().asked("/token").is_empty(), "the IdP's code was spent for a stranger");
}

/// Approved in both browsers, and then the answers exchanged.
#[tokio::test]
async fn two_logins_cannot_be_crossed() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let (one, two) = (doorman.browser(), doorman.browser());
    let first = one.up_to_the_callback(&doorman.authorization(&client).url()).await;
    let second = two.up_to_the_callback(&doorman.authorization(&client).url()).await;

    one.get(&second).await.assert_stopped_on_a_page();
    two.get(&first).await.assert_stopped_on_a_page();
}

#[tokio::test]
async fn a_callback_works_once() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();
    let callback = browser.up_to_the_callback(&doorman.authorization(&client).url()).await;
    browser.get(&callback).await.landing().code();

    let again = browser.get(&callback).await;

    again.assert_stopped_on_a_page();
    assert_eq!(doorman.idp().asked("/token").len(), 1);
}

/// The answer of the IdP lies in the browser's history: going back there starts nothing.
#[tokio::test]
async fn a_login_that_was_refused_is_over() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    doorman.idp().conduct(Conduct::AccessDenied);
    let client = doorman.register().await;
    let browser = doorman.browser();
    let callback = browser.up_to_the_callback(&doorman.authorization(&client).url()).await;
    browser.get(&callback).await.landing().assert_error(&["access_denied"]);

    browser.get(&callback).await.assert_stopped_on_a_page();
}

#[tokio::test]
async fn a_login_that_our_rules_refused_is_over() {
    let nobody = AccessEntry { subjects: vec!["bob".to_owned()], ..AccessEntry::default() };
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).access(&[nobody]).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();
    let callback = browser.up_to_the_callback(&doorman.authorization(&client).url()).await;
    browser.get(&callback).await.assert_page(403);

    browser.get(&callback).await.assert_stopped_on_a_page();

    assert_eq!(doorman.idp().asked("/token").len(), 1);
}

/// Somebody with two accounts was signed in at the IdP with the one that may not.
#[tokio::test]
async fn who_may_not_can_sign_in_with_another_account() {
    let bob = AccessEntry { subjects: vec!["bob-1c55".to_owned()], ..AccessEntry::default() };
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).access(&[bob]).start().await;
    let client = doorman.register().await;
    let (browser, stranger) = (doorman.browser(), doorman.browser());
    let authorization = doorman.authorization(&client);

    let page = browser.arrive(&authorization.url()).await;

    page.assert_page(403);
    let shown = page.shown();
    assert!(shown.contains("signed in as alice@example.com"), "\n{page}");
    assert!(shown.contains("the <b>help</b> desk") && !page.text().contains("<b>"), "\n{page}");
    let another = page.link("Sign in with another account");
    doorman.idp().sign_in(Person { sub: "bob-1c55", ..Person::alice() });
    let landing = browser.open(&another).await.landing();
    let asked = doorman.idp().asked("/authorize");
    assert_eq!(asked.len(), 2);
    assert!(!asked[0].parameters.contains_key("prompt"));
    assert_eq!(asked[1].parameters["prompt"], "login");
    assert_eq!(asked[1].parameters["hd"], "example.com");
    let granted = Granted { code: landing.code(), verifier: authorization.verifier.clone() };
    doorman.exchange(&client, &granted).await.assert_status(200);
    // It is of use to nobody else, and once.
    stranger.open(&another).await.assert_stopped_on_a_page();
    browser.open(&another).await.assert_stopped_on_a_page();
}

#[tokio::test]
async fn a_login_left_lying_for_long_is_over() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();
    let callback = browser.up_to_the_callback(&doorman.authorization(&client).url()).await;

    doorman.later(11 * MINUTE);
    let end = browser.get(&callback).await;

    assert_no_code(&end, Conduct::Honest);
    assert!(doorman.idp().asked("/token").is_empty());
}

#[tokio::test]
async fn a_callback_that_nobody_asked_for_is_a_page() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();
    let callback = browser.up_to_the_callback(&doorman.authorization(&client).url()).await;
    let (endpoint, _) = callback.split_once('?').unwrap();
    let mut seen = 0;

    for query in [
        "",
        "?code=x",
        "?state=x",
        "?code=x&state=x",
        "?code=x&state=doorman_st_AAAA",
        "?error=access_denied",
        "?error=access_denied&state=x",
    ] {
        browser.get(&format!("{endpoint}{query}")).await.assert_stopped_on_a_page();
        seen += 1;
    }

    assert_eq!(seen, 7);
    assert!(doorman.idp().asked("/token").is_empty());
}

/// A callback of another IdP's making, with our state: the code is not ours to spend.
#[tokio::test]
async fn a_code_that_the_idp_did_not_issue_ends_in_an_error() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();
    let callback = browser.up_to_the_callback(&doorman.authorization(&client).url()).await;
    let mut forged = url::Url::parse(&callback).unwrap();
    let pairs: Vec<(String, String)> = forged.query_pairs().into_owned().collect();
    forged.query_pairs_mut().clear().extend_pairs(
        pairs.iter().map(|(name, value)| (name, if name == "code" { "forged" } else { value })),
    );

    let end = browser.get(forged.as_str()).await;

    assert_no_code(&end, Conduct::Honest);
}

/// The key of a person is what the config says, or there is no login.
#[tokio::test]
async fn a_person_without_the_configured_key_cannot_log_in() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).user_key("oid").start().await;

    assert_no_code(&try_to_log_in(&doorman).await, Conduct::Honest);
}

/// Claims are data from another house: none of them may become a header of its own.
#[tokio::test]
async fn claims_cannot_add_headers() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    doorman.idp().sign_in(Person {
        email: "a@example.com\r\nX-Admin: 1",
        groups: json!(["ok\r\nX-Admin: 1", "one,admins", "\u{e9}quipe", "plain"]),
        ..Person::alice()
    });
    let end = try_to_log_in(&doorman).await;
    if end.landing().parameter("code").is_none() {
        return;
    }

    let login = doorman.log_in().await;
    doorman.call(&login.tokens.access).await.assert_status(200);

    let request = doorman.upstream().only_request();
    assert!(request.values("x-admin").is_empty());
    assert!(request.values("x-forwarded-user") == ["alice-7f3a"]);
    let groups = request.values("x-forwarded-groups").join(",");
    assert!(groups.split(',').all(|group| group != "admins"), "{groups}");
    assert!(groups.split(',').any(|group| group == "plain"), "{groups}");
}

async fn try_to_log_in(doorman: &Doorman) -> Exchange {
    let client = doorman.register().await;
    let browser: Browser = doorman.browser();
    browser.arrive(&doorman.authorization(&client).url()).await
}

/// Back at the client with an error, or stopped on a page; in no case with a code.
#[track_caller]
fn assert_no_code(end: &Exchange, conduct: Conduct) {
    if end.status.is_redirection() {
        let codes = ["server_error", "access_denied", "temporarily_unavailable"];
        end.landing().assert_error(&codes);
    } else {
        assert!(end.status.is_client_error() || end.status.is_server_error(), "{conduct:?}\n{end}");
        end.assert_page(end.status.as_u16());
    }
}
