//! What resources are called in tokens of the IdP: no two the same, and none that other tokens have too.

use crate::config::IssuedBy;
use crate::config::check::validation::goes_by_application;
use crate::config::field::{Field, Typed};
use crate::config::problem::Reported;
use crate::config::raw::RawConfig;
use crate::config::raw::resource::RawResource;
use crate::config::raw::tokens::ISSUERS;
use crate::config::stanza::Reading;

pub(super) fn are_apart(raw: &RawConfig, reading: &mut Reading) -> Result<(), Reported> {
    let Field::Given(resources) = &raw.resources.0 else { return Ok(()) };
    let issued_by = match &raw.tokens.issued_by {
        Field::Given(typed) => ISSUERS.iter().find(|(word, _)| *word == typed.value),
        Field::LeftOut(_) => ISSUERS.first(),
        Field::Mistyped(_) => None,
    };
    match issued_by {
        Some((_, IssuedBy::Idp)) => of_the_idp(raw, &resources.value, reading),
        Some((_, IssuedBy::Doorman)) => are_left_out(&resources.value, reading),
        // Told elsewhere.
        None => Ok(()),
    }
}

/// Our own tokens name the resource by its URL, and any client may get one.
fn are_left_out(resources: &[RawResource], reading: &mut Reading) -> Result<(), Reported> {
    let mut result = Ok(());
    for resource in resources {
        if let Field::Given(audience) = &resource.audience {
            result = Err(reading.tell(audience.problem(NO_EFFECT, ONLY_WITH_IDP)));
        }
        if let Field::Given(clients) = &resource.allowed_clients {
            result = Err(reading.tell(clients.problem(NO_EFFECT, ONLY_WITH_IDP)));
        }
    }
    result
}

fn of_the_idp(
    raw: &RawConfig,
    resources: &[RawResource],
    reading: &mut Reading,
) -> Result<(), Reported> {
    let login_client = text(&raw.idp.client_id.0);
    let by_client =
        text(&raw.idp.access_tokens.audience) == Some("client") || goes_by_application(&raw.idp);
    let mut result = Ok(());
    let mut taken: Vec<(&str, String)> = Vec::new();
    let mut clients_taken: Vec<&str> = Vec::new();
    for resource in resources {
        let Some(url) = given(&resource.url.0) else { continue };
        let audience = given(&resource.audience).unwrap_or(url);
        let clients = match &resource.allowed_clients {
            Field::Given(list) => Some(list),
            Field::LeftOut(_) | Field::Mistyped(_) => None,
        };
        if let Some((_, earlier)) = taken.iter().find(|(own, _)| *own == audience.value) {
            let problem = audience.problem(format!("is the audience of {earlier} too"), APART);
            result = Err(reading.tell(problem.because("a token for one would open the other")));
        }
        taken.push((&audience.value, url.spot.key.clone()));
        if login_client == Some(audience.value.as_str()) {
            let problem = audience.problem("is idp.client_id", APART);
            result = Err(reading.tell(problem.because("ID tokens of people are issued for that")));
        }
        if clients.is_none() && (by_client || audience.value != url.value) {
            let problem = audience.problem("needs allowed_clients", ALLOW);
            result = Err(reading.tell(problem.because(
                "tokens for it may be issued to clients that have nothing to do with MCP",
            )));
        }
        for client in clients.iter().filter(|_| by_client).flat_map(|list| &list.value) {
            if clients_taken.contains(&client.value.as_str()) {
                let fix = "give each resource clients of its own";
                let problem = client.problem("is allowed at two resources", fix);
                result = Err(reading.tell(problem.because(
                    "with idp.access_token_audience: client, or tokeninfo, nothing else tells their tokens apart",
                )));
            }
            clients_taken.push(&client.value);
        }
    }
    result
}

fn given(field: &Field<String>) -> Option<&Typed<String>> {
    match field {
        Field::Given(typed) => Some(typed),
        Field::LeftOut(_) | Field::Mistyped(_) => None,
    }
}

fn text(field: &Field<String>) -> Option<&str> {
    given(field).map(|typed| typed.value.as_str())
}

const NO_EFFECT: &str = "has no effect on tokens that we issue ourselves";
const ONLY_WITH_IDP: &str = "remove it, or set tokens.issued_by: idp";
const APART: &str =
    "register each resource at the provider by a name of its own, and put that here";
const ALLOW: &str = "add allowed_clients: the ids at the provider of the MCP clients that may come";
