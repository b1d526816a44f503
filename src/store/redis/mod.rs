//! Records in Redis or Valkey, for several replicas: one server, sentinels, or a cluster.
//!
//! Each verb is one round trip (two where it must reach a second server), and one key, so that a cluster
//! can do it. Times are judged by our clock; Redis only removes, later, what nobody needs any more.

mod link;
mod scripts;
mod server;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use ::redis::{Cmd, Pipeline, cmd};

use crate::chance::Chance;
use crate::clock::{Clock, Timestamp};
use crate::store::{
    Answer, Created, Cursor, Followed, Key, Reach, Record, Store, StoreFault, Swap, Version,
};

use link::{Link, understood};
pub use server::{
    ConnectFault, RedisAddress, RedisLogin, RedisServers, RedisSettings, RedisTls, Refusal,
};
use server::{Node, Server};

pub struct RedisStore {
    usual: Link,
    /// For what must reach a second server.
    settling: Link,
    clock: Clock,
    chance: Chance,
    prefix: String,
}

/// A record as it stands in Redis: version, until when, value.
struct Row {
    record: Record,
    until: Timestamp,
}

impl RedisStore {
    /// Servers that are not there yet are no error: they are asked again until they are. Connections belong
    /// to the runtime that calls this.
    pub async fn connect(
        settings: RedisSettings,
        clock: Clock,
        chance: Chance,
    ) -> Result<Self, ConnectFault> {
        let server = Server::new(&settings)?;
        let usual = Link::start(server.clone(), settings.allow_eviction);
        usual.first_attempt().await?;
        let settling = Link::start(server, settings.allow_eviction);
        Ok(Self { usual, settling, clock, chance, prefix: settings.key_prefix })
    }

    fn key(&self, key: &Key) -> String {
        format!("{}{}", self.prefix, key.as_str())
    }

    fn log_key(&self, log: &str) -> String {
        format!("{}log:{log}", self.prefix)
    }

    async fn ask<T: ::redis::FromRedisValue>(
        &self,
        key: String,
        command: Cmd,
    ) -> Result<T, StoreFault> {
        self.usual.ask(&Node::Of { key }, command).await
    }

    fn row(&self, value: String, until: Timestamp) -> Result<Row, StoreFault> {
        let random = self.chance.bytes().map_err(|_| StoreFault)?;
        let version = Version(u64::from_be_bytes(random));
        let until = until.min(self.clock.now().after(LONGEST));
        Ok(Row { record: Record { value, version }, until })
    }

    fn living(&self, text: Option<String>) -> Option<Record> {
        let row = Row::parse(&text?)?;
        (row.until > self.clock.now()).then_some(row.record)
    }

    /// Milliseconds after which Redis may forget what lives until `until`: late enough for a replica of ours
    /// whose clock is behind.
    fn expiry(&self, until: Timestamp) -> u128 {
        (self.clock.now().until(until) + SLACK).as_millis()
    }

    async fn list_node(&self, node: Node, kind: &str) -> Result<Vec<Record>, StoreFault> {
        let mut keys = BTreeSet::new();
        let mut position = "0".to_owned();
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(&position).arg("MATCH").arg(format!("{}{kind}:*", escaped(&self.prefix)));
            scan.arg("COUNT").arg(PAGE);
            let (next, found): (String, Vec<String>) = self.usual.ask(&node, scan).await?;
            keys.extend(found);
            if next == "0" {
                break;
            }
            position = next;
        }
        let mut records = Vec::new();
        let keys: Vec<_> = keys.into_iter().collect();
        for page in keys.chunks(PAGE) {
            let mut reads = Pipeline::with_capacity(page.len());
            for key in page {
                reads.cmd("GET").arg(key);
            }
            for text in self.usual.ask_all(&node, &reads).await? {
                records.extend(self.living(understood(text)?));
            }
        }
        Ok(records)
    }

    /// `None`: the log is not the one that `after` is from.
    async fn page(&self, log: &str, after: Cursor) -> Result<Option<Page>, StoreFault> {
        let key = self.log_key(log);
        let (first, second) = after.at;
        let place = if after == Cursor::START {
            scripts::MARK.to_owned()
        } else {
            format!("{first}-{second}")
        };
        let command = scripts::follow(&key, &place, PAGE);
        let answer: Option<(String, usize, Vec<Entry>)> = self.ask(key, command).await?;
        let Some((of, is_there, entries)) = answer else {
            let nothing = Page { entries: Vec::new(), of: 0 };
            return Ok((after == Cursor::START).then_some(nothing));
        };
        let of = u64::from_str_radix(&of, 16).map_err(|_| StoreFault)?;
        let is_same = of == after.of && (is_there == 1 || after.until <= self.clock.now());
        Ok((after == Cursor::START || is_same).then_some(Page { entries, of }))
    }
}

/// Where in the stream, and its fields.
type Entry = (String, Vec<String>);

struct Page {
    entries: Vec<Entry>,
    of: u64,
}

impl Row {
    fn write(&self) -> String {
        let Record { value, version } = &self.record;
        format!("{} {} {value}", told(*version), self.until.seconds())
    }

    /// What we did not write is no record.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let version = Version(u64::from_str_radix(parts.next()?, 16).ok()?);
        let until = Timestamp::from_seconds(parts.next()?.parse().ok()?);
        Some(Self { record: Record { value: parts.next()?.to_owned(), version }, until })
    }
}

impl Store for RedisStore {
    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>> {
        Box::pin(async move {
            let key = self.key(key);
            let mut get = cmd("GET");
            get.arg(&key);
            Ok(self.living(self.ask(key, get).await?))
        })
    }

    fn put<'a>(&'a self, key: &'a Key, value: String, until: Timestamp) -> Answer<'a, ()> {
        Box::pin(async move {
            let key = self.key(key);
            let row = self.row(value, until)?;
            let mut set = cmd("SET");
            set.arg(&key).arg(row.write()).arg("PX").arg(self.expiry(row.until).to_string());
            self.ask(key, set).await
        })
    }

    fn take<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>> {
        Box::pin(async move {
            let key = self.key(key);
            let mut take = cmd("GETDEL");
            take.arg(&key);
            Ok(self.living(self.ask(key, take).await?))
        })
    }

    fn create<'a>(&'a self, key: &'a Key, value: String, until: Timestamp) -> Answer<'a, Created> {
        Box::pin(async move {
            let key = self.key(key);
            let row = self.row(value, until)?;
            let command =
                scripts::create(&key, self.clock.now(), &row.write(), self.expiry(row.until));
            let is_new: bool = self.ask(key, command).await?;
            Ok(if is_new { Created::New(row.record.version) } else { Created::Present })
        })
    }

    fn swap<'a>(
        &'a self,
        key: &'a Key,
        read: Version,
        value: String,
        until: Timestamp,
        reach: Reach,
    ) -> Answer<'a, Swap> {
        Box::pin(async move {
            let key = self.key(key);
            let row = self.row(value, until)?;
            let (now, expiry) = (self.clock.now(), self.expiry(row.until));
            let command = scripts::swap(&key, &told(read), now, &row.write(), expiry);
            let is_done: bool = match reach {
                Reach::OneServer => self.ask(key, command).await?,
                Reach::TwoServers => self.settling.settle(&Node::Of { key }, command).await?,
            };
            Ok(if is_done { Swap::Done(row.record.version) } else { Swap::Lost })
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, ()> {
        Box::pin(async move {
            let key = self.key(key);
            let mut delete = cmd("DEL");
            delete.arg(&key);
            self.ask(key, delete).await
        })
    }

    fn list<'a>(&'a self, kind: &'static str) -> Answer<'a, Vec<Record>> {
        Box::pin(async move {
            let mut records = Vec::new();
            for node in self.usual.nodes().await? {
                records.extend(self.list_node(node, kind).await?);
            }
            Ok(records)
        })
    }

    fn append<'a>(&'a self, log: &'static str, entry: String, until: Timestamp) -> Answer<'a, ()> {
        Box::pin(async move {
            let key = self.log_key(log);
            let mark = self.chance.bytes().map_err(|_| StoreFault)?;
            let until = until.min(self.clock.now().after(LONGEST));
            let (now, expiry) = (self.clock.now(), self.expiry(until));
            let mark = told(Version(u64::from_be_bytes(mark)));
            let command = scripts::append(&key, &mark, now, until, &entry, expiry);
            self.settling.settle(&Node::Of { key }, command).await
        })
    }

    fn follow<'a>(&'a self, log: &'static str, after: Cursor) -> Answer<'a, Followed> {
        Box::pin(async move {
            let mut living = Vec::new();
            let mut next = after;
            loop {
                let Some(page) = self.page(log, next).await? else { return Ok(Followed::Lost) };
                let count = page.entries.len();
                for entry in page.entries {
                    let (cursor, text) = parse(entry, page.of).ok_or(StoreFault)?;
                    next = cursor;
                    if cursor.until > self.clock.now() {
                        living.push(text);
                    }
                }
                if count < PAGE {
                    return Ok(Followed::New(living, next));
                }
            }
        })
    }
}

/// Of the fields that `scripts::append` writes.
fn parse((place, fields): Entry, of: u64) -> Option<(Cursor, String)> {
    let (first, second) = place.split_once('-')?;
    let at = (first.parse().ok()?, second.parse().ok()?);
    let [_, until, _, text] = <[String; 4]>::try_from(fields).ok()?;
    let until = Timestamp::from_seconds(until.parse().ok()?);
    Some((Cursor { at, until, of }, text))
}

fn told(version: Version) -> String {
    format!("{:016x}", version.0)
}

/// For `MATCH`, where these have a meaning.
fn escaped(prefix: &str) -> String {
    prefix.chars().fold(String::new(), |text, letter| match letter {
        '*' | '?' | '[' | ']' | '^' | '-' | '\\' => format!("{text}\\{letter}"),
        letter => format!("{text}{letter}"),
    })
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// What is to last for ever. Redis counts milliseconds in 63 bits.
const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);
const SLACK: Duration = Duration::from_mins(5);
const PAGE: usize = 1000;
