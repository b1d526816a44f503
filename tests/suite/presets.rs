//! Every preset in front of an IdP with the quirks that it is for: people log in, their groups are known, they
//! are asked about again, and who leaves is out.

use std::collections::BTreeSet;

use mcp_doorman::config;
use mcp_doorman::policy::AccessEntry;
use serde_json::{Value, json};

use crate::support::doorman::{Doorman, Login, MINUTE, idp_settings};
use crate::support::exchange::Exchange;
use crate::support::fake_idp::{Conduct, Person};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::idp_quirks::{Quirks, Refresh, Reply, Visit, userinfo};

/// A preset, what the operator adds, and what the IdP is like.
struct Case {
    preset: &'static str,
    more: &'static str,
    quirks: Quirks,
    user: &'static str,
    has_email: bool,
    /// What the groups of the person are called in the end.
    groups: fn(&[&str]) -> Vec<String>,
    leaves: Leaves,
}

/// How the IdP says that somebody may not go on.
#[derive(Clone, Copy)]
enum Leaves {
    Error(&'static str),
    /// It takes their access token no more.
    Withdrawn,
}

fn as_they_are(groups: &[&str]) -> Vec<String> {
    groups.iter().map(|group| (*group).to_owned()).collect()
}

fn usual(preset: &'static str, more: &'static str, quirks: Quirks) -> Case {
    Case {
        preset,
        more,
        quirks,
        user: "alice-7f3a",
        has_email: true,
        groups: as_they_are,
        leaves: Leaves::Error("invalid_grant"),
    }
}

const OIDC: &[&str] = &["openid", "profile", "email"];
const WITH_OFFLINE: &[&str] = &["openid", "profile", "email", "offline_access"];

fn plain(scopes: &'static [&'static str], path: &'static str) -> Quirks {
    let refresh = if scopes == WITH_OFFLINE { Refresh::OfflineAccess } else { Refresh::Unasked };
    Quirks { scopes: Some(scopes), path, refresh, ..Quirks::default() }
}

fn renamed(claims: &mut Value, from: &str, to: &str) {
    let value = claims.as_object_mut().unwrap().remove(from).unwrap();
    claims[to] = value;
}

fn cases() -> Vec<Case> {
    let mut cases = simple_cases();
    cases.extend([
        usual(
            "google",
            "  issuer: ORIGIN",
            Quirks {
                refresh: Refresh::AccessType,
                sends_issuer: false,
                claims: |claims| {
                    claims["iss"] = json!("accounts.google.com");
                    claims["hd"] = json!("example.com");
                    claims.as_object_mut().unwrap().remove("groups").unwrap();
                },
                ..plain(OIDC, "")
            },
        ),
        usual(
            "cognito",
            "  issuer: ORIGIN/eu-central-1_AbCdEfGhI",
            Quirks {
                names_pkce: false,
                sends_issuer: false,
                claims: |claims| {
                    renamed(claims, "groups", "cognito:groups");
                    claims["email_verified"] = json!("true");
                    claims["token_use"] = json!("id");
                },
                ..plain(OIDC, "/eu-central-1_AbCdEfGhI")
            },
        ),
        // Roles are an object, and with the address they are in userinfo only.
        usual(
            "zitadel",
            "  issuer: ORIGIN",
            Quirks {
                claims: |claims| {
                    for name in ["groups", "email", "email_verified"] {
                        claims.as_object_mut().unwrap().remove(name).unwrap();
                    }
                },
                resource: |visit| {
                    let mut told = userinfo(visit.person);
                    renamed(&mut told, "groups", "urn:zitadel:iam:org:project:roles");
                    let roles = &mut told["urn:zitadel:iam:org:project:roles"];
                    let keys = roles.as_array().unwrap().iter();
                    let keys =
                        keys.map(|role| (role.as_str().unwrap().to_owned(), json!({ "299": "x" })));
                    *roles = Value::Object(keys.collect());
                    (visit.path == "/userinfo").then(|| Reply::json(&told))
                },
                ..plain(WITH_OFFLINE, "")
            },
        ),
        usual(
            "gitlab",
            "  issuer: ORIGIN",
            Quirks {
                has_id_token_at_refresh: false,
                claims: |claims| {
                    renamed(claims, "groups", "groups_direct");
                    for name in ["email", "email_verified"] {
                        claims.as_object_mut().unwrap().remove(name).unwrap();
                    }
                },
                ..plain(OIDC, "")
            },
        ),
        usual(
            "hydra",
            "  issuer: ORIGIN/\n  groups_claim: /ext/groups",
            Quirks {
                scopes: Some(&["openid", "offline_access"]),
                refresh: Refresh::OfflineAccess,
                claims: |claims| {
                    let groups = claims.as_object_mut().unwrap().remove("groups").unwrap();
                    claims["ext"] = json!({ "groups": groups });
                },
                ..plain(OIDC, "/")
            },
        ),
    ]);
    for case in &mut cases {
        if case.preset == "google" {
            case.groups = |_| Vec::new();
        }
    }
    cases.extend(entra());
    cases.extend(github());
    cases
}

/// Those that differ in scopes and in the names of claims.
fn simple_cases() -> Vec<Case> {
    vec![
        usual(
            "oidc",
            "  issuer: ORIGIN\n  scopes: [openid, offline_access]",
            Quirks { refresh: Refresh::OfflineAccess, ..Quirks::default() },
        ),
        // A claim has the name of a URL, and a time is a text.
        usual(
            "auth0",
            "  issuer: ORIGIN/\n  groups_claim: https://corp.example/groups",
            Quirks {
                claims: |claims| {
                    renamed(claims, "groups", "https://corp.example/groups");
                    claims["updated_at"] = json!("2026-09-20T10:11:12.123Z");
                },
                ..plain(WITH_OFFLINE, "/")
            },
        ),
        usual(
            "okta",
            "  issuer: ORIGIN/oauth2/default",
            Quirks { sends_issuer: false, ..plain(WITH_OFFLINE, "/oauth2/default") },
        ),
        usual(
            "keycloak",
            "  issuer: ORIGIN/realms/staff\n  groups_claim: /realm_access/roles",
            Quirks {
                claims: |claims| {
                    let groups = claims.as_object_mut().unwrap().remove("groups").unwrap();
                    claims["realm_access"] = json!({ "roles": groups });
                    claims["typ"] = json!("ID");
                },
                ..plain(WITH_OFFLINE, "/realms/staff")
            },
        ),
        usual(
            "authentik",
            "  issuer: ORIGIN/application/o/mcp/",
            plain(WITH_OFFLINE, "/application/o/mcp/"),
        ),
        usual(
            "dex",
            "  issuer: ORIGIN/dex",
            Quirks {
                scopes: Some(&["openid", "profile", "email", "groups", "offline_access"]),
                refresh: Refresh::OfflineAccess,
                ..plain(OIDC, "/dex")
            },
        ),
        usual("ping", "  issuer: ORIGIN/4a5b/as\n  groups_claim: groups", plain(OIDC, "/4a5b/as")),
        usual("workos", "  issuer: ORIGIN\n  groups_claim: groups", plain(WITH_OFFLINE, "")),
        // Numbers are texts.
        usual(
            "descope",
            "  issuer: ORIGIN/P2abc\n  groups_claim: roles",
            Quirks {
                claims: |claims| {
                    renamed(claims, "groups", "roles");
                    for time in ["exp", "iat"] {
                        claims[time] = json!(claims[time].to_string());
                    }
                },
                ..plain(OIDC, "/P2abc")
            },
        ),
    ]
}

const TENANT: &str = "11111111-2222-3333-4444-555555555555";

fn entra() -> [Case; 3] {
    const SCOPES: &[&str] = &["openid", "profile", "email", "offline_access", "User.Read"];
    let with_ids: fn(&mut Value) = |claims| {
        claims["tid"] = json!(TENANT);
        renamed(claims, "sub", "oid");
        claims["sub"] = json!("pairwise");
        claims.as_object_mut().unwrap().remove("email_verified").unwrap();
    };
    let quirks = Quirks {
        path: "/11111111-2222-3333-4444-555555555555/v2.0",
        scopes: Some(SCOPES),
        refresh: Refresh::OfflineAccess,
        names_pkce: false,
        sends_issuer: false,
        claims: with_ids,
        resource: graph,
        ..Quirks::default()
    };
    let user = "11111111-2222-3333-4444-555555555555/alice-7f3a";
    let more = "  issuer: ORIGIN/11111111-2222-3333-4444-555555555555/v2.0";
    let case = |more, quirks| Case {
        user,
        has_email: false,
        leaves: Leaves::Error("interaction_required"),
        ..usual("entra", more, quirks)
    };
    // In the token, too many for it, and of one of several tenants.
    let in_token = case(more, quirks.clone());
    let overage = Quirks {
        claims: |claims| {
            claims["tid"] = json!(TENANT);
            renamed(claims, "sub", "oid");
            claims["sub"] = json!("pairwise");
            claims["xms_edov"] = json!(true);
            claims.as_object_mut().unwrap().remove("groups").unwrap();
            claims["_claim_names"] = json!({ "groups": "src1" });
            claims["_claim_sources"] =
                json!({ "src1": { "endpoint": "https://graph.windows.net/" } });
        },
        ..quirks.clone()
    };
    let looked_up = Case { has_email: true, ..case(more, overage) };
    let several = Quirks {
        path: "/organizations/v2.0",
        path_in_metadata: Some("/{tenantid}/v2.0"),
        claims: |claims| {
            claims["tid"] = json!(TENANT);
            let issuer = claims["iss"].as_str().unwrap().replace("organizations", TENANT);
            claims["iss"] = json!(issuer);
            renamed(claims, "sub", "oid");
            claims["sub"] = json!("pairwise");
            claims.as_object_mut().unwrap().remove("email_verified").unwrap();
        },
        ..quirks
    };
    let more = "  issuer: ORIGIN/organizations/v2.0\n  issuer_template: \"ORIGIN/{tenantid}/v2.0\"\n  tenants: [other, 11111111-2222-3333-4444-555555555555]";
    [in_token, looked_up, case(more, several)]
}

/// Two pages: the second has the last group.
fn graph(visit: &Visit<'_>) -> Option<Reply> {
    if visit.path != "/v1.0/me/transitiveMemberOf" {
        return None;
    }
    let groups = visit.person.groups.as_array().unwrap();
    let (last, first) = groups.split_last().unwrap();
    let entry = |group: &Value| json!({ "@odata.type": "#microsoft.graph.group", "id": group });
    let body = if visit.query.contains("skiptoken") {
        json!({ "value": [entry(last)] })
    } else {
        assert_eq!(visit.query, "$select=id&$top=999");
        let next = format!("{}{}?{}&$skiptoken=x", visit.origin, visit.path, visit.query);
        json!({ "value": first.iter().map(entry).collect::<Vec<_>>(), "@odata.nextLink": next })
    };
    Some(Reply::json(&body))
}

/// One app whose tokens last, one whose tokens expire.
fn github() -> [Case; 2] {
    let quirks = Quirks {
        path: "/login/oauth",
        routes: &[
            // There is no metadata to be found.
            ("/login/oauth/.well-known/openid-configuration", "/nothing"),
            ("/login/oauth/authorize", "/authorize"),
            ("/login/oauth/access_token", "/token"),
        ],
        scopes: Some(&["read:user", "user:email", "read:org"]),
        refresh: Refresh::Never,
        sends_issuer: false,
        has_id_token: false,
        error_status: 200,
        resource: octocat,
        ..Quirks::default()
    };
    let case = |quirks, leaves| Case {
        user: "583231",
        groups: |groups| groups.iter().map(|group| format!("acme/{group}")).collect(),
        leaves,
        ..usual("github", "  issuer: ORIGIN/login/oauth", quirks)
    };
    let expiring = Quirks { refresh: Refresh::Unasked, ..quirks.clone() };
    [case(quirks, Leaves::Withdrawn), case(expiring, Leaves::Error("bad_refresh_token"))]
}

fn octocat(visit: &Visit<'_>) -> Option<Reply> {
    let groups = visit.person.groups.as_array().unwrap();
    let team = |slug: &Value| json!({ "id": 1, "slug": slug, "organization": { "login": "acme" } });
    match (visit.path, visit.query) {
        ("/user", "") => {
            Some(Reply::json(&json!({ "id": 583_231, "login": "alice", "email": null })))
        }
        ("/user/emails", "per_page=100") => Some(Reply::json(&json!([
            { "email": "old@example.com", "verified": true, "primary": false },
            { "email": "Alice@Example.com", "verified": true, "primary": true },
        ]))),
        ("/user/teams", "per_page=100") => {
            let next = format!("{}/user/teams?per_page=100&page=2", visit.origin);
            let link = format!("<{next}>; rel=\"next\", <{next}>; rel=\"last\"");
            Some(Reply::json(&json!([team(&groups[0])])).header("link", link))
        }
        ("/user/teams", "per_page=100&page=2") => {
            let others: Vec<_> = groups[1..].iter().map(team).collect();
            let link = format!("<{}/user/teams?per_page=100>; rel=\"first\"", visit.origin);
            Some(Reply::json(&json!(others)).header("link", link))
        }
        _ => None,
    }
}

#[tokio::test]
async fn every_preset_logs_people_in_and_asks_about_them_again() {
    let mut seen = BTreeSet::new();

    for case in cases() {
        let leaves = case.leaves;
        let doorman = start(&case).await;
        let mut login = doorman.log_in().await;
        assert_told(&doorman, &login, &case, &["engineers", "mcp-users"]).await;

        doorman.idp().sign_in(Person { groups: json!(["mcp-users", "new"]), ..Person::alice() });
        doorman.later(31 * MINUTE);
        refresh(&doorman, &mut login).await.assert_status(200);
        assert_told(&doorman, &login, &case, &["mcp-users", "new"]).await;

        match leaves {
            Leaves::Error(error) => doorman.idp().conduct(Conduct::RefusesRefresh(error)),
            Leaves::Withdrawn => doorman.idp().withdraw_access(),
        }
        doorman.later(31 * MINUTE);
        refresh(&doorman, &mut login).await.assert_error(400, "invalid_grant");
        doorman.call(&login.tokens.access).await.assert_status(401);
        seen.insert(case.preset);
    }

    assert_eq!(seen, known());
}

/// An error that speaks of us, or of nothing in particular, ends no login.
#[tokio::test]
async fn what_is_no_refusal_ends_no_login() {
    let mut seen = 0;

    for case in cases() {
        let doorman = start(&case).await;
        let mut login = doorman.log_in().await;
        doorman.idp().conduct(Conduct::RefusesRefresh("incorrect_client_credentials"));
        doorman.later(31 * MINUTE);
        refresh(&doorman, &mut login).await.assert_status(200);
        doorman.call(&login.tokens.access).await.assert_status(200);
        seen += 1;
    }

    assert!(seen >= 16, "only {seen} were seen");
}

/// RFC 7636 is for every IdP, whether its metadata speaks of it or not; RFC 8707 is for none.
#[tokio::test]
async fn every_idp_is_asked_with_a_challenge_and_without_a_resource() {
    let mut seen = 0;

    for case in cases() {
        let doorman = start(&case).await;
        doorman.log_in().await;
        let asked = doorman.idp().asked("/authorize").remove(0).parameters;
        assert_eq!(asked["code_challenge_method"], "S256", "{}", case.preset);
        let exchanged = doorman.idp().asked("/token").remove(0).parameters;
        assert_eq!(exchanged["code_verifier"].len(), 43, "{}", case.preset);
        for parameters in [asked, exchanged] {
            assert!(!parameters.contains_key("resource"), "{}", case.preset);
            assert!(!parameters.contains_key("audience"), "{}", case.preset);
        }
        seen += 1;
    }

    assert!(seen >= 16, "only {seen} were seen");
}

/// The fake ones refuse what real ones refuse, or the tests above would prove little.
#[tokio::test]
async fn a_scope_or_resource_that_the_idp_does_not_know_ends_in_an_error_page() {
    let mut seen = 0;
    for case in cases().into_iter().filter(|case| case.quirks.scopes.is_some()) {
        let parameter = format!("{}\n  authorization_parameters: {{ resource: x }}", case.more);
        let scope = format!("{}\n  scopes: [openid, nonsense]", case.more);
        for (more, error) in [(parameter, "invalid_target"), (scope, "invalid_scope")] {
            if case.more.contains("scopes:") {
                continue;
            }
            let yaml = format!("  preset: {}\n{more}", case.preset);
            let server = FakeMcpServer::start().await;
            let doorman = Doorman::in_front_of(server)
                .logging_in_at(case.quirks.clone(), &yaml)
                .start()
                .await;
            let client = doorman.register().await;
            let end = doorman.browser().arrive(&doorman.authorization(&client).url()).await;
            assert_eq!(end.assert_status(400).json()["error"], error, "{}", case.preset);
            seen += 1;
        }
    }
    assert!(seen >= 30, "only {seen} were seen");
}

#[test]
fn what_a_provider_can_not_is_told() {
    let limits = |preset: &str| {
        let settings =
            idp_settings(&format!("  preset: {preset}\n  issuer: ORIGIN"), "http://127.0.0.1:1");
        settings.limits().iter().map(|(limit, _)| limit.split(':').next().unwrap()).collect()
    };
    let no_groups = "this IdP tells no groups";
    let no_refresh = "no refresh token is asked for at the IdP";

    let told: Vec<(&str, Vec<&str>)> =
        known().into_iter().map(|preset| (preset, limits(preset))).collect();

    assert_eq!(
        told,
        [
            ("auth0", vec![no_groups]),
            ("authentik", vec![]),
            ("cognito", vec![]),
            ("descope", vec![no_groups, no_refresh]),
            ("dex", vec![]),
            ("entra", vec![]),
            ("github", vec![]),
            ("gitlab", vec![]),
            ("google", vec![no_groups]),
            ("hydra", vec![no_groups]),
            ("keycloak", vec![]),
            ("oidc", vec![no_refresh]),
            ("okta", vec![]),
            ("ping", vec![no_groups]),
            ("workos", vec![no_groups]),
            ("zitadel", vec![]),
        ]
    );
}

#[test]
fn what_the_operator_says_replaces_the_preset() {
    let settings =
        |more: &str| idp_settings(&format!("  issuer: ORIGIN\n{more}"), "http://127.0.0.1:1");

    let google = settings("  preset: google\n  scopes: [openid, offline_access]");
    assert_eq!(google.scopes, ["openid"], "a scope that it refuses is not sent");
    let github = |more| settings(&format!("  preset: github\n{more}")).groups.lookup;
    assert_eq!(github("").unwrap().name, ["/organization/login", "/slug"]);
    assert_eq!(github("  groups_lookup: none"), None);
    let other = github("  groups_lookup: { url: https://x.example/g, name: /id }").unwrap();
    assert_eq!(other.name, ["/id"]);
}

/// The names that the schema has, which are those of the file.
fn known() -> BTreeSet<&'static str> {
    let schema: Value = serde_json::from_str(&config::schema()).unwrap();
    let names = schema.pointer("/properties/idp/properties/preset/anyOf/0/enum").unwrap();
    let names = names.as_array().unwrap().iter();
    names.map(|name| &*name.as_str().unwrap().to_owned().leak()).collect()
}

async fn start(case: &Case) -> Doorman {
    let yaml = format!("  preset: {}\n{}", case.preset, case.more);
    // A rule about groups where there are any, so that they are known when it counts.
    let groups = (case.groups)(&["mcp-users"]);
    let (subjects, emails) = (Vec::new(), Vec::new());
    let entry = AccessEntry { groups, subjects, emails, ..AccessEntry::default() };
    let builder = Doorman::in_front_of(FakeMcpServer::start().await);
    let builder = if entry.groups.is_empty() { builder } else { builder.access(&[entry]) };
    builder.logging_in_at(case.quirks.clone(), &yaml).start().await
}

async fn refresh(doorman: &Doorman, login: &mut Login) -> Exchange {
    let answer = doorman.refresh(&login.client, &login.tokens.refresh).await;
    if answer.status == 200 {
        login.tokens = answer.tokens();
    }
    answer
}

/// What the MCP server hears about the person.
async fn assert_told(doorman: &Doorman, login: &Login, case: &Case, groups: &[&str]) {
    doorman.call(&login.tokens.access).await.assert_status(200);
    let request = doorman.upstream().received().pop().unwrap();
    let told = |header: &str| request.values(header).join(",");
    assert_eq!(told("x-forwarded-user"), case.user, "{}", case.preset);
    let email = if case.has_email { "alice@example.com" } else { "" };
    assert_eq!(told("x-forwarded-email"), email, "{}", case.preset);
    assert_eq!(told("x-forwarded-groups"), (case.groups)(groups).join(","), "{}", case.preset);
}
