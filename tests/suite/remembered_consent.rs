//! Remembered consents: they shorten the page, and never more than that.

use mcp_doorman::policy::AccessEntry;
use mcp_doorman::store::StateSettings;
use mcp_doorman::store::redis::{RedisAddress, RedisLogin, RedisServers, RedisSettings, RedisTls};
use serde_json::json;

use crate::support::browser::{Browser, Cookie};
use crate::support::client::{Client, metadata};
use crate::support::document_host::{DOCUMENT, DocumentHost, document, known_by};
use crate::support::doorman::{DAY, Doorman, Granted, HOUR, MINUTE, REDIRECT, WEB_REDIRECT};
use crate::support::exchange::Exchange;
use crate::support::fake_idp::{Conduct, Person};
use crate::support::fake_mcp_server::FakeMcpServer;

const SHORT: &str = "Continue as alice@example.com";

#[tokio::test]
async fn who_consented_before_is_asked_in_short() {
    let doorman = doorman().await;
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
    let before = doorman.idp().asked("/authorize").len();

    let page = login.browser.open(&doorman.authorization(&login.client).url()).await;

    assert_short(&page);
    for needed in ["Example Client", "unverified name", "client.example.com", "Example Tools"] {
        assert!(page.shown().contains(needed), "no {needed}\n{page}");
    }
    assert_eq!(page.form().decisions, ["approve", "deny"]);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("form-action"));
    assert_eq!(doorman.idp().asked("/authorize").len(), before, "sent on unasked");
}

/// It says yes, not who they are: the IdP does.
#[tokio::test]
async fn the_short_page_leads_through_the_idp_to_a_code() {
    let doorman = doorman().await;
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
    let authorization = doorman.authorization(&login.client);
    assert_short(&login.browser.open(&authorization.url()).await);

    let granted = doorman.complete(&login.browser, &authorization).await;

    let tokens = doorman.exchange(&login.client, &granted).await.tokens();
    doorman.call(&tokens.access).await.assert_status(200);
    assert_eq!(doorman.idp().asked("/authorize").len(), 2);
}

#[tokio::test]
async fn nothing_is_remembered_of_answers_to_the_persons_own_machine() {
    let doorman = doorman().await;
    let mut seen = 0;

    for redirect_uri in
        [REDIRECT, "http://localhost/callback", "http://[::1]:8/cb", "cursor://host/callback"]
    {
        let login = doorman.log_in_with(doorman.register_at(redirect_uri).await).await;
        assert_full(&login.browser.open(&doorman.authorization(&login.client).url()).await);
        seen += 1;
    }

    assert_eq!(seen, 4);
}

/// `FastMCP` #3960: what was consented to once stood for more
#[tokio::test]
async fn whatever_differs_is_asked_about_in_full() {
    const OTHER_REDIRECT: &str = "https://client.example.com/other";
    const OTHER_RESOURCE: &str = "https://tools.example.com/other";
    let (one, two) = (FakeMcpServer::start().await, FakeMcpServer::start().await);
    let doorman = Doorman::in_front_of(one).and_at(OTHER_RESOURCE, &two).start().await;
    let mut both = metadata(WEB_REDIRECT);
    both["redirect_uris"] = json!([WEB_REDIRECT, OTHER_REDIRECT]);
    let id = doorman.register_with(&both).await.json()["client_id"].as_str().unwrap().to_owned();
    let client = Client { id, redirect_uri: WEB_REDIRECT.to_owned() };
    let asked = |client: &Client| doorman.authorization(client).with("scope", "tools:read");
    let browser = doorman.browser();
    browser.log_in(&asked(&client).url()).await.code();
    let id = doorman.register_with(&both).await.json()["client_id"].as_str().unwrap().to_owned();
    let twin = Client { id, ..client.clone() };
    let elsewhere = Client { redirect_uri: OTHER_REDIRECT.to_owned(), ..client.clone() };

    assert_short(&browser.open(&asked(&client).url()).await);
    for other in [
        asked(&client).with("scope", "tools:read tools:write"),
        asked(&client).with("scope", "tools:write"),
        asked(&client).without("scope"),
        asked(&client).with("resource", OTHER_RESOURCE),
        asked(&elsewhere),
        asked(&twin),
    ] {
        assert_full(&browser.open(&other.url()).await);
    }
    assert_short(&browser.open(&asked(&client).url()).await);
}

#[tokio::test]
async fn a_document_that_changed_is_asked_about_in_full() {
    let host = DocumentHost::of_a_client_at(WEB_REDIRECT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let login = doorman.log_in_with(known_by(DOCUMENT, WEB_REDIRECT)).await;
    let url = doorman.authorization(&login.client).url();
    let page = login.browser.open(&url).await;
    assert_short(&page);
    assert!(page.shown().contains("<strong>client.example</strong>"), "\n{page}");
    let usual = document(DOCUMENT, &[WEB_REDIRECT]);
    let (mut renamed, mut without_refresh) = (usual.clone(), usual.clone());
    renamed["client_name"] = json!("Another Client");
    without_refresh["grant_types"] = json!(["authorization_code"]);
    let mut seen = 0;

    for changed in [renamed, without_refresh, document(DOCUMENT, &[WEB_REDIRECT, REDIRECT])] {
        host.publish(DOCUMENT, &changed);
        doorman.later(2 * HOUR);
        assert_full(&login.browser.open(&url).await);
        host.publish(DOCUMENT, &usual);
        doorman.later(2 * HOUR);
        assert_short(&login.browser.open(&url).await);
        seen += 1;
    }

    assert_eq!(seen, 3);
}

/// OpenID Connect Core §3.1.2.1
#[tokio::test]
async fn a_client_may_have_everything_asked_again() {
    let doorman = doorman().await;
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
    let authorization = doorman.authorization(&login.client);

    for prompt in ["consent", "login consent", "consent select_account"] {
        let url = authorization.clone().with("prompt", prompt).url();
        assert_full(&login.browser.open(&url).await);
    }
    // Nothing that is asked of us: the IdP decides how people log in.
    for prompt in ["login", "select_account", "consents"] {
        let url = authorization.clone().with("prompt", prompt).url();
        assert_short(&login.browser.open(&url).await);
    }
    let url = authorization.clone().with("prompt", "consent").url();
    login.browser.log_in(&url).await.code();
    assert_short(&login.browser.open(&authorization.url()).await);
}

#[tokio::test]
async fn the_short_page_leads_to_the_full_one() {
    let doorman = doorman().await;
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
    let authorization = doorman.authorization(&login.client).with("prompt", "login");
    let page = login.browser.open(&authorization.url()).await.shown();
    let (_, link) = page.split_once("href=\"").unwrap();

    let full = login.browser.open(link.split('"').next().unwrap()).await;

    assert_full(&full);
    let to_idp = login.browser.approve(&full).await.location();
    let landing = login.browser.open(to_idp.as_str()).await.landing();
    assert_eq!(landing.parameter("state"), Some(authorization.state));
    landing.code();
}

/// A month after the person saw everything, however often they saw less meanwhile.
#[tokio::test]
async fn nothing_is_remembered_for_longer_than_thirty_days() {
    let doorman = doorman().await;
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
    let url = doorman.authorization(&login.client).url();

    doorman.later(29 * DAY);
    assert_short(&login.browser.open(&url).await);
    login.browser.log_in(&url).await.code();
    doorman.later(2 * DAY);

    assert_full(&login.browser.open(&url).await);
}

#[tokio::test]
async fn another_browser_is_asked_in_full() {
    let doorman = doorman().await;
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;

    assert_full(&doorman.browser().open(&doorman.authorization(&login.client).url()).await);
}

/// The cookie tells who was here: somebody whom the IdP vouched for and the rules admitted.
#[tokio::test]
async fn only_a_login_that_succeeded_leaves_a_name_behind() {
    let nobody = AccessEntry { subjects: vec!["bob".to_owned()], ..AccessEntry::default() };
    let strict = Doorman::in_front_of(FakeMcpServer::start().await).access(&[nobody]).start().await;
    let doorman = doorman().await;
    let client = doorman.register_at(WEB_REDIRECT).await;
    let browser = doorman.browser();
    let url = doorman.authorization(&client).url();

    let page = browser.open(&url).await;
    browser.deny(&page).await.landing();
    doorman.idp().conduct(Conduct::AccessDenied);
    browser.log_in(&url).await.assert_error(&["access_denied"]);
    doorman.idp().conduct(Conduct::WrongNonce);
    browser.log_in(&url).await;
    let stranger = strict.browser();
    let refused = strict.authorization(&strict.register_at(WEB_REDIRECT).await).url();
    stranger.arrive(&refused).await.assert_page(403);
    assert!(person_cookie(&browser).is_none());
    assert!(person_cookie(&stranger).is_none());
    assert_full(&stranger.open(&refused).await);

    doorman.idp().conduct(Conduct::Honest);
    browser.log_in(&url).await.code();
    assert!(person_cookie(&browser).is_some());
}

#[tokio::test]
async fn the_name_that_is_left_behind_is_sealed_and_small() {
    let doorman = doorman().await;
    let long: &'static str = Box::leak("\u{1f600}".repeat(400).into_boxed_str());
    doorman.idp().sign_in(Person { sub: long, email_verified: false, ..Person::alice() });
    let client = doorman.register_at(WEB_REDIRECT).await;
    let browser = doorman.browser();
    let callback = browser.up_to_the_callback(&doorman.authorization(&client).url()).await;

    let answer = browser.get(&callback).await;

    let cookies = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let person: Vec<_> = cookies.filter(|cookie| cookie.contains("-person=")).collect();
    let [person] = person.as_slice() else { panic!("{person:?}") };
    assert!(person.starts_with("__Host-doorman-"), "{person}");
    for needed in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax", "; Max-Age=2592000"] {
        assert!(person.contains(needed), "no {needed}: {person}");
    }
    assert!(person.len() < 1024, "{} characters", person.len());
    let page = browser.open(&doorman.authorization(&client).url()).await;
    assert!(page.shown().contains(&format!("Continue as {}…", "\u{1f600}".repeat(64))), "\n{page}");
}

#[tokio::test]
async fn a_cookie_that_is_not_ours_shortens_nothing() {
    let theirs =
        Doorman::in_front_of(FakeMcpServer::start().await).sealed_with(&["other"]).start().await;
    let foreign = theirs.log_in_with(theirs.register_at(WEB_REDIRECT).await).await;
    let doorman = doorman().await;
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
    let url = doorman.authorization(&login.client).url();
    let own = person_cookie(&login.browser).unwrap();
    let (start, end) = own.value.split_at(own.value.len() / 2);
    let bent = format!("{start}{}{}", if end.starts_with('A') { "B" } else { "A" }, &end[1..]);
    let relabelled = login.tokens.access.replace("doorman_at_", "doorman_lp_");
    let mut seen = 0;

    for value in [
        String::new(),
        "alice@example.com".to_owned(),
        bent,
        relabelled,
        login.tokens.access.clone(),
        person_cookie(&foreign.browser).unwrap().value,
    ] {
        let browser = doorman.browser();
        browser.keep_cookie(&own.origin, &own.name, &value);
        assert_full(&browser.open(&url).await);
        seen += 1;
    }

    assert_eq!(seen, 6);
    let browser = doorman.browser();
    browser.keep_cookie(&own.origin, &own.name, &own.value);
    assert_short(&browser.open(&url).await);
}

#[tokio::test]
async fn a_no_takes_back_what_is_remembered() {
    let doorman = doorman().await;
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
    let url = doorman.authorization(&login.client).url();
    let page = login.browser.open(&url).await;
    assert_short(&page);

    login.browser.deny(&page).await.landing().assert_error(&["access_denied"]);

    assert_full(&login.browser.open(&url).await);
}

/// The yes on the short page was Alice's.
#[tokio::test]
async fn another_person_is_asked_in_full_before_there_is_a_code() {
    let doorman = doorman().await;
    let (browser, client, page) = bob_comes_back(&doorman).await;

    assert_full(&page);
    let html = page.shown();
    for needed in ["Example Client", WEB_REDIRECT, "tools:read, tools:write", "bob@example.com"] {
        assert!(html.contains(needed), "no {needed}\n{page}");
    }
    assert!(!html.contains("alice"), "\n{page}");

    let visits = doorman.idp().asked("/authorize").len();
    let code = browser.approve(&page).await.landing().code();

    assert!(!code.is_empty());
    assert_eq!(doorman.idp().asked("/authorize").len(), visits, "sent to the IdP again");
    let next = browser.open(&doorman.authorization(&client).url()).await;
    assert!(next.shown().contains("Continue as bob@example.com"), "\n{next}");
}

#[tokio::test]
async fn the_code_of_another_person_is_theirs() {
    let doorman = doorman().await;
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
    doorman.idp().sign_in(bob());
    let authorization = doorman.authorization(&login.client);
    let page = login.browser.arrive(&authorization.url()).await;
    let landing = login.browser.approve(&page).await.landing();
    assert_eq!(landing.parameter("state"), Some(authorization.state.clone()));
    let (code, verifier) = (landing.code(), authorization.verifier);
    let granted = Granted { code, verifier };

    let tokens = doorman.exchange(&login.client, &granted).await.tokens();

    doorman.call(&tokens.access).await.assert_status(200);
    let received = doorman.upstream().only_request();
    assert_eq!(received.values("x-forwarded-user"), [bob().sub]);
    doorman.refresh(&login.client, &tokens.refresh).await.assert_status(200);
    doorman.later(59 * MINUTE);
    doorman.refresh(&login.client, &tokens.refresh).await;
    assert_eq!(doorman.idp().refreshes(), 1, "the IdP's refresh token got lost");
}

#[tokio::test]
async fn another_person_may_say_no() {
    let doorman = doorman().await;
    let (browser, client, page) = bob_comes_back(&doorman).await;

    browser.deny(&page).await.landing().assert_error(&["access_denied"]);

    browser.approve(&page).await.assert_stopped_on_a_page();
    // It was not Alice who said so.
    assert_short(&browser.open(&doorman.authorization(&client).url()).await);
}

#[tokio::test]
async fn the_answer_of_another_person_counts_once_and_in_their_browser() {
    let doorman = doorman().await;
    let (browser, _, page) = bob_comes_back(&doorman).await;
    let stranger = doorman.browser();
    stranger.open(&doorman.authorization(&doorman.register().await).url()).await;

    stranger.approve(&page).await.assert_stopped_on_a_page();
    browser
        .submit_from(&page.form(), "approve", "https://evil.example", "cross-site")
        .await
        .assert_stopped_on_a_page();
    let (one, two) = tokio::join!(browser.approve(&page), browser.approve(&page));
    let [code, refused] = if one.status == 303 { [one, two] } else { [two, one] };

    code.landing().code();
    refused.assert_stopped_on_a_page();
    // Nobody redeemed the code: nothing is left of the grant that could stop a second one.
    doorman.later(2 * MINUTE);
    browser.approve(&page).await.assert_stopped_on_a_page();
}

#[tokio::test]
async fn the_login_of_another_person_waits_for_ten_minutes() {
    let doorman = doorman().await;
    let (browser, _, page) = bob_comes_back(&doorman).await;

    doorman.later(11 * MINUTE);

    browser.approve(&page).await.assert_stopped_on_a_page();
}

/// Not asked what they may not have.
#[tokio::test]
async fn another_person_whom_the_rules_refuse_is_told_so() {
    let alice =
        AccessEntry { subjects: vec![Person::alice().sub.to_owned()], ..AccessEntry::default() };
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).access(&[alice]).start().await;

    let (_, _, page) = bob_comes_back(&doorman).await;

    page.assert_page(403);
}

/// Cancelled in one tab, while the other one is at the IdP.
#[tokio::test]
async fn what_is_forgotten_meanwhile_is_asked_about_in_full() {
    let doorman = doorman().await;
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
    let url = doorman.authorization(&login.client).url();
    let (one, two) = (login.browser.open(&url).await, login.browser.open(&url).await);
    let to_idp = login.browser.approve(&one).await.location();
    login.browser.deny(&two).await.landing();

    let page = login.browser.open(to_idp.as_str()).await;

    assert_full(&page);
    assert!(page.shown().contains("signed in as <strong>alice@example.com"), "\n{page}");
    login.browser.approve(&page).await.landing().code();
    assert_short(&login.browser.open(&url).await);
}

#[tokio::test]
async fn what_grows_too_old_meanwhile_is_asked_about_in_full() {
    let doorman = doorman().await;
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
    doorman.later(29 * DAY + 23 * HOUR + 59 * MINUTE);
    let page = login.browser.open(&doorman.authorization(&login.client).url()).await;
    assert_short(&page);
    let to_idp = login.browser.approve(&page).await.location();

    doorman.later(2 * MINUTE);

    assert_full(&login.browser.open(to_idp.as_str()).await);
}

#[tokio::test]
async fn two_tabs_with_short_pages_do_not_disturb_each_other() {
    let doorman = doorman().await;
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
    let browser = &login.browser;
    let (one, two) = (doorman.authorization(&login.client), doorman.authorization(&login.client));
    let (first, second) = (browser.open(&one.url()).await, browser.open(&two.url()).await);
    assert_short(&first);

    let to_idp_second = browser.approve(&second).await.location();
    let to_idp_first = browser.approve(&first).await.location();
    let landed_first = browser.open(to_idp_first.as_str()).await.landing();
    let landed_second = browser.open(to_idp_second.as_str()).await.landing();

    assert_eq!(landed_first.parameter("state"), Some(one.state));
    assert_eq!(landed_second.parameter("state"), Some(two.state));
    assert_ne!(landed_first.code(), landed_second.code());
    browser.approve(&first).await.assert_stopped_on_a_page();
}

/// Whoever can't remember asks more, and takes no answer that it could not count.
#[tokio::test]
async fn without_the_store_everything_is_asked_and_nothing_spent() {
    let doorman = doorman().await;
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
    let url = doorman.authorization(&login.client).url();
    let cut_off = Doorman::in_front_of(FakeMcpServer::start().await)
        .beside(&doorman)
        .state(nowhere())
        .start()
        .await;
    let browser = cut_off.browser();
    for Cookie { origin, name, value } in login.browser.cookies() {
        browser.keep_cookie(&origin, &name, &value);
    }

    let full = browser.open(&url).await;
    assert_full(&full);
    let short = login.browser.open(&url).await;
    assert_short(&short);
    for page in [&full, &short] {
        let answer = browser.approve(page).await;
        answer.assert_page(503);
        answer.header("retry-after");
    }

    // The store is back.
    let to_idp = login.browser.approve(&full).await.location();
    login.browser.open(to_idp.as_str()).await.landing().code();
    let to_idp = login.browser.approve(&short).await.location();
    login.browser.open(to_idp.as_str()).await.landing().code();
}

async fn doorman() -> Doorman {
    Doorman::in_front_of(FakeMcpServer::start().await).start().await
}

fn bob() -> Person {
    Person { sub: "bob-11c2", email: "bob@example.com", ..Person::alice() }
}

/// Alice was here; the short page was for her; at the IdP it was Bob. What his browser shows then.
async fn bob_comes_back(doorman: &Doorman) -> (Browser, Client, Exchange) {
    let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
    let page = login.browser.open(&doorman.authorization(&login.client).url()).await;
    assert_short(&page);
    doorman.idp().sign_in(bob());
    let to_idp = login.browser.approve(&page).await.location();
    let page = login.browser.open(to_idp.as_str()).await;
    (login.browser, login.client, page)
}

#[track_caller]
fn assert_short(page: &Exchange) {
    page.assert_page(200);
    assert!(page.shown().contains(SHORT), "not the short page\n{page}");
}

#[track_caller]
fn assert_full(page: &Exchange) {
    page.assert_page(200);
    assert!(!page.shown().contains("Continue as"), "the short page\n{page}");
    assert!(page.shown().contains("With permission to"), "not the full page\n{page}");
    assert_eq!(page.form().decisions, ["approve", "deny"]);
}

fn person_cookie(browser: &Browser) -> Option<Cookie> {
    browser.cookies().into_iter().find(|cookie| cookie.name.ends_with("-person"))
}

/// A store of which nobody answers.
fn nowhere() -> StateSettings {
    let address = RedisAddress { host: "127.0.0.1".to_owned(), port: 9 };
    StateSettings::Redis(Box::new(RedisSettings {
        servers: RedisServers::Single(address),
        login: RedisLogin::default(),
        tls: RedisTls::Off,
        key_prefix: String::new(),
        allow_eviction: false,
    }))
}
