//! Whole answers, byte for byte: what a client of ours sees on the wire.

use crate::support::doorman::{Doorman, RESOURCE, mcp_request};
use crate::support::exchange::Request;
use crate::support::fake_mcp_server::FakeMcpServer;

#[tokio::test]
async fn a_call_without_a_token() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let answer = doorman.send(mcp_request(RESOURCE)).await.answer();

    insta::assert_snapshot!(answer, @r#"
    401 Unauthorized
    content-type: application/json
    cache-control: no-store
    www-authenticate: Bearer resource_metadata="https://tools.example.com/.well-known/oauth-protected-resource/mcp", scope="tools:read tools:write"
    content-length: 96

    {"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"this server needs you to sign in"}}
    "#);
}

#[tokio::test]
async fn a_call_with_a_bad_token() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let answer = doorman.call("doorman_at_garbled").await.answer();

    insta::assert_snapshot!(answer, @r#"
    401 Unauthorized
    content-type: application/json
    cache-control: no-store
    www-authenticate: Bearer error="invalid_token", resource_metadata="https://tools.example.com/.well-known/oauth-protected-resource/mcp", scope="tools:read tools:write"
    content-length: 111

    {"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"the access token is not valid here or no longer"}}
    "#);
}

#[tokio::test]
async fn the_metadata_of_the_resource() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let answer = doorman.get("/.well-known/oauth-protected-resource/mcp").await.answer();

    insta::assert_snapshot!(answer, @r#"
    200 OK
    content-type: application/json
    cache-control: public, max-age=300
    access-control-allow-origin: *
    content-length: 216

    {"resource":"https://tools.example.com/mcp","authorization_servers":["https://tools.example.com"],"bearer_methods_supported":["header"],"scopes_supported":["tools:read","tools:write"],"resource_name":"Example Tools"}
    "#);
}

#[tokio::test]
async fn the_metadata_of_the_authorization_server() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let answer = doorman.get("/.well-known/oauth-authorization-server").await.answer();

    insta::assert_snapshot!(answer, @r#"
    200 OK
    content-type: application/json
    cache-control: public, max-age=300
    access-control-allow-origin: *
    content-length: 830

    {"issuer":"https://tools.example.com","authorization_endpoint":"https://tools.example.com/authorize","token_endpoint":"https://tools.example.com/token","registration_endpoint":"https://tools.example.com/register","revocation_endpoint":"https://tools.example.com/revoke","jwks_uri":"https://tools.example.com/oauth/jwks","response_types_supported":["code"],"response_modes_supported":["query"],"grant_types_supported":["authorization_code","refresh_token"],"token_endpoint_auth_methods_supported":["none","client_secret_post","client_secret_basic"],"revocation_endpoint_auth_methods_supported":["none","client_secret_post","client_secret_basic"],"code_challenge_methods_supported":["S256"],"authorization_response_iss_parameter_supported":true,"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["RS256"]}
    "#);
}

#[tokio::test]
async fn an_unknown_client_at_the_token_endpoint() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let form = [("grant_type", "refresh_token"), ("client_id", "x"), ("refresh_token", "x")];

    let answer = doorman.send(Request::post("/token").form(&form)).await.answer();

    insta::assert_snapshot!(answer, @r#"
    401 Unauthorized
    content-type: application/json
    cache-control: no-store
    pragma: no-cache
    access-control-allow-origin: *
    content-length: 94

    {"error":"invalid_client","error_description":"this client is not registered here (any more)"}
    "#);
}

#[tokio::test]
async fn a_call_while_the_mcp_server_is_down() {
    let doorman = Doorman::in_front_of(FakeMcpServer::refusing()).start().await;
    let token = doorman.log_in().await.tokens.access;

    let answer = doorman.call(&token).await.answer();

    insta::assert_snapshot!(answer, @r#"
    502 Bad Gateway
    content-type: application/json
    cache-control: no-store
    content-length: 95

    {"jsonrpc":"2.0","id":null,"error":{"code":-32004,"message":"the MCP server can't be reached"}}
    "#);
}

#[tokio::test]
async fn a_request_that_could_be_read_in_two_ways() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let answer = doorman.send(mcp_request("/mcp/%2e%2e/admin")).await.answer();

    insta::assert_snapshot!(answer, @r#"
    400 Bad Request
    content-type: application/json
    cache-control: no-store
    connection: close
    content-length: 94

    {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"the path is not in normal form"}}
    "#);
}
