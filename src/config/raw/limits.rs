//! `limits:` how much one client may ask for.

use serde_json::json;

use crate::config::field::{Field, Typed};
use crate::config::form::Form;
use crate::config::problem::{Problem, Reported, Spot};
use crate::config::schema;
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::{Node, Value};
use crate::config::values;

pub(in crate::config) struct RawLimits {
    /// In bytes.
    pub request_body: Field<u64>,
    /// `None` for no limit.
    pub connections_per_address: Field<Option<u64>>,
}

pub(super) fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawLimits {
    RawLimits {
        request_body: stanza.ask(
            "request_body",
            "The largest body of a request that is passed on, 1KiB to 1GiB: your server may hold all of it in memory. What is larger is answered 413.",
            values::SIZE.by_default(|| json!("4MiB")),
            reading,
        ),
        connections_per_address: stanza.ask(
            "connections_per_address",
            "How many connections one address (of IPv6, one /64) may have open, or none for no limit; more are closed at once, so that one client does not take all there can be. Those of trusted_proxies and of loopback are not counted. Default: half of what the limit on open files allows.",
            COUNT_OR_NONE,
            reading,
        ),
    }
}

fn count_or_none(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Option<u64>>, Reported> {
    if matches!(&node.value, Value::Text(text) if text == NONE) {
        return Ok(Typed { value: None, shown: Some(NONE.to_owned()), spot });
    }
    if let Value::Text(text) = &node.value {
        let reason = format!("{text:?} is not a number of connections");
        let fix = format!("use a whole number without quotes, or {NONE}");
        return Err(reading.tell(Problem::at(&spot, reason, fix)));
    }
    let typed = values::whole(spot, node, reading)?;
    let value = Some(typed.value);
    Ok(typed.with(value))
}

const COUNT_OR_NONE: Form<Option<u64>> = Form::new(
    count_or_none,
    || json!({ "anyOf": [{ "const": NONE }, schema::whole(1, MOST_CONNECTIONS)] }),
);
const NONE: &str = "none";

/// More than one process can have.
pub(in crate::config) const MOST_CONNECTIONS: usize = 1_000_000;
