//! How `connections`, `revoke` and `drain` find the running process: by the admin socket in its config.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::runtime::Builder;

use crate::admin::ask::AskFault;
use crate::cli::{BAD_CONFIG, ConfigArgument, FAILED, complain};
use crate::config::{self, Environment};

#[derive(Args, Debug)]
pub struct SocketArgument {
    #[command(flatten)]
    file: ConfigArgument,
    /// The admin socket of the running process, in place of the one that the config names.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
}

impl SocketArgument {
    /// Run `ask` with the path of the socket.
    pub fn ask(&self, ask: impl AsyncFnOnce(PathBuf) -> ExitCode) -> ExitCode {
        let socket = match self.path() {
            Ok(socket) => socket,
            Err(code) => return code,
        };
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(ask(socket)),
            Err(error) => {
                complain(&format!("mcp-doorman: can't start: {error}"));
                ExitCode::from(FAILED)
            }
        }
    }

    fn path(&self) -> Result<PathBuf, ExitCode> {
        if let Some(path) = &self.socket {
            return Ok(path.clone());
        }
        let file = &self.file.config;
        // Who asks need not be able to read the secrets.
        let environment = Environment::of_this_process().without_secrets();
        let config = config::load(file, &environment).map_err(|problems| {
            complain(&problems);
            complain(&"or name the socket of the running process with --socket");
            ExitCode::from(BAD_CONFIG)
        })?;
        config.admin_socket.ok_or_else(|| {
            complain(&format!(
                "{}: admin.socket is not set, so nobody can be asked\n  \
                 fix: add admin: {{ socket: /run/mcp-doorman/admin.sock }} and restart, or name another with --socket",
                file.display()
            ));
            ExitCode::from(BAD_CONFIG)
        })
    }
}

/// What went wrong, and of whom one has to be named.
pub fn complain_of(fault: &AskFault) -> ExitCode {
    complain(&format!("mcp-doorman: {fault}"));
    if let AskFault::Refused(refused) = fault {
        for choice in refused.choices.iter().take(MOST_CHOICES) {
            let connections = choice.connections;
            complain(&format!("  {}  connections: {connections}", shown(&choice.id)));
        }
        let more = refused.choices.len().saturating_sub(MOST_CHOICES);
        if more > 0 {
            complain(&format!("  and {more} more: see mcp-doorman connections"));
        }
    }
    ExitCode::from(FAILED)
}

/// A stranger's text, as it may stand on a terminal: whatever moves the cursor, or turns the direction of
/// what is around it, is written out.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\'' | '"' => shown.push(letter),
            letter => shown.extend(letter.escape_debug()),
        }
    }
    shown
}

const MOST_CHOICES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_moves_no_cursor_and_turns_no_direction() {
        for (text, expected) in [
            ("Ada's \"Laptop\" ü 東京", "Ada's \"Laptop\" ü 東京"),
            ("\u{1b}[2J\u{7}", "\\u{1b}[2J\\u{7}"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            (
                "\u{202e}evil\u{2066}\u{200b}\u{feff}\u{9b}",
                "\\u{202e}evil\\u{2066}\\u{200b}\\u{feff}\\u{9b}",
            ),
            ("\\u{1b}", "\\\\u{1b}"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }
}
