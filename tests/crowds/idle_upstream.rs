//! Fault 15: an MCP server that closes connections just when the next request is on its way. Nothing is done twice.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_doorman::clock::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::dice::Dice;
use crate::program::Program;
use crate::sized;
use crate::support::fake_idp::FakeIdp;
use crate::wire::{self, Wire};

/// How often each call was carried out, by its number.
type Done = Arc<Mutex<Vec<u8>>>;

#[tokio::test]
async fn a_server_that_closes_idle_connections_does_nothing_twice() {
    let each = sized(20_000, 100_000) / CLIENTS;
    let idp = FakeIdp::start(Clock::System).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let done: Done = Arc::new(Mutex::new(vec![0; each * CLIENTS]));
    tokio::spawn(serve(listener, Arc::clone(&done)));
    let mut program = Program::start(&idp, upstream, "").await;
    let token = program.token().await;
    let mut clients = JoinSet::new();

    for client in 0..CLIENTS {
        let numbers = client * each..(client + 1) * each;
        clients.spawn(call_on(program.address, token.clone(), numbers));
    }
    let told: Vec<(usize, u16)> = clients.join_all().await.concat();

    let done = done.lock().unwrap();
    let (mut answered, mut failed, mut failed_and_done) = (0, 0, 0);
    for (number, status) in told {
        let times = done[number];
        assert!(times <= 1, "call {number} was done {times} times, and answered {status}");
        match status {
            200 => {
                assert_eq!(times, 1, "call {number}");
                answered += 1;
            }
            502 => {
                failed += 1;
                failed_and_done += usize::from(times);
            }
            _ => panic!("call {number} was answered {status}"),
        }
    }
    let executions: usize = done.iter().map(|times| usize::from(*times)).sum();
    assert_eq!(executions, answered + failed_and_done);
    assert_eq!(answered + failed, each * CLIENTS);
    assert!(answered > failed, "{failed} calls failed, and {answered} did not");
    program.assert_well();
    eprintln!(
        "{} calls: {executions} done, {answered} answered, {failed} told 502 ({:.2} %), of those done {failed_and_done}",
        each * CLIENTS,
        100.0 * f64::from(u32::try_from(failed).unwrap())
            / f64::from(u32::try_from(each * CLIENTS).unwrap()),
    );
}

/// One call after the other, on one connection while it lasts.
async fn call_on(
    address: std::net::SocketAddr,
    token: String,
    numbers: std::ops::Range<usize>,
) -> Vec<(usize, u16)> {
    let mut dice = Dice::seeded(numbers.start as u64);
    let mut told = Vec::new();
    let mut connection = Wire::connect(address).await;
    for number in numbers {
        connection.send(wire::call(&token, number, "{\"jsonrpc\":\"2.0\"}")).await;
        let answer = timeout(PATIENCE, connection.answer("POST")).await.unwrap().unwrap();
        assert!(answer.is_whole(), "{answer:?}");
        assert!(answer.status() != 200 || answer.text() == number.to_string(), "{answer:?}");
        told.push((number, answer.status()));
        if answer.is_last() {
            connection = Wire::connect(address).await;
        }
        sleep(dice.pause(LONGEST_IDLE)).await;
    }
    told
}

async fn serve(listener: TcpListener, done: Done) {
    let mut seed = 0;
    while let Ok((stream, _)) = listener.accept().await {
        seed += 1;
        tokio::spawn(answer_for_a_while(stream, Dice::seeded(seed), Arc::clone(&done)));
    }
}

/// Closed at the time it is closed, whatever has come by then: if something has, the connection is reset.
async fn answer_for_a_while(stream: TcpStream, mut dice: Dice, done: Done) {
    let mut wire = Wire::over(stream);
    let mut idle = PATIENCE;
    while let Ok(Some(request)) = timeout(idle, wire.request()).await {
        let number = request.number();
        done.lock().unwrap()[number] += 1;
        drop(wire.try_send(wire::whole(&number.to_string()).as_bytes()).await);
        idle = dice.pause(LONGEST_IDLE);
    }
}

const CLIENTS: usize = 40;
const LONGEST_IDLE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(30);
