//! `state:` where what must outlive a request is kept: `memory`, a directory, or Redis.

use serde_json::json;

use crate::config::field::{Field, Typed};
use crate::config::form::Form;
use crate::config::problem::{Reported, Spot};
use crate::config::raw::secret::{SECRET, SecretSource};
use crate::config::schema::{self, Schema};
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::{Node, Value};
use crate::config::values;

pub(in crate::config) enum RawState {
    /// The word that was typed in place of a map.
    Word(String),
    Place(RawPlace),
}

pub(in crate::config) struct RawPlace {
    pub spot: Spot,
    pub dir: Field<String>,
    pub redis: Field<Box<RawRedis>>,
}

pub(in crate::config) struct RawRedis {
    pub spot: Spot,
    pub address: Field<String>,
    pub cluster: Field<Vec<Typed<String>>>,
    pub sentinels: Field<Vec<Typed<String>>>,
    pub master: Field<String>,
    pub user: Field<String>,
    pub password: Field<SecretSource>,
    pub sentinel_user: Field<String>,
    pub sentinel_password: Field<SecretSource>,
    pub tls: Field<bool>,
    pub ca: Field<String>,
    pub key_prefix: Field<String>,
    pub allow_eviction: Field<bool>,
}

pub(super) const STATE: Form<RawState> = Form::new(read, schema);

fn read(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<RawState>, Reported> {
    if let Value::Text(_) = node.value {
        let word = values::text(spot, node, reading)?;
        let value = RawState::Word(word.value);
        return Ok(Typed { value, shown: word.shown, spot: word.spot });
    }
    let place = Stanza::read(spot.clone(), node, read_place, reading);
    Ok(Typed { value: RawState::Place(place), shown: None, spot })
}

fn read_place(stanza: &mut Stanza, reading: &mut Reading) -> RawPlace {
    RawPlace {
        spot: stanza.spot().clone(),
        dir: stanza.ask(
            "dir",
            "A directory for a file of state: for one replica that survives restarts.",
            values::TEXT.with_example("/var/lib/mcp-doorman"),
            reading,
        ),
        redis: stanza.ask("redis", "Redis or Valkey, for several replicas.", REDIS, reading),
    }
}

const REDIS: Form<Box<RawRedis>> = Form::new(read_redis, || schema::stanza(ask_redis));

#[expect(clippy::unnecessary_wraps, reason = "the shape of every `Read`")]
fn read_redis(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Box<RawRedis>>, Reported> {
    let value = Box::new(Stanza::read(spot.clone(), node, ask_redis, reading));
    Ok(Typed { value, shown: None, spot })
}

fn ask_redis(stanza: &mut Stanza, reading: &mut Reading) -> RawRedis {
    RawRedis {
        spot: stanza.spot().clone(),
        address: stanza.ask(
            "address",
            "One server, as host:port.",
            values::TEXT.with_example("redis.example.com:6379"),
            reading,
        ),
        cluster: stanza.ask(
            "cluster",
            "Some nodes of a cluster, as host:port; the others are learnt from them.",
            HOSTS,
            reading,
        ),
        sentinels: stanza.ask(
            "sentinels",
            "Sentinels, as host:port, with the name that they give the master under `master`.",
            HOSTS,
            reading,
        ),
        master: stanza.ask("master", "What the sentinels call the master.", values::TEXT, reading),
        user: stanza.ask("user", "Whom to log in as. Default: nobody.", values::TEXT, reading),
        password: stanza.ask("password", "Where the password comes from.", SECRET, reading),
        sentinel_user: stanza.ask(
            "sentinel_user",
            "Whom to log in as at the sentinels. Default: nobody.",
            values::TEXT,
            reading,
        ),
        sentinel_password: stanza.ask(
            "sentinel_password",
            "Where the sentinels' password comes from.",
            SECRET,
            reading,
        ),
        tls: stanza.ask(
            "tls",
            "Encrypt the connections.",
            values::FLAG.by_default(|| json!(false)),
            reading,
        ),
        ca: stanza.ask(
            "ca",
            "A file of certificates (PEM) to trust, in place of the system's; needs tls.",
            values::TEXT,
            reading,
        ),
        key_prefix: stanza.ask(
            "key_prefix",
            "Before every key, so that several deployments can share a server.",
            values::TEXT.by_default(|| json!(KEY_PREFIX)),
            reading,
        ),
        allow_eviction: stanza.ask(
            "allow_eviction",
            "Use a server that may drop records when its memory is full, and expect people to be signed out.",
            values::FLAG.by_default(|| json!(false)),
            reading,
        ),
    }
}

fn schema() -> Schema {
    let one_place = json!({ "minProperties": 1, "maxProperties": 1 });
    let place = schema::with(schema::stanza(read_place), one_place);
    json!({ "anyOf": [schema::choice([MEMORY]), place] })
}

const HOSTS: Form<Vec<Typed<String>>> =
    Form::new(values::texts, || schema::at_least_one(&schema::text()));

pub(in crate::config) const MEMORY: &str = "memory";
pub(in crate::config) const KEY_PREFIX: &str = "mcp-doorman:";
