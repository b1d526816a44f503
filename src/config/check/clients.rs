//! `clients:` what an MCP client is that the operator sets up (RFC 6749 §2, RFC 7523).

use std::path::Path;
use std::sync::Arc;

use url::Url;

use crate::authorization_server::clients::Authentication;
use crate::authorization_server::clients::declared::DeclaredClient;
use crate::authorization_server::clients::registered::CLIENT_ID;
use crate::config::check::registration::REFUSED;
use crate::config::check::secret::fetch;
use crate::config::check::{filled_in, resources};
use crate::config::field::{Field, Required, Typed};
use crate::config::problem::{Problem, Reported};
use crate::config::raw::RawConfig;
use crate::config::raw::client::RawClient;
use crate::config::raw::secret::SecretSource;
use crate::config::stanza::Reading;
use crate::jose::KeySet;
use crate::oauth::redirect_uri::NotRegistrable;
use crate::oauth::scope::is_scope_name;
use crate::oauth::{RegisteredRedirectUri, Scopes};
use crate::secret;

pub(super) fn check(
    field: Field<Vec<RawClient>>,
    ids: &mut Vec<Typed<String>>,
    reading: &mut Reading,
) -> Result<Vec<DeclaredClient>, Reported> {
    let Some(list) = field.optional()? else { return Ok(Vec::new()) };
    let clients: Vec<_> = list.value.into_iter().map(|raw| client(raw, ids, reading)).collect();
    clients.into_iter().collect()
}

/// A scope that no resource offers can only be misspelled.
pub(super) fn scopes_are_offered(raw: &RawConfig, reading: &mut Reading) -> Result<(), Reported> {
    let Field::Given(resources) = &raw.resources.0 else { return Ok(()) };
    let clients = match &raw.clients {
        Field::Given(clients) => clients.value.as_slice(),
        Field::LeftOut(_) | Field::Mistyped(_) => &[],
    };
    let given = |field: &Field<Vec<Typed<String>>>| match field {
        Field::Given(scopes) => scopes.value.clone(),
        Field::LeftOut(_) | Field::Mistyped(_) => Vec::new(),
    };
    let offered: Vec<_> = resources.value.iter().flat_map(|raw| given(&raw.scopes)).collect();
    let mut result = Ok(());
    let accounts = match &raw.service_accounts {
        Field::Given(accounts) => accounts.value.as_slice(),
        Field::LeftOut(_) | Field::Mistyped(_) => &[],
    };
    let of_clients = clients.iter().flat_map(|raw| given(&raw.scopes));
    let of_accounts = accounts.iter().flat_map(|raw| given(&raw.scopes));
    for scope in of_clients.chain(of_accounts) {
        let is_offered = offered.iter().any(|offered| offered.value == scope.value);
        if is_scope_name(&scope.value) && !is_offered {
            result = Err(reading.tell(scope.problem(
                "is a scope of no resource",
                "name scopes that stand in resources[].scopes, or leave the key out for all of them",
            )));
        }
    }
    result
}

fn client(
    raw: RawClient,
    ids: &mut Vec<Typed<String>>,
    reading: &mut Reading,
) -> Result<DeclaredClient, Reported> {
    let id = id(raw.id, ids, reading);
    let name = raw.name.required(
        &mut reading.problems,
        "people are shown it when they are asked for consent",
        "add name: what people call the application",
    );
    let redirect_uris = redirect_uris(raw.redirect_uris, reading);
    let authentication = authentication(raw.secret, raw.keys, reading);
    let scopes = scopes(raw.scopes, reading);
    let refresh = raw.refresh.optional();
    Ok(DeclaredClient {
        id: id?,
        name: name?.value,
        redirect_uris: redirect_uris?,
        authentication: authentication?,
        scopes: scopes?,
        refreshes: refresh?.is_none_or(|typed| typed.value),
    })
}

pub(super) fn id(
    field: Required<String>,
    earlier: &mut Vec<Typed<String>>,
    reading: &mut Reading,
) -> Result<String, Reported> {
    let typed = field.required(
        &mut reading.problems,
        "it is what people enter in their MCP client",
        "add id: a short name, as in claude",
    )?;
    filled_in(&typed, reading)?;
    if let Some(problem) = wrong_with_id(&typed, earlier) {
        return Err(reading.tell(problem));
    }
    earlier.push(typed.clone());
    Ok(typed.value)
}

fn wrong_with_id(typed: &Typed<String>, earlier: &[Typed<String>]) -> Option<Problem> {
    let id = typed.value.as_str();
    if id.contains("://") {
        let problem = typed.problem("is a URL", "write a short name, as in claude");
        return Some(problem.because(
            "a URL as a client id stands for a document that the client publishes there",
        ));
    }
    if CLIENT_ID.is_claimed_by(id) {
        let reason = "looks like an id of a client that registered itself";
        return Some(typed.problem(reason, "write another name"));
    }
    if id.len() > LONGEST_ID || !id.bytes().all(is_of_id) {
        let fix = "use letters, digits, dots, dashes and underscores, 100 at most";
        let problem = typed.problem("is not a client id", fix);
        return Some(problem.because("clients don't agree on how to send anything else"));
    }
    let is_taken = earlier.iter().any(|other| other.value == id);
    is_taken.then(|| typed.problem("is given twice", "give each client an id of its own"))
}

const fn is_of_id(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn redirect_uris(
    field: Required<Vec<Typed<String>>>,
    reading: &mut Reading,
) -> Result<Vec<RegisteredRedirectUri>, Reported> {
    let list = field.required(
        &mut reading.problems,
        "it is where the client is answered, and the only place",
        "add redirect_uris: [https://…], as the client's documentation has it",
    )?;
    if list.value.is_empty() {
        return Err(reading.tell(list.problem("is an empty list", "name one")));
    }
    let mut uris: Vec<RegisteredRedirectUri> = Vec::new();
    let mut result = Ok(());
    for typed in &list.value {
        match redirect_uri(typed, reading) {
            Ok(uri) if uris.contains(&uri) => {
                result =
                    Err(reading.tell(typed.problem("is given twice", "remove one of the two")));
            }
            Ok(uri) => uris.push(uri),
            Err(reported) => result = Err(reported),
        }
    }
    result.map(|()| uris)
}

/// Of any scheme that is not a browser's own: the operator knows the client.
fn redirect_uri(
    typed: &Typed<String>,
    reading: &mut Reading,
) -> Result<RegisteredRedirectUri, Reported> {
    filled_in(typed, reading)?;
    let scheme = Url::parse(&typed.value).map(|url| url.scheme().to_owned()).unwrap_or_default();
    let schemes = if REFUSED.contains(&scheme.as_str()) { Vec::new() } else { vec![scheme] };
    let reason = match RegisteredRedirectUri::parse_written_by_operator(&typed.value, &schemes) {
        Ok(uri) => return Ok(uri),
        Err(reason) => reason,
    };
    let fix = match reason {
        NotRegistrable::NotAbsolute => {
            "write the whole URI, as in https://client.example.com/callback"
        }
        NotRegistrable::Characters => "escape them, as in %20",
        NotRegistrable::Fragment => "remove the # and what follows",
        NotRegistrable::Credentials => "remove what stands before the @",
        NotRegistrable::PlainHttp => "use https://",
        NotRegistrable::Scheme => "remove it: a browser would run or leak the answer",
        NotRegistrable::Host => "write the host in lower case and without %",
        NotRegistrable::Star => {
            "write every URI in full, or end one as in https://client.example.com/callback/*"
        }
        NotRegistrable::TooLong => "use one of at most 512 characters",
    };
    Err(reading.tell(typed.problem(reason.to_string(), fix)))
}

pub(super) fn authentication(
    secret: Field<SecretSource>,
    keys: Field<String>,
    reading: &mut Reading,
) -> Result<Authentication, Reported> {
    match (secret.optional()?, keys.optional()?) {
        (None, None) => Ok(Authentication::None),
        (Some(source), None) => by_secret(source, reading),
        (None, Some(file)) => by_keys(&file, reading),
        (Some(_), Some(keys)) => Err(reading.tell(
            Problem::at(&keys.spot, "stands beside a secret", "keep one of secret and keys")
                .because("a client with keys could then be imitated by who knows the secret"),
        )),
    }
}

fn by_secret(
    source: Typed<SecretSource>,
    reading: &mut Reading,
) -> Result<Authentication, Reported> {
    // Where secrets are not to be looked for, nobody is served either; and nothing has this hash.
    let Some(secret) = fetch(source, reading)? else {
        return Ok(Authentication::Secret([0; 32]));
    };
    let text = secret.value.expose();
    // RFC 6749 §10.10: 128 bits; as base64 that is 22 characters.
    if text.len() < SHORTEST_SECRET {
        return Err(reading.tell(
            Problem::at(
                &secret.spot,
                "is shorter than 22 characters",
                "make one with openssl rand -base64 32",
            )
            .because("it could be guessed"),
        ));
    }
    Ok(Authentication::Secret(secret::sha256(text.as_bytes())))
}

fn by_keys(file: &Typed<String>, reading: &mut Reading) -> Result<Authentication, Reported> {
    let text = reading.environment.read(Path::new(&file.value)).map_err(|reason| {
        let problem = Problem::at(
            &file.spot,
            format!("the file {} {reason}", file.value),
            "put the client's JWK Set there, readable by this process, or correct the path",
        );
        reading.problems.tell(problem)
    })?;
    match KeySet::parse(&text) {
        Ok(keys) => Ok(Authentication::Keys(Arc::new(keys))),
        Err(reason) => Err(reading.tell(Problem::at(
            &file.spot,
            format!("the file {} {reason}", file.value),
            "write {\"keys\": […]} with the client's public keys: RSA, EC (P-256, P-384) or OKP (Ed25519)",
        ))),
    }
}

pub(super) fn scopes(
    field: Field<Vec<Typed<String>>>,
    reading: &mut Reading,
) -> Result<Option<Scopes>, Reported> {
    let Some(list) = field.optional()? else { return Ok(None) };
    if list.value.is_empty() {
        return Err(reading.tell(
            list.problem("is an empty list", "name a scope, or leave the key out for all of them"),
        ));
    }
    resources::scopes(&list.value, reading).map(Some)
}

/// Bytes.
const LONGEST_ID: usize = 100;
const SHORTEST_SECRET: usize = 22;
