//! `state:` where what must outlive a request is kept.

use std::path::PathBuf;

use crate::config::check::secret::fetch;
use crate::config::field::{Field, Typed};
use crate::config::problem::{Problem, Reported};
use crate::config::raw::secret::SecretSource;
use crate::config::raw::state::{KEY_PREFIX, MEMORY, RawPlace, RawRedis, RawState};
use crate::config::stanza::Reading;
use crate::store::StateSettings;
use crate::store::redis::{RedisAddress, RedisLogin, RedisServers, RedisSettings, RedisTls};

pub(super) fn check(
    field: Field<RawState>,
    reading: &mut Reading,
) -> Result<StateSettings, Reported> {
    let Some(typed) = field.optional()? else { return Ok(StateSettings::Memory) };
    let Typed { value, shown, spot } = typed;
    match value {
        RawState::Word(word) if word == MEMORY => Ok(StateSettings::Memory),
        RawState::Word(_) => {
            let typed = Typed { value: (), shown, spot };
            Err(reading.tell(typed.problem("is no place for state", PLACES)))
        }
        RawState::Place(place) => check_place(place, reading),
    }
}

fn check_place(place: RawPlace, reading: &mut Reading) -> Result<StateSettings, Reported> {
    match (place.dir.optional()?, place.redis.optional()?) {
        (Some(dir), None) => {
            let path = PathBuf::from(&dir.value);
            if path.is_absolute() {
                return Ok(StateSettings::Dir(path));
            }
            Err(reading.tell(dir.problem("is not an absolute path", "begin it with a slash")))
        }
        (None, Some(redis)) => {
            Ok(StateSettings::Redis(Box::new(check_redis(*redis.value, reading)?)))
        }
        (None, None) => {
            Err(reading.tell(Problem::at(&place.spot, "names no place for state", PLACES)))
        }
        (Some(_), Some(_)) => Err(reading.tell(Problem::at(
            &place.spot,
            "names two places for state",
            "keep one of dir and redis",
        ))),
    }
}

fn check_redis(raw: RawRedis, reading: &mut Reading) -> Result<RedisSettings, Reported> {
    let sentinel_login = login(raw.sentinel_user, raw.sentinel_password, reading);
    let address = raw.address.optional()?.map(|typed| host_and_port(&typed, reading)).transpose();
    let cluster = hosts(raw.cluster, reading);
    let sentinels = hosts(raw.sentinels, reading);
    let login = login(raw.user, raw.password, reading);
    let (master, tls) = (raw.master.optional()?, raw.tls.optional()?);
    let servers = match (address?, cluster?, sentinels?, master) {
        (Some(address), None, None, None) => RedisServers::Single(address),
        (None, Some(nodes), None, None) => RedisServers::Cluster(nodes),
        (None, None, Some(sentinels), Some(master)) => {
            let (master, login) = (master.value, sentinel_login?);
            RedisServers::Sentinel { sentinels, master, login }
        }
        (None, None, Some(_), None) => {
            let reason = "has sentinels, and no name for the master";
            let fix = "add master: the name that the sentinels give it";
            return Err(reading.tell(Problem::at(&raw.spot, reason, fix)));
        }
        _ => {
            let reason = "must say in one way where Redis is";
            let fix = "give one of address, cluster, and sentinels with master";
            return Err(reading.tell(Problem::at(&raw.spot, reason, fix)));
        }
    };
    let is_encrypted = tls.is_some_and(|typed| typed.value);
    let tls = match (is_encrypted, raw.ca.optional()?) {
        (true, Some(file)) => RedisTls::OnWithRoots(file.value.into()),
        (true, None) => RedisTls::On,
        (false, None) => RedisTls::Off,
        (false, Some(file)) => {
            return Err(reading.tell(file.problem("is of no use without tls", "add tls: true")));
        }
    };
    Ok(RedisSettings {
        servers,
        login: login?,
        tls,
        key_prefix: raw
            .key_prefix
            .optional()?
            .map_or_else(|| KEY_PREFIX.to_owned(), |typed| typed.value),
        allow_eviction: raw.allow_eviction.optional()?.is_some_and(|typed| typed.value),
    })
}

fn login(
    user: Field<String>,
    password: Field<SecretSource>,
    reading: &mut Reading,
) -> Result<RedisLogin, Reported> {
    let password = password.optional()?.map(|source| fetch(source, reading)).transpose()?;
    Ok(RedisLogin {
        user: user.optional()?.map(|typed| typed.value),
        password: password.flatten().map(|typed| typed.value),
    })
}

fn hosts(
    field: Field<Vec<Typed<String>>>,
    reading: &mut Reading,
) -> Result<Option<Vec<RedisAddress>>, Reported> {
    let Some(typed) = field.optional()? else { return Ok(None) };
    if typed.value.is_empty() {
        return Err(reading.tell(typed.problem("is an empty list", "name one, as host:port")));
    }
    let all: Vec<_> = typed.value.iter().map(|host| host_and_port(host, reading)).collect();
    all.into_iter().collect::<Result<_, _>>().map(Some)
}

fn host_and_port(typed: &Typed<String>, reading: &mut Reading) -> Result<RedisAddress, Reported> {
    let split = typed.value.rsplit_once(':').and_then(|(host, port)| {
        let port: u16 = port.parse().ok()?;
        let host = host.trim_matches(['[', ']']);
        let is_bare = !host.is_empty() && !host.contains(['/', '@', ' ']);
        is_bare.then(|| RedisAddress { host: host.to_owned(), port })
    });
    split.ok_or_else(|| {
        reading.tell(typed.problem(
            "is not a host and a port",
            "write redis.example.com:6379; user, password and tls have keys of their own",
        ))
    })
}

const PLACES: &str = "write memory, { dir: /var/lib/mcp-doorman } or { redis: { address: … } }";
