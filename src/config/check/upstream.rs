//! `upstream:` of a resource and what stands beside it: its MCP server, how to get in, how long that may take.

use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, FROM, HeaderName, HeaderValue, USER_AGENT};

use crate::config::check::certificate::{PUT_CERTIFICATE, no_pair, read, unfit};
use crate::config::check::duration::within;
use crate::config::check::secret::fetch;
use crate::config::check::{choice, filled_in, identity_headers};
use crate::config::field::{Field, Required, Typed};
use crate::config::problem::{Problem, Reported};
use crate::config::raw::secret::SecretSource;
use crate::config::raw::upstream::{
    PROTOCOLS, RawUpstreamDeadlines, RawUpstreamHeader, RawUpstreamTls,
};
use crate::config::stanza::Reading;
use crate::policy::UpstreamDeadlines;
use crate::proxy::IdentityHeaders;
use crate::tls::{Authorities, Chain, ClientIdentity, ServedName, ServerTls};
use crate::wire::upstream_url::NotUpstream;
use crate::wire::{UpstreamKind, UpstreamProtocol, UpstreamUrl};

/// Where the server is, and how TLS is spoken with it if it is `https://`.
pub(super) fn check(
    url: Required<String>,
    tls: Field<Box<RawUpstreamTls>>,
    reading: &mut Reading,
) -> Result<(UpstreamUrl, Option<ServerTls>), Reported> {
    let url = upstream(url, reading);
    let tls = tls.optional()?;
    // All of it is checked, also where it is not needed.
    let given = tls.map(|typed| (given(&typed), settings(*typed.value, reading)));
    let url = url?;
    if url.value.kind != UpstreamKind::Https {
        return match given {
            Some((Some(useless), _)) => Err(reading.tell(Problem::at(
                &useless.spot,
                format!("is of no use for {}", url.value),
                "remove it, or write upstream: https://…",
            ))),
            Some((None, settings)) => settings.map(|_| (url.value, None)),
            None => Ok((url.value, None)),
        };
    }
    let settings = given.map_or_else(|| Ok(Settings::default()), |(_, settings)| settings)?;
    let host = ServedName::of(url.value.authority.host());
    let Some(name) = settings.name.or(host) else {
        return Err(reading.tell(url.problem(
            "names a host that no certificate can be for",
            "write a host name or an IP address, or set upstream_tls.server_name",
        )));
    };
    let tls = ServerTls { name, authorities: settings.authorities, identity: settings.identity };
    Ok((url.value, Some(tls)))
}

/// What the server wants with each request. `identity`: the names that are ours to fill in.
pub(super) fn headers(
    field: Field<Vec<RawUpstreamHeader>>,
    identity: Option<&IdentityHeaders>,
    reading: &mut Reading,
) -> Result<Vec<(HeaderName, HeaderValue)>, Reported> {
    let Some(list) = field.optional()? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    let headers: Vec<_> = list
        .value
        .into_iter()
        .map(|raw| {
            let name = header_name(raw.name, &mut names, identity, reading);
            let value = header_value(raw.value, reading);
            let (name, value) = (name?, value?);
            Ok(value.map(|value| (name, value)))
        })
        .collect();
    headers.into_iter().filter_map(Result::transpose).collect()
}

pub(super) fn protocol(
    field: Field<String>,
    reading: &mut Reading,
) -> Result<UpstreamProtocol, Reported> {
    choice::of(field, UpstreamProtocol::default(), &PROTOCOLS, reading)
}

pub(super) fn deadlines(
    field: Field<RawUpstreamDeadlines>,
    reading: &mut Reading,
) -> Result<UpstreamDeadlines, Reported> {
    let usual = UpstreamDeadlines::default();
    let Some(Typed { value: raw, .. }) = field.optional()? else { return Ok(usual) };
    let range = Duration::from_millis(100)..=Duration::from_mins(1);
    let connect = within(raw.connect, usual.connect, range, "use 100ms to 1m", reading);
    let range = Duration::from_secs(1)..=Duration::from_hours(1);
    let first_byte = within(raw.first_byte, usual.first_byte, range, "use 1s to 1h", reading);
    Ok(UpstreamDeadlines { connect: connect?, first_byte: first_byte? })
}

fn upstream(
    field: Required<String>,
    reading: &mut Reading,
) -> Result<Typed<UpstreamUrl>, Reported> {
    let typed = field.required(
        &mut reading.problems,
        "it is where the MCP server listens",
        "add upstream: http://127.0.0.1:3000/mcp with the port and path of your server",
    )?;
    filled_in(&typed, reading)?;
    let reason = match UpstreamUrl::parse(&typed.value) {
        Ok(url) => return Ok(typed.with(url)),
        Err(reason) => reason,
    };
    let fix = match reason {
        NotUpstream::NotAbsolute | NotUpstream::NotHttp | NotUpstream::TooMuch => {
            "write http://host:port/path, https://host:port/path or unix:/path/of/socket:/path, as in http://127.0.0.1:3000/mcp"
        }
        NotUpstream::NotASocket => {
            "write unix:, the absolute path of the socket, and after a colon the path there, as in unix:/run/mcp/server.sock:/mcp"
        }
        NotUpstream::LongSocket => "put the socket at a shorter path",
    };
    Err(reading.tell(typed.problem(reason.to_string(), fix)))
}

#[derive(Default)]
struct Settings {
    name: Option<ServedName>,
    authorities: Option<Authorities>,
    identity: Option<ClientIdentity>,
}

/// The place of the stanza, if anything stands in it.
fn given(typed: &Typed<Box<RawUpstreamTls>>) -> Option<Typed<()>> {
    let RawUpstreamTls { ca, client_certificate, client_key, server_name } = &*typed.value;
    let is_empty = [ca, client_certificate, server_name]
        .into_iter()
        .all(|field| matches!(field, Field::LeftOut(_)))
        && matches!(client_key, Field::LeftOut(_));
    (!is_empty).then(|| Typed { value: (), shown: None, spot: typed.spot.clone() })
}

fn settings(raw: RawUpstreamTls, reading: &mut Reading) -> Result<Settings, Reported> {
    let authorities = authorities(raw.ca, reading);
    let identity = identity(raw.client_certificate, raw.client_key, reading);
    let name = server_name(raw.server_name, reading);
    Ok(Settings { name: name?, authorities: authorities?, identity: identity? })
}

fn authorities(
    field: Field<String>,
    reading: &mut Reading,
) -> Result<Option<Authorities>, Reported> {
    let Some(file) = field.optional()? else { return Ok(None) };
    let text = read(&file, "put the authority's certificate there", reading)?;
    Authorities::from_pem(&text).map(Some).map_err(|reason| {
        unfit(
            &file,
            &reason,
            "put the certificate of the authority that signs the server's there, as PEM",
            reading,
        )
    })
}

fn identity(
    certificate: Field<String>,
    key: Field<SecretSource>,
    reading: &mut Reading,
) -> Result<Option<ClientIdentity>, Reported> {
    let (file, source) = match (certificate.optional()?, key.optional()?) {
        (None, None) => return Ok(None),
        (Some(file), Some(source)) => (file, source),
        (Some(file), None) => {
            let fix = "add client_key: { file: /path/to/its/key.pem }";
            return Err(reading.tell(file.problem("is of no use without its key", fix)));
        }
        (None, Some(source)) => {
            let reason = "is of no use without its certificate";
            let fix = "add client_certificate: /path/to/certificate.pem";
            return Err(reading.tell(Problem::at(&source.spot, reason, fix)));
        }
    };
    let text = read(&file, "put the certificate there", reading);
    let chain = text.and_then(|text| {
        Chain::from_pem(&text).map_err(|reason| unfit(&file, &reason, PUT_CERTIFICATE, reading))
    });
    let key = fetch(source, reading);
    let (chain, Some(key)) = (chain?, key?) else { return Ok(None) };
    ClientIdentity::new(chain, &key.value)
        .map(Some)
        .map_err(|reason| no_pair(reason, &file, &key, reading))
}

fn server_name(
    field: Field<String>,
    reading: &mut Reading,
) -> Result<Option<ServedName>, Reported> {
    let Some(typed) = field.optional()? else { return Ok(None) };
    filled_in(&typed, reading)?;
    ServedName::of(&typed.value).map(Some).ok_or_else(|| {
        reading.tell(typed.problem(
            "is no name that a certificate can be for",
            "write a host name, as in mcp.internal, or an IP address",
        ))
    })
}

fn header_name(
    field: Required<String>,
    earlier: &mut Vec<HeaderName>,
    identity: Option<&IdentityHeaders>,
    reading: &mut Reading,
) -> Result<HeaderName, Reported> {
    let typed = field.required(
        &mut reading.problems,
        "it is what the server reads the value under",
        "add name: as the server's documentation has it, as in X-Api-Key",
    )?;
    let Ok(name) = HeaderName::from_bytes(typed.value.as_bytes()) else {
        let fix = "use letters, digits and dashes";
        return Err(reading.tell(typed.problem("is not a header name", fix)));
    };
    if is_taken(&name) {
        let reason = "already means something else to the server";
        let fix = "leave it out: it is set for each request";
        return Err(reading.tell(typed.problem(reason, fix)));
    }
    if identity.is_some_and(|identity| identity.reads_as_ours(name.as_str())) {
        let reason = "is the name of an identity header";
        let fix = "use another name, or give the identity header another under identity_headers";
        return Err(reading
            .tell(typed.problem(reason, fix).because("the server could not tell who is calling")));
    }
    if earlier.contains(&name) {
        return Err(reading.tell(typed.problem("is given twice", "remove one of the two")));
    }
    earlier.push(name.clone());
    Ok(name)
}

/// A server may read `_` as `-`.
fn is_taken(name: &HeaderName) -> bool {
    let may_be_ours = [AUTHORIZATION, COOKIE, FROM, USER_AGENT];
    let read = name.as_str().replace('_', "-");
    !may_be_ours.iter().any(|own| own == read.as_str())
        && (identity_headers::has_meaning(&read) || read.starts_with("x-forwarded-"))
}

/// `None` if secrets are not to be looked for.
fn header_value(
    field: Required<SecretSource>,
    reading: &mut Reading,
) -> Result<Option<HeaderValue>, Reported> {
    let source = field.required(
        &mut reading.problems,
        "a header without a value says nothing",
        "add value: { file: /path/to/secret } or { env: NAME_OF_VARIABLE }",
    )?;
    let Some(secret) = fetch(source, reading)? else { return Ok(None) };
    let mut value = HeaderValue::from_str(secret.value.expose().trim()).map_err(|_| {
        reading.tell(Problem::at(
            &secret.spot,
            "has characters that no header can have",
            "put the value there on one line, in ASCII",
        ))
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}
