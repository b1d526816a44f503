//! `registration:` again: the keys on client ID metadata documents
//! (draft-ietf-oauth-client-id-metadata-document).

use std::path::Path;
use std::time::Duration;

use crate::authorization_server::clients::document::{
    Document, DocumentSettings, Support, is_allowed,
};
use crate::config::check::choice;
use crate::config::field::{Field, Typed};
use crate::config::problem::{Problem, Reported};
use crate::config::raw::registration::{AUTO, KNOWN_CLIENTS, RawPinnedDocument};
use crate::config::stanza::Reading;
use crate::oauth::ClientIdUrl;

pub(super) struct RawDocuments {
    pub support: Field<String>,
    pub allowed_domains: Field<Vec<Typed<String>>>,
    pub allow_private_hosts: Field<bool>,
    pub pinned: Field<Vec<RawPinnedDocument>>,
    pub probed: Field<Vec<Typed<String>>>,
}

/// `is_dynamic`: whether a client that does not find documents advertised can register instead.
pub(super) fn check(
    raw: RawDocuments,
    is_dynamic: bool,
    redirect_schemes: &[String],
    reading: &mut Reading,
) -> Result<DocumentSettings, Reported> {
    let support = choice::of(raw.support, Support::WithinReach, &SUPPORT, reading);
    let allowed_domains = allowed_domains(raw.allowed_domains, reading);
    let allows_private_hosts = raw.allow_private_hosts.optional();
    let pinned = pinned(raw.pinned, support, redirect_schemes, reading);
    let allowed = allowed_domains.as_ref().ok().and_then(Option::as_deref);
    let probed = probed(raw.probed, allowed, reading);
    Ok(DocumentSettings {
        support: match support? {
            // Without another way in there is nothing to be careful for.
            Support::WithinReach if !is_dynamic => Support::Always,
            Support::WithinReach => Support::WithinReach,
            Support::Always => Support::Always,
            Support::Never => Support::Never,
        },
        allowed_domains: allowed_domains?,
        allows_private_hosts: allows_private_hosts?.is_some_and(|typed| typed.value),
        pinned: pinned?,
        probed: probed?,
        probe_pause: PROBE_PAUSE,
    })
}

fn allowed_domains(
    field: Field<Vec<Typed<String>>>,
    reading: &mut Reading,
) -> Result<Option<Vec<String>>, Reported> {
    let Some(typed) = field.optional()? else { return Ok(None) };
    let mut domains: Vec<String> = Vec::new();
    let mut result = Ok(());
    for typed in typed.value {
        let host = typed.value.strip_prefix("*.").unwrap_or(&typed.value);
        // As it stands in a client id: in lower case, international names in their ASCII form.
        let is_host = !host.contains('*')
            && ClientIdUrl::parse(&format!("https://{host}/x")).is_ok_and(|url| url.host() == host);
        if !is_host {
            let fix =
                "write a host in lower case, as in example.com, or *.example.com for all below it";
            result = Err(reading.tell(typed.problem("is not a host", fix)));
        } else if domains.contains(&typed.value) {
            result = Err(reading.tell(typed.problem("is given twice", "remove one of the two")));
        } else {
            domains.push(typed.value);
        }
    }
    result.map(|()| Some(domains))
}

fn pinned(
    field: Field<Vec<RawPinnedDocument>>,
    support: Result<Support, Reported>,
    redirect_schemes: &[String],
    reading: &mut Reading,
) -> Result<Vec<(ClientIdUrl, Document)>, Reported> {
    let Some(typed) = field.optional()? else { return Ok(Vec::new()) };
    if support.is_ok_and(|support| support == Support::Never) && !typed.value.is_empty() {
        let fix = "remove it, or set metadata_documents: true";
        let reason = "is of no use while metadata_documents is false";
        return Err(reading.tell(Problem::at(&typed.spot, reason, fix)));
    }
    let mut documents: Vec<(ClientIdUrl, Document)> = Vec::new();
    let mut result = Ok(());
    for raw in typed.value {
        match pinned_one(raw, &documents, redirect_schemes, reading) {
            Ok(document) => documents.push(document),
            Err(reported) => result = Err(reported),
        }
    }
    result.map(|()| documents)
}

fn pinned_one(
    raw: RawPinnedDocument,
    earlier: &[(ClientIdUrl, Document)],
    redirect_schemes: &[String],
    reading: &mut Reading,
) -> Result<(ClientIdUrl, Document), Reported> {
    let why = "a pinned document stands in for what its URL would answer";
    let typed = raw.url.required(&mut reading.problems, why, "add the URL, the client's id");
    let file = raw.file.required(&mut reading.problems, why, "add file: /path/to/document.json");
    let url = typed.and_then(|typed| {
        let url = client_id_url(&typed, reading)?;
        if earlier.iter().any(|(own, _)| *own == url) {
            return Err(reading.tell(typed.problem("is given twice", "remove one of the two")));
        }
        Ok(url)
    });
    let file = file?;
    let text = reading.environment.read(Path::new(&file.value)).map_err(|reason| {
        let fix = "mount the document there, readable by this process, or correct the path";
        reading.problems.tell(file.problem(reason, fix))
    })?;
    let url = url?;
    match Document::parse(&url, text.as_bytes(), redirect_schemes) {
        Ok(document) => Ok((url, document)),
        Err(invalid) => {
            let fix = format!("put there what {url} answers");
            Err(reading.tell(file.problem(format!("is no use: the document {invalid}"), fix)))
        }
    }
}

/// Those that may be fetched at all: an allow-list that leaves out a known client means it.
fn probed(
    field: Field<Vec<Typed<String>>>,
    allowed: Option<&[String]>,
    reading: &mut Reading,
) -> Result<Vec<ClientIdUrl>, Reported> {
    let Some(typed) = field.optional()? else {
        let known = KNOWN_CLIENTS.iter().filter_map(|url| ClientIdUrl::parse(url).ok());
        return Ok(known.filter(|url| is_allowed(url, allowed)).collect());
    };
    let mut urls = Vec::new();
    let mut result = Ok(());
    for typed in typed.value {
        match client_id_url(&typed, reading) {
            Ok(url) if is_allowed(&url, allowed) => urls.push(url),
            Ok(_) => {
                let fix = "remove it, or add its host there";
                let reason = "is not at a host in allowed_metadata_domains";
                result = Err(reading.tell(typed.problem(reason, fix)));
            }
            Err(reported) => result = Err(reported),
        }
    }
    result.map(|()| urls)
}

fn client_id_url(typed: &Typed<String>, reading: &mut Reading) -> Result<ClientIdUrl, Reported> {
    ClientIdUrl::parse(&typed.value).map_err(|reason| {
        let fix = "write it exactly as the client sends it: https://, a host, a path";
        reading.tell(typed.problem(reason.to_string(), fix))
    })
}

const SUPPORT: [(&str, Support); 3] =
    [(AUTO, Support::WithinReach), ("true", Support::Always), ("false", Support::Never)];

/// Shorter than the shortest time that a document is kept, so that those that are probed are always known.
const PROBE_PAUSE: Duration = Duration::from_mins(4);
