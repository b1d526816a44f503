//! A connection that is kept: made anew whenever it breaks, on the runtime that began it, while whoever
//! asks meanwhile is told at once that there is none.

use std::time::Duration;

use ::redis::{
    Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, Value, cmd, from_redis_value,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::instrument::WithSubscriber as _;

use crate::store::StoreFault;
use crate::store::redis::server::{
    Connection, Node, Refusal, Server, is_end_of_connection, is_worth_another_try,
};

pub struct Link {
    state: watch::Receiver<State>,
    broken: mpsc::UnboundedSender<u64>,
}

#[derive(Clone)]
enum State {
    Connecting,
    /// Numbered, so that who reports a broken one does not mean its successor.
    Up(u64, Connection),
    Down,
    Refused(Refusal),
}

impl Link {
    /// Begin to connect, and go on until the link is dropped.
    pub fn start(server: Server, allow_eviction: bool) -> Self {
        let (state, watched) = watch::channel(State::Connecting);
        let (broken, reports) = mpsc::unbounded_channel();
        let keeper = Keeper { server, allow_eviction, state, reports, connections: 0 };
        tokio::spawn(keeper.keep_connected().with_current_subscriber());
        Self { state: watched, broken }
    }

    /// How the first attempt went: not to be reached is no refusal.
    pub async fn first_attempt(&self) -> Result<(), Refusal> {
        let mut state = self.state.clone();
        let attempt =
            timeout(DEADLINE, state.wait_for(|state| !matches!(state, State::Connecting)));
        let Ok(Ok(state)) = attempt.await else { return Ok(()) };
        if let State::Refused(refusal) = &*state { Err(refusal.clone()) } else { Ok(()) }
    }

    pub async fn ask<T: FromRedisValue>(&self, node: &Node, command: Cmd) -> Result<T, StoreFault> {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(command);
        let mut answers = self.ask_all(node, &commands).await?;
        understood(answers.pop().unwrap_or(Value::Nil))
    }

    /// Several commands over one connection, in one go.
    pub async fn ask_all(
        &self,
        node: &Node,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, StoreFault> {
        let ask = |mut connection: Connection| async move { connection.send(node, commands).await };
        self.within_deadline(ask).await
    }

    /// Write, and wait until a replica has it too, if there are any.
    pub async fn settle<T: FromRedisValue>(
        &self,
        node: &Node,
        command: Cmd,
    ) -> Result<T, StoreFault> {
        // Of one connection: what `WAIT` waits for is what was written over its own, and it keeps that one
        // from everybody else meanwhile, which is why these writes have a link to themselves.
        let mut alone = Pipeline::with_capacity(2);
        alone.add_command(command);
        let mut settled = alone.clone();
        settled.cmd("WAIT").arg(1).arg(SETTLE_MILLISECONDS);
        let (alone, settled) = (&alone, &settled);
        let write = |mut connection: Connection| async move {
            let replicas = connection.replicas(node).await?;
            let commands = if replicas == Some(0) { alone } else { settled };
            Ok((connection.send(node, commands).await?, replicas))
        };
        let (answers, replicas) = self.within_deadline(write).await?;
        let mut answers = answers.into_iter();
        let answer = understood(answers.next().unwrap_or(Value::Nil))?;
        let has_it: Option<u32> = answers.next().map(understood).transpose()?;
        match (has_it, replicas) {
            (Some(0), Some(_)) => {
                tracing::warn!(
                    whose_fault = "store",
                    "no replica of redis has taken a write that must not be lost"
                );
                Err(StoreFault)
            }
            // Whether there is a replica at all we may not know: then this is as far as it goes.
            (Some(_) | None, _) => Ok(answer),
        }
    }

    /// Every server that holds records.
    pub async fn nodes(&self) -> Result<Vec<Node>, StoreFault> {
        let ask = |mut connection: Connection| async move { connection.nodes().await };
        self.within_deadline(ask).await
    }

    async fn within_deadline<T, F: Future<Output = RedisResult<T>>>(
        &self,
        ask: impl Fn(Connection) -> F,
    ) -> Result<T, StoreFault> {
        let mut asked = None;
        let asking = async {
            loop {
                let (number, connection) = self.connection().await?;
                asked = Some(number);
                let fault = match ask(connection).await {
                    Ok(answer) => return Ok(answer),
                    Err(fault) => fault,
                };
                if !is_worth_another_try(&fault) {
                    self.report(number, &fault);
                    return Err(StoreFault);
                }
                sleep(BETWEEN_TRIES).await;
            }
        };
        let answer = timeout(DEADLINE, asking).await;
        answer.unwrap_or_else(|_| {
            tracing::warn!(whose_fault = "store", "redis did not answer in time");
            if let Some(number) = asked {
                // Nobody listens only while the process ends.
                let _ = self.broken.send(number);
            }
            Err(StoreFault)
        })
    }

    async fn connection(&self) -> Result<(u64, Connection), StoreFault> {
        let mut state = self.state.clone();
        let state = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match state.as_deref() {
            Ok(State::Up(number, connection)) => Ok((*number, connection.clone())),
            Ok(State::Connecting | State::Down | State::Refused(_)) | Err(_) => Err(StoreFault),
        }
    }

    fn report(&self, number: u64, fault: &RedisError) {
        tracing::warn!(
            fault = told(fault),
            whose_fault = "store",
            "redis did not do what was asked"
        );
        if is_end_of_connection(fault) {
            let _ = self.broken.send(number);
        }
    }
}

pub fn understood<T: FromRedisValue>(answer: Value) -> Result<T, StoreFault> {
    from_redis_value(answer).map_err(|_| {
        tracing::warn!(whose_fault = "store", "redis answered what was not asked");
        StoreFault
    })
}

struct Keeper {
    server: Server,
    allow_eviction: bool,
    state: watch::Sender<State>,
    reports: mpsc::UnboundedReceiver<u64>,
    connections: u64,
}

impl Keeper {
    async fn keep_connected(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut told = None;
        loop {
            match self.connect().await {
                Ok(mut connection) => {
                    tracing::info!("connected to redis");
                    (pause, told) = (FIRST_PAUSE, None);
                    self.connections += 1;
                    self.state.send_replace(State::Up(self.connections, connection.clone()));
                    if self.until_broken(&mut connection).await.is_none() {
                        return;
                    }
                    // A cluster goes on with those of its nodes that answer.
                    if !connection.heals_itself() {
                        self.state.send_replace(State::Connecting);
                    }
                }
                Err((state, fault)) => {
                    // Not at each attempt.
                    if told.as_ref() != Some(&fault) {
                        tracing::error!(fault, whose_fault = "store", "no connection to redis");
                        told = Some(fault);
                    }
                    self.state.send_if_modified(|present| {
                        let goes_on = matches!(present, State::Up(..));
                        if !goes_on {
                            *present = state;
                        }
                        !goes_on
                    });
                    let ended = timeout(pause, self.state.closed()).await;
                    if ended.is_ok() {
                        return;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn connect(&self) -> Result<Connection, (State, String)> {
        let connecting = async {
            let mut connection = self.server.connect().await?;
            let verdict = connection.judge(self.allow_eviction).await?;
            Ok((connection, verdict))
        };
        let connected = timeout(DEADLINE, connecting).await;
        match connected {
            Ok(Ok((connection, Ok(())))) => Ok(connection),
            Ok(Ok((_, Err(refusal)))) => {
                let fault = refusal.to_string();
                Err((State::Refused(refusal), fault))
            }
            Ok(Err(fault)) => Err((State::Down, told(&fault))),
            Err(_) => Err((State::Down, "no answer in time".to_owned())),
        }
    }

    /// `None` when the link was dropped.
    async fn until_broken(&mut self, connection: &mut Connection) -> Option<()> {
        loop {
            match timeout(BETWEEN_PINGS, self.reports.recv()).await {
                Ok(None) => return None,
                Ok(Some(number)) if number == self.connections => return Some(()),
                Ok(Some(_)) => {}
                // A connection that broke unnoticed would cost the next request an error.
                Err(_) if connection.heals_itself() => {}
                Err(_) => {
                    let ping = connection.ask::<String>(&Node::Only, cmd("PING"));
                    if !matches!(timeout(DEADLINE, ping).await, Ok(Ok(_))) {
                        return Some(());
                    }
                }
            }
        }
    }
}

/// For the log: what the server says in clear may repeat what it was sent.
fn told(fault: &RedisError) -> String {
    match fault.code() {
        Some(code) => code.to_owned(),
        None if fault.is_io_error() => fault.to_string(),
        None => fault.category().to_owned(),
    }
}

/// Of everything that is asked.
const DEADLINE: Duration = Duration::from_secs(2);
const SETTLE_MILLISECONDS: u32 = 500;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);
const BETWEEN_PINGS: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
