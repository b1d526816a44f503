//! What was typed becomes what it means, or a list of everything that is wrong with it.

mod access;
mod access_tokens;
mod admin;
mod audiences;
mod certificate;
mod choice;
mod clients;
mod documents;
mod duration;
mod identity;
mod identity_headers;
mod idp;
mod limits;
mod listen;
mod machines;
mod origins;
mod proxies;
mod registration;
mod resource_indicator;
mod resources;
mod sealing_keys;
mod secret;
mod service_accounts;
mod state;
mod stop;
mod streams;
mod tls;
mod tokens;
mod upstream;
mod validation;

use std::num::NonZeroUsize;

#[cfg(test)]
pub(super) use sealing_keys::SAMPLES;

use crate::config::Config;
use crate::config::field::{Field, Typed};
use crate::config::problem::Reported;
use crate::config::raw::log::{self, RawLog};
use crate::config::raw::{MOST_WORKERS, RawConfig};
use crate::config::stanza::Reading;
use crate::telemetry::{LogFormat, LogLevel, LogSettings};

/// Every stanza is checked before any problem ends the check, so that all are told at once.
pub(super) fn check(raw: RawConfig, reading: &mut Reading) -> Result<Config, Reported> {
    let groups_are_told = identity::groups_are_told(&raw, reading);
    let scopes_are_offered = clients::scopes_are_offered(&raw, reading);
    let audiences_are_apart = audiences::are_apart(&raw, reading);
    let validation_is_possible = validation::is_possible(&raw, reading);
    let machines_are_listed = machines::are_listed(&raw, reading);
    let urls_fit = tls::urls_fit(&raw, reading);
    let tls = tls::check(raw.tls, reading);
    let listeners = listen::check(raw.listen, raw.health_listen, reading);
    let admin_socket = admin::check(raw.admin_socket, reading);
    let workers = workers(raw.workers, reading);
    let log = log(raw.log, reading);
    let contact = raw.contact.optional();
    let identity_headers = identity_headers::check(raw.identity_headers, reading);
    let told = identity_headers.as_ref().ok();
    let public = resources::check(raw.resources, raw.issuer, told, reading);
    let idp = idp::check(raw.idp, reading);
    let login_client = idp.as_ref().ok().map(|idp| idp.client_id.as_str());
    let machines = machines::check(raw.machines, login_client, reading);
    let sealing_keys = sealing_keys::check(raw.sealing_keys, reading);
    let state = state::check(raw.state, reading);
    let tokens = tokens::check(raw.tokens, reading);
    let streams = streams::check(raw.streams, reading);
    let limits = limits::check(raw.limits, reading);
    let stop = stop::check(raw.stop, reading);
    let registration = registration::check(raw.registration, reading);
    let mut ids = Vec::new();
    let clients = clients::check(raw.clients, &mut ids, reading);
    let served = public.as_ref().map_or(&[][..], |(_, resources)| resources);
    let service_accounts = service_accounts::check(raw.service_accounts, &mut ids, served, reading);
    let allowed_origins = origins::check(raw.allowed_origins, reading);
    let trusted_proxies = proxies::check(raw.trusted_proxies, reading);

    let ((listen, health), (issuer, resources)) = (listeners?, public?);
    let ((), ()) = (groups_are_told?, scopes_are_offered?);
    let ((), (), ()) = (audiences_are_apart?, machines_are_listed?, validation_is_possible?);
    let ((), (issued_by, tokens)) = (urls_fit?, tokens?);
    Ok(Config {
        listen,
        tls: tls?,
        health,
        admin_socket: admin_socket?,
        workers: workers?,
        contact: contact?.map(|typed| typed.value),
        log: log?,
        issuer,
        resources,
        idp: idp?,
        sealing_keys: sealing_keys?,
        state: state?,
        issued_by,
        tokens,
        machines: machines?,
        streams: streams?,
        limits: limits?,
        stop: stop?,
        registration: registration?,
        clients: clients?,
        service_accounts: service_accounts?,
        identity_headers: identity_headers?,
        allowed_origins: allowed_origins?,
        trusted_proxies: trusted_proxies?,
    })
}

fn workers(field: Field<u64>, reading: &mut Reading) -> Result<NonZeroUsize, Reported> {
    let Some(typed) = field.optional()? else {
        return Ok(reading.environment.parallelism().min(MOST_WORKERS));
    };
    usize::try_from(typed.value)
        .ok()
        .and_then(NonZeroUsize::new)
        .filter(|workers| *workers <= MOST_WORKERS)
        .ok_or_else(|| {
            reading.tell(typed.problem(
                "is not a number of workers",
                "use 1 to 256, or leave it out for one worker per processor",
            ))
        })
}

fn log(raw: RawLog, reading: &mut Reading) -> Result<LogSettings, Reported> {
    let format = choice::of(raw.format, LogFormat::Json, &log::FORMATS, reading);
    let level = choice::of(raw.level, LogLevel::Info, &log::LEVELS, reading);
    Ok(LogSettings { format: format?, level: level? })
}

/// Tells if an example was copied with its `<tenant>` or `{tenant}` still in it.
fn filled_in(typed: &Typed<String>, reading: &mut Reading) -> Result<(), Reported> {
    if typed.value.contains(['<', '>', '{', '}', '…']) {
        return Err(reading.tell(typed.problem(
            "still has a placeholder in it",
            "put your own value in its place, brackets included",
        )));
    }
    Ok(())
}
