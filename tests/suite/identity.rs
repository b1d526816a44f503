//! Identity from wherever an IdP tells it: what is believed, what is asked for, and what it is asked again with.

use mcp_doorman::policy::{AccessEntry, ClaimRule};
use serde_json::{Value, json};

use crate::support::doorman::{Doorman, HOUR, Login, MINUTE};
use crate::support::exchange::Exchange;
use crate::support::fake_idp::{Conduct, Person};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::idp_quirks::{Quirks, Refresh, Reply, Tampering};

async fn logging_in_at(quirks: Quirks, yaml: &str) -> Doorman {
    let server = FakeMcpServer::start().await;
    Doorman::in_front_of(server).logging_in_at(quirks, yaml).start().await
}

async fn try_to_log_in(doorman: &Doorman) -> Exchange {
    let client = doorman.register().await;
    doorman.browser().arrive(&doorman.authorization(&client).url()).await
}

async fn refresh(doorman: &Doorman, login: &mut Login) -> Exchange {
    let answer = doorman.refresh(&login.client, &login.tokens.refresh).await;
    if answer.status == 200 {
        login.tokens = answer.tokens();
    }
    answer
}

/// What the MCP server hears in this header.
async fn told(doorman: &Doorman, login: &Login, header: &str) -> String {
    doorman.call(&login.tokens.access).await.assert_status(200);
    doorman.upstream().received().pop().unwrap().values(header).join(",")
}

/// RFC 8414 §3.1: the path of the issuer comes last.
#[tokio::test]
async fn metadata_may_be_that_of_an_authorization_server() {
    let quirks = Quirks {
        path: "/tenant",
        routes: &[
            ("/tenant/.well-known/openid-configuration", "/nothing"),
            ("/.well-known/oauth-authorization-server/tenant", "/.well-known/openid-configuration"),
        ],
        ..Quirks::default()
    };
    let doorman = logging_in_at(quirks, "  issuer: ORIGIN/tenant\n  metadata: oauth").await;

    doorman.log_in().await;

    assert!(!doorman.idp().asked("/.well-known/openid-configuration").is_empty());
    assert!(doorman.idp().asked("/nothing").is_empty());
}

/// Metadata that says something else is not asked for what is configured.
#[tokio::test]
async fn endpoints_that_are_configured_replace_those_that_are_published() {
    let broken = Tampering::with("/.well-known/openid-configuration", |reply| {
        let mut metadata: Value = serde_json::from_str(&reply.body).unwrap();
        for name in ["token_endpoint", "jwks_uri", "authorization_endpoint"] {
            metadata[name] = json!("https://127.0.0.1:1/nowhere");
        }
        Reply::json(&metadata)
    });
    let yaml = "  issuer: ORIGIN\n  endpoints: { authorization: ORIGIN/authorize, token: ORIGIN/token, keys: ORIGIN/jwks }";

    logging_in_at(Quirks { tampering: broken, ..Quirks::default() }, yaml).await.log_in().await;
}

const TENANTS: &str = "  issuer: ORIGIN/all\n  issuer_template: \"ORIGIN/{tenantid}\"\n  tenants: [ours]\n  user_key: [tid, sub]";

/// Whoever has an account at the IdP has one in some tenant.
#[tokio::test]
async fn only_people_of_the_tenants_that_were_named_come_in() {
    let of = |claims: fn(&mut Value)| Quirks {
        path: "/all",
        path_in_metadata: Some("/{tenantid}"),
        sends_issuer: false,
        claims,
        ..Quirks::default()
    };
    let cases: [(Bend, &str, &str); 5] = [
        (|own| named(own, Some("ours"), "ours"), "", ""),
        (|own| named(own, Some("theirs"), "theirs"), "access_denied", "not among idp.tenants"),
        (|own| named(own, Some("ours"), "theirs"), "server_error", "of the tenant that it names"),
        (|own| named(own, Some("ours"), "all"), "server_error", "of the tenant that it names"),
        (|own| named(own, None, "ours"), "server_error", "names no tenant"),
    ];
    for (claims, error, why) in cases {
        let doorman = logging_in_at(of(claims), TENANTS).await;
        let landing = try_to_log_in(&doorman).await.landing();
        if error.is_empty() {
            landing.code();
        } else {
            landing.assert_error(&[error]);
            assert!(doorman.log().text().contains(why), "{why}");
        }
    }
}

type Bend = fn(&mut Value);

/// A token that says it is of `tenant`, by the issuer of `issuer`.
fn named(claims: &mut Value, tenant: Option<&str>, issuer: &str) {
    let text = claims["iss"].as_str().unwrap().replace("/all", &format!("/{issuer}"));
    claims["iss"] = json!(text);
    claims["tid"] = json!(tenant);
}

#[tokio::test]
async fn an_issuer_may_be_spelled_only_as_configured() {
    let quirks = Quirks { claims: |own| own["iss"] = json!("login.example"), ..Quirks::default() };
    let spelled = "  issuer: ORIGIN\n  issuer_spellings: [login.example]";

    logging_in_at(quirks.clone(), spelled).await.log_in().await;
    let doorman = logging_in_at(quirks, "  issuer: ORIGIN").await;
    try_to_log_in(&doorman).await.landing().assert_error(&["server_error"]);
}

/// RFC 9207 §2.4: beside a code it may say what its tokens may.
#[tokio::test]
async fn an_answer_may_come_from_each_issuer_that_is_configured() {
    let of_tenants = |path| Quirks {
        path: "/all",
        path_in_metadata: Some("/{tenantid}"),
        path_beside_code: Some(path),
        claims: |own| named(own, Some("ours"), "ours"),
        ..Quirks::default()
    };
    let plain = |path| Quirks { path_beside_code: Some(path), ..Quirks::default() };
    let spelled = "  issuer: ORIGIN\n  issuer_spellings: [ORIGIN/spelled]";
    for (quirks, yaml, is_known) in [
        (of_tenants("/ours"), TENANTS, true),
        (of_tenants("/all"), TENANTS, true),
        (of_tenants("/theirs"), TENANTS, false),
        (of_tenants("/{tenantid}"), TENANTS, false),
        (plain("/spelled"), spelled, true),
        (plain(""), spelled, true),
        (plain("/"), spelled, false),
        (plain("/spelled"), "  issuer: ORIGIN", false),
    ] {
        let path = quirks.path_beside_code;
        let doorman = logging_in_at(quirks, yaml).await;
        let landing = try_to_log_in(&doorman).await.landing();
        if is_known {
            landing.code();
        } else {
            landing.assert_error(&["server_error"]);
            assert!(doorman.idp().asked("/token").is_empty(), "{path:?}: the code was spent");
        }
    }
}

/// OpenID Connect Back-Channel Logout 1.0 §2.6: `iss` as in ID tokens.
#[tokio::test]
async fn a_logout_token_may_name_each_issuer_that_is_configured() {
    let of_tenants = Quirks {
        path: "/all",
        path_in_metadata: Some("/{tenantid}"),
        sends_issuer: false,
        claims: |own| named(own, Some("ours"), "ours"),
        ..Quirks::default()
    };
    let spelled = "  issuer: ORIGIN\n  issuer_spellings: [login.example]";
    for (quirks, yaml, issuer, is_known) in [
        (of_tenants.clone(), TENANTS, "ORIGIN/ours", true),
        (of_tenants.clone(), TENANTS, "ORIGIN/theirs", false),
        (of_tenants, TENANTS, "ORIGIN/all", false),
        (Quirks::default(), spelled, "login.example", true),
        (Quirks::default(), spelled, "ORIGIN", true),
        (Quirks::default(), "  issuer: ORIGIN", "login.example", false),
    ] {
        let doorman = logging_in_at(quirks, yaml).await;
        let login = doorman.log_in().await;
        let issuer = issuer.replace("ORIGIN", doorman.idp().origin());
        let token = doorman.idp().logout_token(Person::alice().sub).claim("iss", issuer.clone());

        let answer = doorman.log_out(&token.signed()).await;

        assert_eq!(answer.status, if is_known { 200 } else { 400 }, "{issuer}");
        let called = doorman.call(&login.tokens.access).await;
        assert_eq!(called.status, if is_known { 401 } else { 200 }, "{issuer}");
    }
}

/// What is signed counts more than what is not.
#[tokio::test]
async fn userinfo_adds_to_the_id_token_and_replaces_nothing() {
    let quirks = Quirks {
        claims: |own| {
            own["employee"] = json!("7");
            own.as_object_mut().unwrap().remove("groups").unwrap();
        },
        resource: |visit| {
            Some(Reply::json(&json!({ "sub": visit.person.sub, "employee": "8", "groups": ["a"] })))
        },
        ..Quirks::default()
    };
    let yaml = "  issuer: ORIGIN\n  identity: userinfo\n  user_key: [employee]";
    let doorman = logging_in_at(quirks, yaml).await;

    let login = doorman.log_in().await;

    assert_eq!(told(&doorman, &login, "x-forwarded-user").await, "7");
    assert_eq!(told(&doorman, &login, "x-forwarded-groups").await, "a");
}

/// A refresh without an ID token: userinfo says who it is, and it must be the same person.
#[tokio::test]
async fn userinfo_of_another_person_ends_the_grant() {
    let quirks = Quirks { has_id_token_at_refresh: false, ..Quirks::default() };
    let doorman = logging_in_at(quirks, "  issuer: ORIGIN\n  identity: userinfo").await;
    let mut login = doorman.log_in().await;

    doorman.idp().sign_in(Person { sub: "bob", ..Person::alice() });
    doorman.later(HOUR);

    refresh(&doorman, &mut login).await.assert_error(400, "invalid_grant");
    assert!(doorman.log().text().contains("speaks of another person"));
}

/// Two hundred groups make an ID token of twelve thousand bytes.
#[tokio::test]
async fn an_id_token_may_be_long() {
    let doorman = logging_in_at(Quirks::default(), "  issuer: ORIGIN").await;
    let ids: Vec<_> = (0..400).map(|id| format!("{id:08}-1111-2222-3333-444444444444")).collect();
    doorman.idp().sign_in(Person { groups: json!(ids), ..Person::alice() });

    let login = doorman.log_in().await;

    assert_eq!(told(&doorman, &login, "x-forwarded-groups").await, ids.join(","));
}

#[tokio::test]
async fn parameters_of_the_token_request_are_sent_each_time() {
    let yaml = "  issuer: ORIGIN\n  token_parameters: { tenant: x y }";
    let doorman = logging_in_at(Quirks::default(), yaml).await;
    let mut login = doorman.log_in().await;
    doorman.later(HOUR);
    refresh(&doorman, &mut login).await.assert_status(200);

    let asked = doorman.idp().asked("/token");

    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|request| request.parameters["tenant"] == "x y"));
}

const LASTING: &str = "  issuer: ORIGIN\n  identity: user_resource\n  user_resource: ORIGIN/user\n  user_key: [id]\n  recheck_with: access_token\n  groups_lookup: { url: ORIGIN/groups }";

fn lasting() -> Quirks {
    Quirks {
        refresh: Refresh::Never,
        has_id_token: false,
        resource: |visit| match visit.path {
            "/user" => Some(Reply::json(&json!({ "id": 7 }))),
            // Who is in no group may not even ask.
            _ if visit.person.groups == json!([]) => Some(Reply::status(401)),
            _ => Some(Reply::json(&visit.person.groups)),
        },
        ..Quirks::default()
    }
}

/// A 401 of another resource says nothing about whether the person may go on.
#[tokio::test]
async fn only_the_user_resource_says_that_somebody_has_left() {
    let doorman = logging_in_at(lasting(), LASTING).await;
    let mut login = doorman.log_in().await;
    doorman.idp().sign_in(Person { groups: json!([]), ..Person::alice() });
    doorman.later(HOUR);
    refresh(&doorman, &mut login).await.assert_status(200);
    assert_eq!(told(&doorman, &login, "x-forwarded-groups").await, "engineers,mcp-users");

    doorman.idp().withdraw_access();
    doorman.later(HOUR);

    refresh(&doorman, &mut login).await.assert_error(400, "invalid_grant");
    assert_eq!(doorman.idp().refreshes(), 0);
}

/// An IdP that is down says nothing about anybody, here too.
#[tokio::test]
async fn a_user_resource_that_is_down_logs_nobody_out() {
    let doorman = logging_in_at(lasting(), LASTING).await;
    let mut login = doorman.log_in().await;
    doorman.idp().go_down();
    doorman.later(HOUR);
    refresh(&doorman, &mut login).await.assert_status(200);
    doorman.idp().come_up();
    doorman.later(HOUR);

    refresh(&doorman, &mut login).await.assert_status(200);
    doorman.call(&login.tokens.access).await.assert_status(200);
}

#[tokio::test]
async fn an_idp_that_is_not_to_be_asked_again_is_not() {
    let yaml = "  issuer: ORIGIN\n  recheck_with: nothing";
    let doorman = logging_in_at(Quirks::default(), yaml).await;
    let mut login = doorman.log_in().await;
    doorman.idp().conduct(Conduct::RefusesRefresh("invalid_grant"));

    doorman.later(11 * HOUR);
    refresh(&doorman, &mut login).await.assert_status(200);
    doorman.later(HOUR + MINUTE);

    assert_ne!(refresh(&doorman, &mut login).await.status, 200);
    assert_eq!(doorman.idp().refreshes(), 0);
    assert!(doorman.log().text().contains("it can't be asked again"));
}

/// Any claim may be asked about, by its name or where it stands; the row keeps what it said.
#[tokio::test]
async fn rules_may_ask_about_any_claim() {
    let rule = |claim: &str, value: &str| ClaimRule {
        claim: claim.to_owned(),
        values: vec!["other".to_owned(), value.to_owned()],
    };
    let quirks = Quirks {
        claims: |own| {
            own["department"] = json!("finance");
            own["realm_access"] = json!({ "roles": ["auditor", "user"] });
            own["level"] = json!(3);
            own["is_staff"] = json!(true);
            own["address"] = json!({ "country": "DE" });
        },
        ..Quirks::default()
    };
    for (claim, value, is_let_in) in [
        ("department", "finance", true),
        ("department", "sales", false),
        ("/realm_access/roles", "auditor", true),
        ("/realm_access/roles", "admin", false),
        ("realm_access", "auditor", false),
        ("level", "3", true),
        ("is_staff", "true", true),
        ("/address/country", "DE", true),
        ("address", "DE", false),
        ("absent", "", false),
    ] {
        let entry = AccessEntry { claims: vec![rule(claim, value)], ..AccessEntry::default() };
        let server = FakeMcpServer::start().await;
        let doorman = Doorman::in_front_of(server)
            .access(&[entry])
            .logging_in_at(quirks.clone(), "  issuer: ORIGIN")
            .start()
            .await;
        if !is_let_in {
            let end = try_to_log_in(&doorman).await;
            match end.status.as_u16() {
                403 => drop(end.assert_page(403)),
                // Of another shape than any rule could ask about.
                _ => drop(end.landing().assert_error(&["access_denied"])),
            }
            continue;
        }
        let mut login = doorman.log_in().await;
        doorman.call(&login.tokens.access).await.assert_status(200);
        refresh(&doorman, &mut login).await.assert_status(200);
        doorman.later(HOUR);
        refresh(&doorman, &mut login).await.assert_status(200);
        doorman.call(&login.tokens.access).await.assert_status(200);
    }
}

/// The rules are asked again with what the lookup says then.
#[tokio::test]
async fn who_is_looked_up_in_no_group_any_more_is_out() {
    let staff = AccessEntry { groups: vec!["mcp-users".to_owned()], ..AccessEntry::default() };
    let server = FakeMcpServer::start().await;
    let quirks =
        Quirks { resource: |visit| Some(Reply::json(&visit.person.groups)), ..Quirks::default() };
    let yaml = "  issuer: ORIGIN\n  groups_lookup: { url: ORIGIN/groups }";
    let doorman =
        Doorman::in_front_of(server).access(&[staff]).logging_in_at(quirks, yaml).start().await;
    let mut login = doorman.log_in().await;

    doorman.idp().sign_in(Person { groups: json!(["engineers"]), ..Person::alice() });
    doorman.later(HOUR);

    refresh(&doorman, &mut login).await.assert_error(400, "invalid_grant");
}
