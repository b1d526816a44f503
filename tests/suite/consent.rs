//! The consent page: every client is asked about, in the browser that will come back.

use serde_json::json;

use crate::support::client::{Client, metadata};
use crate::support::doorman::{Doorman, HOST, HOUR, MINUTE, ORIGIN, REDIRECT, WEB_REDIRECT};
use crate::support::exchange::{Exchange, Request};
use crate::support::fake_mcp_server::FakeMcpServer;

/// MCP security best practices, "Confused Deputy Problem"
#[tokio::test]
async fn nobody_is_sent_to_the_idp_unasked() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;

    let page = doorman.browser().open(&doorman.authorization(&client).url()).await;

    page.assert_page(200);
    assert_eq!(page.form().decisions, ["approve", "deny"]);
    assert!(doorman.idp().asked("/authorize").is_empty());
}

#[tokio::test]
async fn the_page_says_who_asks_for_what_and_where_the_answer_goes() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register_at(WEB_REDIRECT).await;
    let url = doorman.authorization(&client).with("scope", "tools:read").url();

    let page = doorman.browser().open(&url).await;

    let html = page.assert_page(200).shown();
    for needed in ["Example Client", WEB_REDIRECT, "tools:read", "Example Tools"] {
        assert!(html.contains(needed), "no {needed}\n{page}");
    }
    assert!(html.contains("<strong>client.example.com</strong>"), "no host to read\n{page}");
    assert!(!html.contains("tools:write"), "more than was asked for\n{page}");
}

/// RFC 9700 §4.16; Chromium applies `form-action` along the whole redirect chain
#[tokio::test]
async fn the_page_cannot_be_framed_stored_or_scripted() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;

    let page = doorman.browser().open(&doorman.authorization(&client).url()).await;

    page.assert_page(200);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"));
    assert!(!policy.contains("form-action"));
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
}

/// `FastMCP` #3418. The same names are shown to a real browser by tests/interop.
#[tokio::test]
async fn what_a_client_says_of_itself_is_text_and_nothing_else() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let names: Vec<String> = serde_json::from_str(include_str!("../hostile_names.json")).unwrap();
    let plain = tags(&page_of(&doorman, "Plain", REDIRECT).await.unwrap());
    let mut seen = 0;

    for name in &names {
        let Some(page) = page_of(&doorman, name, REDIRECT).await else { continue };
        assert_eq!(tags(&page), plain, "{name} is more than text\n{page}");
        let html = page.text();
        let hidden = html.chars().find(|c| !c.is_ascii_graphic() && !"\n …＜＞".contains(*c));
        assert_eq!(hidden, None, "{name}\n{page}");
        // 7777 squared: what a template engine would make of it.
        assert!(!html.contains("60481729"), "{name}\n{page}");
        seen += 1;
    }

    assert!(names.len() >= 40 && seen >= 35, "{seen} of {}", names.len());
}

/// What is not shown can't lie, and what is not fetched can't tell who looks.
#[tokio::test]
async fn a_client_brings_no_picture_and_no_links() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut adorned = metadata(REDIRECT);
    for member in ["logo_uri", "client_uri", "tos_uri", "policy_uri"] {
        adorned[member] = json!("https://evil.example/x");
    }
    adorned["software_id"] = json!("evil.example");
    let registered = doorman.register_with(&adorned).await;
    let id = registered.assert_status(201).json()["client_id"].as_str().unwrap().to_owned();
    let client = Client { id, redirect_uri: REDIRECT.to_owned() };
    let authorization = doorman.authorization(&client).with("scope", "evil.example");

    let page = doorman.browser().open(&authorization.with("state", "evil.example").url()).await;

    page.assert_page(200);
    assert!(!page.text().contains("evil.example"), "\n{page}");
    assert!(!page.text().contains("<a "), "\n{page}");
}

/// MCP security best practices, "Localhost Redirect URI Risks"
#[tokio::test]
async fn the_page_warns_where_any_program_could_be_asking() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let own_computer = "The answer goes to a program on your own computer";
    let mut seen = 0;

    for (redirect_uri, destination, warns) in [
        (REDIRECT, "127.0.0.1:33418", true),
        ("http://localhost:8/cb", "localhost:8", true),
        ("cursor://host/callback", "cursor", true),
        (WEB_REDIRECT, "client.example.com", false),
    ] {
        let client = doorman.register_at(redirect_uri).await;
        let page = doorman.browser().open(&doorman.authorization(&client).url()).await;
        let html = page.shown();
        assert_eq!(html.contains(own_computer), warns, "{redirect_uri}\n{page}");
        assert!(html.contains(&format!("<strong>{destination}</strong>")), "\n{page}");
        seen += 1;
    }

    assert_eq!(seen, 4);
}

#[tokio::test]
async fn the_page_says_that_nobody_vouches_for_the_name_and_since_when() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let mut seen = 0;

    for (later, ago) in
        [(0, "just now"), (1, "a minute ago"), (4, "5 minutes ago"), (175, "3 hours ago")]
    {
        doorman.later(later * MINUTE);
        let page = doorman.browser().open(&doorman.authorization(&client).url()).await;
        let told = format!("(unverified name, registered {ago})");
        assert!(page.shown().contains(&told), "no {told}\n{page}");
        seen += 1;
    }

    assert_eq!(seen, 4);
}

/// RFC 6749 §4.1.2.1; RFC 9207 §2
#[tokio::test]
async fn denying_goes_back_to_the_client_and_nowhere_else() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let authorization = doorman.authorization(&client);
    let browser = doorman.browser();

    let page = browser.open(&authorization.url()).await;
    let landing = browser.deny(&page).await.landing();

    landing.assert_error(&["access_denied"]);
    assert!(landing.url.as_str().starts_with(REDIRECT));
    assert_eq!(landing.parameter("state"), Some(authorization.state));
    assert_eq!(landing.parameter("iss").as_deref(), Some(ORIGIN));
    assert!(doorman.idp().asked("/authorize").is_empty());
}

/// RFC 9700 §4.12: 303, so that the form is not posted to the next address
#[tokio::test]
async fn approving_goes_to_the_idp() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();

    let page = browser.open(&doorman.authorization(&client).url()).await;
    let answer = browser.approve(&page).await;

    assert!(answer.location().as_str().starts_with(doorman.idp().issuer()));
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn cookies_stay_with_us_and_with_this_browser() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();

    let page = browser.open(&doorman.authorization(&client).url()).await;
    let approved = browser.approve(&page).await;

    let mut seen = 0;
    let first = page.headers.get_all("set-cookie").iter();
    for cookie in first.chain(approved.headers.get_all("set-cookie")) {
        let cookie = cookie.to_str().unwrap();
        let attributes: Vec<_> = cookie.split(';').skip(1).map(str::trim).collect();
        assert!(cookie.starts_with("__Host-doorman-"), "{cookie}");
        for needed in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
            assert!(attributes.contains(&needed), "no {needed}: {cookie}");
        }
        assert!(!cookie.to_lowercase().contains("domain="), "{cookie}");
        assert!(cookie.len() < 1024, "{} characters", cookie.len());
        seen += 1;
    }
    assert!(seen > 0);
}

#[tokio::test]
async fn approval_needs_the_form_not_a_link() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();
    let page = browser.open(&doorman.authorization(&client).url()).await;
    let form = page.form();
    let mut link = form.action.clone();
    link.query_pairs_mut().extend_pairs(&form.hidden).append_pair("decision", "approve");

    let answer = browser.get(link.as_str()).await;

    assert!(answer.status.is_client_error(), "\n{answer}");
    assert!(!answer.headers.contains_key("location"), "\n{answer}");
}

/// RFC 9700 §4.7
#[tokio::test]
async fn a_form_sent_from_another_site_is_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let mut seen = 0;

    for (origin, site) in [
        ("https://evil.example", "cross-site"),
        ("https://tools.example.com.evil.example", "cross-site"),
        ("https://other.example.com", "same-site"),
        ("http://tools.example.com", "cross-site"),
        ("null", "cross-site"),
    ] {
        let browser = doorman.browser();
        let page = browser.open(&doorman.authorization(&client).url()).await;
        let answer = browser.submit_from(&page.form(), "approve", origin, site).await;
        answer.assert_stopped_on_a_page();
        seen += 1;
    }

    assert_eq!(seen, 5);
    assert!(doorman.idp().asked("/authorize").is_empty());
}

/// A page that an attacker opened can't be submitted by a victim, nor the other way round.
#[tokio::test]
async fn the_form_belongs_to_the_browser_that_was_shown_it() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let url = doorman.authorization(&client).url();
    let (attacker, victim, stranger) = (doorman.browser(), doorman.browser(), doorman.browser());
    let page = attacker.open(&url).await;
    victim.open(&url).await;

    stranger.approve(&page).await.assert_stopped_on_a_page();
    victim.approve(&page).await.assert_stopped_on_a_page();
    attacker.forget_cookies();
    attacker.approve(&page).await.assert_stopped_on_a_page();

    assert!(doorman.idp().asked("/authorize").is_empty());
}

#[tokio::test]
async fn a_changed_form_is_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();
    let page = browser.open(&doorman.authorization(&client).url()).await;
    let form = page.form();
    let mut seen = 0;

    for position in 0..form.hidden.len() {
        for change in [&|_: &str| String::new(), &changed as &dyn Fn(&str) -> String] {
            let mut bent = form.clone();
            bent.hidden[position].1 = change(&form.hidden[position].1);
            browser.submit(&bent, "approve").await.assert_stopped_on_a_page();
            seen += 1;
        }
        let mut bent = form.clone();
        bent.hidden.remove(position);
        browser.submit(&bent, "approve").await.assert_stopped_on_a_page();
    }
    for decision in ["", "maybe", "APPROVE"] {
        let answer = browser.submit(&form, decision).await;
        assert!(answer.status.is_client_error(), "\n{answer}");
    }

    assert!(seen > 0, "no hidden input carries the request\n{page}");
    assert!(doorman.idp().asked("/authorize").is_empty());
}

/// A double click, or the page that the back button shows.
#[tokio::test]
async fn a_form_counts_once() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();
    let page = browser.open(&doorman.authorization(&client).url()).await;
    let to_idp = browser.approve(&page).await.location();
    browser.open(to_idp.as_str()).await.landing().code();

    browser.approve(&page).await.assert_stopped_on_a_page();

    assert_eq!(doorman.idp().asked("/authorize").len(), 1);
}

#[tokio::test]
async fn a_form_is_good_for_ten_minutes() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();
    let page = browser.open(&doorman.authorization(&client).url()).await;
    let late_page = browser.open(&doorman.authorization(&client).url()).await;

    doorman.later(9 * MINUTE);
    browser.approve(&page).await.location();
    doorman.later(2 * MINUTE);
    browser.approve(&late_page).await.assert_stopped_on_a_page();
}

/// A person may have two clients asking at once.
#[tokio::test]
async fn two_tabs_of_one_browser_do_not_disturb_each_other() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let (one, two) = (doorman.authorization(&client), doorman.authorization(&client));
    let browser = doorman.browser();
    let first = browser.open(&one.url()).await;
    let second = browser.open(&two.url()).await;

    let to_idp_first = browser.approve(&first).await.location();
    let to_idp_second = browser.approve(&second).await.location();
    let landed_second = browser.open(to_idp_second.as_str()).await.landing();
    let landed_first = browser.open(to_idp_first.as_str()).await.landing();

    assert_eq!(landed_first.parameter("state"), Some(one.state));
    assert_eq!(landed_second.parameter("state"), Some(two.state));
    assert_ne!(landed_first.code(), landed_second.code());
}

/// A double submission of two tabs, in the other order.
#[tokio::test]
async fn two_tabs_may_be_answered_in_any_order() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let (one, two) = (doorman.authorization(&client), doorman.authorization(&client));
    let browser = doorman.browser();
    let first = browser.open(&one.url()).await;
    let second = browser.open(&two.url()).await;

    let to_idp_second = browser.approve(&second).await.location();
    let landed_second = browser.open(to_idp_second.as_str()).await.landing();
    let to_idp_first = browser.approve(&first).await.location();
    let landed_first = browser.open(to_idp_first.as_str()).await.landing();

    assert_eq!(landed_first.parameter("state"), Some(one.state));
    assert_eq!(landed_second.parameter("state"), Some(two.state));
    assert_ne!(landed_first.code(), landed_second.code());
}

/// The IdP takes its time for one, and the answer to the other comes meanwhile.
#[tokio::test]
async fn two_tabs_may_be_answered_at_once() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let (one, two) = (doorman.authorization(&client), doorman.authorization(&client));
    let browser = doorman.browser();
    let second = browser.open(&two.url()).await;
    let callback = browser.up_to_the_callback(&one.url()).await;

    doorman.idp().hold_codes();
    let meanwhile = async {
        doorman.idp().until_a_code_came().await;
        let to_idp = browser.approve(&second).await.location();
        doorman.idp().release_codes();
        to_idp
    };
    let (landed_first, to_idp_second) = tokio::join!(browser.get(&callback), meanwhile);
    let landed_second = browser.open(to_idp_second.as_str()).await.landing();

    assert_ne!(landed_first.landing().code(), landed_second.code());
    assert_eq!(landed_second.parameter("state"), Some(two.state));
}

/// An IdP that sees its code twice takes back what the first one bought (RFC 6749 §4.1.2).
#[tokio::test]
async fn a_page_that_is_reloaded_while_the_idp_thinks_spends_no_code_twice() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();
    let callback = browser.up_to_the_callback(&doorman.authorization(&client).url()).await;

    doorman.idp().hold_codes();
    let meanwhile = async {
        doorman.idp().until_a_code_came().await;
        let again = browser.get(&callback).await;
        doorman.idp().release_codes();
        again
    };
    let (first, again) = tokio::join!(browser.get(&callback), meanwhile);

    first.landing().code();
    again.assert_stopped_on_a_page();
    assert_eq!(doorman.idp().asked("/token").len(), 1);
}

/// The link was made elsewhere: who made it gets nothing of whoever followed it, not even later.
#[tokio::test]
async fn a_login_that_came_back_in_another_browser_is_over() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let (attacker, victim) = (doorman.browser(), doorman.browser());
    let callback = attacker.up_to_the_callback(&doorman.authorization(&client).url()).await;

    victim.get(&callback).await.assert_stopped_on_a_page();
    attacker.get(&callback).await.assert_stopped_on_a_page();

    assert!(doorman.idp().asked("/token").is_empty());
}

/// OpenID Connect Core §3.1.2.1: `none` forbids pages, and without one nobody logs in here
#[tokio::test]
async fn a_silent_login_is_never_answered_with_a_redirect() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let url = doorman.authorization(&client).with("prompt", "none").url();

    let answer = doorman.browser().get(&url).await;

    assert!([200, 400].contains(&answer.status.as_u16()), "\n{answer}");
    answer.assert_page(answer.status.as_u16());
}

#[tokio::test]
async fn a_person_who_never_answers_leaves_nothing_behind() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();
    let page = browser.open(&doorman.authorization(&client).url()).await;

    doorman.later(25 * HOUR);

    browser.approve(&page).await.assert_stopped_on_a_page();
    assert!(doorman.idp().asked("/authorize").is_empty());
}

/// Other applications on our host set what they like.
#[tokio::test]
async fn a_foreign_cookie_that_is_not_ascii_disturbs_nobody() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();
    browser.keep_cookie(ORIGIN, "name", "Zo\u{eb}");

    let landing = browser.log_in(&doorman.authorization(&client).url()).await;

    landing.code();
}

/// The issuer is what the config says, whatever a request says.
#[tokio::test]
async fn another_host_gets_no_consent_page() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let url = doorman.authorization(&client).url();

    for host in ["evil.example", "tools.example.com.evil.example", "127.0.0.1"] {
        let answer = doorman.send(Request::get(&url).header("host", host)).await;
        answer.assert_status(421);
    }
    doorman.send(Request::get(&url).header("host", HOST)).await.assert_status(200);
}

/// The text with its middle character replaced.
fn changed(text: &str) -> String {
    let middle = text.len() / 2;
    let replacement = if text[middle..].starts_with('A') { "B" } else { "A" };
    format!("{}{replacement}{}", &text[..middle], &text[middle + 1..])
}

/// The consent page of a client of that name; `None` if it may not be registered.
async fn page_of(doorman: &Doorman, name: &str, redirect_uri: &str) -> Option<Exchange> {
    let mut named = metadata(redirect_uri);
    named["client_name"] = json!(name);
    let registered = doorman.register_with(&named).await;
    if registered.status == 400 {
        registered.assert_error(400, "invalid_client_metadata");
        return None;
    }
    let id = registered.json()["client_id"].as_str().unwrap().to_owned();
    let client = Client { id, redirect_uri: redirect_uri.to_owned() };
    let page = doorman.browser().open(&doorman.authorization(&client).url()).await;
    page.assert_page(200);
    Some(page)
}

/// Every tag of the page, but for the ticket in it. In HTML a `<` begins one, whatever is meant.
fn tags(page: &Exchange) -> Vec<String> {
    let ticket = &page.form().hidden[0].1;
    let html = page.text().replace(ticket.as_str(), "");
    html.split('<').skip(1).map(|tag| tag.split('>').next().unwrap().to_owned()).collect()
}
