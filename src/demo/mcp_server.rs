//! The sample MCP server of `try`: streamable HTTP without sessions, in both eras of the protocol. Like the
//! servers that the sidecar is made for, it knows nothing of OAuth.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::demo::tools::{self, Call};
use crate::jose::json;
use crate::wire::body::read_whole;
use crate::wire::{Body, Request, Response, answer};

/// How the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Era {
    /// Revisions up to 2025-11-25: `initialize` first.
    Handshake,
    /// 2026-07-28: every request says for itself which revision it follows.
    Stateless,
}

/// A JSON-RPC request, or a notification if it has no id.
#[derive(Debug, Deserialize)]
struct Message {
    id: Option<Value>,
    method: String,
    #[serde(default)]
    params: Map<String, Value>,
}

/// A JSON-RPC error.
#[derive(Debug)]
struct Fault {
    code: i32,
    message: String,
    data: Option<Value>,
}

/// `POST` a message, get its answer. Neither era needs more: there are no sessions and no streams to `GET`.
pub async fn answer(request: Request) -> Response {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return answer::method_not_allowed("POST");
    }
    let Ok(text) = read_whole(body, LARGEST_MESSAGE).await else {
        return answer::plain(StatusCode::BAD_REQUEST, "the message is too large, or not whole\n");
    };
    let Ok(message) = json::object::<Message>(&text) else {
        let fault = Fault::new(INVALID_REQUEST, "not a single JSON-RPC request or notification");
        return refuse(StatusCode::BAD_REQUEST, &Value::Null, &fault);
    };
    let Some(id) = message.id else { return answer::empty(StatusCode::ACCEPTED) };
    let era = Era::of(&head.headers);
    let call = Message { id: None, ..message };
    match perform(era, &id, &call, &head.headers) {
        Ok(response) => response,
        Err(fault) => refuse(era.status_of(&fault), &id, &fault),
    }
}

fn perform(
    era: Era,
    id: &Value,
    message: &Message,
    headers: &HeaderMap,
) -> Result<Response, Fault> {
    if era == Era::Stateless {
        check_envelope(message, headers)?;
    }
    let result = match (era, message.method.as_str()) {
        (Era::Handshake, "initialize") => initialize(&message.params),
        (Era::Handshake, "ping") => json!({}),
        (Era::Stateless, "server/discover") => discover(),
        (Era::Handshake, "tools/list") => json!({ "tools": tools::list() }),
        (Era::Stateless, "tools/list") => {
            json!({ "tools": tools::list(), "ttlMs": 60_000, "cacheScope": "public" })
        }
        (_, "tools/call") => return call_tool(era, id, message, headers),
        (_, other) => {
            return Err(Fault::new(METHOD_NOT_FOUND, format!("there is no method {other:?}")));
        }
    };
    Ok(answer::json(StatusCode::OK, &era.reply(id, result)))
}

fn call_tool(
    era: Era,
    id: &Value,
    message: &Message,
    headers: &HeaderMap,
) -> Result<Response, Fault> {
    let name = message.params.get("name").and_then(Value::as_str).unwrap_or("");
    let none = Map::new();
    let arguments = message.params.get("arguments").and_then(Value::as_object).unwrap_or(&none);
    let call = tools::call(name, arguments, headers)
        .ok_or_else(|| Fault::new(INVALID_PARAMS, format!("there is no tool {name:?}")))?;
    Ok(match call {
        Call::Done(text) => answer::json(StatusCode::OK, &era.reply(id, content(&text))),
        Call::Failed(why) => {
            let result = with(content(why), "isError", json!(true));
            answer::json(StatusCode::OK, &era.reply(id, result))
        }
        Call::Counting { to } => {
            let token = message.params.get("_meta").and_then(|meta| meta.get("progressToken"));
            counting(era, id.clone(), to, token.cloned())
        }
    })
}

/// An event stream: progress if the client asked for it with a token, the result at the end.
fn counting(era: Era, id: Value, to: u64, token: Option<Value>) -> Response {
    let (events, body) = mpsc::channel(1);
    tokio::spawn(async move {
        let progress = |step| {
            let params = json!({ "progressToken": token.clone()?, "progress": step, "total": to });
            let notification =
                json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params });
            Some(event(&notification))
        };
        if let Ok(text) = tools::count(to, &events, progress).await {
            // Nobody may be listening any more.
            let _ = events.send(event(&era.reply(&id, content(&text)))).await;
        }
    });
    let mut response = Response::new(Body::Pieces(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// MCP 2025-11-25, lifecycle: the client's revision if we know it, else our newest.
fn initialize(params: &Map<String, Value>) -> Value {
    let asked = params.get("protocolVersion").and_then(Value::as_str).unwrap_or("");
    let agreed = HANDSHAKE_REVISIONS.iter().find(|known| **known == asked);
    json!({
        "protocolVersion": agreed.unwrap_or(&NEWEST_HANDSHAKE),
        "capabilities": { "tools": {} },
        "serverInfo": about(),
        "instructions": INSTRUCTIONS,
    })
}

/// MCP 2026-07-28, `server/discover`.
fn discover() -> Value {
    json!({
        "supportedVersions": [STATELESS],
        "capabilities": { "tools": {} },
        "instructions": INSTRUCTIONS,
        "ttlMs": 60_000,
        "cacheScope": "public",
    })
}

/// MCP 2026-07-28, streamable HTTP: the headers say the same as the body, and both say a revision that we
/// speak.
fn check_envelope(message: &Message, headers: &HeaderMap) -> Result<(), Fault> {
    let meta = message.params.get("_meta");
    let said = |name| meta.and_then(|meta| meta.get(name));
    let version = said(PROTOCOL_VERSION).and_then(Value::as_str);
    if said(CLIENT_CAPABILITIES).is_none() || version.is_none() {
        let reason = format!("_meta must have {PROTOCOL_VERSION} and {CLIENT_CAPABILITIES}");
        return Err(Fault::new(INVALID_PARAMS, reason));
    }
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let tool = message.params.get("name").and_then(Value::as_str);
    if header(VERSION_HEADER) != version
        || header("mcp-method") != Some(&message.method)
        || (message.method == "tools/call" && header("mcp-name") != tool)
    {
        let reason = "MCP-Protocol-Version, Mcp-Method or Mcp-Name differs from the body";
        return Err(Fault::new(HEADER_MISMATCH, reason));
    }
    if version != Some(STATELESS) {
        let data = Some(json!({ "supported": [STATELESS], "requested": version }));
        return Err(Fault { data, ..Fault::new(UNSUPPORTED_VERSION, "unsupported revision") });
    }
    Ok(())
}

impl Era {
    /// Whoever names no revision, or an old one, is of the handshake's era.
    fn of(headers: &HeaderMap) -> Self {
        let version = headers.get(VERSION_HEADER).and_then(|value| value.to_str().ok());
        match version {
            None => Self::Handshake,
            Some(version) if HANDSHAKE_REVISIONS.contains(&version) => Self::Handshake,
            Some(_) => Self::Stateless,
        }
    }

    fn reply(self, id: &Value, result: Value) -> Value {
        let result = match self {
            Self::Handshake => result,
            Self::Stateless => {
                let meta = json!({ "io.modelcontextprotocol/serverInfo": about() });
                with(with(result, "resultType", json!("complete")), "_meta", meta)
            }
        };
        json!({ "jsonrpc": "2.0", "id": id, "result": result })
    }

    /// The handshake's era tells errors in the body only.
    fn status_of(self, fault: &Fault) -> StatusCode {
        match (self, fault.code) {
            (Self::Handshake, _) => StatusCode::OK,
            (Self::Stateless, METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
            (Self::Stateless, _) => StatusCode::BAD_REQUEST,
        }
    }
}

impl Fault {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

fn refuse(status: StatusCode, id: &Value, fault: &Fault) -> Response {
    let error = json!({ "code": fault.code, "message": fault.message });
    let error = match &fault.data {
        Some(data) => with(error, "data", data.clone()),
        None => error,
    };
    answer::json(status, &json!({ "jsonrpc": "2.0", "id": id, "error": error }))
}

/// `object` with one more member.
fn with(mut object: Value, name: &str, value: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    object
}

fn content(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }] })
}

fn event(message: &Value) -> Bytes {
    Bytes::from(format!("event: message\ndata: {message}\n\n"))
}

fn about() -> Value {
    json!({ "name": "mcp-doorman sample server", "version": env!("CARGO_PKG_VERSION") })
}

const HANDSHAKE_REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", NEWEST_HANDSHAKE];
const NEWEST_HANDSHAKE: &str = "2025-11-25";
const STATELESS: &str = "2026-07-28";
const VERSION_HEADER: &str = "mcp-protocol-version";
const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const INSTRUCTIONS: &str = "A sample server, for trying only. It keeps nothing.";

const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const HEADER_MISMATCH: i32 = -32020;
const UNSUPPORTED_VERSION: i32 = -32022;

/// Bytes.
const LARGEST_MESSAGE: usize = 1024 * 1024;
