//! `machines:`, and the entries of `access` that name them.

use crate::config::check::access;
use crate::config::field::Field;
use crate::config::problem::Reported;
use crate::config::raw::RawConfig;
use crate::config::raw::machines::RawMachines;
use crate::config::stanza::Reading;
use crate::token::MachineSettings;

pub(super) fn check(
    raw: RawMachines,
    login_client: Option<&str>,
    reading: &mut Reading,
) -> Result<Option<MachineSettings>, Reported> {
    let (audience, clients) = match (raw.audience, raw.clients) {
        (Field::LeftOut(_), Field::LeftOut(_)) => return Ok(None),
        (Field::Given(audience), Field::LeftOut(_)) => {
            let problem = audience.problem("stands without machines.clients", CLIENTS);
            return Err(reading.tell(problem.because("nobody could come in")));
        }
        (Field::LeftOut(_), Field::Given(clients)) => {
            let problem = clients.problem("stands without machines.audience", AUDIENCE);
            return Err(reading.tell(
                problem.because("a token that was issued for another service would be taken"),
            ));
        }
        (audience, clients) => (audience.optional(), clients.optional()),
    };
    // Both are given, or told of.
    let (Some(audience), Some(clients)) = (audience?, clients?) else { return Ok(None) };
    if login_client == Some(audience.value.as_str()) {
        let problem = audience.problem("is idp.client_id", AUDIENCE);
        return Err(reading.tell(problem.because("ID tokens of people are issued for that")));
    }
    if clients.value.is_empty() {
        return Err(reading.tell(clients.problem("is an empty list", CLIENTS)));
    }
    let clients = clients.value.into_iter().map(|typed| typed.value).collect();
    Ok(Some(MachineSettings { audience: audience.value, clients }))
}

/// An entry that names a machine nobody lists would let nobody in, in silence.
pub(super) fn are_listed(raw: &RawConfig, reading: &mut Reading) -> Result<(), Reported> {
    let listed: Vec<&str> = match &raw.machines.clients {
        Field::Given(list) => list.value.iter().map(|typed| typed.value.as_str()).collect(),
        Field::LeftOut(_) => Vec::new(),
        Field::Mistyped(_) => return Ok(()),
    };
    let mut result = Ok(());
    for entry in access::all_entries(raw) {
        let Field::Given(clients) = &entry.clients else { continue };
        for client in &clients.value {
            if !listed.contains(&client.value.as_str()) {
                result = Err(reading.tell(client.problem(
                    "is not in machines.clients",
                    "add it there; what a person's client may do is decided by who the person is",
                )));
            }
        }
    }
    result
}

const CLIENTS: &str = "add clients: [client-id-at-the-provider]";
const AUDIENCE: &str = "set it to what the provider puts in aud of tokens for this service";
