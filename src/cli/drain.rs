//! `mcp-doorman drain`: have the running process end gracefully, and wait for it. For a container's preStop.

use std::process::ExitCode;

use clap::Args;

use crate::admin::ask;
use crate::admin::words::DrainWish;
use crate::cli::say;
use crate::cli::socket::{SocketArgument, complain_of};

#[derive(Args, Debug)]
pub struct DrainArguments {
    #[command(flatten)]
    socket: SocketArgument,
    /// What is still going on after this many seconds is cut.
    #[arg(long, value_name = "SECONDS", default_value_t = 25)]
    within: u64,
}

pub fn run(arguments: &DrainArguments) -> ExitCode {
    arguments.socket.ask(async |socket| {
        match ask::drain(&socket, DrainWish { within_seconds: arguments.within }).await {
            Ok(end) if end.cut_short => {
                say(&"drained; answers that were still going on were cut");
                ExitCode::SUCCESS
            }
            Ok(_) => {
                say(&"drained");
                ExitCode::SUCCESS
            }
            Err(fault) => complain_of(&fault),
        }
    })
}
