//! Replicas as processes of the real program, which can be killed.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::chance::Chance;
use crate::load_balancer::LoadBalancer;
use crate::rotating_idp::{CLIENT_ID, RotatingIdp};
use crate::servers::{free_port, soon};
use crate::support::doorman::{HOST, RESOURCE};
use crate::support::fake_mcp_server::FakeMcpServer;

/// Stopped, by their ids, when it is dropped; by a test that failed, what they said last is shown.
#[derive(Debug)]
pub struct Fleet {
    replicas: Vec<Replica>,
    _folder: TempDir,
}

#[derive(Debug)]
struct Replica {
    process: Child,
    config: PathBuf,
    port: u16,
}

impl Fleet {
    /// So many replicas with this `state:`; `more` is added to the config of each.
    pub fn start(
        count: usize,
        idp: &RotatingIdp,
        upstream: &FakeMcpServer,
        state: &str,
        more: &str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("sealing-key");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&key).unwrap();
        file.write_all(STANDARD.encode(Chance::system().bytes::<32>().unwrap()).as_bytes())
            .unwrap();
        let replica = |number: usize| {
            let port = free_port();
            let config = folder.path().join(format!("config-{number}.yaml"));
            let text = format!(
                "listen: 127.0.0.1:{port}\n\
                 health: {{ listen: 127.0.0.1:0 }}\n\
                 workers: 1\n\
                 log: {{ level: warn }}\n\
                 resources: [{{ url: \"{RESOURCE}\", upstream: \"{}\", access: any }}]\n\
                 idp: {{ issuer: \"{}\", client_id: {CLIENT_ID}, scopes: [openid, offline_access] }}\n\
                 sealing_keys: [{{ file: {} }}]\n\
                 registration: {{ metadata_documents: false }}\n\
                 state: {state}\n\
                 {more}\n",
                upstream.url("/mcp"),
                idp.issuer(),
                key.display(),
            );
            fs::write(&config, text).unwrap();
            Replica { process: run(&config), config, port }
        };
        let replicas = (0..count).map(replica).collect();
        let fleet = Self { replicas, _folder: folder };
        for replica in &fleet.replicas {
            // It listens before it has opened its state.
            soon("a replica", || replica.answers());
        }
        fleet
    }

    pub fn balanced(&self) -> LoadBalancer {
        LoadBalancer::before(self.replicas.iter().map(Replica::address).collect(), HOST)
    }

    pub fn count(&self) -> usize {
        self.replicas.len()
    }

    pub fn process_id(&self, number: usize) -> u32 {
        self.replicas[number].process.id()
    }

    /// `kill -9`, and the same again.
    pub fn kill_and_start_again(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        let ended = replica.process.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself: {ended:?}");
        replica.process.kill().unwrap();
        replica.process.wait().unwrap();
        replica.process = run(&replica.config);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for replica in &mut self.replicas {
            drop(replica.process.kill());
            drop(replica.process.wait());
            if thread::panicking() {
                let said = fs::read_to_string(log_of(&replica.config)).unwrap_or_default();
                let lines: Vec<&str> = said.lines().rev().take(20).collect();
                eprintln!("{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

impl Replica {
    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Whatever: that it does is what is asked.
    fn answers(&self) -> Option<()> {
        let mut connection = TcpStream::connect(self.address()).ok()?;
        connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(connection, "GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").ok()?;
        connection.read_exact(&mut [0]).ok()
    }
}

/// The program under test: what cargo built beside this test, or the one that `MCP_DOORMAN_BIN` names.
fn run(config: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(log_of(config)).unwrap();
    let program = env::var("MCP_DOORMAN_BIN");
    let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_mcp-doorman").to_owned());
    let mut command = Command::new(program);
    command.args(["serve", "--config"]).arg(config).stdout(log);
    command.spawn().unwrap()
}

fn log_of(config: &Path) -> PathBuf {
    config.with_extension("log")
}
