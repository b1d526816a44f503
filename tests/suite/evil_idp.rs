//! An IdP that lies and fails, in one table: whatever it does, the person ends in the right place without a code,
//! the log says why, and nothing of what it said leaks. What it may do to an ID token's signature and to the
//! answer at the callback is in `login`.
#![expect(clippy::too_many_lines, reason = "a table is as long as it is")]
#![expect(clippy::unnecessary_wraps, reason = "the shape of every answer of `Quirks::resource`")]

use mcp_doorman::policy::AccessEntry;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::doorman::{Doorman, ORIGIN};
use crate::support::exchange::Exchange;
use crate::support::fake_idp::{CLIENT_SECRET, DISCOVERY};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::idp_quirks::{Quirks, Refresh, Reply, Tampering, Visit, userinfo};

struct Misdeed {
    name: &'static str,
    /// What the operator says of the IdP.
    yaml: &'static str,
    quirks: Quirks,
    access: Option<AccessEntry>,
    ends: Ends,
    /// The log has it.
    why: &'static str,
}

/// Where the person is in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// Back at the client, with this error.
    Error(&'static str),
    /// On a page of ours, with this status.
    Page(u16),
}

const DENIED: Ends = Ends::Error("access_denied");
const LATER: Ends = Ends::Error("temporarily_unavailable");
const BROKEN: Ends = Ends::Error("server_error");
/// The access rules don't know them.
const UNKNOWN: Ends = Ends::Page(403);

const PLAIN: &str = "  issuer: ORIGIN";
const USERINFO: &str = "  issuer: ORIGIN\n  identity: userinfo";
const LOOKUP: &str = "  issuer: ORIGIN\n  groups_lookup: { url: ORIGIN/groups, list: /value, name: [/org, /id], next: /next }";
const RESOURCE: &str =
    "  issuer: ORIGIN\n  identity: user_resource\n  user_resource: ORIGIN/user\n  user_key: [id]";
const EMAILS: &str = "  issuer: ORIGIN\n  email_lookup: { url: ORIGIN/emails, address: /email, verified: /verified, primary: /primary }";
/// In whatever is not to be repeated.
const CANARY: &str = "canary-evil";

fn misdeed(
    name: &'static str,
    yaml: &'static str,
    quirks: Quirks,
    ends: Ends,
    why: &'static str,
) -> Misdeed {
    Misdeed { name, yaml, quirks, access: None, ends, why }
}

fn tampering(
    name: &'static str,
    at: &'static str,
    bend: impl Fn(Reply) -> Reply + Send + Sync + 'static,
    ends: Ends,
    why: &'static str,
) -> Misdeed {
    let quirks = Quirks { tampering: Tampering::with(at, bend), ..Quirks::default() };
    let yaml = if at == "/userinfo" { USERINFO } else { PLAIN };
    misdeed(name, yaml, quirks, ends, why)
}

fn claims(name: &'static str, claims: fn(&mut Value), ends: Ends, why: &'static str) -> Misdeed {
    misdeed(name, PLAIN, Quirks { claims, ..Quirks::default() }, ends, why)
}

/// The address decides who may come in.
fn address(name: &'static str, bend: fn(&mut Value)) -> Misdeed {
    Misdeed { access: Some(by_domain()), ..claims(name, bend, UNKNOWN, "do not admit") }
}

fn by_domain() -> AccessEntry {
    AccessEntry { email_domains: vec!["example.com".to_owned()], ..AccessEntry::default() }
}

fn asked(
    name: &'static str,
    yaml: &'static str,
    resource: fn(&Visit<'_>) -> Option<Reply>,
    ends: Ends,
    why: &'static str,
) -> Misdeed {
    let has_id_token = yaml != RESOURCE;
    let quirks = Quirks { resource, has_id_token, refresh: Refresh::Never, ..Quirks::default() };
    misdeed(name, yaml, quirks, ends, why)
}

fn html(_: Reply) -> Reply {
    Reply::text(format!("<html><script>alert('{CANARY}')</script></html>"))
}

fn redirect(_: Reply) -> Reply {
    Reply::status(302).header("location", "http://127.0.0.1:1/canary-evil")
}

fn huge(mut reply: Reply) -> Reply {
    reply.body.push_str(&" ".repeat(300 * 1024));
    reply
}

fn cut_off(mut reply: Reply) -> Reply {
    reply.body.truncate(reply.body.len() / 2);
    reply
}

fn held(_: Reply) -> Reply {
    Reply::held()
}

/// The values of `names`, which is the order in which they are read here.
fn listed(names: &[&str]) -> impl Fn(Reply) -> Reply {
    move |reply| {
        let members: Value = serde_json::from_str(&reply.body).unwrap();
        Reply::json(&names.iter().map(|name| members[*name].clone()).collect())
    }
}

/// One member more at the front.
fn with_member(mut reply: Reply, member: &str) -> Reply {
    reply.body.insert_str(1, &format!("{member},"));
    reply
}

fn about_itself() -> Vec<Misdeed> {
    let endpoint = |name: &'static str, url: &'static str| {
        move |reply: Reply| {
            let mut metadata: Value = serde_json::from_str(&reply.body).unwrap();
            metadata[name] = json!(url);
            Reply::json(&metadata)
        }
    };
    vec![
        tampering("metadata: redirects", DISCOVERY, redirect, Ends::Page(503), "answered 302"),
        tampering("metadata: is huge", DISCOVERY, huge, Ends::Page(503), "larger than"),
        tampering("metadata: is cut off", DISCOVERY, cut_off, Ends::Page(503), "EOF while"),
        tampering("metadata: is HTML", DISCOVERY, html, Ends::Page(503), "not the JSON"),
        tampering(
            "metadata: is a list",
            DISCOVERY,
            listed(&[
                "issuer",
                "authorization_endpoint",
                "token_endpoint",
                "",
                "",
                "",
                "jwks_uri",
                "",
            ]),
            Ends::Page(503),
            "expected an object",
        ),
        tampering("metadata: never comes", DISCOVERY, held, Ends::Page(503), "no answer"),
        tampering(
            "metadata: two issuers",
            DISCOVERY,
            |reply| with_member(reply, r#""issuer":"https://other.example""#),
            Ends::Page(503),
            "duplicate field",
        ),
        tampering(
            "metadata: another issuer",
            DISCOVERY,
            endpoint("issuer", "https://other.example"),
            Ends::Page(503),
            "must be the same text",
        ),
        tampering(
            "metadata: a script for an endpoint",
            DISCOVERY,
            endpoint("authorization_endpoint", "javascript:alert(1)"),
            Ends::Page(503),
            "not https",
        ),
        tampering(
            "metadata: no token endpoint",
            DISCOVERY,
            endpoint("token_endpoint", ""),
            Ends::Page(503),
            "has no token_endpoint",
        ),
        tampering("keys: redirect", "/jwks", redirect, Ends::Page(503), "answered 302"),
        tampering("keys: are huge", "/jwks", huge, Ends::Page(503), "larger than"),
        tampering("keys: are cut off", "/jwks", cut_off, Ends::Page(503), "EOF while"),
        tampering("keys: are HTML", "/jwks", html, Ends::Page(503), "not the JSON"),
        tampering(
            "keys: are a list",
            "/jwks",
            listed(&["keys"]),
            Ends::Page(503),
            "expected an object",
        ),
        tampering("keys: never come", "/jwks", held, Ends::Page(503), "no answer"),
        tampering(
            "keys: none",
            "/jwks",
            |_| Reply::text(r#"{"keys":[]}"#),
            Ends::Page(503),
            "no key that we can use",
        ),
        tampering(
            "keys: a shared secret",
            "/jwks",
            |_| Reply::text(r#"{"keys":[{"kty":"oct","kid":"key-1","k":"AAAA"}]}"#),
            Ends::Page(503),
            "no key that we can use",
        ),
    ]
}

fn about_tokens() -> Vec<Misdeed> {
    vec![
        tampering("tokens: redirect", "/token", redirect, BROKEN, "answered 302"),
        tampering("tokens: huge", "/token", huge, LATER, "larger than"),
        tampering(
            "tokens: cut off",
            "/token",
            cut_off,
            BROKEN,
            "no JSON object with an access_token",
        ),
        tampering("tokens: HTML", "/token", html, BROKEN, "no JSON object with an access_token"),
        tampering(
            "tokens: are a list",
            "/token",
            listed(&["access_token", "id_token", "refresh_token", "error"]),
            BROKEN,
            "no JSON object with an access_token",
        ),
        tampering("tokens: never come", "/token", held, LATER, "no answer"),
        tampering(
            "tokens: one twice",
            "/token",
            |reply| with_member(reply, r#""id_token":"x""#),
            BROKEN,
            "no JSON object with an access_token",
        ),
        tampering(
            "tokens: an error beside them",
            "/token",
            |reply| with_member(reply, r#""error":"access_denied""#),
            BROKEN,
            "answered 200",
        ),
        tampering(
            "tokens: an error that is markup",
            "/token",
            |_| Reply::json(&json!({ "error": "<b>canary-evil</b>" })),
            BROKEN,
            "unreadable",
        ),
        claims(
            "claims: groups are a number",
            |own| own["groups"] = json!(7),
            DENIED,
            "groups_shape",
        ),
        claims(
            "claims: groups are true",
            |own| own["groups"] = json!(true),
            DENIED,
            "groups_shape",
        ),
        claims(
            "claims: groups are an object",
            |own| own["groups"] = json!({ "mcp-users": true }),
            DENIED,
            "groups_shape",
        ),
        claims(
            "claims: lists within the list of groups",
            |own| own["groups"] = json!([["mcp-users"]]),
            DENIED,
            "groups_shape",
        ),
        claims(
            "claims: a number among the groups",
            |own| own["groups"] = json!(["a", 1]),
            DENIED,
            "groups_shape",
        ),
        claims(
            "claims: too many groups",
            |own| own["groups"] = json!(vec!["g"; 5_001]),
            DENIED,
            "more than 5000 groups",
        ),
        claims(
            "claims: a group with an endless name",
            |own| own["groups"] = json!(["g".repeat(513)]),
            DENIED,
            "512 bytes",
        ),
        claims(
            "claims: groups are elsewhere, nobody knows where",
            |own| own["_claim_names"] = json!({ "groups": "src1" }),
            DENIED,
            "idp.groups_lookup",
        ),
        claims("claims: sub is a number", |own| own["sub"] = json!(7), BROKEN, "no sub"),
        claims("claims: sub is a list", |own| own["sub"] = json!(["a"]), BROKEN, "no sub"),
        claims("claims: aud is an object", |own| own["aud"] = json!({}), BROKEN, "aud"),
        claims("claims: exp is a word", |own| own["exp"] = json!("never"), BROKEN, "no exp"),
        claims("claims: exp is endless", |own| own["exp"] = json!(1e300), BROKEN, "no exp"),
        claims("claims: iat is missing", |own| own["iat"] = json!(null), BROKEN, "no iat"),
        address("address: verified is the text false", |own| {
            own["email_verified"] = json!("false");
        }),
        address("address: verified is the text true", |own| own["email_verified"] = json!("true")),
        address("address: verified is 1", |own| own["email_verified"] = json!(1)),
        address("address: nobody says verified", |own| own["email_verified"] = json!(null)),
        address("address: two @", |own| own["email"] = json!("a@evil.example@example.com")),
        address("address: letters that look alike", |own| {
            own["email"] = json!("a@ex\u{430}mple.com");
        }),
        address("address: a line break", |own| {
            own["email"] = json!("a@evil.example\n@example.com");
        }),
        address("address: a list", |own| own["email"] = json!(["a@example.com"])),
        address("address: a longer domain", |own| {
            own["email"] = json!("a@example.com.evil.example");
        }),
    ]
}

fn when_asked() -> Vec<Misdeed> {
    vec![
        asked(
            "userinfo: of another",
            USERINFO,
            |visit| told(visit, |own| own["sub"] = json!("bob")),
            DENIED,
            "another sub",
        ),
        asked(
            "userinfo: of nobody",
            USERINFO,
            |visit| told(visit, |own| own["sub"] = json!(null)),
            DENIED,
            "another sub",
        ),
        asked(
            "userinfo: of a number",
            USERINFO,
            |visit| told(visit, |own| own["sub"] = json!(7)),
            DENIED,
            "another sub",
        ),
        tampering(
            "userinfo: is HTML",
            "/userinfo",
            html,
            BROKEN,
            "userinfo endpoint answered what",
        ),
        tampering("userinfo: redirects", "/userinfo", redirect, BROKEN, "answered 302"),
        tampering("userinfo: is huge", "/userinfo", huge, LATER, "larger than"),
        tampering("userinfo: never comes", "/userinfo", held, LATER, "userinfo endpoint no answer"),
        tampering("userinfo: fails", "/userinfo", |_| Reply::status(500), LATER, "answered 500"),
        tampering("userinfo: refuses", "/userinfo", |_| Reply::status(401), BROKEN, "answered 401"),
        tampering(
            "userinfo: an error with 200",
            "/userinfo",
            |_| Reply::json(&json!({ "error": "canary-evil" })),
            BROKEN,
            "answered an error",
        ),
        tampering(
            "userinfo: two people",
            "/userinfo",
            |reply| with_member(reply, r#""sub":"bob""#),
            BROKEN,
            "a name twice",
        ),
        tampering("userinfo: a list", "/userinfo", |_| Reply::text("[]"), BROKEN, "no JSON object"),
        tampering(
            "userinfo: a JWT",
            "/userinfo",
            |_| Reply::text("e30.e30.canary-evil"),
            BROKEN,
            "what we can't read",
        ),
        asked(
            "lookup: goes in circles",
            LOOKUP,
            |visit| page(visit, "/groups"),
            BROKEN,
            "read before",
        ),
        asked(
            "lookup: never ends",
            LOOKUP,
            |visit| page(visit, &format!("/groups?{}x", visit.query)),
            BROKEN,
            "more than 20 pages",
        ),
        asked(
            "lookup: sends the token elsewhere",
            LOOKUP,
            |visit| page(visit, "http://localhost:1/groups"),
            BROKEN,
            "another origin",
        ),
        asked(
            "lookup: goes on at a number",
            LOOKUP,
            |_| Some(Reply::json(&json!({ "value": [], "next": 2 }))),
            BROKEN,
            "next page is no URL",
        ),
        asked(
            "lookup: is no list",
            LOOKUP,
            |_| Some(Reply::json(&json!({ "value": { "id": "a" } }))),
            BROKEN,
            "there is no list",
        ),
        asked(
            "lookup: lists lists",
            LOOKUP,
            |_| Some(Reply::json(&json!({ "value": [["a"]] }))),
            BROKEN,
            "has no name",
        ),
        asked(
            "lookup: a name is an object",
            LOOKUP,
            |_| entry(&json!({ "org": "a", "id": {} })),
            BROKEN,
            "has no name",
        ),
        asked(
            "lookup: a name could be two",
            LOOKUP,
            |_| entry(&json!({ "org": "a/b", "id": "c" })),
            BROKEN,
            "has a slash",
        ),
        asked(
            "lookup: too many groups",
            LOOKUP,
            |_| Some(Reply::json(&json!({ "value": vec![json!({ "org": "a", "id": 1 }); 5_001] }))),
            DENIED,
            "more than 5000 groups",
        ),
        asked("lookup: too many bytes", LOOKUP, big_page, BROKEN, "1048576 bytes"),
        asked("lookup: is not there", LOOKUP, |_| None, BROKEN, "answered 404"),
        asked(
            "lookup: redirects",
            LOOKUP,
            |_| Some(redirect(Reply::text(""))),
            BROKEN,
            "answered 302",
        ),
        asked("lookup: is busy", LOOKUP, |_| Some(Reply::status(429)), LATER, "answered 429"),
        asked(
            "user: has no key",
            RESOURCE,
            |_| Some(Reply::json(&json!({ "login": "alice" }))),
            DENIED,
            "idp.user_key needs",
        ),
        asked(
            "user: has half a key",
            RESOURCE,
            |_| Some(Reply::json(&json!({ "id": 1.5 }))),
            DENIED,
            "idp.user_key needs",
        ),
        asked(
            "user: is HTML",
            RESOURCE,
            |_| Some(html(Reply::text(""))),
            BROKEN,
            "what we can't read",
        ),
        asked(
            "user: has two keys",
            RESOURCE,
            |_| Some(Reply::text(r#"{"id":1,"id":2}"#)),
            BROKEN,
            "a name twice",
        ),
        Misdeed {
            access: Some(by_domain()),
            ..asked(
                "addresses: the first is not verified",
                EMAILS,
                |_| addresses("a@example.com", &json!(false), true),
                UNKNOWN,
                "do not admit",
            )
        },
        Misdeed {
            access: Some(by_domain()),
            ..asked(
                "addresses: verified is a text",
                EMAILS,
                |_| addresses("a@example.com", &json!("true"), true),
                UNKNOWN,
                "do not admit",
            )
        },
        Misdeed {
            access: Some(by_domain()),
            ..asked(
                "addresses: verified, but not theirs to use",
                EMAILS,
                |_| addresses("a@example.com", &json!(true), false),
                UNKNOWN,
                "do not admit",
            )
        },
        asked(
            "addresses: are no list",
            EMAILS,
            |_| Some(Reply::json(&json!({}))),
            BROKEN,
            "there is no list",
        ),
        misdeed(
            "lookup: never comes",
            LOOKUP,
            Quirks { tampering: Tampering::with("/groups", held), ..Quirks::default() },
            LATER,
            "idp.groups_lookup no answer",
        ),
    ]
}

fn told(visit: &Visit<'_>, bend: fn(&mut Value)) -> Option<Reply> {
    let mut told = userinfo(visit.person);
    bend(&mut told);
    Some(Reply::json(&told))
}

fn page(visit: &Visit<'_>, next: &str) -> Option<Reply> {
    (visit.path == "/groups").then(|| Reply::json(&json!({ "value": [], "next": next })))
}

fn big_page(visit: &Visit<'_>) -> Option<Reply> {
    let next = format!("/groups?{}x", visit.query);
    let padding = "x".repeat(200 * 1024);
    Some(Reply::json(&json!({ "value": [], "next": next, "padding": padding })))
}

fn entry(entry: &Value) -> Option<Reply> {
    Some(Reply::json(&json!({ "value": [entry] })))
}

fn addresses(email: &str, verified: &Value, is_primary: bool) -> Option<Reply> {
    Some(Reply::json(&json!([{ "email": email, "verified": verified, "primary": is_primary }])))
}

#[tokio::test]
async fn whatever_the_idp_does_ends_well() {
    let misdeeds: Vec<_> =
        [about_itself(), about_tokens(), when_asked()].into_iter().flatten().collect();
    let (mut at_once, mut seen, mut wrong) = (JoinSet::new(), 0, Vec::new());

    for misdeed in misdeeds {
        at_once.spawn(Box::pin(judged(misdeed)));
    }
    while let Some(judgement) = at_once.join_next().await {
        seen += 1;
        wrong.extend(judgement.unwrap());
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen, 85);
}

/// The same way with an IdP that does nothing wrong: what is wrong above is the misdeed.
#[tokio::test]
async fn an_honest_idp_is_believed_in_each_of_these_ways() {
    let groups: fn(&Visit<'_>) -> Option<Reply> = |visit| match (visit.path, visit.query) {
        ("/groups", "") => {
            Some(Reply::json(&json!({ "value": [{ "org": "a", "id": "b" }], "next": "/groups?2" })))
        }
        ("/groups", "2") => Some(Reply::json(&json!({ "value": [{ "org": "a", "id": 3 }] }))),
        _ => None,
    };
    let user: fn(&Visit<'_>) -> Option<Reply> = |_| Some(Reply::json(&json!({ "id": 7 })));
    let emails: fn(&Visit<'_>) -> Option<Reply> =
        |_| addresses("a@example.com", &json!(true), true);
    let mut seen = 0;

    for (yaml, resource, access) in [
        (PLAIN, user, Some(by_domain())),
        (USERINFO, Quirks::default().resource, Some(by_domain())),
        (LOOKUP, groups, Some(by_group("a/b"))),
        (LOOKUP, groups, Some(by_group("a/3"))),
        (RESOURCE, user, None),
        (EMAILS, emails, Some(by_domain())),
    ] {
        let honest = Misdeed { access, ..asked("", yaml, resource, DENIED, "") };
        let (doorman, end) = arrived(&honest).await;
        end.landing().code();
        drop(doorman);
        seen += 1;
    }

    assert_eq!(seen, 6);
}

fn by_group(group: &str) -> AccessEntry {
    AccessEntry { groups: vec![group.to_owned()], ..AccessEntry::default() }
}

async fn arrived(misdeed: &Misdeed) -> (Doorman, Exchange) {
    let builder = Doorman::in_front_of(FakeMcpServer::start().await);
    let builder = builder.logging_in_at(misdeed.quirks.clone(), misdeed.yaml);
    let builder = match &misdeed.access {
        Some(entry) => builder.access(std::slice::from_ref(entry)),
        None => builder,
    };
    let doorman = builder.start().await;
    let client = doorman.register().await;
    let end = doorman.browser().arrive(&doorman.authorization(&client).url()).await;
    (doorman, end)
}

/// What is wrong with how it ended.
async fn judged(misdeed: Misdeed) -> Option<String> {
    let (doorman, end) = arrived(&misdeed).await;
    let ends = if end.status.is_redirection() {
        let landing = end.landing();
        let has_both = landing.parameter("state").is_some()
            && landing.parameter("iss").as_deref() == Some(ORIGIN)
            && landing.parameter("code").is_none();
        let error = landing.parameter("error").unwrap_or_default();
        let known = ["access_denied", "temporarily_unavailable", "server_error"];
        let known = known.into_iter().find(|known| *known == error);
        Ends::Error(known.filter(|_| has_both).unwrap_or("something else"))
    } else {
        end.assert_page(end.status.as_u16());
        Ends::Page(end.status.as_u16())
    };
    let (log, shown) = (doorman.log().text(), format!("{:?}{}", end.headers, end.text()));
    let secrets =
        doorman.idp().issued().into_iter().chain([CANARY.to_owned(), CLIENT_SECRET.to_owned()]);
    let leaked: Vec<_> = secrets
        .filter(|secret| log.contains(secret.as_str()) || shown.contains(secret.as_str()))
        .collect();
    let is_right = ends == misdeed.ends && log.contains(misdeed.why) && leaked.is_empty();
    let name = misdeed.name;
    (!is_right).then(|| {
        let faults: Vec<_> = log.lines().filter(|line| line.contains("fault")).collect();
        format!(
            "{name}: {ends:?}, leaked {leaked:?}, not {:?} because of {:?}\n  {}",
            misdeed.ends,
            misdeed.why,
            faults.join("\n  ")
        )
    })
}
