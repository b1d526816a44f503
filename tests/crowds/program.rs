//! The real program as a process of its own, in front of a server of the test's, with a fake IdP behind it.

use std::env;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mcp_doorman::chance::Chance;
use tempfile::TempDir;
use tokio::time::sleep;
use url::Url;

use crate::support::browser::Browser;
use crate::support::client::{Authorization, Client, metadata};
use crate::support::doorman::{Granted, HOST, ORIGIN, REDIRECT, RESOURCE, code_form};
use crate::support::exchange::{Door, Request};
use crate::support::fake_idp::{CLIENT_ID, CLIENT_SECRET, FakeIdp};
use crate::wire::Wire;

/// Killed, by its id, when it is dropped; by a test that failed, what it said last is shown.
#[derive(Debug)]
pub struct Program {
    process: Child,
    folder: TempDir,
    pub address: SocketAddr,
    health: SocketAddr,
}

impl Program {
    /// `more` is added to its config.
    pub async fn start(idp: &FakeIdp, upstream: SocketAddr, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("sealing-key");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&key).unwrap();
        file.write_all(STANDARD.encode(Chance::system().bytes::<32>().unwrap()).as_bytes())
            .unwrap();
        let (address, health) = (free_address(), free_address());
        let config = format!(
            "listen: {address}\n\
             health: {{ listen: \"{health}\" }}\n\
             log: {{ level: warn }}\n\
             resources: [{{ url: \"{RESOURCE}\", upstream: \"http://{upstream}/mcp\", access: any }}]\n\
             idp: {{ issuer: \"{}\", client_id: {CLIENT_ID}, client_secret: {{ insecure_inline: {CLIENT_SECRET:?} }} }}\n\
             sealing_keys: [{{ file: {} }}]\n\
             registration: {{ metadata_documents: false }}\n\
             service_accounts: [{{ id: {MACHINE}, secret: {{ insecure_inline: {SECRET} }} }}]\n\
             {more}\n",
            idp.issuer(),
            key.display(),
        );
        fs::write(folder.path().join("config.yaml"), config).unwrap();
        let process = run(&folder);
        let program = Self { process, folder, address, health };
        program.until_ready().await;
        program
    }

    /// The same deployment again, after it has ended. It need not listen yet.
    pub fn start_again(&mut self) {
        assert!(self.process.try_wait().unwrap().is_some(), "it has not ended");
        self.process = run(&self.folder);
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn door(&self) -> Door {
        Door::to(self.address, HOST)
    }

    pub async fn connect(&self) -> Wire {
        Wire::connect(self.address).await
    }

    /// For the machine that its config names.
    pub async fn token(&self) -> String {
        self.token_through(&self.door()).await
    }

    pub async fn token_through(&self, door: &Door) -> String {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", MACHINE),
            ("client_secret", SECRET),
            ("resource", RESOURCE),
        ];
        let request = Request::post(&format!("{ORIGIN}/token")).form(&form);
        let answer = door.send(request).await;
        answer.assert_status(200).json()["access_token"].as_str().unwrap().to_owned()
    }

    /// For whoever sits at the browser.
    pub async fn log_in(&self, idp: &FakeIdp) -> String {
        let at_idp = Url::parse(idp.origin()).unwrap();
        let at_idp = Door::to(
            *at_idp.socket_addrs(|| None).unwrap().first().unwrap(),
            &at_idp[url::Position::BeforeHost..url::Position::AfterPort],
        );
        let servers = vec![(ORIGIN.to_owned(), self.door()), (idp.origin().to_owned(), at_idp)];
        let registration = Request::post("/register").json(&metadata(REDIRECT));
        let registered = self.door().send(registration).await;
        let id = registered.assert_status(201).json()["client_id"].as_str().unwrap().to_owned();
        let client = Client { id, redirect_uri: REDIRECT.to_owned() };
        let asked = Authorization::of(&client, &format!("{ORIGIN}/authorize"), RESOURCE);
        let code = Browser::new(servers).log_in(&asked.url()).await.code();
        let granted = Granted { code, verifier: asked.verifier };
        let form = code_form(&client, &granted, RESOURCE);
        self.door().send(Request::post("/token").form(&form)).await.tokens().access
    }

    pub async fn is_ready(&self) -> bool {
        let Ok(mut wire) = Wire::try_connect(self.health).await else { return false };
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\n\r\n", self.health);
        wire.try_send(request.as_bytes()).await.is_ok()
            && wire.answer("GET").await.is_some_and(|answer| answer.status() == 200)
    }

    pub async fn until_ready(&self) {
        eventually("readiness", async || self.is_ready().await).await;
    }

    pub fn signal(&self, signal: &str) {
        signal_to(self.id(), signal);
    }

    /// How it ended, by itself.
    pub async fn end(&mut self) -> ExitStatus {
        eventually("its end", async || self.process.try_wait().unwrap().is_some()).await;
        self.process.wait().unwrap()
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// How many files and sockets it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config.yaml")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// It lives, and nothing in it has panicked.
    pub fn assert_well(&mut self) {
        let ended = self.process.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself: {ended:?}");
        assert!(!self.log().contains("panic"), "it panicked");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if thread::panicking() {
            let said = self.log();
            let lines: Vec<&str> = said.lines().rev().take(20).collect();
            eprintln!("{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

pub fn signal_to(process: u32, signal: &str) {
    let done = Command::new("kill").args([signal, &process.to_string()]).status();
    assert!(done.unwrap().success());
}

/// Ask until it is so.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// What cargo built beside this test, or the one that `MCP_DOORMAN_BIN` names.
fn run(folder: &TempDir) -> Child {
    let log = folder.path().join("log");
    let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let program = env::var("MCP_DOORMAN_BIN");
    let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_mcp-doorman").to_owned());
    let mut command = Command::new(program);
    command.args(["serve", "--config"]).arg(folder.path().join("config.yaml"));
    command.stderr(log.try_clone().unwrap()).stdout(log).spawn().unwrap()
}

/// Below those that the system gives to who connects: none of the crowd may take it while the program restarts.
fn free_address() -> SocketAddr {
    loop {
        let [high, low] = Chance::system().bytes::<2>().unwrap();
        let port = 12_000 + u16::from_be_bytes([high, low]) % 16_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// As the server is told in `X-Forwarded-User`.
pub const USER: &str = "service-account,crowd";
const MACHINE: &str = "crowd";
const SECRET: &str = "the-secret-of-a-crowd-0123456789";
const PATIENCE: Duration = Duration::from_secs(60);
