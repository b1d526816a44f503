//! `streams:` how long answers outlive their access tokens, and what keeps quiet ones open.

use std::time::Duration;

use serde_json::json;

use crate::config::field::{Field, Typed};
use crate::config::form::Form;
use crate::config::problem::{Reported, Spot};
use crate::config::schema;
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::{Node, Value};
use crate::config::values;

pub(in crate::config) struct RawStreams {
    pub listening_grace: Field<Duration>,
    pub running_grace: Field<Duration>,
    /// `None` for never.
    pub comment_every: Field<Option<Duration>>,
}

pub(super) fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawStreams {
    RawStreams {
        listening_grace: stanza.ask(
            "listening_grace",
            "How long a stream that only listens goes on after its access token has expired, up to 24h. Then it ends, and clients open it anew.",
            values::DURATION.by_default(|| json!("60s")),
            reading,
        ),
        running_grace: stanza.ask(
            "running_grace",
            "How much longer than that the answer to a call that is running goes on, up to 24h. Then it is cut.",
            values::DURATION.by_default(|| json!("10m")),
            reading,
        ),
        comment_every: stanza.ask(
            "comment_every",
            "How long a stream of events is quiet before a comment is put into it, which clients skip, 1s to 1h: what is between closes streams on which nothing moves. none for never.",
            DURATION_OR_NONE.by_default(|| json!("25s")),
            reading,
        ),
    }
}

fn duration_or_none(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Option<Duration>>, Reported> {
    if matches!(&node.value, Value::Text(text) if text == NONE) {
        return Ok(Typed { value: None, shown: Some(NONE.to_owned()), spot });
    }
    let typed = (values::DURATION.read)(spot, node, reading)?;
    let value = Some(typed.value);
    Ok(typed.with(value))
}

const DURATION_OR_NONE: Form<Option<Duration>> = Form::new(
    duration_or_none,
    || json!({ "anyOf": [schema::choice([NONE]), schema::duration()] }),
);
const NONE: &str = "none";
