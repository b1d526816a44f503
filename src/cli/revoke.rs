//! `mcp-doorman revoke`: end connections, on every replica.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::admin::ask::{self, AskFault};
use crate::admin::words::{Ending, Filter, Line, Tally, Whose};
use crate::cli::connections::print_table;
use crate::cli::socket::{SocketArgument, complain_of, shown};
use crate::cli::{FAILED, complain, say};

#[derive(Args, Debug)]
pub struct RevokeArguments {
    #[command(flatten)]
    socket: SocketArgument,
    #[command(flatten)]
    whose: WhoseArgument,
    /// Don't ask first. Nothing is asked where nobody could answer: if the input is no terminal.
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct WhoseArgument {
    /// One connection: the id of its grant, or the beginning of it as the log has it.
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
    /// All of a person: the key, or the email address if no two have it. They can log in again, unless
    /// the identity provider says no: lock them out there first.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// All of a client: the digest of its id, or its name if no two have it.
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
}

pub fn run(arguments: &RevokeArguments) -> ExitCode {
    let WhoseArgument { grant, user, client } = &arguments.whose;
    let filter = Filter { grant: grant.clone(), user: user.clone(), client: client.clone() };
    arguments.socket.ask(async |socket| {
        let ended = match confirmed(arguments, &socket, &filter).await {
            Ok(true) => end(&socket, filter).await,
            Ok(false) => {
                complain(&"nothing was ended");
                return ExitCode::from(FAILED);
            }
            Err(fault) => Err(fault),
        };
        match ended {
            Ok(Tally { failed: 0, .. }) => ExitCode::SUCCESS,
            Ok(Tally { failed, .. }) => {
                complain(&format!(
                    "mcp-doorman: {failed} may be live elsewhere: the store does not answer; try again when it does"
                ));
                ExitCode::from(FAILED)
            }
            Err(fault) => complain_of(&fault),
        }
    })
}

async fn confirmed(
    arguments: &RevokeArguments,
    socket: &Path,
    filter: &Filter,
) -> Result<bool, AskFault> {
    if arguments.yes || !io::stdin().is_terminal() {
        return Ok(true);
    }
    let listed = print_table(socket, filter).await?;
    let mut out = io::stdout();
    let _ =
        write!(out, "End {listed}, and what is not listed because its login is under way? [y/N] ");
    let _ = out.flush();
    let mut answer = String::new();
    Ok(io::stdin().read_line(&mut answer).is_ok() && ["y", "yes"].contains(&answer.trim()))
}

async fn end(socket: &Path, filter: Filter) -> Result<Tally, AskFault> {
    let Some(whose) = whose(filter) else { return Ok(Tally::default()) };
    let mut lines = ask::revoke(socket, &whose).await?;
    let mut tally = Tally::default();
    while let Some(line) = lines.next().await? {
        match line {
            Line::Ended(ending) => say(&format!("ended {}", told(&ending))),
            Line::Failed(ending) => complain(&format!("NOT ended {}", told(&ending))),
            Line::End(end) => tally = end,
            Line::Connection(_) => return Err(AskFault::NotUnderstood),
        }
    }
    Ok(tally)
}

fn whose(filter: Filter) -> Option<Whose> {
    let Filter { grant, user, client } = filter;
    grant.map(Whose::Grant).or(user.map(Whose::User)).or(client.map(Whose::Client))
}

fn told(Ending { grant, connection }: &Ending) -> String {
    let Some(connection) = connection else {
        return format!("{grant}: the store told of no live connection; its tokens are refused");
    };
    format!(
        "{grant}: {} of {} at {}",
        shown(&connection.client_name),
        shown(&connection.user),
        shown(&connection.resource)
    )
}
