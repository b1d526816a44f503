//! What earlier releases sealed and stored: a text of each kind as it once was, in `tests/formats/`, which
//! today's code must still read. Upgrading signs nobody out, unless a kind gets a new version byte.
//!
//! If one of these fails, a payload was changed: give its kind a new version, say so in the CHANGELOG, remove
//! the file and write it anew: `UPDATE_EXPECTED=1 cargo test --test suite formats`. A file that is there is
//! never overwritten.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use mcp_doorman::store::StateSettings;
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde_json::json;
use tempfile::TempDir;

use crate::support::browser::{Browser, PageForm};
use crate::support::client::Client;
use crate::support::doorman::{Builder, Doorman, Granted, MINUTE, ORIGIN, REDIRECT, WEB_REDIRECT};
use crate::support::exchange::{Exchange, Request};
use crate::support::fake_idp::Person;
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::soon;

/// What was kept of a deployment: some texts by name, and all of its store.
#[derive(Debug)]
struct Kept {
    texts: HashMap<String, String>,
    store: String,
}

/// A deployment on a store of its own, always the same but for chance: it is always the same second.
struct Deployment {
    doorman: Doorman,
    dir: TempDir,
}

type Texts = Vec<(&'static str, String)>;

#[tokio::test]
async fn a_client_id_of_then_is_known() {
    let kept =
        kept("client_id", plain, async |doorman| vec![("client_id", doorman.register().await.id)])
            .await;
    let now = on(plain, &kept.store).await.doorman;
    let client = Client { id: kept.text("client_id"), redirect_uri: REDIRECT.to_owned() };

    let page = now.browser().open(&now.authorization(&client).url()).await;

    assert!(page.shown().contains("Example Client"), "\n{page}");
    let login = now.log_in_with(client).await;
    now.call(&login.tokens.access).await.assert_status(200);
}

/// And says the same of the person.
#[tokio::test]
async fn an_access_token_of_then_opens_the_door() {
    let kept = kept("access_token", plain, async |doorman| {
        vec![("access_token", doorman.log_in().await.tokens.access)]
    })
    .await;
    let now = on(plain, "").await.doorman;

    now.call(&kept.text("access_token")).await.assert_status(200);

    let told = now.upstream().received().pop().unwrap();
    assert_eq!(told.values("x-forwarded-user"), [Person::alice().sub]);
    assert_eq!(told.values("x-forwarded-email"), [Person::alice().email]);
    assert_eq!(told.values("x-forwarded-groups"), ["engineers,mcp-users"]);
}

#[tokio::test]
async fn a_token_of_a_service_account_of_then_opens_the_door() {
    let kept = kept("service_account_token", with_a_machine, async |doorman| {
        vec![("access_token", token_of_machine(doorman).await)]
    })
    .await;
    let now = on(with_a_machine, "").await.doorman;

    now.call(&kept.text("access_token")).await.assert_status(200);

    let told = now.upstream().received().pop().unwrap();
    assert_eq!(told.values("x-forwarded-user"), ["service-account,nightly"]);
}

/// With the row of its grant.
#[tokio::test]
async fn a_refresh_token_of_then_is_taken() {
    let kept = kept("refresh_token", plain, async |doorman| {
        let login = doorman.log_in().await;
        vec![("client_id", login.client.id), ("refresh_token", login.tokens.refresh)]
    })
    .await;
    let now = on(plain, &kept.store).await.doorman;
    let client = Client { id: kept.text("client_id"), redirect_uri: REDIRECT.to_owned() };

    let tokens = now.refresh(&client, &kept.text("refresh_token")).await.tokens();

    now.call(&tokens.access).await.assert_status(200);
    let told = now.upstream().received().pop().unwrap();
    assert_eq!(told.values("x-forwarded-groups"), ["engineers,mcp-users"]);
}

/// The store is lost, and the IdP asked with what the token kept of it.
#[tokio::test]
async fn what_a_refresh_token_of_then_keeps_of_its_grant_is_read() {
    let kept = kept("refresh_token_with_keepsake", Builder::revocable, async |doorman| {
        let login = doorman.log_in().await;
        let mut issued = doorman.idp().issued().into_iter();
        let of_the_idp = issued.find(|text| text.starts_with("canary-idp-refresh-")).unwrap();
        vec![
            ("client_id", login.client.id),
            ("refresh_token", login.tokens.refresh),
            ("of_the_idp", of_the_idp),
        ]
    })
    .await;
    let now = Doorman::in_front_of(FakeMcpServer::start().await).revocable().start().await;
    now.later(MINUTE);
    let now = now.restarted().await;
    let client = Client { id: kept.text("client_id"), redirect_uri: REDIRECT.to_owned() };

    let answer = now.refresh(&client, &kept.text("refresh_token")).await;

    // This IdP has never heard of it.
    answer.assert_error(400, "invalid_grant");
    let asked = now.idp().asked("/token");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].parameters["refresh_token"], kept.text("of_the_idp"));
}

#[tokio::test]
async fn a_code_of_then_is_redeemed() {
    let kept = kept("code", plain, async |doorman| {
        let client = doorman.register().await;
        let granted = doorman.authorize(&client).await;
        vec![("client_id", client.id), ("code", granted.code), ("verifier", granted.verifier)]
    })
    .await;
    let now = on(plain, &kept.store).await.doorman;

    kept.redeems(&now, kept.text("code")).await;
}

/// `state`, in the URL to the IdP: the login that it is of comes to its end.
#[tokio::test]
async fn a_login_that_was_under_way_then_comes_to_its_end() {
    let kept =
        kept("state", plain, async |doorman| under_way(doorman, "state of the client").await).await;
    assert!(kept.text("query").contains("state=doorman_st_"));
    let now = on(plain, &kept.store).await.doorman;

    kept.comes_back(&now).await;
}

/// It is in the store what its `state` only names.
#[tokio::test]
async fn a_long_login_that_was_under_way_then_comes_to_its_end() {
    let kept = kept("state_in_the_store", plain, async |doorman| {
        under_way(doorman, &"long ".repeat(300)).await
    })
    .await;
    assert!(kept.store.contains("record login:"));
    let now = on(plain, &kept.store).await.doorman;

    kept.comes_back(&now).await;
}

#[tokio::test]
async fn a_consent_form_of_then_can_be_submitted() {
    let kept = kept("consent_form", plain, async |doorman| {
        let client = doorman.register().await;
        let (browser, authorization) = (doorman.browser(), doorman.authorization(&client));
        let page = browser.open(&authorization.url()).await;
        vec![
            ("client_id", client.id),
            ("verifier", authorization.verifier),
            ("cookie", cookie(&browser, "-browser")),
            ("ticket", ticket(&page)),
        ]
    })
    .await;
    let now = on(plain, &kept.store).await.doorman;
    let browser = kept.browser(&now);

    let to_idp = browser.submit(&kept.form(&now), "approve").await.location();
    let landing = browser.open(to_idp.as_str()).await.landing();

    kept.redeems(&now, landing.code()).await;
}

/// Who was here last, by a cookie, and what they consented to, by a row.
#[tokio::test]
async fn a_consent_of_then_is_remembered() {
    let kept = kept("remembered_consent", plain, async |doorman| {
        let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
        vec![("client_id", login.client.id), ("cookie", cookie(&login.browser, "-person"))]
    })
    .await;
    let now = on(plain, &kept.store).await.doorman;
    let client = Client { id: kept.text("client_id"), redirect_uri: WEB_REDIRECT.to_owned() };

    let page = kept.browser(&now).open(&now.authorization(&client).url()).await;

    assert!(page.shown().contains("Continue as alice@example.com"), "\n{page}");
}

/// It goes back to the client, although with an error: the IdP is not the one of then any more.
#[tokio::test]
async fn a_finished_login_that_waited_then_is_read() {
    let kept = kept("finished_login", plain, async |doorman| {
        let login = doorman.log_in_with(doorman.register_at(WEB_REDIRECT).await).await;
        let page = login.browser.open(&doorman.authorization(&login.client).url()).await;
        let bob = Person { sub: "bob-11c2", email: "bob@example.com", ..Person::alice() };
        doorman.idp().sign_in(bob);
        let to_idp = login.browser.approve(&page).await.location();
        let page = login.browser.open(to_idp.as_str()).await;
        vec![("cookie", cookie(&login.browser, "-browser")), ("ticket", ticket(&page))]
    })
    .await;
    let now = on(plain, &kept.store).await.doorman;

    let answer = kept.browser(&now).submit(&kept.form(&now), "approve").await;

    answer.landing().assert_error(&["server_error"]);
    let without_it = on(plain, "").await.doorman;
    let answer = kept.browser(&without_it).submit(&kept.form(&without_it), "approve").await;
    answer.assert_stopped_on_a_page();
}

/// Of both transports. A machine's: the fake IdP, and so its people, are others each time.
#[tokio::test]
async fn a_session_of_then_goes_on() {
    let kept = kept("session", with_a_machine, async |doorman| {
        let token = token_of_machine(doorman).await;
        doorman.upstream().answers(200, &[("mcp-session-id", "session-of-then")], "{}");
        let id = doorman.call(&token).await.header("mcp-session-id").to_owned();
        let feed = doorman.upstream().streams_events();
        feed.bytes("event: endpoint\ndata: /messages?session_id=of-then\n\n");
        feed.end();
        let stream = doorman.send(Request::get("/mcp").bearer(&token)).await.text();
        let endpoint = stream.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        vec![("session", id), ("endpoint", endpoint.to_owned())]
    })
    .await;
    let now = on(with_a_machine, "").await.doorman;
    let token = token_of_machine(&now).await;

    let session = kept.text("session");
    now.send(now.request(&token).header("mcp-session-id", &session)).await.assert_status(200);
    let told = now.upstream().received().pop().unwrap();
    assert_eq!(told.values("mcp-session-id"), ["session-of-then"]);

    let message = Request::post(&kept.text("endpoint")).json(&json!({})).bearer(&token);
    now.send(message).await.assert_status(200);
    let told = now.upstream().received().pop().unwrap();
    assert_eq!(told.target, "/messages?session_id=of-then");
}

/// In the log that replicas follow.
#[tokio::test]
async fn a_grant_that_ended_then_has_ended() {
    let kept = kept("ended_grant", plain, async |doorman| {
        let login = doorman.log_in().await;
        doorman.revoke(&login.client, &login.tokens.refresh).await.assert_status(200);
        vec![("access_token", login.tokens.access)]
    })
    .await;
    let (now, unaware) = (on(plain, &kept.store).await.doorman, on(plain, "").await.doorman);
    now.until_ready().await;

    now.call(&kept.text("access_token")).await.assert_status(401);
    unaware.call(&kept.text("access_token")).await.assert_status(200);
}

/// As it is kept. Made first, on request, by `make`.
async fn kept(
    name: &str,
    change: fn(Builder) -> Builder,
    make: impl AsyncFnOnce(&Doorman) -> Texts,
) -> Kept {
    let path = Path::new(FOLDER).join(name).with_extension("txt");
    if !path.exists() {
        assert!(
            std::env::var_os("UPDATE_EXPECTED").is_some(),
            "no {}: write it with UPDATE_EXPECTED=1",
            path.display()
        );
        let Deployment { doorman, dir } = on(change, "").await;
        let mut lines = String::new();
        for (name, text) in make(&doorman).await {
            writeln!(lines, "{name} {text}").unwrap();
        }
        doorman.stop().await;
        fs::write(&path, lines + "\n" + &read_store(dir.path()).await).unwrap();
    }
    let written = fs::read_to_string(path).unwrap();
    let (texts, store) = written.split_once("\n\n").unwrap();
    let texts = texts.lines().map(|line| line.split_once(' ').unwrap());
    let texts = texts.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    Kept { texts, store: store.to_owned() }
}

/// A deployment whose store holds this.
async fn on(change: fn(Builder) -> Builder, store: &str) -> Deployment {
    let dir = tempfile::tempdir().unwrap();
    if !store.is_empty() {
        write_store(dir.path(), store);
    }
    let builder = Doorman::in_front_of(FakeMcpServer::start().await);
    let state = StateSettings::Dir(dir.path().to_owned());
    Deployment { doorman: change(builder.state(state)).start().await, dir }
}

fn plain(builder: Builder) -> Builder {
    builder
}

fn with_a_machine(builder: Builder) -> Builder {
    let accounts = format!(
        "  []\nservice_accounts:\n- {{ id: nightly, secret: {{ insecure_inline: {MACHINES_SECRET} }} }}\n"
    );
    builder.declaring(&accounts, &json!({ "keys": [] }))
}

async fn token_of_machine(doorman: &Doorman) -> String {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "nightly"),
        ("client_secret", MACHINES_SECRET),
    ];
    let answer = doorman.token(&form).await;
    answer.assert_status(200).json()["access_token"].as_str().unwrap().to_owned()
}

/// A login up to where the browser is sent to the IdP.
async fn under_way(doorman: &Doorman, state: &str) -> Texts {
    let client = doorman.register().await;
    let (browser, authorization) = (doorman.browser(), doorman.authorization(&client));
    let authorization = authorization.with("state", state);
    let page = browser.open(&authorization.url()).await;
    let to_idp = browser.approve(&page).await.location();
    vec![
        ("client_id", client.id),
        ("verifier", authorization.verifier),
        ("cookie", cookie(&browser, "-login-")),
        ("query", to_idp.query().unwrap().to_owned()),
    ]
}

fn cookie(browser: &Browser, part: &str) -> String {
    let mut ours = browser.cookies().into_iter().filter(|cookie| cookie.origin == ORIGIN);
    let cookie = ours.find(|cookie| cookie.name.contains(part)).unwrap();
    format!("{}={}", cookie.name, cookie.value)
}

fn ticket(page: &Exchange) -> String {
    let hidden = page.form().hidden;
    hidden.into_iter().find(|(name, _)| name == "ticket").unwrap().1
}

impl Kept {
    fn text(&self, name: &str) -> String {
        self.texts[name].clone()
    }

    /// The browser of then.
    fn browser(&self, doorman: &Doorman) -> Browser {
        let browser = doorman.browser();
        let (name, value) = self.texts["cookie"].split_once('=').unwrap();
        browser.keep_cookie(ORIGIN, name, value);
        browser
    }

    fn form(&self, doorman: &Doorman) -> PageForm {
        let action = doorman.endpoint("/oauth/consent").parse().unwrap();
        let hidden = vec![("ticket".to_owned(), self.text("ticket"))];
        PageForm { action, hidden, decisions: Vec::new() }
    }

    /// The browser of then signs in, and the client of then gets tokens.
    async fn comes_back(&self, doorman: &Doorman) {
        let url = format!("{}/authorize?{}", doorman.idp().issuer(), self.texts["query"]);
        let landing = self.browser(doorman).open(&url).await.landing();
        self.redeems(doorman, landing.code()).await;
    }

    async fn redeems(&self, doorman: &Doorman, code: String) {
        let client = Client { id: self.text("client_id"), redirect_uri: REDIRECT.to_owned() };
        let granted = Granted { code, verifier: self.text("verifier") };
        let tokens = doorman.exchange(&client, &granted).await.tokens();
        doorman.call(&tokens.access).await.assert_status(200);
        doorman.refresh(&client, &tokens.refresh).await.tokens();
    }
}

/// A line for each record, entry of a log, and number.
async fn read_store(dir: &Path) -> String {
    let file = file_in(dir);
    // The threads of a process that has stopped may still be holding it.
    let opened = async {
        loop {
            match Database::open(&file) {
                Err(DatabaseError::DatabaseAlreadyOpen) => tokio::task::yield_now().await,
                opened => return opened.unwrap(),
            }
        }
    };
    let reading = soon("the file of a store", opened).await.begin_read().unwrap();
    let mut lines = String::new();
    for row in reading.open_table(RECORDS).unwrap().iter().unwrap() {
        let (key, row) = row.unwrap();
        let (version, until, value) = row.value();
        writeln!(lines, "record {} {version} {until} {value}", key.value()).unwrap();
    }
    for row in reading.open_table(ENTRIES).unwrap().iter().unwrap() {
        let (key, row) = row.unwrap();
        let ((log, number), (until, text)) = (key.value(), row.value());
        writeln!(lines, "entry {log} {number} {until} {text}").unwrap();
    }
    for row in reading.open_table(NUMBERS).unwrap().iter().unwrap() {
        let (name, number) = row.unwrap();
        writeln!(lines, "number {} {}", name.value(), number.value()).unwrap();
    }
    lines
}

fn write_store(dir: &Path, lines: &str) {
    let writing = Database::create(file_in(dir)).unwrap().begin_write().unwrap();
    {
        let mut records = writing.open_table(RECORDS).unwrap();
        let mut entries = writing.open_table(ENTRIES).unwrap();
        let mut numbers = writing.open_table(NUMBERS).unwrap();
        for line in lines.lines() {
            let number = |text: &str| text.parse::<u64>().unwrap();
            match *line.splitn(5, ' ').collect::<Vec<_>>() {
                ["record", key, version, until, value] => {
                    records.insert(key, (number(version), number(until), value)).unwrap();
                }
                ["entry", log, place, until, text] => {
                    entries.insert((log, number(place)), (number(until), text)).unwrap();
                }
                ["number", name, value] => {
                    numbers.insert(name, number(value)).unwrap();
                }
                _ => panic!("{line}"),
            }
        }
    }
    writing.commit().unwrap();
}

fn file_in(dir: &Path) -> PathBuf {
    dir.join("state.redb")
}

/// What stands in the file of a store, as its first release laid it out.
const RECORDS: TableDefinition<'_, &str, (u64, u64, &str)> = TableDefinition::new("records");
const ENTRIES: TableDefinition<'_, (&str, u64), (u64, &str)> = TableDefinition::new("entries");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats");
const MACHINES_SECRET: &str = "canary-machine-secret-0123456789";
