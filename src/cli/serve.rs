//! `mcp-doorman serve`: the main job, until a signal says stop.

use std::path::Path;
use std::process::ExitCode;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{self, Surroundings};
use crate::chance::Chance;
use crate::cli::{BAD_CONFIG, FAILED, complain};
use crate::clock::Clock;
use crate::config::{self, Config, Environment};
use crate::server::Drained;
use crate::telemetry::{self, Stdout};

pub fn run(path: &Path) -> ExitCode {
    let config = match config::load(path, &Environment::of_this_process()) {
        Ok(config) => config,
        Err(problems) => {
            complain(&problems);
            return ExitCode::from(BAD_CONFIG);
        }
    };
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(config)),
        Err(error) => {
            complain(&format!("mcp-doorman: can't start: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

async fn serve(config: Config) -> ExitCode {
    let log = telemetry::log_to(&config.log, Stdout);
    let _guard = tracing::dispatcher::set_default(&log);
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        complain(&"mcp-doorman: can't start: signals can't be received");
        return ExitCode::from(FAILED);
    };
    let surroundings =
        Surroundings { clock: Clock::System, chance: Chance::system(), log: log.clone() };
    let running = match app::start(config, surroundings).await {
        Ok(running) => running,
        Err(fault) => {
            tracing::error!(%fault, "can't start");
            complain(&format!("mcp-doorman: can't start: {fault}"));
            return ExitCode::from(FAILED);
        }
    };
    asked_to_stop(&mut terminate, &mut interrupt).await;
    tracing::info!("stopping: what is under way may finish; a second signal ends it at once");
    let drained = tokio::select! {
        drained = running.stop() => drained,
        () = asked_to_stop(&mut terminate, &mut interrupt) => running.stop().await,
    };
    match drained {
        Drained::Everything => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Drained::CutShort => {
            tracing::warn!("stopped before everything had finished");
            ExitCode::from(FAILED)
        }
    }
}

async fn asked_to_stop(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
