//! `mcp-doorman connections`: who is connected, with which client, to what.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::admin::ask::{self, AskFault};
use crate::admin::words::{Connection, Filter, Line};
use crate::cli::socket::{SocketArgument, complain_of, shown};
use crate::cli::{complain, say};
use crate::telemetry::escape;

#[derive(Args, Debug)]
pub struct ConnectionsArguments {
    #[command(flatten)]
    socket: SocketArgument,
    /// Only those of this person: the key, or the email address.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only those of this client: its name, or the digest of its id.
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Print a line of JSON for each, in place of a table.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &ConnectionsArguments) -> ExitCode {
    let filter =
        Filter { grant: None, user: arguments.user.clone(), client: arguments.client.clone() };
    arguments.socket.ask(async |socket| {
        let done = if arguments.json {
            print_json(&socket, &filter).await
        } else {
            print_table(&socket, &filter).await.map(|_| ())
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => complain_of(&fault),
        }
    })
}

async fn print_json(socket: &Path, filter: &Filter) -> Result<(), AskFault> {
    let mut lines = ask::connections(socket, filter).await?;
    while let Some(line) = lines.next().await? {
        match line {
            Line::Connection(connection) => {
                let text = serde_json::to_string(&connection);
                say(&escape::json(&text.map_err(|_| AskFault::NotUnderstood)?));
            }
            Line::End(tally) => tell_unreadable(tally.unreadable),
            Line::Ended(_) | Line::Failed(_) => return Err(AskFault::NotUnderstood),
        }
    }
    Ok(())
}

/// Returns how many there are.
pub async fn print_table(socket: &Path, filter: &Filter) -> Result<usize, AskFault> {
    let mut lines = ask::connections(socket, filter).await?;
    let mut table = Table::default();
    let mut listed = 0;
    while let Some(line) = lines.next().await? {
        match line {
            Line::Connection(connection) => table.add(&connection),
            Line::End(tally) => {
                listed = tally.listed;
                table.print();
                if listed == 0 {
                    say(&"no connections");
                }
                tell_unreadable(tally.unreadable);
            }
            Line::Ended(_) | Line::Failed(_) => return Err(AskFault::NotUnderstood),
        }
    }
    Ok(listed)
}

fn tell_unreadable(count: usize) {
    if count > 0 {
        complain(&format!(
            "not listed: {count} that no sealing key opens, so that nobody can use them here"
        ));
    }
}

/// Rows with columns as wide as those seen so far. Printed some at a time: there may be very many.
#[derive(Default)]
struct Table {
    widths: [usize; COLUMNS.len()],
    rows: Vec<[String; COLUMNS.len()]>,
    has_heading: bool,
}

impl Table {
    fn add(&mut self, connection: &Connection) {
        if !self.has_heading {
            self.has_heading = true;
            self.push(COLUMNS.map(str::to_owned));
        }
        self.push([
            connection.grant.clone(),
            shown(&connection.user),
            connection.email.as_deref().map_or_else(|| "-".to_owned(), shown),
            shown(&connection.client_name),
            connection.client.clone(),
            shown(&connection.resource),
            shown(&connection.scopes.join(" ")),
            connection.since.clone(),
            connection.refreshed.clone(),
            connection.ends_at.clone(),
        ]);
        if self.rows.len() >= ROWS_AT_ONCE {
            self.print();
        }
    }

    fn push(&mut self, row: [String; COLUMNS.len()]) {
        for (width, cell) in self.widths.iter_mut().zip(&row) {
            *width = cell.chars().count().max(*width);
        }
        self.rows.push(row);
    }

    fn print(&mut self) {
        for row in self.rows.drain(..) {
            let cells = row.iter().zip(self.widths).map(|(cell, width)| format!("{cell:width$}"));
            say(&cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}

const COLUMNS: [&str; 10] = [
    "GRANT",
    "USER",
    "EMAIL",
    "NAME",
    "CLIENT",
    "RESOURCE",
    "SCOPES",
    "SINCE",
    "REFRESHED",
    "ENDS",
];
const ROWS_AT_ONCE: usize = 200;
