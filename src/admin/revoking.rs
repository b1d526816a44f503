//! `POST /revoke`: end connections, for every replica. Next: `grants::ending`.

use std::collections::BTreeMap;

use tokio::task::JoinSet;
use tracing::instrument::WithSubscriber as _;

use crate::admin::control::ControlFault;
use crate::admin::lines::Lines;
use crate::admin::words::{Choice, Connection, Ending, Line, Tally, Whose, is_client, is_user};
use crate::grants::{Grant, GrantId, GrantState, Grants};
use crate::store::StoreFault;
use crate::wire::{Request, Response, body};

pub async fn answer(grants: &Grants, request: Request) -> Result<Response, ControlFault> {
    let body = body::read_whole(request.into_body(), LONGEST_BODY).await;
    let body = body.map_err(|_| ControlFault::Malformed)?;
    let whose = serde_json::from_slice(&body).map_err(|_| ControlFault::Malformed)?;
    let (chosen, unreadable) = choose(grants, whose).await?;
    let (lines, response) = Lines::answer();
    let tally = Tally { unreadable, ..Tally::default() };
    // A task of its own: who stops listening must not leave half of it undone.
    tokio::spawn(end_all(grants.clone(), chosen, tally, lines).with_current_subscriber());
    Ok(response)
}

/// A grant to be ended.
struct Chosen {
    id: GrantId,
    connection: Option<Connection>,
}

impl From<Grant> for Chosen {
    fn from(grant: Grant) -> Self {
        Self { id: grant.id, connection: Some(Connection::of(&grant)) }
    }
}

/// Those that are meant, codes under way among them: they would be connections in a moment. And how many rows
/// can't be read, which may be meant too.
async fn choose(grants: &Grants, whose: Whose) -> Result<(Vec<Chosen>, usize), ControlFault> {
    let (found, unreadable) = match whose {
        Whose::Grant(text) => {
            if let Some(id) = GrantId::parse(&text) {
                return Ok((vec![known(grants, id).await], 0));
            }
            let start = text.to_ascii_lowercase();
            let is_hex = start.bytes().all(|digit| digit.is_ascii_hexdigit());
            if !is_hex || start.len() < SHORTEST_START {
                return Err(ControlFault::NoGrantId);
            }
            let (found, unreadable) =
                grants.find(|grant| grant.id.hex().starts_with(&start)).await?;
            (only_one(found, &start, |grant| grant.id.hex())?, unreadable)
        }
        Whose::User(text) => {
            let (found, unreadable) = grants.find(|grant| is_user(grant, &text)).await?;
            (only_one(found, &text, |grant| grant.person.key.clone())?, unreadable)
        }
        Whose::Client(text) => {
            let (found, unreadable) = grants.find(|grant| is_client(grant, &text)).await?;
            (only_one(found, &text, |grant| grant.client.hex())?, unreadable)
        }
    };
    Ok((found.into_iter().map(Chosen::from).collect(), unreadable))
}

/// A whole id is ended whatever the store has of it: its row may be lost, its access tokens are not.
async fn known(grants: &Grants, id: GrantId) -> Chosen {
    let row = grants.read(id).await.ok().flatten().map(|read| read.grant);
    let row = row.filter(|grant| grant.state != GrantState::Ended);
    Chosen { id, connection: row.as_ref().map(Connection::of) }
}

/// Those whose id is `text`. If there are none, those that go by that name, unless they are several's:
/// anybody may call themselves anything.
fn only_one(
    mut found: Vec<Grant>,
    text: &str,
    id: fn(&Grant) -> String,
) -> Result<Vec<Grant>, ControlFault> {
    let mut ids = BTreeMap::<String, usize>::new();
    for grant in &found {
        *ids.entry(id(grant)).or_default() += 1;
    }
    if ids.contains_key(text) {
        found.retain(|grant| id(grant) == text);
        return Ok(found);
    }
    match ids.len() {
        0 => Err(ControlFault::NothingFound),
        1 => Ok(found),
        _ => {
            let choices = ids.into_iter().map(|(id, connections)| Choice { id, connections });
            Err(ControlFault::Ambiguous(choices.collect()))
        }
    }
}

/// Several at once: each may wait for the IdP.
async fn end_all(grants: Grants, chosen: Vec<Chosen>, mut tally: Tally, mut lines: Lines) {
    let mut waiting = chosen.into_iter();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < Grants::ENDED_AT_ONCE
            && let Some(next) = waiting.next()
        {
            under_way.spawn(end(grants.clone(), next).with_current_subscriber());
        }
        let Some(ended) = under_way.join_next().await else { break };
        let Ok((ending, outcome)) = ended else {
            tally.failed += 1;
            continue;
        };
        let line = if outcome.is_ok() {
            tally.ended += 1;
            Line::Ended(ending)
        } else {
            tally.failed += 1;
            Line::Failed(ending)
        };
        // Whether anybody still listens or not: all of it is done.
        let _ = lines.write(&line).await;
        let _ = lines.flush().await;
    }
    let _ = lines.write(&Line::End(tally)).await;
    let _ = lines.flush().await;
}

async fn end(grants: Grants, chosen: Chosen) -> (Ending, Result<(), StoreFault>) {
    let Chosen { id, connection } = chosen;
    let outcome = grants.end(id).await;
    match outcome {
        Ok(()) => tracing::info!(grant_id = %id, "connection ended by the operator"),
        Err(fault) => {
            tracing::error!(grant_id = %id, %fault, whose_fault = "store", "a connection that the operator ends may be live elsewhere");
        }
    }
    (Ending { grant: id.hex(), connection }, outcome)
}

/// As long as the log has it.
const SHORTEST_START: usize = 12;
/// Bytes.
const LONGEST_BODY: usize = 4 * 1024;
