//! Names of header fields that MCP and proxies use and the `http` crate does not know.

use http::header::{HeaderName, InvalidHeaderName};

pub const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub const MCP_SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The name of a field as it was sent. Those that many requests have take no memory, if they come as most clients and
/// proxies write them: in lower case.
pub fn field_name(text: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
    Ok(match text {
        b"last-event-id" => HeaderName::from_static("last-event-id"),
        b"mcp-method" => MCP_METHOD,
        b"mcp-name" => HeaderName::from_static("mcp-name"),
        b"mcp-protocol-version" => HeaderName::from_static("mcp-protocol-version"),
        b"mcp-session-id" => MCP_SESSION_ID,
        b"x-forwarded-for" => X_FORWARDED_FOR,
        b"x-forwarded-host" => X_FORWARDED_HOST,
        b"x-forwarded-proto" => X_FORWARDED_PROTO,
        _ => return HeaderName::from_bytes(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_http_takes_it_for() {
        for text in [
            "last-event-id",
            "mcp-method",
            "mcp-name",
            "mcp-protocol-version",
            "mcp-session-id",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "Mcp-Session-Id",
            "accept",
            "mcp name",
            "",
        ] {
            let expected = HeaderName::from_bytes(text.as_bytes()).ok();
            assert_eq!(field_name(text.as_bytes()).ok(), expected, "{text}");
        }
    }
}
