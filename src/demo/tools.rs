//! What the sample MCP server can do: `echo`, `add`, `whoami`, and `count`, which takes its time and tells
//! its progress.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// How a call goes on.
#[derive(Debug)]
pub enum Call {
    /// It is done: the text of its result.
    Done(String),
    /// It can't be done as asked: what the model is told, so that it can do better.
    Failed(&'static str),
    /// It takes a while.
    Counting { to: u64 },
}

/// `None` if there is no such tool.
pub fn call(name: &str, arguments: &Map<String, Value>, headers: &HeaderMap) -> Option<Call> {
    Some(match name {
        "echo" => match arguments.get("message").and_then(Value::as_str) {
            Some(message) => Call::Done(message.to_owned()),
            None => Call::Failed("`message` must be a text"),
        },
        "add" => {
            let number = |name| arguments.get(name).and_then(Value::as_f64);
            match (number("a"), number("b")) {
                (Some(a), Some(b)) => Call::Done((a + b).to_string()),
                _ => Call::Failed("`a` and `b` must be numbers"),
            }
        }
        "whoami" => Call::Done(caller(headers)),
        "count" => match arguments.get("to").map_or(Some(5), Value::as_u64) {
            Some(to @ 1..=MOST_STEPS) => Call::Counting { to },
            _ => Call::Failed("`to` must be a whole number from 1 to 20"),
        },
        _ => return None,
    })
}

/// One step each `STEP`, each told by `progress`. Ends early if nobody listens any more.
pub async fn count(
    to: u64,
    listener: &mpsc::Sender<Bytes>,
    progress: impl Fn(u64) -> Option<Bytes>,
) -> Result<String, mpsc::error::SendError<Bytes>> {
    for step in 1..=to {
        sleep(STEP).await;
        if let Some(event) = progress(step) {
            listener.send(event).await?;
        }
    }
    Ok(format!("counted to {to}"))
}

/// Who is calling, as any server behind the sidecar is told. It trusts these headers because nobody but
/// the sidecar reaches it.
fn caller(headers: &HeaderMap) -> String {
    let of = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("(not said)");
    let (user, email, groups) =
        (of("x-forwarded-user"), of("x-forwarded-email"), of("x-forwarded-groups"));
    format!("user: {user}\nemail: {email}\ngroups: {groups}")
}

/// As in the result of `tools/list`.
pub fn list() -> Value {
    json!([
        {
            "name": "echo",
            "description": "Says the same back.",
            "inputSchema": {
                "type": "object",
                "properties": { "message": { "type": "string" } },
                "required": ["message"],
            },
        },
        {
            "name": "add",
            "description": "Adds two numbers.",
            "inputSchema": {
                "type": "object",
                "properties": { "a": { "type": "number" }, "b": { "type": "number" } },
                "required": ["a", "b"],
            },
        },
        {
            "name": "whoami",
            "description": "Says who is calling, as the sidecar told this server.",
            "inputSchema": { "type": "object", "properties": {} },
        },
        {
            "name": "count",
            "description": "Counts slowly, two steps a second, and tells its progress.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "to": { "type": "integer", "minimum": 1, "maximum": MOST_STEPS, "default": 5 },
                },
            },
        },
    ])
}

const STEP: Duration = Duration::from_millis(500);
const MOST_STEPS: u64 = 20;
