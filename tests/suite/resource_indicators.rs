//! How the IdP is told which resource a login is for (RFC 8707): not at all, unless the operator says how.

use std::collections::HashMap;

use mcp_doorman::policy::AccessEntry;
use serde_json::json;

use crate::support::client::Tokens;
use crate::support::doorman::{Builder, Doorman, HOUR, RESOURCE, code_form};
use crate::support::fake_idp::{Asked, Person};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::idp_quirks::Quirks;

const OTHER: &str = "https://tools.example.com/other";

/// What an operator writes, the parameter that the IdP then wants, and the scope that it is asked for besides.
const WAYS: [(&str, Option<&str>, &str); 6] = [
    ("  resource_indicator: none", None, ""),
    ("  preset: oidc", None, ""),
    ("  resource_indicator: resource", Some("resource"), ""),
    ("  resource_indicator: audience", Some("audience"), ""),
    ("  resource_indicator: scope", None, "{resource}/.default"),
    (
        "  resource_indicator: scope\n  resource_scope: \"api:{resource}:use\"",
        None,
        "api:{resource}:use",
    ),
];

async fn builder(yaml: &str, parameter: Option<&'static str>) -> Builder {
    let server = FakeMcpServer::start().await;
    let quirks = Quirks { resource_parameter: parameter, ..Quirks::default() };
    let yaml = format!("  issuer: ORIGIN\n{yaml}");
    Doorman::in_front_of(server.clone()).and_at(OTHER, &server).logging_in_at(quirks, &yaml)
}

/// Log in for `resource`, and refresh when the IdP is to be asked again.
async fn live_with(doorman: &Doorman, resource: &str) -> Tokens {
    let client = doorman.register().await;
    let authorization = doorman.authorization(&client).with("resource", resource);
    let granted = doorman.complete(&doorman.browser(), &authorization).await;
    let tokens = doorman.token(&code_form(&client, &granted, resource)).await.tokens();
    doorman.later(HOUR);
    let refreshes = doorman.idp().refreshes();

    let tokens = doorman.refresh(&client, &tokens.refresh).await.tokens();

    assert_eq!(doorman.idp().refreshes(), refreshes + 1, "the IdP was not asked");
    tokens
}

/// What was said of resources in the last request of that path.
fn said(asked: &[Asked]) -> HashMap<&str, &str> {
    let parameters = asked.last().unwrap().parameters.iter();
    let of_resources =
        parameters.filter(|(name, _)| ["resource", "audience"].contains(&name.as_str()));
    of_resources.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// RFC 8707 §2.1, §2.2
#[tokio::test]
async fn the_idp_is_told_as_the_operator_says() {
    for (yaml, parameter, scope) in WAYS {
        let doorman = builder(yaml, parameter).await.start().await;
        let mut seen = 0;
        for resource in [RESOURCE, OTHER, RESOURCE] {
            live_with(&doorman, resource).await;

            let expected: HashMap<_, _> =
                parameter.map(|name| (name, resource)).into_iter().collect();
            let (logins, tokens) =
                (doorman.idp().asked("/authorize"), doorman.idp().asked("/token"));
            assert_eq!(said(&logins), expected, "{yaml}");
            assert_eq!(said(&tokens), expected, "{yaml}");
            assert_eq!(said(&tokens[..tokens.len() - 1]), expected, "{yaml}: for the code");
            let wanted = format!("openid profile email {}", scope.replace("{resource}", resource));
            assert_eq!(logins.last().unwrap().parameters["scope"], wanted.trim_end(), "{yaml}");
            assert!(!tokens.iter().any(|asked| asked.parameters.contains_key("scope")), "{yaml}");
            seen += tokens.len();
        }
        assert_eq!(seen, 2 + 4 + 6);
    }
}

/// AADSTS9010010
#[tokio::test]
async fn an_idp_that_wants_another_way_refuses() {
    let mut seen = 0;
    for (yaml, parameter, _) in WAYS {
        for wants in [None, Some("resource"), Some("audience")] {
            let doorman = builder(yaml, wants).await.start().await;
            let client = doorman.register().await;
            let end = doorman.browser().arrive(&doorman.authorization(&client).url()).await;

            if wants == parameter {
                end.landing().code();
            } else {
                assert!(
                    end.assert_status(400).text().contains("AADSTS9010010"),
                    "{yaml} {wants:?}"
                );
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 18);
}

/// Who may not use it signs in as somebody else, for the same.
#[tokio::test]
async fn another_account_is_for_the_same_resource() {
    let entry = AccessEntry { groups: vec!["engineers".to_owned()], ..AccessEntry::default() };
    let builder = builder("  resource_indicator: resource", Some("resource")).await;
    let doorman = builder.access(&[entry]).start().await;
    doorman.idp().sign_in(Person { groups: json!([]), ..Person::alice() });
    let (client, browser) = (doorman.register().await, doorman.browser());
    let authorization = doorman.authorization(&client).with("resource", OTHER);
    let page = browser.arrive(&authorization.url()).await;
    doorman.idp().sign_in(Person::alice());

    let end = browser.open(&page.link("Sign in with another account")).await;

    end.landing().code();
    let logins = doorman.idp().asked("/authorize");
    assert_eq!(logins.len(), 2);
    assert_eq!(said(&logins), HashMap::from([("resource", OTHER)]));
}

/// The row is gone, and with it what said which resource the IdP's token is for.
#[tokio::test]
async fn a_lost_grant_is_asked_about_for_its_resource() {
    let yaml = "  resource_indicator: resource\n  revocable_refresh_tokens: true";
    let doorman = builder(yaml, Some("resource")).await.start().await;
    let client = doorman.register().await;
    let authorization = doorman.authorization(&client).with("resource", OTHER);
    let granted = doorman.complete(&doorman.browser(), &authorization).await;
    let tokens = doorman.token(&code_form(&client, &granted, OTHER)).await.tokens();
    doorman.later(HOUR);

    let doorman = doorman.restarted().await;
    doorman.refresh(&client, &tokens.refresh).await.assert_status(200);

    assert_eq!(doorman.idp().refreshes(), 1);
    assert_eq!(said(&doorman.idp().asked("/token")), HashMap::from([("resource", OTHER)]));
}
