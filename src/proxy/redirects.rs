//! Where an upstream's answer sends its client. Servers name themselves as they are asked, by a name that
//! clients can't reach; and a hostile one would send them, with their token, to where it likes.

use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use url::{ParseError, Position, Url};

use crate::policy::Resource;

/// A `Location` that leads out of the resource. For the log: no query, which may be confidential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its Location leads out of the resource, to {0}")]
pub struct LeadsAway(String);

/// Make the `Location` of an answer (RFC 9110 §10.2.2) the public one, if it has one. What leads away is refused in
/// a redirect, which is nothing without it, and left out of any other answer.
pub fn make_public(
    status: StatusCode,
    headers: &mut HeaderMap,
    resource: &Resource,
) -> Result<(), LeadsAway> {
    let Some(location) = headers.get(LOCATION) else { return Ok(()) };
    let is_single = headers.get_all(LOCATION).iter().nth(1).is_none();
    let public = public(location, resource).filter(|_| is_single);
    match public {
        Some(public) => {
            headers.insert(LOCATION, public);
        }
        None if status.is_redirection() => return Err(LeadsAway(shown(location))),
        None => {
            headers.remove(LOCATION);
        }
    }
    Ok(())
}

/// What clients are told, who read it relative to the public URL of what they asked for.
fn public(location: &HeaderValue, resource: &Resource) -> Option<HeaderValue> {
    let text = location.to_str().ok()?;
    // Some drop white space and take `\` for a slash, and so would read another URL than is judged here.
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return None;
    }
    let upstream = &resource.upstream.url;
    let url = match Url::parse(text) {
        Err(ParseError::RelativeUrlWithoutBase) if text.starts_with('/') => {
            Url::parse(&upstream.origin()).ok()?.join(text).ok()?
        }
        // What lies beside or below it does so under its public name too.
        Err(ParseError::RelativeUrlWithoutBase) if !leads_up(text) => {
            return Some(location.clone());
        }
        absolute => absolute.ok()?,
    };
    let own = if upstream.is_origin_of(&url) {
        upstream.path.as_str()
    } else if url.origin().ascii_serialization() == resource.url.origin() {
        resource.url.path()
    } else {
        return None;
    };
    let within = url[Position::BeforePath..].strip_prefix(own)?;
    if !within.is_empty() && !within.starts_with(['/', '?', '#']) {
        return None;
    }
    HeaderValue::try_from(format!("{}{}{within}", resource.url.origin(), resource.url.path())).ok()
}

fn leads_up(relative: &str) -> bool {
    let path = relative.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|segment| segment.to_ascii_lowercase().replace("%2e", ".") == "..")
}

fn shown(location: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(location.as_bytes());
    let path = text.split(['?', '#']).next().unwrap_or_default();
    path.chars().take(LONGEST_SHOWN).collect()
}

const LONGEST_SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const REDIRECT: StatusCode = StatusCode::TEMPORARY_REDIRECT;

    fn told(location: &[u8], resource: &Resource) -> Option<String> {
        let location = HeaderValue::from_bytes(location).unwrap();
        let mut headers = HeaderMap::from_iter([(LOCATION, location)]);
        make_public(REDIRECT, &mut headers, resource).ok()?;
        Some(headers[LOCATION].to_str().unwrap().to_owned())
    }

    /// Starlette and others send to the path with a slash, by the name that they are asked by.
    #[test]
    fn links_of_the_upstream_get_their_public_names() {
        let resource =
            Resource::between("https://tools.example/team/mcp", "http://127.0.0.1:3000/mcp");
        for (location, expected) in [
            ("http://127.0.0.1:3000/mcp/", "https://tools.example/team/mcp/"),
            // It may believe to be asked over TLS, as X-Forwarded-Proto says.
            ("https://127.0.0.1:3000/mcp/", "https://tools.example/team/mcp/"),
            ("//127.0.0.1:3000/mcp/", "https://tools.example/team/mcp/"),
            ("/mcp", "https://tools.example/team/mcp"),
            ("/mcp?a=b#c", "https://tools.example/team/mcp?a=b#c"),
            ("/x/../mcp//evil.example", "https://tools.example/team/mcp//evil.example"),
            ("http://a:b@127.0.0.1:3000/mcp/", "https://tools.example/team/mcp/"),
            ("https://tools.example/team/mcp/x", "https://tools.example/team/mcp/x"),
            ("mcp/", "mcp/"),
            ("?again=..", "?again=.."),
        ] {
            assert_eq!(
                told(location.as_bytes(), &resource).as_deref(),
                Some(expected),
                "{location}"
            );
        }
    }

    #[test]
    fn at_the_root_too() {
        let resource = Resource::between("https://tools.example/", "http://mcp");
        for (location, expected) in [
            ("http://mcp/x", "https://tools.example/x"),
            ("https://mcp:443/x", "https://tools.example/x"),
            ("/", "https://tools.example/"),
            ("/.//evil.example", "https://tools.example//evil.example"),
        ] {
            assert_eq!(
                told(location.as_bytes(), &resource).as_deref(),
                Some(expected),
                "{location}"
            );
        }
    }

    /// Threat F13.
    #[test]
    fn nothing_leads_out_of_the_resource() {
        let resource =
            Resource::between("https://tools.example/team/mcp", "http://127.0.0.1:3000/mcp");
        for location in [
            &b"https://evil.example/mcp"[..],
            b"//evil.example/mcp",
            b"/\\evil.example",
            b"/\t/evil.example",
            b"http://127.0.0.1:3001/mcp",
            b"http://tools.example/team/mcp",
            b"https://tools.example/authorize",
            b"https://tools.example/team/mcp/../../authorize",
            b"https://tools.example/team/mcpx",
            b"/mcpx",
            b"/login",
            b"/mcp/%2e%2e/login",
            b"../login",
            b"x/.%2E/../login",
            b"javascript:alert(1)",
            b"https://",
            b"/mcp/\xff",
            b"/mcp/ x",
        ] {
            assert_eq!(told(location, &resource), None, "{}", location.escape_ascii());
        }
    }

    /// The call was done, and what it says beside is of use.
    #[test]
    fn an_answer_that_is_no_redirect_loses_only_its_location() {
        let resource = Resource::between("https://tools.example/mcp", "http://127.0.0.1:3000/mcp");
        let location = HeaderValue::from_static("http://127.0.0.1:3000/other");
        let mut headers = HeaderMap::from_iter([(LOCATION, location)]);

        assert_eq!(make_public(StatusCode::CREATED, &mut headers, &resource), Ok(()));

        assert!(headers.is_empty());
    }

    #[test]
    fn two_are_one_too_many() {
        let resource = Resource::between("https://tools.example/mcp", "http://127.0.0.1:3000/mcp");
        let mut headers = HeaderMap::new();
        headers.append(LOCATION, HeaderValue::from_static("/mcp/a?secret=1"));
        headers.append(LOCATION, HeaderValue::from_static("/mcp/b"));

        let fault = make_public(REDIRECT, &mut headers, &resource).unwrap_err();

        assert_eq!(fault.to_string(), "its Location leads out of the resource, to /mcp/a");
    }
}
