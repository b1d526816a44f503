//! Redis servers of a test's own, on free ports of loopback. Killed, by their id, when they are dropped.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::chance::Chance;
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::store::RedisStore;
use crate::store::redis::{
    ConnectFault, RedisAddress, RedisLogin, RedisServers, RedisSettings, RedisTls,
};

/// A running server, and where it keeps what it writes.
pub struct Server {
    child: Child,
    pub port: u16,
    config: Vec<String>,
    dir: TempDir,
}

impl Server {
    /// With these lines of configuration, besides those that every test needs.
    pub fn start(config: &[&str]) -> Self {
        Self::start_on(free_port(), config)
    }

    pub fn start_on(port: u16, config: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config: Vec<String> = config.iter().map(ToString::to_string).collect();
        let child = spawn(port, &config, dir.path(), &[]);
        await_port(port);
        Self { child, port, config, dir }
    }

    pub fn sentinel_of(master: &Self, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = vec![
            format!("sentinel monitor {name} 127.0.0.1 {} 1", master.port),
            format!("sentinel down-after-milliseconds {name} 500"),
            format!("sentinel failover-timeout {name} 5000"),
        ];
        let child = spawn(port, &config, dir.path(), &["--sentinel"]);
        await_port(port);
        Self { child, port, config, dir }
    }

    /// As `kill -9` does it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// On the same port, with what it had written down.
    pub fn start_again(&mut self) {
        self.child = spawn(self.port, &self.config, self.dir.path(), &[]);
        await_port(self.port);
    }

    /// It stays, but does nothing.
    pub fn hang(&self) {
        self.signal("-STOP");
    }

    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(done.unwrap().success());
    }

    pub fn address(&self) -> RedisAddress {
        RedisAddress { host: "127.0.0.1".to_owned(), port: self.port }
    }

    /// What this server says to a command.
    pub fn say<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        try_say(self.port, words).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that a test has killed is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(port: u16, config: &[String], dir: &Path, arguments: &[&str]) -> Child {
    let Ok(program) = env::var("MCP_DOORMAN_REDIS_SERVER") else {
        panic!("no MCP_DOORMAN_REDIS_SERVER: start this by tests/stores/run");
    };
    let file = dir.join("redis.conf");
    let port = if config.iter().any(|line| line.starts_with("tls-port")) { 0 } else { port };
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        format!("port {port}"),
        "daemonize no".to_owned(),
        format!("dir {}", dir.display()),
        format!("logfile {}", dir.join("log").display()),
    ];
    if !arguments.contains(&"--sentinel") {
        lines.push("save \"\"".to_owned());
    }
    lines.extend(config.iter().cloned());
    fs::write(&file, lines.join("\n") + "\n").unwrap();
    let mut command = Command::new(program);
    command.arg(file).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

pub fn try_say<T: redis::FromRedisValue>(port: u16, words: &[&str]) -> redis::RedisResult<T> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let mut connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command.query(&mut connection)
}

pub fn free_port() -> u16 {
    // A cluster node also listens 10,000 above.
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 50_000 {
            return port;
        }
    }
}

fn await_port(port: u16) {
    soon("a server that listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
}

/// Ask until there is an answer.
pub fn soon<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub async fn soon_async<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn settings(servers: RedisServers) -> RedisSettings {
    RedisSettings {
        servers,
        login: RedisLogin::default(),
        tls: RedisTls::Off,
        key_prefix: "mcp-doorman:".to_owned(),
        allow_eviction: false,
    }
}

pub fn single(server: &Server) -> RedisSettings {
    settings(RedisServers::Single(server.address()))
}

pub fn clock() -> ManualClock {
    ManualClock::starting_at(Timestamp::from_seconds(1_000))
}

/// A replica of ours, on the store that the settings name.
pub async fn store(settings: &RedisSettings, clock: &ManualClock) -> Arc<RedisStore> {
    Arc::new(try_store(settings, clock).await.unwrap())
}

pub async fn try_store(
    settings: &RedisSettings,
    clock: &ManualClock,
) -> Result<RedisStore, ConnectFault> {
    RedisStore::connect(settings.clone(), Clock::Manual(clock.clone()), Chance::system()).await
}

const PATIENCE: Duration = Duration::from_secs(20);
