//! Fault 45: a tenth of a processor. It is slow then, and neither wrong nor taken for dead. With all clients, calls wait
//! for more than a second, and some are put off.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mcp_doorman::clock::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::program::Program;
use crate::support::fake_idp::FakeIdp;
use crate::wire::{self, Wire};
use crate::{distribution, sized};

#[tokio::test]
async fn with_a_tenth_of_a_processor_it_answers_all_the_same() {
    let idp = FakeIdp::start(Clock::System).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let program = Program::start(&idp, upstream, "").await;
    let token = program.token().await;
    let Some(group) = Group::with_a_tenth(program.id()) else {
        eprintln!("skipped: no control group for processors can be made here");
        return;
    };
    let mut clients = JoinSet::new();

    let clients_in_all = sized(50, 9000);
    for client in 0..clients_in_all {
        let (mut wire, token) = (program.connect().await, token.clone());
        clients.spawn(async move {
            let mut told = Vec::new();
            for number in client * EACH..(client + 1) * EACH {
                let begun = Instant::now();
                wire.send(wire::call(&token, number, "{}")).await;
                let answer = timeout(LONGEST, wire.answer("POST")).await.unwrap().unwrap();
                assert!([200, 503].contains(&answer.status()), "{answer:?}");
                assert!(answer.status() == 503 || answer.text() == number.to_string());
                told.push((begun.elapsed(), answer.status()));
            }
            told
        });
    }
    let mut probes = Vec::new();
    let mut told = Vec::new();
    while !clients.is_empty() {
        let begun = Instant::now();
        assert!(timeout(LONGEST, program.is_ready()).await.unwrap(), "not ready");
        probes.push(begun.elapsed());
        while let Some(some) = clients.try_join_next() {
            told.extend(some.unwrap());
        }
    }

    assert!(group.times_stopped() > 0, "it had all that it wanted");
    let put_off = told.iter().filter(|(_, status)| *status == 503).count();
    let times = told.iter().map(|(time, _)| *time).collect();
    assert_eq!(told.len(), clients_in_all * EACH);
    eprintln!("{} calls, {put_off} put off: {}", told.len(), distribution(times));
    eprintln!("{} probes: {}", probes.len(), distribution(probes));
}

async fn answer(stream: TcpStream) {
    let mut wire = Wire::over(stream);
    while let Some(request) = wire.request().await {
        wire.send(wire::whole(&request.number().to_string())).await;
    }
}

/// A control group of the first version, whose processes get so much. Removed when it is dropped.
struct Group(PathBuf);

impl Group {
    fn with_a_tenth(process: u32) -> Option<Self> {
        let group = Self(PathBuf::from(format!("/sys/fs/cgroup/cpu/mcp-doorman-{process}")));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join("cpu.cfs_quota_us"), "10000").ok()?;
        fs::write(group.0.join("cpu.cfs_period_us"), "100000").ok()?;
        fs::write(group.0.join("cgroup.procs"), process.to_string()).ok()?;
        Some(group)
    }

    fn times_stopped(&self) -> u64 {
        let stat = fs::read_to_string(self.0.join("cpu.stat")).unwrap();
        let line = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        line.unwrap().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes go to where all are.
        let own = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for process in own.lines() {
            drop(fs::write("/sys/fs/cgroup/cpu/cgroup.procs", process));
        }
        drop(fs::remove_dir(&self.0));
    }
}

const EACH: usize = 6;
const LONGEST: Duration = Duration::from_secs(60);
