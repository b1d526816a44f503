//! The real program as a process of its own, where the machine itself is what fails: its files, its log, its memory.
//! Its IdP issues the tokens, so that nobody has to log in.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mcp_doorman::clock::Clock;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::access_token::{IDP_KEY, of, set_of};
use crate::support::doorman::{HOST, RESOURCE, mcp_request};
use crate::support::exchange::{Door, Request};
use crate::support::fake_idp::{FakeIdp, Person};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::soon;

/// For a config: it listens on a port of its own.
pub const LOCAL: &str = "listen: 127.0.0.1:0\n";

/// Killed, by its id, when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// `None` while nobody reads it.
    log: Option<ChildStdout>,
    lines: Arc<Mutex<Vec<Value>>>,
    idp: FakeIdp,
    pub upstream: FakeMcpServer,
    folder: TempDir,
}

impl Program {
    /// `serve` with a config that ends with `yaml`, started by `wrapper`, a command line that takes another.
    pub async fn start(yaml: &str, wrapper: &[&str]) -> Self {
        let upstream = FakeMcpServer::start().await;
        let url = upstream.url("/mcp");
        Self::start_before(upstream, &url, yaml, wrapper).await
    }

    /// The same before `upstream`, which it reaches at `url`.
    pub async fn start_before(
        upstream: FakeMcpServer,
        url: &str,
        yaml: &str,
        wrapper: &[&str],
    ) -> Self {
        let idp = FakeIdp::start(Clock::System).await;
        idp.publish_keys(200, set_of(&[&IDP_KEY]));
        let folder = tempfile::tempdir().unwrap();
        let mut command = serve(&folder, idp.issuer(), url, yaml, wrapper);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let log = child.stdout.take();
        Self { child, log, lines: Arc::default(), idp, upstream, folder }
    }

    /// What it says before it ends because it can't start, where its IdP is `issuer`.
    pub fn refused(issuer: &str, wrapper: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let wrapper = [&["timeout", "20"], wrapper].concat();
        let upstream = "http://127.0.0.1:9/mcp";
        let output = serve(&folder, issuer, upstream, LOCAL, &wrapper).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, once it has its IdP's keys. Its log is read.
    pub async fn started(yaml: &str, wrapper: &[&str]) -> Self {
        let mut program = Self::start(yaml, wrapper).await;
        program.read_log();
        program.line_with("the IdP answers").await;
        program
    }

    /// Read its log from now on.
    pub fn read_log(&mut self) {
        let (log, lines) = (self.log.take().unwrap(), self.lines.clone());
        thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
    }

    /// Read the first lines of its log, up to the one that contains `text`, and no more for now.
    pub async fn read_until(&mut self, text: &'static str) {
        let (mut log, lines) = (self.log.take().unwrap(), self.lines.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let (mut line, mut byte) = (Vec::new(), [0]);
            loop {
                assert_eq!(log.read(&mut byte).unwrap(), 1, "it has ended");
                if byte[0] != b'\n' {
                    line.push(byte[0]);
                    continue;
                }
                let said = String::from_utf8(std::mem::take(&mut line)).unwrap();
                lines.lock().unwrap().push(serde_json::from_str(&said).unwrap());
                if said.contains(text) {
                    return log;
                }
            }
        });
        self.log = Some(soon(text, reading).await.unwrap());
    }

    /// Nobody will ever read its log.
    pub fn close_log(&mut self) {
        self.log = None;
    }

    /// Every line of its log that contains `text`.
    pub fn lines_with(&self, text: &str) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line.to_string().contains(text)).cloned().collect()
    }

    /// The first line of its log that contains `text`, once it is there.
    pub async fn line_with(&self, text: &str) -> Value {
        let found = async {
            loop {
                if let Some(line) = self.lines_with(text).into_iter().next() {
                    return line;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(text, found).await
    }

    /// Once `count` lines of its log contain `text`.
    pub async fn until_lines(&self, text: &str, count: usize) {
        let there = async {
            while self.lines_with(text).len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(text, there).await;
    }

    pub fn address(&self) -> SocketAddr {
        self.lines_with("\"started\"")[0]["address"].as_str().unwrap().parse().unwrap()
    }

    pub fn door(&self) -> Door {
        Door::to(self.address(), HOST)
    }

    /// A call of somebody who may.
    pub fn request(&self) -> Request {
        let token = of(&self.idp, Person::alice().sub, Clock::System.now().seconds());
        mcp_request(RESOURCE).bearer(&token.signed_by(&IDP_KEY))
    }

    /// Where its config is.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config.yaml")
    }

    /// Tell it that its config is another one.
    pub fn hang_up(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// How long it has been at work on a processor.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // proc_pid_stat(5): `utime` and `stime`, in hundredths of a second wherever Linux runs.
        let ticks: u64 = fields[11..=12].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Ask it to stop, and wait until it has ended: by which code.
    pub async fn stop(&mut self) -> Option<i32> {
        self.signal("-TERM");
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon("the program to end", ended).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `serve` with its config in `folder`.
fn serve(folder: &TempDir, issuer: &str, url: &str, yaml: &str, wrapper: &[&str]) -> Command {
    let (key, file) = (folder.path().join("key"), folder.path().join("config.yaml"));
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"of no deployment");
    fs::write(&key, STANDARD.encode(hash)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let config = format!(
        "resources: [{{ url: \"{RESOURCE}\", upstream: \"{url}\", access: any }}]\n\
         idp: {{ issuer: \"{issuer}\", client_id: x }}\n\
         tokens: {{ issued_by: idp }}\n\
         sealing_keys: [{{ file: {} }}]\n\
         health: {{ listen: 127.0.0.1:0 }}\nworkers: 1\n{yaml}",
        key.display(),
    );
    fs::write(&file, config).unwrap();
    let mut words = wrapper.to_vec();
    words.push(env!("CARGO_BIN_EXE_mcp-doorman"));
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["serve", "--config"]).arg(file);
    command
}
