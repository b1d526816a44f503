//! `mcp-doorman key`: a new sealing key.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::chance::Chance;
use crate::cli::{FAILED, complain, say};

pub fn run(chance: Chance) -> ExitCode {
    match chance.bytes::<32>() {
        Ok(key) => {
            say(&STANDARD.encode(key));
            ExitCode::SUCCESS
        }
        Err(fault) => {
            complain(&format!("mcp-doorman key: {fault}"));
            ExitCode::from(FAILED)
        }
    }
}
