//! Metadata: every document that a client looks for, at every address where one looks.

use http::Method;
use serde_json::{Value, json};

use crate::support::doorman::{Doorman, ORIGIN, RESOURCE, mcp_request};
use crate::support::exchange::{Exchange, Request};
use crate::support::fake_mcp_server::FakeMcpServer;

/// RFC 9728 §3
#[tokio::test]
async fn the_resource_describes_itself_at_its_path_and_at_the_root() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut seen = 0;

    for path in [
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp?tenant=1",
    ] {
        let document = document(&doorman, path).await;
        assert_eq!(document["resource"], RESOURCE, "{path}");
        assert_eq!(document["authorization_servers"], json!([ORIGIN]), "{path}");
        assert_eq!(document["scopes_supported"], json!(["tools:read", "tools:write"]), "{path}");
        assert_eq!(document["bearer_methods_supported"], json!(["header"]), "{path}");
        seen += 1;
    }

    assert_eq!(seen, 3);
}

/// RFC 9728 §3.3: the root can't describe two
#[tokio::test]
async fn with_several_resources_the_root_describes_none() {
    let other = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await)
        .and_at("https://tools.example.com/other", &other)
        .start()
        .await;

    let root = doorman.get("/.well-known/oauth-protected-resource").await;
    let other = document(&doorman, "/.well-known/oauth-protected-resource/other").await;

    assert_plain_404(&root);
    assert_eq!(other["resource"], "https://tools.example.com/other");
}

/// An intermediary that stored one would go on saying so when it is no longer true.
#[tokio::test]
async fn what_is_not_there_is_not_stored() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut seen = 0;

    for path in [
        "/token/x",
        "/register/x",
        "/revoke/x",
        "/.well-known/unknown",
        "/.well-known/oauth-protected-resource/unknown",
        "/.well-known/oauth-authorization-server/unknown",
        "/mcp/.well-known/unknown",
    ] {
        let answer = doorman.get(path).await;
        assert_eq!(answer.assert_status(404).header("cache-control"), "no-store", "{path}");
        seen += 1;
    }
    for path in ["/token", "/register", "/revoke"] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = doorman.send(Request::new(method, path)).await;
            assert_eq!(answer.assert_status(405).header("cache-control"), "no-store", "{path}");
            assert_eq!(answer.header("allow"), "POST, OPTIONS");
            seen += 1;
        }
    }

    assert_eq!(seen, 16);
}

/// RFC 8414 §3; OIDC Discovery §4
#[tokio::test]
async fn the_authorization_server_describes_itself_wherever_a_client_looks() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let expected = document(&doorman, "/.well-known/oauth-authorization-server").await;
    let mut seen = 0;

    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/mcp",
        "/mcp/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration/mcp",
        "/mcp/.well-known/openid-configuration",
    ] {
        assert_eq!(document(&doorman, path).await, expected, "{path}");
        seen += 1;
    }

    assert_eq!(seen, 5);
}

/// RFC 8414 §3.1: the path of the issuer comes after the well-known part
#[tokio::test]
async fn an_issuer_with_a_path_is_found_at_its_path() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await)
        .issuer("https://tools.example.com/team")
        .at("https://tools.example.com/team/mcp")
        .start()
        .await;
    let mut seen = 0;

    for path in [
        "/.well-known/oauth-authorization-server/team",
        "/.well-known/openid-configuration/team",
        "/team/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/team/mcp",
        "/team/mcp/.well-known/openid-configuration",
    ] {
        let document = document(&doorman, path).await;
        assert_eq!(document["issuer"], "https://tools.example.com/team", "{path}");
        assert_eq!(document["token_endpoint"], "https://tools.example.com/team/token", "{path}");
        seen += 1;
    }

    assert_eq!(seen, 5);
    doorman.log_in().await;
}

/// RFC 8414 §2; RFC 9207 §3
#[tokio::test]
async fn the_metadata_says_what_clients_need_to_hear() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let metadata = document(&doorman, "/.well-known/oauth-authorization-server").await;

    for (name, value) in [
        ("issuer", json!(ORIGIN)),
        ("authorization_endpoint", json!("https://tools.example.com/authorize")),
        ("token_endpoint", json!("https://tools.example.com/token")),
        ("registration_endpoint", json!("https://tools.example.com/register")),
        ("revocation_endpoint", json!("https://tools.example.com/revoke")),
        ("response_types_supported", json!(["code"])),
        ("code_challenge_methods_supported", json!(["S256"])),
        ("authorization_response_iss_parameter_supported", json!(true)),
    ] {
        assert_eq!(metadata[name], value, "{name} in {metadata:#}");
    }
    for (list, member) in [
        ("grant_types_supported", "authorization_code"),
        ("grant_types_supported", "refresh_token"),
        // Claude, Codex and opencode look for it before they come without a secret.
        ("token_endpoint_auth_methods_supported", "none"),
    ] {
        assert!(
            metadata[list].as_array().unwrap().contains(&json!(member)),
            "{list}: {metadata:#}"
        );
    }
    // When listed, clients ask for it, and then force a consent page at every login.
    assert!(!metadata["scopes_supported"].to_string().contains("offline_access"));
}

/// Validators of OIDC discovery want these three, though no ID token is ever issued.
#[tokio::test]
async fn the_openid_document_has_what_its_validators_want() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let metadata = document(&doorman, "/.well-known/openid-configuration").await;

    assert!(metadata["subject_types_supported"].is_array(), "{metadata:#}");
    assert!(metadata["id_token_signing_alg_values_supported"].is_array(), "{metadata:#}");
    let keys = doorman.get(metadata["jwks_uri"].as_str().unwrap()).await;
    assert!(keys.assert_status(200).json()["keys"].is_array(), "\n{keys}");
}

#[tokio::test]
async fn without_dynamic_registration_none_is_advertised() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).no_dynamic_registration().start().await;

    let metadata = document(&doorman, "/.well-known/oauth-authorization-server").await;

    assert_eq!(metadata.get("registration_endpoint"), None);
}

/// Clients take 401, 403 and 5xx on a well-known for a broken server, and 404 for an absent document.
#[tokio::test]
async fn an_unknown_well_known_is_plainly_not_there() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut seen = 0;

    for path in [
        "/.well-known/",
        "/.well-known/security.txt",
        "/.well-known/oauth-protected-resource/other",
        "/.well-known/oauth-authorization-server/other",
        "/.well-known/OAUTH-protected-resource/mcp",
        "/other/.well-known/openid-configuration",
    ] {
        assert_plain_404(&doorman.get(path).await);
        seen += 1;
    }

    assert_eq!(seen, 6);
    doorman.upstream().assert_untouched();
}

/// Discovery requests carry `MCP-Protocol-Version`, so a browser asks first.
#[tokio::test]
async fn a_page_of_any_origin_may_read_metadata_and_use_the_endpoints() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut seen = 0;

    for path in [
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/register",
        "/token",
        "/revoke",
    ] {
        let asked = "mcp-protocol-version,content-type";
        let answer = doorman.send(preflight(path, "https://anywhere.example", asked)).await;
        assert!(answer.status.is_success(), "\n{answer}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let allowed = answer.header("access-control-allow-headers").to_ascii_lowercase();
        assert!(asked.split(',').all(|name| allowed.contains(name)), "\n{answer}");
        assert!(!answer.headers.contains_key("access-control-allow-credentials"), "\n{answer}");
        seen += 1;
    }

    assert_eq!(seen, 6);
}

/// OAuth 2.1 §3.1: CORS MUST NOT be supported at the authorization endpoint
#[tokio::test]
async fn no_page_may_read_what_a_person_is_shown() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let consent = doorman.authorization(&client).url();
    let mut seen = 0;

    for url in [consent.as_str(), "/authorize", "/oauth/consent", "/oauth/callback?state=x"] {
        let request = Request::get(url).header("origin", "https://inspector.example.com");
        let answer = doorman.send(request).await;
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "\n{answer}");
        seen += 1;
    }

    assert_eq!(seen, 4);
}

/// Fetch §3.2: a preflight carries no credentials, so none can be asked for.
#[tokio::test]
async fn a_preflight_on_the_mcp_path_needs_no_token_but_an_allowed_origin() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let asked = "authorization,content-type,mcp-protocol-version,mcp-param-region";

    let allowed = doorman.send(preflight("/mcp", "http://localhost:6274", asked)).await;
    let foreign = doorman.send(preflight("/mcp", "https://evil.example", asked)).await;

    assert!(allowed.status.is_success(), "\n{allowed}");
    let headers = allowed.header("access-control-allow-headers").to_ascii_lowercase();
    assert!(asked.split(',').all(|name| headers.contains(name)), "\n{allowed}");
    foreign.assert_status(403);
    doorman.upstream().assert_untouched();
}

/// The four documents are public; everything else on the MCP path is not.
#[tokio::test]
async fn metadata_needs_no_token_and_nothing_else_is_without() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let probes = ["/mcp/.well-known/secret", "/mcp/authorize", "/mcp/token"];
    for path in probes {
        let answer = doorman.send(mcp_request(path)).await;
        assert!([401, 404].contains(&answer.status.as_u16()), "\n{answer}");
    }

    doorman.upstream().assert_untouched();
}

fn preflight(path: &str, origin: &str, headers: &str) -> Request {
    Request::new(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", headers)
}

/// A public document: JSON, open to every origin, and without a `null` or an empty list (which clients'
/// schemas refuse).
async fn document(doorman: &Doorman, path: &str) -> Value {
    let answer = doorman.get(path).await;
    answer.assert_status(200);
    assert_eq!(answer.header("access-control-allow-origin"), "*", "\n{answer}");
    assert!(answer.header("cache-control").contains("max-age="), "\n{answer}");
    let document = answer.json();
    for (name, value) in document.as_object().unwrap() {
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        assert!(!value.is_null() && !is_empty && value != "", "{name} is {value}");
    }
    document
}

#[track_caller]
fn assert_plain_404(answer: &Exchange) {
    answer.assert_status(404);
    assert_eq!(answer.header("access-control-allow-origin"), "*", "\n{answer}");
}
