//! `allowed_origins:` web pages that may call, besides loopback ones and our own.

use http::HeaderValue;

use crate::config::field::{Field, Typed};
use crate::config::problem::Reported;
use crate::config::stanza::Reading;

pub(super) fn check(
    field: Field<Vec<Typed<String>>>,
    reading: &mut Reading,
) -> Result<Vec<HeaderValue>, Reported> {
    let Some(typed) = field.optional()? else { return Ok(Vec::new()) };
    let mut origins: Vec<HeaderValue> = Vec::new();
    let mut result = Ok(());
    for typed in typed.value {
        match parse(&typed.value) {
            Some(origin) if origins.contains(&origin) => {
                result =
                    Err(reading.tell(typed.problem("is given twice", "remove one of the two")));
            }
            Some(origin) => origins.push(origin),
            None => {
                result = Err(reading.tell(typed.problem(
                    "is not an origin as browsers send it",
                    "write scheme://host, with :port if it is not the scheme's own; no path, no *",
                )));
            }
        }
    }
    result.map(|()| origins)
}

/// RFC 6454 §6.2: scheme and host in lower case, no default port, nothing after it.
fn parse(text: &str) -> Option<HeaderValue> {
    let (scheme, authority) = text.split_once("://")?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    let is_default_port = matches!((scheme, port), ("http", Some("80")) | ("https", Some("443")));
    let port_is_fine = port.is_none_or(|port| {
        !port.starts_with('0') && port.parse::<u16>().is_ok() && !port.starts_with('+')
    });
    let lower = |byte: u8, more: &[u8]| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.contains(&byte)
    };
    let names_are_fine = scheme.bytes().all(|byte| lower(byte, b"+-."))
        && scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && is_host(host, &lower);
    (names_are_fine && port_is_fine && !is_default_port)
        .then(|| HeaderValue::from_str(text).ok())
        .flatten()
}

fn is_host(host: &str, lower: &dyn Fn(u8, &[u8]) -> bool) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| lower(byte, b"-.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_send_them() {
        for text in [
            "https://chat.example.com",
            "https://chat.example.com:8443",
            "http://[::1]:3000",
            "vscode-webview://abc0123",
        ] {
            assert!(parse(text).is_some(), "{text}");
        }
        for text in [
            "*",
            "null",
            "chat.example.com",
            "https://Chat.example.com",
            "https://chat.example.com/",
            "https://chat.example.com:443",
            "https://*.example.com",
            "https://a@chat.example.com",
            "https://",
            "https://chat.example.com:",
            "https://chat.example.com:99999",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
