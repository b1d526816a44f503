//! `mcp-doorman serve`: the main job, until a signal says stop.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Builder;

use crate::app::memory::Memory;
use crate::app::stop::LONGEST_DISK;
use crate::app::{self, Surroundings};
use crate::chance::Chance;
use crate::cli::reload::{self, Loaded, Watch};
use crate::cli::stop::StopSignals;
use crate::cli::{BAD_CONFIG, FAILED, complain};
use crate::clock::Clock;
use crate::config::{Config, Sources};
use crate::outbound::Internet;
use crate::server::Drained;
use crate::telemetry::queue::Queue;
use crate::telemetry::{self, Standard};

pub fn run(path: &Path) -> ExitCode {
    let Loaded { config, sources } = reload::load(path);
    let config = match config {
        Ok(config) => config,
        Err(problems) => {
            complain(&problems);
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let log = match Queue::before(Standard::Output, config.log.format) {
        Ok(log) => log,
        Err(error) => {
            complain(&format!("mcp-doorman: can't start: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(serve(config, (path, sources), log.clone()));
            // By itself it would wait for ever for a thread that waits for the disk.
            runtime.shutdown_timeout(LONGEST_DISK);
            log.flush(LAST_WORDS);
            code
        }
        Err(error) => {
            complain(&format!("mcp-doorman: can't start: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

/// `read` is where `config` was, and all files that it is made of.
async fn serve(config: Config, read: (&Path, Sources), queue: Queue) -> ExitCode {
    let log = telemetry::log_to(&config.log, queue);
    let _guard = tracing::dispatcher::set_default(&log);
    let (Ok(mut signals), Ok(watch)) =
        (StopSignals::listen(), Watch::over(read.0.to_owned(), read.1))
    else {
        complain(&"mcp-doorman: can't start: signals can't be received");
        return ExitCode::from(FAILED);
    };
    let surroundings = Surroundings {
        clock: Clock::System,
        chance: Chance::system(),
        log,
        internet: Internet::of_this_machine(),
        memory: Memory::of_this_process(),
        store: None,
    };
    let running = match app::start(config, surroundings).await {
        Ok(running) => running,
        Err(fault) => {
            tracing::error!(%fault, "can't start");
            return ExitCode::from(FAILED);
        }
    };
    let within = tokio::select! {
        never = watch.keep(&running) => match never {},
        () = signals.asked() => None,
        within = running.asked_to_drain() => Some(within),
    };
    let patient = match within {
        None => {
            tracing::info!(
                "stopping: what is under way may finish; a second signal ends it at once"
            );
            tokio::select! {
                drained = running.stop() => Some(drained),
                () = signals.asked() => None,
            }
        }
        Some(within) => {
            tracing::info!(
                within_seconds = within.as_secs(),
                "draining: asked to by the admin socket; a second signal ends it at once"
            );
            tokio::select! {
                drained = running.drain(within) => Some(drained),
                // The first signal asks for what is being done: Kubernetes sends it after its preStop.
                () = async { signals.asked().await; signals.asked().await } => None,
            }
        }
    };
    match patient {
        Some(Drained::Everything) => tracing::info!("stopped"),
        // Streams last as long as their clients like; cutting them in the end is what was asked for.
        Some(Drained::CutShort) => {
            tracing::warn!("stopped; answers that were still going on were cut");
        }
        None => {
            running.stop().await;
            tracing::warn!("told twice to stop, so what was under way was cut");
            return ExitCode::from(FAILED);
        }
    }
    ExitCode::SUCCESS
}

/// For the log's reader to take what is left of it. All else has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
