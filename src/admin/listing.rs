//! `GET /connections`: which connections are live. The store knows, for all replicas.

use tracing::instrument::WithSubscriber as _;

use crate::admin::control::ControlFault;
use crate::admin::lines::{Gone, Lines};
use crate::admin::words::{Connection, Filter, Line, Tally};
use crate::grants::inventory::Inventory;
use crate::grants::{GrantState, Grants};
use crate::wire::form::Repeated;
use crate::wire::{Form, Request, Response};

pub async fn answer(grants: &Grants, request: &Request) -> Result<Response, ControlFault> {
    let filter = read(request.uri().query().unwrap_or_default())?;
    let inventory = grants.inventory().await?;
    let (lines, response) = Lines::answer();
    tokio::spawn(
        async move {
            // Who has gone needs no answer.
            let _ = tell(inventory, filter, lines).await;
        }
        .with_current_subscriber(),
    );
    Ok(response)
}

fn read(query: &str) -> Result<Filter, ControlFault> {
    let form = Form::parse(query.as_bytes());
    let one = |name| {
        let value = form.one(name).map_err(|Repeated| ControlFault::Malformed)?;
        Ok::<_, ControlFault>(value.map(str::to_owned))
    };
    Ok(Filter { grant: one("grant")?, user: one("user")?, client: one("client")? })
}

async fn tell(mut inventory: Inventory, filter: Filter, mut lines: Lines) -> Result<(), Gone> {
    let mut listed = 0;
    // A code that is under way is no connection yet.
    for grant in inventory.by_ref().filter(|grant| grant.state == GrantState::Live) {
        if filter.lets(&grant) {
            lines.write(&Line::Connection(Connection::of(&grant))).await?;
            listed += 1;
        }
    }
    let unreadable = inventory.unreadable();
    lines.write(&Line::End(Tally { listed, unreadable, ..Tally::default() })).await?;
    lines.flush().await
}
