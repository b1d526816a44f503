//! `registration:` which clients may register (RFC 7591), with which redirect URIs (RFC 8252 §7.1).

use crate::authorization_server::RegistrationSettings;
use crate::config::check::documents::{self, RawDocuments};
use crate::config::field::{Field, Typed};
use crate::config::problem::Reported;
use crate::config::raw::registration::{EDITORS, RawRegistration};
use crate::config::stanza::Reading;

pub(super) fn check(
    raw: RawRegistration,
    reading: &mut Reading,
) -> Result<RegistrationSettings, Reported> {
    let dynamic = raw.dynamic.optional().map(|typed| typed.is_none_or(|typed| typed.value));
    let redirect_schemes = redirect_schemes(raw.redirect_schemes, reading);
    let typed = RawDocuments {
        support: raw.metadata_documents,
        allowed_domains: raw.allowed_metadata_domains,
        allow_private_hosts: raw.allow_private_metadata_hosts,
        pinned: raw.pinned_documents,
        probed: raw.probed_documents,
    };
    let documents = documents::check(
        typed,
        // What depends on a key that is wrong is checked as if that key had been left out.
        dynamic.unwrap_or(true),
        redirect_schemes.as_deref().unwrap_or_default(),
        reading,
    );
    Ok(RegistrationSettings {
        dynamic: dynamic?,
        redirect_schemes: redirect_schemes?,
        documents: documents?,
    })
}

fn redirect_schemes(
    field: Field<Vec<Typed<String>>>,
    reading: &mut Reading,
) -> Result<Vec<String>, Reported> {
    let Some(typed) = field.optional()? else {
        return Ok(EDITORS.map(str::to_owned).to_vec());
    };
    let mut schemes = Vec::new();
    let mut result = Ok(());
    for typed in typed.value {
        match scheme(&typed, &schemes) {
            Ok(()) => schemes.push(typed.value),
            Err((reason, fix)) => result = Err(reading.tell(typed.problem(reason, fix))),
        }
    }
    result.map(|()| schemes)
}

fn scheme(typed: &Typed<String>, earlier: &[String]) -> Result<(), (&'static str, &'static str)> {
    let text = typed.value.as_str();
    // RFC 3986 §3.1; clients' URIs are compared by bytes, and parsers lower the scheme's case.
    let well_formed = text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'));
    if !well_formed {
        return Err(("is not a URI scheme", "write it in lower case without ://, as in cursor"));
    }
    if WEB.contains(&text) {
        return Err((
            "needs no entry",
            "remove it: https, and http on loopback, are always accepted",
        ));
    }
    if REFUSED.contains(&text) {
        return Err((
            "can't be a redirect scheme",
            "remove it: a browser would run or leak the answer",
        ));
    }
    if earlier.iter().any(|scheme| scheme == text) {
        return Err(("is given twice", "remove one of the two"));
    }
    Ok(())
}

const WEB: [&str; 2] = ["http", "https"];

/// Schemes that a browser gives a meaning of its own.
pub(super) const REFUSED: [&str; 15] = [
    "about",
    "blob",
    "chrome",
    "data",
    "file",
    "filesystem",
    "ftp",
    "intent",
    "javascript",
    "jar",
    "mailto",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];
