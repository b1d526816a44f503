//! Web pages that call: `Origin` (MCP streamable HTTP, "Security") and CORS.
//!
//! A page of another origin could drive a person's browser against a server that it may not reach
//! itself; a request without `Origin` does not come from a page.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use crate::oauth::public_url::is_loopback;
use crate::wire::{Response, answer};

/// The origins whose pages may call a resource.
#[derive(Debug)]
pub struct Origins {
    own: String,
    listed: Vec<HeaderValue>,
}

/// A page of this origin may not call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignOrigin;

impl Origins {
    /// `own` is the resource's origin; loopback origins are always allowed.
    pub fn new(own: &str, listed: Vec<HeaderValue>) -> Self {
        Self { own: own.to_owned(), listed }
    }

    /// The origin of the page that calls, if it is one that may; `None` if no page calls.
    pub fn check<'a>(
        &self,
        headers: &'a HeaderMap,
    ) -> Result<Option<&'a HeaderValue>, ForeignOrigin> {
        let mut lines = headers.get_all(ORIGIN).iter();
        let Some(origin) = lines.next() else { return Ok(None) };
        let allowed = lines.next().is_none()
            && (origin == self.own.as_str() || self.listed.contains(origin) || is_local(origin));
        if allowed { Ok(Some(origin)) } else { Err(ForeignOrigin) }
    }
}

fn is_local(origin: &HeaderValue) -> bool {
    let url = origin.to_str().ok().and_then(|text| Url::parse(text).ok());
    url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && is_loopback(&url))
}

/// A page of a foreign origin: 403 before anything else is looked at.
pub fn refused() -> Response {
    answer::json_rpc_error(
        StatusCode::FORBIDDEN,
        answer::FORBIDDEN,
        "pages of this origin may not call here",
    )
}

/// Is this a preflight (Fetch §3.2.2)? It carries no credentials and is answered without any.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a page may send: the headers of MCP by name, because `*` does not cover `Authorization`, and
/// whatever `Mcp-Param-*` it asks for.
pub fn preflight(headers: &HeaderMap, methods: &'static str) -> Response {
    let mut response = answer::empty(StatusCode::NO_CONTENT);
    let allowed = response.headers_mut();
    allowed.insert(ACCESS_CONTROL_ALLOW_ORIGIN, answer::ANY);
    allowed.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    allowed.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    allowed.insert(VARY, HeaderValue::from_static("Origin, Access-Control-Request-Headers"));
    let mut names = MCP_HEADERS.to_owned();
    let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|names| names.to_str().ok());
    for name in asked.unwrap_or_default().split(',').map(str::trim) {
        if name.to_ascii_lowercase().starts_with("mcp-param-") && name.len() <= 64 {
            names.push_str(", ");
            names.push_str(name);
        }
    }
    if let Ok(names) = HeaderValue::from_str(&names) {
        allowed.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    response
}

/// Let the page that called read the answer, the challenge included.
pub fn expose<B>(response: &mut http::Response<B>, page: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, page);
    headers.append(VARY, HeaderValue::from_static("Origin"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}

const MCP_HEADERS: &str = "Authorization, Content-Type, Accept, MCP-Protocol-Version, \
                           Mcp-Session-Id, Last-Event-ID, Mcp-Method, Mcp-Name, DPoP";
const EXPOSED: &str = "WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version, Retry-After";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_and_loopback_origins_may_call() {
        let listed = vec![HeaderValue::from_static("https://claude.ai")];
        let origins = Origins::new("https://tools.example.com", listed);

        for (origin, expected) in [
            ("https://tools.example.com", true),
            ("https://claude.ai", true),
            ("http://localhost:6274", true),
            ("http://127.0.0.1:1", true),
            ("https://evil.example", false),
            ("https://claude.ai.evil.example", false),
            ("http://claude.ai", false),
            ("http://localhost.evil.example", false),
            ("null", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_str(origin).unwrap())]);
            assert_eq!(origins.check(&headers).is_ok(), expected, "{origin}");
        }
        assert_eq!(origins.check(&HeaderMap::new()), Ok(None));
    }
}
