//! The operator: asks at the admin socket, by HTTP or with the program itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::support::soon;

#[derive(Clone, Debug)]
pub struct AdminSocket {
    pub path: PathBuf,
}

/// What was answered, whole.
#[derive(Debug)]
pub struct Told {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

/// What the program printed, and how it ended.
#[derive(Debug)]
pub struct Printed {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl AdminSocket {
    pub fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join("admin.sock") }
    }

    pub async fn connections(&self) -> Vec<Value> {
        self.connections_of("").await
    }

    /// Those that the query lets through.
    pub async fn connections_of(&self, query: &str) -> Vec<Value> {
        let told = self.ask("GET", &format!("/connections{query}"), "").await;
        assert_eq!(told.status, 200, "{told:?}");
        let mut lines = told.lines();
        let end = lines.pop().unwrap();
        assert_eq!(end["end"]["listed"], lines.len(), "{told:?}");
        lines.into_iter().map(|mut line| line["connection"].take()).collect()
    }

    /// End what `{whose: name}` names.
    pub async fn revoke(&self, whose: &str, name: &str) -> Told {
        self.ask("POST", "/revoke", &json!({ whose: name }).to_string()).await
    }

    pub async fn ask(&self, method: &str, target: &str, body: &str) -> Told {
        let stream = soon("a connection", UnixStream::connect(&self.path)).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::builder().method(method).uri(target).header("host", "admin");
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let answer = soon("an answer", sender.send_request(request)).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = soon("the whole answer", body.collect()).await.unwrap().to_bytes();
        connection.abort();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Told { status: head.status, headers: head.headers, text }
    }

    /// `mcp-doorman <arguments> --socket <this one>`
    pub async fn run(&self, arguments: &[&str]) -> Printed {
        let socket = self.path.to_str().unwrap();
        run(&[arguments, &["--socket", socket]].concat()).await
    }
}

impl Told {
    pub fn lines(&self) -> Vec<Value> {
        self.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    #[track_caller]
    pub fn assert_ended(&self, count: usize) {
        assert_eq!(self.status, 200, "{self:?}");
        let end = self.lines().pop().unwrap();
        assert_eq!((&end["end"]["ended"], &end["end"]["failed"]), (&json!(count), &json!(0)));
        assert_eq!(self.lines().len(), count + 1, "{self:?}");
    }

    #[track_caller]
    pub fn assert_error(&self, status: u16, error: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.json()["error"], error, "{self:?}");
        assert!(self.json()["error_description"].as_str().unwrap().len() > 10, "{self:?}");
    }
}

/// The program itself, with nobody at a terminal. Beside the tasks of the test, which may have to answer it.
pub async fn run(arguments: &[&str]) -> Printed {
    let mut command = program();
    command.args(arguments);
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
    let Output { status, stdout, stderr } = soon("the program to end", ended).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Printed { code: status.code(), out: text(stdout), err: text(stderr) }
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-doorman"));
    command.stdin(std::process::Stdio::null());
    command
}
