//! `identity_headers:` the names under which the upstream is told who is calling.

use http::HeaderName;

use crate::config::field::{Field, Typed};
use crate::config::problem::Reported;
use crate::config::raw::identity_headers::RawIdentityHeaders;
use crate::config::stanza::Reading;
use crate::proxy::IdentityHeaders;

pub(super) fn check(
    raw: RawIdentityHeaders,
    reading: &mut Reading,
) -> Result<IdentityHeaders, Reported> {
    let mut typed = Vec::new();
    let user = header(raw.user, USER, &mut typed, reading);
    let email = header(raw.email, EMAIL, &mut typed, reading);
    let groups = header(raw.groups, GROUPS, &mut typed, reading);
    let headers = IdentityHeaders { user: user?, email: email?, groups: groups? };
    // Two equal names can only come from a typed one: the defaults differ.
    for (name, text) in typed {
        let holders = [&headers.user, &headers.email, &headers.groups];
        if holders.into_iter().filter(|holder| **holder == name).count() > 1 {
            return Err(reading.tell(
                text.problem("is the name of two identity headers", "give each its own name"),
            ));
        }
    }
    Ok(headers)
}

fn header(
    field: Field<String>,
    default: HeaderName,
    names: &mut Vec<(HeaderName, Typed<String>)>,
    reading: &mut Reading,
) -> Result<HeaderName, Reported> {
    let Some(typed) = field.optional()? else { return Ok(default) };
    match parse(&typed.value) {
        Ok(name) => {
            names.push((name.clone(), typed));
            Ok(name)
        }
        Err((reason, fix)) => Err(reading.tell(typed.problem(reason, fix))),
    }
}

fn parse(text: &str) -> Result<HeaderName, (&'static str, &'static str)> {
    if text.contains('_') {
        return Err((
            "has an underscore, which many servers read as a dash",
            "use dashes, as in X-Forwarded-User",
        ));
    }
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| ("is not a header name", "use letters, digits and dashes"))?;
    if has_meaning(name.as_str()) {
        return Err((
            "already means something else to the server",
            "use a name of your own, as in X-Forwarded-User",
        ));
    }
    Ok(name)
}

/// Is `name`, in lower case, that of a header which servers read something else from?
pub(super) fn has_meaning(name: &str) -> bool {
    TAKEN.contains(&name) || TAKEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const USER: HeaderName = HeaderName::from_static("x-forwarded-user");
const EMAIL: HeaderName = HeaderName::from_static("x-forwarded-email");
const GROUPS: HeaderName = HeaderName::from_static("x-forwarded-groups");

/// Framing, hop by hop, authentication, where the request was sent, and what MCP itself uses.
const TAKEN: [&str; 42] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "age",
    "authorization",
    "baggage",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "keep-alive",
    "last-event-id",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "set-cookie",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "www-authenticate",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

const TAKEN_PREFIXES: [&str; 5] = ["access-control-", "if-", "mcp-", "proxy-", "sec-"];
