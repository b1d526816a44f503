//! What operators ask of a running process, through its admin socket: who is connected, ending that, draining.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::admin::{AdminSocket, program, run};
use crate::support::client::{Client, metadata};
use crate::support::doorman::{Builder, Doorman, Login, MINUTE, REDIRECT, RESOURCE};
use crate::support::exchange::{Door, Request};
use crate::support::fake_idp::{CLIENT_SECRET, Person};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::soon;

/// A Doorman, whom to ask about it, and where the socket is for as long as this lives.
async fn start() -> (Doorman, AdminSocket, TempDir) {
    start_with(|builder| builder).await
}

async fn start_with(change: impl FnOnce(Builder) -> Builder) -> (Doorman, AdminSocket, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let socket = AdminSocket::in_folder(folder.path());
    let server = FakeMcpServer::start().await;
    let builder = Doorman::in_front_of(server).admin_socket(&socket.path);
    (change(builder).start().await, socket, folder)
}

async fn log_in_as(doorman: &Doorman, name: &str) -> Login {
    let mut metadata = metadata(REDIRECT);
    metadata["client_name"] = json!(name);
    let registered = doorman.register_with(&metadata).await;
    let id = registered.json()["client_id"].as_str().unwrap().to_owned();
    doorman.log_in_with(Client { id, redirect_uri: REDIRECT.to_owned() }).await
}

async fn is_connected(doorman: &Doorman, login: &Login) -> bool {
    let call = doorman.call(&login.tokens.access).await.status.as_u16();
    let refresh = doorman.refresh(&login.client, &login.tokens.refresh).await;
    if call == 200 {
        refresh.assert_status(200);
    } else {
        assert_eq!(call, 401);
        refresh.assert_error(400, "invalid_grant");
    }
    call == 200
}

#[tokio::test]
async fn a_connection_is_listed_from_its_first_token_to_its_end() {
    let (doorman, socket, _folder) = start().await;
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;
    assert_eq!(socket.connections().await, [Value::Null; 0], "a code is no connection");

    let tokens = doorman.exchange(&client, &granted).await.tokens();
    doorman.later(10 * MINUTE);
    doorman.refresh(&client, &tokens.refresh).await.assert_status(200);

    let [connection] = socket.connections().await.try_into().unwrap();
    for (key, length) in [("grant", 32), ("client", 32)] {
        let id = connection[key].as_str().unwrap();
        assert!(id.len() == length && id.bytes().all(|b| b.is_ascii_hexdigit()), "{connection}");
    }
    for (key, value) in [
        ("user", "alice-7f3a"),
        ("email", "alice@example.com"),
        ("client_name", "Example Client"),
        ("resource", RESOURCE),
        ("since", "2026-09-21T14:13:20Z"),
        ("refreshed", "2026-09-21T14:23:20Z"),
    ] {
        assert_eq!(connection[key], value, "{connection}");
    }
    assert_eq!(connection["scopes"], json!(["tools:read", "tools:write"]));
    assert!(connection["ends_at"].as_str().unwrap() > "2026-09-21T14:23:20Z", "{connection}");
    doorman.revoke(&client, &tokens.refresh).await.assert_status(200);
    assert_eq!(socket.connections().await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_list_can_be_of_one_person_or_one_client() {
    let (doorman, socket, _folder) = start().await;
    log_in_as(&doorman, "One").await;
    log_in_as(&doorman, "Two & more").await;
    doorman.idp().sign_in(Person { sub: "bob-1", email: "bob@example.com", ..Person::alice() });
    log_in_as(&doorman, "One").await;
    let all = socket.connections().await;
    let digest = all.iter().find(|one| one["user"] == "bob-1").unwrap()["client"].as_str().unwrap();

    for (query, count) in [
        ("?user=alice-7f3a", 2),
        ("?user=Alice@Example.com", 2),
        ("?user=bob-1", 1),
        ("?user=nobody", 0),
        ("?client=One", 2),
        ("?client=Two+%26+more", 1),
        (&format!("?client={digest}"), 1),
        ("?client=One&user=bob-1", 1),
        ("?client=Two+%26+more&user=bob-1", 0),
    ] {
        assert_eq!(socket.connections_of(query).await.len(), count, "{query}");
    }
}

#[tokio::test]
async fn a_connection_is_ended_by_its_id_or_its_beginning_as_the_log_has_it() {
    let (doorman, socket, _folder) = start().await;
    let (one, other, third) =
        (doorman.log_in().await, doorman.log_in().await, doorman.log_in().await);
    assert!(is_connected(&doorman, &third).await);
    let ids: Vec<_> = socket.connections().await.iter().map(grant_id).collect();

    socket.revoke("grant", &ids[0]).await.assert_ended(1);
    socket.revoke("grant", &ids[1].to_uppercase()[..12]).await.assert_ended(1);

    let mut left = 0;
    for login in [&one, &other, &third] {
        left += usize::from(is_connected(&doorman, login).await);
    }
    assert_eq!(left, 1);
    assert_eq!(socket.connections().await.iter().map(grant_id).collect::<Vec<_>>(), &ids[2..]);
    doorman.log().line_with("connection ended by the operator").await;
}

fn grant_id(connection: &Value) -> String {
    connection["grant"].as_str().unwrap().to_owned()
}

/// Its row may be lost: then its access tokens are refused all the same.
#[tokio::test]
async fn an_id_that_the_store_does_not_know_is_ended_too() {
    let (_doorman, socket, _folder) = start().await;

    let told = socket.revoke("grant", &"ab".repeat(16)).await;

    told.assert_ended(1);
    assert_eq!(told.lines()[0]["ended"]["connection"], Value::Null);
}

#[tokio::test]
async fn all_connections_of_a_person_are_ended_and_nobody_elses() {
    let (doorman, socket, _folder) = start().await;
    let alices = [doorman.log_in().await, log_in_as(&doorman, "Other").await];
    doorman.idp().sign_in(Person { sub: "bob-1", email: "bob@example.com", ..Person::alice() });
    let bobs = doorman.log_in().await;

    socket.revoke("user", "alice-7f3a").await.assert_ended(2);

    for login in &alices {
        assert!(!is_connected(&doorman, login).await);
    }
    assert!(is_connected(&doorman, &bobs).await);
    socket.revoke("user", "bob@example.com").await.assert_ended(1);
    assert!(!is_connected(&doorman, &bobs).await);
}

/// It would be a connection in a moment.
#[tokio::test]
async fn a_code_under_way_ends_with_its_person() {
    let (doorman, socket, _folder) = start().await;
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;

    socket.revoke("user", "alice-7f3a").await.assert_ended(1);

    doorman.exchange(&client, &granted).await.assert_error(400, "invalid_grant");
}

/// An IdP gives an address to another person, once the first has left.
#[tokio::test]
async fn an_address_that_two_people_have_ends_neither() {
    let (doorman, socket, _folder) = start().await;
    let alices = doorman.log_in().await;
    doorman.idp().sign_in(Person { sub: "alice-2", ..Person::alice() });
    let others = doorman.log_in().await;

    let told = socket.revoke("user", "alice@example.com").await;

    told.assert_error(409, "ambiguous");
    let choices = &told.json()["choices"];
    assert_eq!(choices[0], json!({ "id": "alice-2", "connections": 1 }));
    assert_eq!(choices[1], json!({ "id": "alice-7f3a", "connections": 1 }));
    assert!(is_connected(&doorman, &alices).await && is_connected(&doorman, &others).await);
}

#[tokio::test]
async fn a_client_is_ended_by_its_digest_or_by_a_name_that_is_its_alone() {
    let (doorman, socket, _folder) = start().await;
    let twins = [log_in_as(&doorman, "Twin").await, log_in_as(&doorman, "Twin").await];
    let single = log_in_as(&doorman, "Single").await;
    let again = doorman.log_in_with(single.client.clone()).await;

    socket.revoke("client", "Single").await.assert_ended(2);
    assert!(!is_connected(&doorman, &single).await && !is_connected(&doorman, &again).await);

    let told = socket.revoke("client", "Twin").await;
    told.assert_error(409, "ambiguous");
    for twin in &twins {
        assert!(is_connected(&doorman, twin).await);
    }
    let choices = told.json()["choices"].as_array().unwrap().clone();
    assert_eq!(choices.len(), 2);
    socket.revoke("client", choices[0]["id"].as_str().unwrap()).await.assert_ended(1);
    assert_eq!(socket.connections().await.len(), 1);
}

/// Names are strangers' text.
#[tokio::test]
async fn a_client_that_calls_itself_by_the_digest_of_another_is_not_meant_by_it() {
    let (doorman, socket, _folder) = start().await;
    let victim = doorman.log_in().await;
    let digest = socket.connections().await[0]["client"].as_str().unwrap().to_owned();
    let liar = log_in_as(&doorman, &digest).await;

    socket.revoke("client", &digest).await.assert_ended(1);

    assert!(!is_connected(&doorman, &victim).await);
    assert!(is_connected(&doorman, &liar).await);
}

#[tokio::test]
async fn what_is_not_understood_is_refused_in_words() {
    let (doorman, socket, _folder) = start().await;
    let login = doorman.log_in().await;
    let mut seen = 0;

    for (method, target, allowed) in [
        ("POST", "/connections", "GET"),
        ("HEAD", "/connections", "GET"),
        ("GET", "/revoke", "POST"),
        ("DELETE", "/revoke", "POST"),
        ("GET", "/drain", "POST"),
    ] {
        let told = socket.ask(method, target, "").await;
        assert_eq!(told.status, 405, "{method} {target}");
        assert_eq!(told.headers["allow"], allowed);
        seen += 1;
    }
    for body in [
        "",
        "{}",
        "[]",
        "user",
        r#"{"user":1}"#,
        r#"{"users":"alice-7f3a"}"#,
        r#"{"user":"alice-7f3a","client":"x"}"#,
        &format!(r#"{{"user":"{}"}}"#, "x".repeat(5000)),
    ] {
        socket.ask("POST", "/revoke", body).await.assert_error(400, "invalid_request");
        seen += 1;
    }
    for body in ["", "{}", r#"{"within_seconds":-1}"#, r#"{"within_seconds":1,"x":1}"#, "[1]"] {
        socket.ask("POST", "/drain", body).await.assert_error(400, "invalid_request");
        seen += 1;
    }
    for id in ["abc", "0123456789a", "alice-7f3a-no-hex"] {
        socket.revoke("grant", id).await.assert_error(400, "invalid_request");
        seen += 1;
    }
    for (whose, name) in [("user", "nobody"), ("client", "None"), ("grant", "0123456789ab")] {
        socket.revoke(whose, name).await.assert_error(404, "nothing_found");
        seen += 1;
    }
    socket.ask("GET", "/connections?user=a&user=b", "").await.assert_error(400, "invalid_request");
    socket.ask("GET", "/grants", "").await.assert_error(404, "not_found");

    assert_eq!(seen, 24);
    assert!(is_connected(&doorman, &login).await);
    doorman.health().send(Request::get("/readyz")).await.assert_status(200);
}

/// Not on any port: an MCP server that fetches URLs can reach those.
#[tokio::test]
async fn only_the_socket_answers_operators() {
    let (doorman, _socket, _folder) = start().await;

    for path in ["/connections", "/drain"] {
        doorman.health().send(Request::get(path)).await.assert_status(404);
        doorman.get(path).await.assert_status(404);
        doorman
            .send(Request::post(path).json(&json!({"within_seconds":0})))
            .await
            .assert_status(404);
    }
    let health = doorman.health().send(Request::post("/revoke").json(&json!({"user":"a"}))).await;
    assert!([404, 405].contains(&health.status.as_u16()), "{health}");
}

/// RFC 9700 has nothing on operators; the rule is ours: who lists connections gets none of them.
#[tokio::test]
async fn nothing_that_opens_anything_is_told() {
    let (doorman, socket, _folder) = start_with(Builder::revocable).await;
    let login = doorman.log_in().await;
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;
    let mut told = Vec::new();

    told.push(socket.ask("GET", "/connections", "").await.text);
    told.push(socket.revoke("user", "nobody").await.text);
    told.push(socket.revoke("user", "alice-7f3a").await.text);
    let printed = socket.run(&["connections", "--json"]).await;
    told.extend([printed.out, printed.err]);

    let mut secrets = vec![login.tokens.access, login.tokens.refresh, granted.code];
    secrets.extend([granted.verifier, client.id, login.client.id, CLIENT_SECRET.to_owned()]);
    secrets.extend(login.browser.cookies().into_iter().map(|cookie| cookie.value));
    secrets.extend(doorman.idp().issued());
    assert!(secrets.len() > 10 && told[0].contains("alice-7f3a") && told[2].contains("ended"));
    for text in &told {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} in {text}");
        }
        assert!(!text.contains("doorman_"), "{text}");
    }
}

#[tokio::test]
async fn only_our_own_user_can_open_the_socket() {
    let (_doorman, socket, folder) = start().await;

    let found = fs::symlink_metadata(&socket.path).unwrap();

    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o600);
    let beside: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
}

#[tokio::test]
async fn the_directory_is_made_for_us_alone() {
    let folder = tempfile::tempdir().unwrap();
    let socket = AdminSocket::in_folder(&folder.path().join("made"));
    let server = FakeMcpServer::start().await;
    let _doorman = Doorman::in_front_of(server).admin_socket(&socket.path).start().await;

    assert_eq!(socket.connections().await.len(), 0);
    let made = fs::metadata(folder.path().join("made")).unwrap();
    assert_eq!(made.permissions().mode() & 0o7777, 0o700);
}

#[tokio::test]
async fn a_socket_that_a_dead_process_left_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let socket = AdminSocket::in_folder(folder.path());
    drop(UnixListener::bind(&socket.path).unwrap());
    assert!(socket.path.exists());

    let server = FakeMcpServer::start().await;
    let _doorman = Doorman::in_front_of(server).admin_socket(&socket.path).start().await;

    assert_eq!(socket.connections().await.len(), 0);
}

#[tokio::test]
async fn the_socket_is_gone_when_the_process_is() {
    let (doorman, socket, folder) = start().await;

    doorman.stop().await;

    assert!(!socket.path.exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_socket_that_another_process_put_there_is_left_alone() {
    let (doorman, socket, _folder) = start().await;
    fs::remove_file(&socket.path).unwrap();
    let _others = UnixListener::bind(&socket.path).unwrap();

    doorman.stop().await;

    assert!(socket.path.exists());
}

/// The real program with a config file of its own. Killed, by its id, when dropped.
struct Process {
    child: Child,
    log: Option<BufReader<ChildStdout>>,
    _folder: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Process {
    fn config(folder: &Path, socket: &Path, upstream: &str) -> String {
        let key = folder.join("key");
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"of no deployment");
        fs::write(&key, STANDARD.encode(hash)).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        format!(
            "resources: [{{ url: \"http://127.0.0.1:9/mcp\", upstream: \"{upstream}\", access: any }}]\n\
             idp: {{ issuer: \"http://127.0.0.1:9\", client_id: x }}\n\
             sealing_keys: [{{ file: {} }}]\n\
             listen: 127.0.0.1:0\nhealth: {{ listen: 127.0.0.1:0 }}\nworkers: 1\n\
             admin: {{ socket: {} }}\n\
             registration: {{ metadata_documents: false }}\n",
            key.display(),
            socket.display(),
        )
    }

    fn serve(socket: &Path, upstream: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        fs::write(&file, Self::config(folder.path(), socket, upstream)).unwrap();
        let mut command = program();
        command.arg("serve").arg("--config").arg(file);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let log = child.stdout.take().map(BufReader::new);
        Self { child, log, _folder: folder }
    }

    /// The next line of its log that contains `text`; or the last, if it ends before.
    async fn line_with(&mut self, text: &'static str) -> Value {
        let mut log = self.log.take().unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            while !line.contains(text) {
                let mut next = String::new();
                if log.read_line(&mut next).unwrap() == 0 {
                    break;
                }
                line = next;
            }
            (log, line)
        });
        let (log, line) = soon(text, reading).await.unwrap();
        self.log = Some(log);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    async fn ended(&mut self) -> Option<i32> {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon("the process to end", ended).await
    }
}

#[tokio::test]
async fn a_process_does_not_take_the_socket_of_a_live_one() {
    let (_doorman, socket, _folder) = start().await;

    let mut second = Process::serve(&socket.path, "http://127.0.0.1:9/mcp");
    let line = second.line_with("can't start").await;

    let fault = line["fault"].as_str().unwrap();
    assert!(fault.starts_with("admin.socket: another process listens at"), "{fault}");
    assert_eq!(second.ended().await, Some(1));
    assert_eq!(socket.connections().await.len(), 0);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin.sock");
    fs::write(&file, "precious").unwrap();

    let mut process = Process::serve(&file, "http://127.0.0.1:9/mcp");
    let line = process.line_with("can't start").await;

    assert!(line["fault"].as_str().unwrap().contains("is no socket"), "{line}");
    assert_eq!(process.ended().await, Some(1));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

/// As a container's preStop does it, while the ingress has not heard yet.
#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let socket = AdminSocket::in_folder(folder.path());
    let server = FakeMcpServer::start().await;
    let mut process = Process::serve(&socket.path, &server.url("/mcp"));
    let line = process.line_with("\"started\"").await;
    let door = |key: &str| {
        let address = line[key].as_str().unwrap().parse().unwrap();
        Door::to(address, "127.0.0.1:9")
    };
    let (public, health) = (door("address"), door("health"));
    let health = Door::to(health.address, health.address.to_string());
    let ready = async {
        while health.send(Request::get("/readyz")).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    soon("readiness", ready).await;
    let (mut body, registration) = slow_registration(&public).await;
    let asking = socket.clone();
    let drain = tokio::spawn(async move { asking.run(&["drain"]).await });

    let not_ready = async {
        while health.send(Request::get("/readyz")).await.text() != "stopping\n" {
            tokio::task::yield_now().await;
        }
    };
    soon("the drain", not_ready).await;
    // Whoever has not heard is still served, and the process still answers its operators.
    public.send(Request::get("/.well-known/oauth-authorization-server")).await.assert_status(200);
    assert_eq!(socket.connections().await.len(), 0);
    let refused = async {
        while TcpStream::connect(public.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("the listener to close", refused).await;
    assert!(!drain.is_finished(), "a request is under way");
    body.finish().await;

    let printed = drain.await.unwrap();
    assert_eq!((printed.code, printed.out.as_str()), (Some(0), "drained\n"), "{printed:?}");
    assert_eq!(registration.await.unwrap(), "HTTP/1.1 201 Created");
    assert_eq!(process.ended().await, Some(0));
    assert!(!socket.path.exists());
}

#[tokio::test]
async fn what_a_drain_can_not_finish_in_time_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let socket = AdminSocket::in_folder(folder.path());
    let mut process = Process::serve(&socket.path, "http://127.0.0.1:9/mcp");
    let line = process.line_with("\"started\"").await;
    let public = Door::to(line["address"].as_str().unwrap().parse().unwrap(), "127.0.0.1:9");
    let (_body, _registration) = slow_registration(&public).await;

    let printed = socket.run(&["drain", "--within", "1"]).await;

    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert!(printed.out.contains("were cut"), "{printed:?}");
    assert_eq!(process.ended().await, Some(0));
}

/// Kubernetes sends SIGTERM after its preStop, whatever became of that.
#[tokio::test]
async fn a_signal_after_a_drain_was_asked_for_is_not_a_second_one() {
    let folder = tempfile::tempdir().unwrap();
    let socket = AdminSocket::in_folder(folder.path());
    let mut process = Process::serve(&socket.path, "http://127.0.0.1:9/mcp");
    process.line_with("\"started\"").await;
    let asking = socket.clone();
    let drain = tokio::spawn(async move { asking.run(&["drain", "--within", "2"]).await });
    process.line_with("draining").await;

    let id = process.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());

    assert_eq!(drain.await.unwrap().code, Some(0));
    assert_eq!(process.ended().await, Some(0));
}

/// A registration whose body is not whole until it is said to be.
async fn slow_registration(public: &Door) -> (SlowBody, tokio::task::JoinHandle<String>) {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};

    let body = metadata(REDIRECT).to_string();
    let (first, rest) = body.split_at(10);
    let head = format!(
        "POST /register HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        public.authority,
        body.len()
    );
    let stream = TcpStream::connect(public.address).await.unwrap();
    let (reading, mut writing) = stream.into_split();
    let mut reading = tokio::io::BufReader::new(reading);
    writing.write_all(head.as_bytes()).await.unwrap();
    // It is being read: the request is under way.
    let mut line = String::new();
    soon("100 Continue", reading.read_line(&mut line)).await.unwrap();
    assert!(line.contains("100"), "{line}");
    reading.read_line(&mut line).await.unwrap();
    writing.write_all(first.as_bytes()).await.unwrap();
    let answer = tokio::spawn(async move {
        let mut line = String::new();
        let _ = reading.read_line(&mut line).await;
        line.trim_end().to_owned()
    });
    (SlowBody { writing, rest: rest.to_owned() }, answer)
}

struct SlowBody {
    writing: tokio::net::tcp::OwnedWriteHalf,
    rest: String,
}

impl SlowBody {
    async fn finish(&mut self) {
        use tokio::io::AsyncWriteExt as _;

        self.writing.write_all(self.rest.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn the_program_lists_what_is_connected() {
    let (doorman, socket, _folder) = start().await;
    assert_eq!(socket.run(&["connections"]).await.out, "no connections\n");
    doorman.log_in().await;
    doorman.idp().sign_in(Person { sub: "eve\u{9b}\u{1b}[2J\u{202e}", ..Person::alice() });
    doorman.log_in().await;
    let ids: Vec<_> = socket.connections().await.iter().map(grant_id).collect();

    let table = socket.run(&["connections"]).await;
    let one = socket.run(&["connections", "--client", "Example Client"]).await;
    let json = socket.run(&["connections", "--json", "--user", "alice-7f3a"]).await;
    let all = socket.run(&["connections", "--json"]).await;

    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(table.out.starts_with("GRANT "), "{}", table.out);
    assert_eq!(table.out.lines().count(), 3, "{}", table.out);
    assert!(ids.iter().all(|id| table.out.contains(id.as_str())), "{}", table.out);
    // A name that would clear the screen, and turn around what follows it.
    assert!(table.out.contains(r"eve\u{9b}\u{1b}[2J\u{202e} "), "{}", table.out);
    assert_eq!(one.out.lines().count(), 3, "{}", one.out);
    let [line] = json.out.lines().collect::<Vec<_>>().try_into().unwrap();
    let line: Value = line.parse().unwrap();
    assert!(ids.contains(&grant_id(&line)) && line["user"] == "alice-7f3a", "{line}");
    assert!(all.out.contains(r#""eve\u009b\u001b[2J\u202e""#), "{}", all.out);
    let users = all.out.lines().map(|line| line.parse::<Value>().unwrap()["user"].clone());
    assert_eq!(users.filter(|user| user == "eve\u{9b}\u{1b}[2J\u{202e}").count(), 1);
}

#[tokio::test]
async fn the_program_ends_connections_and_says_which() {
    let (doorman, socket, _folder) = start().await;
    let login = doorman.log_in().await;
    let twins = [log_in_as(&doorman, "Twin").await, log_in_as(&doorman, "Twin").await];
    let found = socket.connections_of("?client=Example+Client").await;
    let id = grant_id(&found[0]);

    let ended = socket.run(&["revoke", "--client", "Example Client"]).await;
    let ambiguous = socket.run(&["revoke", "--client", "Twin"]).await;
    let nobody = socket.run(&["revoke", "--user", "nobody", "--yes"]).await;

    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.out, format!("ended {id}: Example Client of alice-7f3a at {RESOURCE}\n"));
    assert!(!is_connected(&doorman, &login).await);
    assert_eq!((ambiguous.code, nobody.code), (Some(1), Some(1)));
    assert!(nobody.err.contains("no live connection"), "{nobody:?}");
    assert_eq!(ambiguous.err.lines().count(), 3, "{ambiguous:?}");
    for twin in &twins {
        assert!(is_connected(&doorman, twin).await);
    }
    let all = socket.run(&["revoke", "--user", "alice-7f3a"]).await;
    assert_eq!((all.code, all.out.lines().count()), (Some(0), 2), "{all:?}");
}

#[tokio::test]
async fn the_program_says_what_to_do_when_nobody_can_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    drop(UnixListener::bind(path("stale.sock")).unwrap());
    let config =
        Process::config(folder.path(), Path::new(&path("none.sock")), "http://127.0.0.1:9/mcp");
    fs::write(path("config.yaml"), &config).unwrap();
    let without = config.lines().filter(|line| !line.starts_with("admin")).collect::<Vec<_>>();
    fs::write(path("without.yaml"), without.join("\n")).unwrap();
    // The secrets are for the running process alone.
    fs::remove_file(path("key")).unwrap();
    let mut seen = 0;

    for (arguments, code, told) in [
        (["--socket", &path("none.sock")], 1, "there is no socket at"),
        (["--socket", &path("stale.sock")], 1, "nobody listens at"),
        (["--config", &path("config.yaml")], 1, "there is no socket at"),
        (["--config", &path("without.yaml")], 2, "admin.socket is not set"),
        (["--config", &path("missing.yaml")], 2, "--socket"),
    ] {
        for command in [&["connections"][..], &["revoke", "--user", "a"], &["drain"]] {
            let printed = run(&[command, &arguments].concat()).await;
            assert_eq!(printed.code, Some(code), "{command:?} {arguments:?} {printed:?}");
            assert!(printed.err.contains(told), "{command:?} {arguments:?} {printed:?}");
            seen += 1;
        }
    }

    for arguments in [
        &["revoke"][..],
        &["revoke", "--user", "a", "--client", "b"],
        &["drain", "--within", "soon"],
        &["connections", "--config", "a", "--socket", "b"],
    ] {
        assert_eq!(run(arguments).await.code, Some(2), "{arguments:?}");
        seen += 1;
    }
    assert_eq!(seen, 19);
}
