//! What an attacker tries: nothing of it reaches the MCP server, or reaches it as somebody else.

use http::Method;

use crate::support::client::Client;
use crate::support::doorman::{Doorman, HOST, REDIRECT, RESOURCE, code_form, mcp_request};
use crate::support::exchange::Request;
use crate::support::fake_mcp_server::FakeMcpServer;

/// CVE-2026-40575, CVE-2026-39858: a header chose what was authorised
#[tokio::test]
async fn no_header_opens_the_door() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut seen = 0;

    for name in ABOUT_THE_REQUEST {
        for value in ["/healthz", "/.well-known/oauth-protected-resource", "OPTIONS", "127.0.0.1"] {
            let answer = doorman.send(mcp_request(RESOURCE).header(name, value)).await;
            assert_eq!(answer.assert_status(401).challenge().parameter("error"), None, "{name}");
            seen += 1;
        }
    }

    assert_eq!(seen, 48);
    doorman.upstream().assert_untouched();
}

/// Who has a token could still make the server believe in another path, method or sender.
#[tokio::test]
async fn what_a_client_says_about_its_request_does_not_reach_the_server() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for name in ABOUT_THE_REQUEST {
        for spelling in [name.to_owned(), name.to_uppercase(), name.replace('-', "_")] {
            let before = doorman.upstream().received().len();
            let request = doorman.request(&token).header(&spelling, "canary.example");
            doorman.send(request.header(&spelling, "canary.example")).await;
            for received in doorman.upstream().received().split_off(before) {
                assert!(!received.text().contains("canary"), "{spelling}: {received:?}");
                assert_eq!(received.values("x-forwarded-for"), ["127.0.0.1"], "{spelling}");
                assert_eq!(received.values("x-forwarded-proto"), ["https"], "{spelling}");
                assert_eq!(received.values("x-forwarded-host"), [HOST], "{spelling}");
                seen += 1;
            }
        }
    }

    // Those that were refused are no danger, but a server that was never reached proves nothing.
    assert!(seen >= 2 * ABOUT_THE_REQUEST.len(), "{seen}");
}

/// GHSA-5hvv-m4w4-gf6v: a probe's name was enough
#[tokio::test]
async fn no_user_agent_opens_the_door() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut seen = 0;

    for agent in ["kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0", "Prometheus/3.0"] {
        for path in ["/mcp", "/mcp/healthz", "/mcp/livez"] {
            doorman.send(Request::get(path).header("user-agent", agent)).await.assert_status(401);
            seen += 1;
        }
    }

    assert_eq!(seen, 12);
    doorman.upstream().assert_untouched();
}

/// GHSA-g53w-w6mj-hrpp: routing headers of the inside, sent from outside
#[tokio::test]
async fn no_internal_header_opens_the_door_or_moves_the_target() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let names = ["mcp-init-host", "router-key", "x-envoy-original-dst-host", "x-internal-auth"];

    for name in names {
        doorman.send(mcp_request(RESOURCE).header(name, "x")).await.assert_status(401);
        let request = doorman.request(&token).header(name, "evil.example");
        doorman.send(request).await.assert_status(200);
    }

    let received = doorman.upstream().received();
    assert_eq!(received.len(), names.len());
    for request in received {
        assert_eq!(request.values("host"), [doorman.upstream().authority()]);
    }
}

/// CVE-2025-54576: an allow-list matched the query
#[tokio::test]
async fn no_target_looks_public_and_is_not() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for target in [
        "/mcp?x=/.well-known/oauth-protected-resource",
        "/mcp#/.well-known/oauth-protected-resource",
        "/.well-known/..%2fmcp",
        "/.well-known/../mcp",
        "/.well-known/%2e%2e/mcp",
        "/.WELL-KNOWN/../mcp",
        "//mcp",
        "/mcp/.",
        "/mcp/..",
        "/./mcp",
        "/x/..;/mcp",
        "/mcp;/.well-known",
        "/mcp%00",
        "/mcp\\..\\admin",
        "/mcp%5cadmin",
        "/mcp%2fadmin",
        "/%6dcp",
    ] {
        let status = raw(&doorman, &format!("POST {target} HTTP/1.1"), "", "{}").await;
        assert!(
            status.is_none_or(|status| [400, 401, 404].contains(&status)),
            "{target}: {status:?}"
        );
        seen += 1;
    }
    doorman.upstream().assert_untouched();

    // With a token: what could be read in two ways is refused, not forwarded.
    for target in [
        "/mcp/../admin",
        "/mcp/%2e%2e/admin",
        "/mcp/%2E%2E%2Fadmin",
        "/mcp/./x",
        "/mcp//x",
        "//mcp",
        "/mcp/..;/admin",
        "/mcp/x\\y",
        "/mcp/x%5cy",
        "/mcp/x%2fy",
        "/mcp/x%00",
        "/mcp#x",
    ] {
        let headers = format!("Authorization: Bearer {token}\r\n");
        let status = raw(&doorman, &format!("POST {target} HTTP/1.1"), &headers, "{}").await;
        assert!(status.is_none_or(|status| [400, 404].contains(&status)), "{target}: {status:?}");
        seen += 1;
    }

    assert_eq!(seen, 29);
    doorman.upstream().assert_untouched();
}

/// RFC 9112 §6.1, §6.3: ambiguous framing is how one request becomes two
#[tokio::test]
async fn ambiguous_framing_is_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
    ] {
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n{headers}\r\n0\r\n\r\n"
        );
        let status = doorman.door().raw(request.as_bytes()).await.map(|status| status.as_u16());
        assert!(status.is_none_or(|status| [400, 501].contains(&status)), "{headers}: {status:?}");
        seen += 1;
    }

    assert_eq!(seen, 12);
    doorman.upstream().assert_untouched();
}

/// RFC 9112 §3.2: a server MUST answer 400 to no Host and to two
#[tokio::test]
async fn a_request_names_one_host_and_that_is_ours() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for (target, hosts, expected) in [
        ("/mcp", "", [400, 400]),
        ("/mcp", "Host: tools.example.com\r\nHost: tools.example.com\r\n", [400, 400]),
        ("/mcp", "Host: tools.example.com\r\nHost: evil.example\r\n", [400, 400]),
        ("/mcp", "Host: a@tools.example.com\r\n", [400, 421]),
        ("/mcp", "Host: tools.example.com/mcp\r\n", [400, 421]),
        ("/mcp", "Host: tools.example.com, evil.example\r\n", [400, 421]),
        ("/mcp", "Host: \r\n", [400, 421]),
        ("/mcp", "Host: evil.example\r\n", [421, 421]),
        ("/mcp", "Host: tools.example.com:8443\r\n", [421, 421]),
        ("http://evil.example/mcp", "Host: tools.example.com\r\n", [400, 421]),
        ("http://tools.example.com/mcp", "Host: evil.example\r\n", [400, 421]),
    ] {
        let request = format!(
            "POST {target} HTTP/1.1\r\n{hosts}Authorization: Bearer {token}\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let status = doorman.door().raw(request.as_bytes()).await.map(|status| status.as_u16());
        assert!(
            status.is_some_and(|status| expected.contains(&status)),
            "{hosts}{target}: {status:?}"
        );
        seen += 1;
    }

    assert_eq!(seen, 11);
    doorman.upstream().assert_untouched();
}

/// Names of hosts have no case, and a default port may be spelled out.
#[tokio::test]
async fn our_own_host_may_be_written_as_hosts_are() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;

    for host in ["tools.example.com", "TOOLS.example.com", "tools.example.com:443"] {
        doorman.send(doorman.request(&token).header("host", host)).await.assert_status(200);
    }
}

#[tokio::test]
async fn other_methods_do_not_reach_the_server() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for line in [
        "CONNECT evil.example:443 HTTP/1.1",
        "CONNECT /mcp HTTP/1.1",
        "TRACK /mcp HTTP/1.1",
        "post /mcp HTTP/1.1",
        "get /mcp HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "PRI * HTTP/2.0",
        "POST /mcp HTTP/1.2",
        "POST /mcp",
    ] {
        let headers = format!("Authorization: Bearer {token}\r\n");
        let status = raw(&doorman, line, &headers, "{}").await;
        assert!(status.is_none_or(|status| status >= 400), "{line}: {status:?}");
        seen += 1;
    }
    doorman.send(Request::new(Method::TRACE, "/mcp").bearer(&token)).await.assert_status(405);

    assert_eq!(seen, 9);
    doorman.upstream().assert_untouched();
}

/// Only after the credentials: what is allowed here is nobody's business without.
#[tokio::test]
async fn methods_that_mcp_does_not_use_are_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;

    for method in [Method::PUT, Method::PATCH] {
        let request = Request::new(method, RESOURCE).body("{}");
        let without = doorman.send(request.clone()).await;
        without.assert_json_rpc_error(401);
        assert_eq!(without.challenge().parameter("error"), None);
        let refused = doorman.send(request.bearer(&token)).await;
        refused.assert_json_rpc_error(405);
        assert_eq!(refused.header("allow"), "POST, GET, DELETE, OPTIONS");
    }

    doorman.upstream().assert_untouched();
}

/// RFC 9112 §2.2: what one side takes for a line or a text, the other may not
#[tokio::test]
async fn bytes_that_can_be_read_in_two_ways_are_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for headers in [
        &b"X-Custom: \xff\xfe\r\n"[..],
        b"X-Custom: a\nX-Forwarded-User: admin\r\n",
        b"X-Custom: a\rX-Forwarded-User: admin\r\n",
        b"X-Custom: a\r\n X-Forwarded-User: admin\r\n",
        b"X-Custom : a\r\n",
        b"X-Custom: \x00\r\n",
    ] {
        let head =
            format!("POST /mcp HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n");
        let request = [head.as_bytes(), headers, b"Content-Length: 2\r\n\r\n{}"].concat();
        let status = doorman.door().raw(&request).await.map(|status| status.as_u16());
        assert!(
            status.is_none_or(|status| status == 400),
            "{}: {status:?}",
            headers.escape_ascii()
        );
        seen += 1;
    }

    assert_eq!(seen, 6);
    doorman.upstream().assert_untouched();
}

/// A plain OPTIONS is answered by us, and never forwarded.
#[tokio::test]
async fn options_never_reaches_the_server() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;

    for request in [
        Request::new(Method::OPTIONS, "/mcp"),
        Request::new(Method::OPTIONS, "/mcp").bearer(&token),
        Request::new(Method::OPTIONS, "/mcp").header("origin", "http://localhost:1").bearer(&token),
    ] {
        doorman.send(request).await;
    }

    doorman.upstream().assert_untouched();
}

/// CVE-2025-64484 (underscores), CVE-2026-39858 (case): the server must believe one name only, ours
#[tokio::test]
async fn nobody_says_for_himself_who_he_is() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for (name, own) in [
        ("X-Forwarded-User", "alice-7f3a"),
        ("X-Forwarded-Email", "alice@example.com"),
        ("X-Forwarded-Groups", "engineers,mcp-users"),
    ] {
        for spelling in [
            name.to_owned(),
            name.to_uppercase(),
            name.to_lowercase(),
            name.replace('-', "_"),
            name.replacen('-', "_", 1),
            name.to_lowercase().replace('-', "_"),
        ] {
            for copies in [1, 2] {
                let headers = format!("{spelling}: admin\r\n").repeat(copies);
                let headers = format!("Authorization: Bearer {token}\r\n{headers}");
                let before = doorman.upstream().received().len();
                let status = raw(&doorman, "POST /mcp HTTP/1.1", &headers, "{}").await.unwrap();
                let received = doorman.upstream().received().split_off(before);
                if status == 200 {
                    assert_eq!(received[0].values(&name.to_lowercase()), [own], "{spelling}");
                    assert!(!received[0].text().contains("admin"), "{spelling}: {received:?}");
                } else {
                    assert_eq!((status, received.len()), (400, 0), "{spelling}");
                }
                seen += 1;
            }
        }
    }

    assert_eq!(seen, 36);
}

/// CVE-2025-48865: `Connection` named the header that was to be dropped on the way
#[tokio::test]
async fn no_connection_header_removes_what_we_set() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for nominated in [
        "X-Forwarded-User",
        "x-forwarded-email",
        "close, X-Forwarded-Groups",
        "X_Forwarded_User",
        "Authorization",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
    ] {
        let headers = format!(
            "Authorization: Bearer {token}\r\nConnection: {nominated}\r\nX-Forwarded-User: admin\r\n"
        );
        let status = raw(&doorman, "POST /mcp HTTP/1.1", &headers, "{}").await;
        assert_eq!(status, Some(400), "{nominated}");
        seen += 1;
    }

    assert_eq!(seen, 8);
    doorman.upstream().assert_untouched();
}

#[tokio::test]
async fn no_upgrade_passes_through_us() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for headers in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        "Upgrade: h2c\r\n",
    ] {
        let headers = format!("Authorization: Bearer {token}\r\n{headers}");
        let status = raw(&doorman, "POST /mcp HTTP/1.1", &headers, "{}").await.unwrap();
        assert!([200, 400].contains(&status), "{headers}: {status}");
        seen += 1;
    }

    assert_eq!(seen, 3);
    for request in doorman.upstream().received() {
        for name in ["upgrade", "http2-settings", "connection"] {
            let values = request.values(name).join(",").to_lowercase();
            assert!(!values.contains("h2c") && !values.contains("upgrade"), "{request:?}");
        }
    }
}

/// `FastMCP` #3524: one kind of token stood in for another
#[tokio::test]
async fn no_kind_of_ours_passes_for_another() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let browser = doorman.browser();
    let page = browser.open(&doorman.authorization(&login.client).url()).await;
    let to_idp = browser.approve(&page).await.location();
    let state = to_idp.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let granted = doorman.authorize(&login.client).await;
    let mut kinds = vec![
        ("client id", "doorman_ci_", login.client.id.clone()),
        ("state", "doorman_st_", state),
        ("code", "doorman_ac_", granted.code.clone()),
        ("access token", "doorman_at_", login.tokens.access.clone()),
        ("refresh token", "doorman_rt_", login.tokens.refresh.clone()),
    ];
    for (_, value) in page.form().hidden {
        if value != login.client.id {
            kinds.push(("form field", "", value));
        }
    }
    for cookie in browser.cookies() {
        kinds.push(("cookie", "", cookie.value));
    }
    let mut seen = 0;

    for (kind, prefix, value) in &kinds {
        let sealed = value.strip_prefix(prefix).unwrap();
        // As it is, and relabelled as the kind that belongs there.
        for text in [value.clone(), format!("doorman_at_{sealed}")] {
            if *kind != "access token" && http::HeaderValue::from_str(&text).is_ok() {
                doorman.call(&text).await.assert_status(401);
                seen += 1;
            }
        }
        for text in [value.clone(), format!("doorman_rt_{sealed}")] {
            if *kind != "refresh token" {
                let answer = doorman.refresh(&login.client, &text).await;
                answer.assert_error(400, "invalid_grant");
                seen += 1;
            }
        }
        for text in [value.clone(), format!("doorman_ac_{sealed}")] {
            if *kind != "code" {
                let mut form = code_form(&login.client, &granted, RESOURCE);
                form[1].1 = &text;
                doorman.token(&form).await.assert_error(400, "invalid_grant");
                seen += 1;
            }
        }
        for text in [value.clone(), format!("doorman_ci_{sealed}")] {
            if *kind != "client id" {
                let client = Client { id: text, redirect_uri: REDIRECT.to_owned() };
                let answer = doorman.exchange(&client, &granted).await;
                answer.assert_error(401, "invalid_client");
                doorman.get(&doorman.authorization(&client).url()).await.assert_page(400);
                seen += 2;
            }
        }
        for text in [value.clone(), format!("doorman_st_{sealed}")] {
            if *kind != "state" {
                let mut callback = url::Url::parse(&doorman.endpoint("/oauth/callback")).unwrap();
                callback.query_pairs_mut().append_pair("code", "x").append_pair("state", &text);
                browser.get(callback.as_str()).await.assert_stopped_on_a_page();
                seen += 1;
            }
        }
    }

    assert!(seen >= 48, "{seen}");
    doorman.upstream().assert_untouched();
    doorman.call(&login.tokens.access).await.assert_status(200);
    doorman.refresh(&login.client, &login.tokens.refresh).await.assert_status(200);
    doorman.exchange(&login.client, &granted).await.assert_status(200);
}

/// Same names, same people, other keys.
#[tokio::test]
async fn nothing_of_a_deployment_with_other_keys_is_accepted() {
    let ours = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let theirs = Doorman::in_front_of(FakeMcpServer::start().await)
        .sealed_with(&["another deployment"])
        .beside(&ours)
        .start()
        .await;

    assert_foreign(&ours, &theirs).await;
}

/// Same keys (a secret that was copied), another issuer.
#[tokio::test]
async fn nothing_of_another_issuer_with_our_keys_is_accepted() {
    let ours = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let theirs = Doorman::in_front_of(FakeMcpServer::start().await)
        .issuer("https://tools.example.com/staging")
        .beside(&ours)
        .start()
        .await;

    assert_foreign(&ours, &theirs).await;
}

/// A key is rotated by putting the new one in front.
#[tokio::test]
async fn what_a_previous_key_sealed_still_opens() {
    let before =
        Doorman::in_front_of(FakeMcpServer::start().await).sealed_with(&["old key"]).start().await;
    let client = before.register().await;
    let after = Doorman::in_front_of(FakeMcpServer::start().await)
        .sealed_with(&["new key", "old key"])
        .beside(&before)
        .start()
        .await;

    after.log_in_with(client).await;
}

/// CVE-2025-4143: the redirect URI was taken loosely at the authorization endpoint
#[tokio::test]
async fn a_redirect_uri_matches_exactly_or_not_at_all() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let web = doorman.register_at("https://client.example.com/callback").await;
    let loopback = doorman.register_at("http://127.0.0.1/callback").await;
    let query = doorman.register_at("https://client.example.com/callback?a=b").await;
    let mut seen = 0;

    for (client, redirect_uri) in [
        (&web, "https://client.example.com/callback/"),
        (&web, "https://client.example.com/callback/../evil"),
        (&web, "https://client.example.com/callback/%2e%2e/evil"),
        (&web, "https://client.example.com/callbackevil"),
        (&web, "https://client.example.com/Callback"),
        (&web, "https://client.example.com/call%62ack"),
        (&web, "https://client.example.com//callback"),
        (&web, "https://client.example.com/callback?x=y"),
        (&web, "https://client.example.com/callback?"),
        (&web, "https://client.example.com/callback#"),
        (&web, "https://client.example.com/callback#x"),
        (&web, "https://client.example.com:443/callback"),
        (&web, "https://client.example.com:8443/callback"),
        (&web, "https://CLIENT.example.com/callback"),
        (&web, "https://client.example.com./callback"),
        (&web, "https://evil.client.example.com/callback"),
        (&web, "https://client.example.com.evil.com/callback"),
        (&web, "https://client.example.com@evil.com/callback"),
        (&web, "https://evil.com\\@client.example.com/callback"),
        (&web, "https://client.example.com\\.evil.com/callback"),
        (&web, "https://user@client.example.com/callback"),
        (&web, "http://client.example.com/callback"),
        (&web, "//client.example.com/callback"),
        (&web, "/callback"),
        (&web, " https://client.example.com/callback"),
        (&web, "https://client.example.com/callback\t"),
        (&web, "https://client.example.com/callback\n"),
        (&web, "https://client.example.com/callback\u{0}"),
        (&web, "https:client.example.com/callback"),
        (&web, "https:///client.example.com/callback"),
        (&web, "javascript:alert(1)//https://client.example.com/callback"),
        (&web, "data:text/html,x"),
        (&web, "http://127.0.0.1/callback"),
        (&query, "https://client.example.com/callback"),
        (&query, "https://client.example.com/callback?a=c"),
        (&query, "https://client.example.com/callback?a=b&c=d"),
        (&loopback, "http://localhost/callback"),
        (&loopback, "http://[::1]/callback"),
        (&loopback, "http://127.0.0.2/callback"),
        (&loopback, "http://127.1/callback"),
        (&loopback, "http://0x7f.1/callback"),
        (&loopback, "http://2130706433/callback"),
        (&loopback, "http://0.0.0.0/callback"),
        (&loopback, "http://127.0.0.1.evil.com/callback"),
        (&loopback, "http://127.0.0.1:80@evil.com/callback"),
        (&loopback, "http://127.0.0.1:99999/callback"),
        (&loopback, "http://127.0.0.1:1/callback/"),
        (&loopback, "http://127.0.0.1:1/callback?x"),
        (&loopback, "https://127.0.0.1/callback"),
    ] {
        let url = doorman.authorization(client).with("redirect_uri", redirect_uri).url();
        doorman.browser().get(&url).await.assert_page(400);
        seen += 1;
    }

    assert_eq!(seen, 49);
}

/// CVE-2025-69196: a token for one resource was good at another
#[tokio::test]
async fn a_resource_of_another_server_is_not_ours_to_grant() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let mut seen = 0;

    for resource in [
        "https://evil.example/mcp",
        "https://tools.example.com/mcp-evil",
        "https://tools.example.com/mc",
        "https://tools.example.com/mcp/deeper",
        "https://tools.example.com:8443/mcp",
        "https://tools.example.com.evil.example/mcp",
        "https://user@tools.example.com/mcp",
        "http://tools.example.com/mcp",
        "tools.example.com/mcp",
        "/mcp",
        "urn:example:mcp",
    ] {
        let url = doorman.authorization(&client).with("resource", resource).url();
        doorman.browser().get(&url).await.assert_page(400);
        let granted = doorman.authorize(&client).await;
        let answer = doorman.token(&code_form(&client, &granted, resource)).await;
        answer.assert_error(400, "invalid_target");
        seen += 1;
    }

    assert_eq!(seen, 11);
}

/// To a server that reads paths in any case or decodes them, these are the stricter resource.
#[tokio::test]
async fn a_token_for_one_resource_does_not_reach_another_by_its_spelling() {
    let admin = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await)
        .at("https://tools.example.com/team")
        .and_at("https://tools.example.com/team/admin", &admin)
        .start()
        .await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for path in
        ["/team/Admin", "/team/%61dmin", "/TEAM/admin", "/team/admin", "/team/Admin/x", "/Team"]
    {
        let answer = doorman.send(mcp_request(path).bearer(&token)).await;
        assert!([400, 401, 404].contains(&answer.status.as_u16()), "{path}\n{answer}");
        seen += 1;
    }

    assert_eq!(seen, 6);
    doorman.upstream().assert_untouched();
    admin.assert_untouched();
    doorman.call(&token).await.assert_status(200);
}

/// RFC 9700 §4.8.2: dropping both the challenge and the verifier must not help
#[tokio::test]
async fn pkce_cannot_be_left_out_at_either_end() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;
    let form = code_form(&client, &granted, RESOURCE);
    let mut seen = 0;

    for verifier in [
        "",
        &granted.verifier[..42],
        &format!("{}x", granted.verifier),
        &granted.verifier.to_uppercase(),
        &crate::support::hash_text(&granted.verifier),
        &"a".repeat(129),
        &format!("{} ", granted.verifier),
    ] {
        let mut wrong = form;
        wrong[4].1 = verifier;
        let answer = doorman.token(&wrong).await;
        let error = answer.assert_status(400).json()["error"].clone();
        assert!(error == "invalid_grant" || error == "invalid_request", "\n{answer}");
        seen += 1;
    }

    assert_eq!(seen, 7);
    doorman.token(&form).await.assert_status(200);
}

/// Registration is open to everyone, so a registered address proves nothing (RFC 9700 §4.11).
#[tokio::test]
async fn we_are_no_open_redirector() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let attacker = doorman.register_at("https://evil.example/landing").await;
    let usual = || doorman.authorization(&attacker);

    for authorization in [
        usual().with("response_type", "token"),
        usual().with("code_challenge_method", "plain"),
        usual().with("scope", "nothing that exists"),
        usual().with("resource", "https://other.example/"),
        usual().with("prompt", "none"),
        usual().with("request_uri", "https://evil.example/request"),
    ] {
        let answer = doorman.browser().get(&authorization.url()).await;
        assert!(!answer.headers.contains_key("location"), "\n{answer}");
        assert!(!answer.headers.contains_key("refresh"), "\n{answer}");
    }
}

/// Agentgateway VULN-3a: what belongs on an inner listener was outside
#[tokio::test]
async fn the_inside_is_not_on_the_public_listener() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    for path in ["/livez", "/readyz", "/healthz", "/metrics", "/config", "/debug", "/admin"] {
        let answer = doorman.get(path).await;
        assert!([401, 404].contains(&answer.status.as_u16()), "\n{answer}");
        let inside = doorman.health().send(Request::get("/mcp")).await;
        assert!(inside.status.is_client_error(), "\n{inside}");
    }

    doorman.upstream().assert_untouched();
}

/// A head that never ends is not kept in memory.
#[tokio::test]
async fn a_huge_head_is_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let many = "X-Many: 1\r\n".repeat(200);
    let large = format!("X-Large: {}\r\n", "a".repeat(1024 * 1024));

    for headers in [many, large] {
        let headers = format!("Authorization: Bearer {token}\r\n{headers}");
        let status = raw(&doorman, "POST /mcp HTTP/1.1", &headers, "{}").await;
        assert!(status.is_none_or(|status| [400, 431].contains(&status)), "{status:?}");
    }

    doorman.upstream().assert_untouched();
}

async fn assert_foreign(ours: &Doorman, theirs: &Doorman) {
    let login = theirs.log_in().await;
    let granted = theirs.authorize(&login.client).await;
    let own = ours.register().await;

    let call = ours.send(mcp_request(RESOURCE).bearer(&login.tokens.access)).await;
    assert_eq!(call.assert_status(401).challenge().parameter("error"), Some("invalid_token"));
    let page = ours.get(&ours.authorization(&login.client).url()).await;
    page.assert_page(400);
    let unknown = ours.exchange(&login.client, &granted).await;
    unknown.assert_error(401, "invalid_client");
    ours.exchange(&own, &granted).await.assert_error(400, "invalid_grant");
    ours.refresh(&own, &login.tokens.refresh).await.assert_error(400, "invalid_grant");
    ours.revoke(&own, &login.tokens.refresh).await.assert_status(200);

    ours.upstream().assert_untouched();
    theirs.call(&login.tokens.access).await.assert_status(200);
}

/// The status of a request that is written by hand, with our `Host` and a length.
async fn raw(doorman: &Doorman, line: &str, headers: &str, body: &str) -> Option<u16> {
    let length = body.len();
    let request =
        format!("{line}\r\nHost: {HOST}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    doorman.door().raw(request.as_bytes()).await.map(|status| status.as_u16())
}

/// What proxies say about the request to the server behind them, and servers believe.
const ABOUT_THE_REQUEST: [&str; 12] = [
    "x-forwarded-uri",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-prefix",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-method",
    "x-http-method-override",
    "x-real-ip",
    "forwarded",
    "x-forwarded-for",
];
