//! What stands in the file: records by key, the entries of logs, and a number that only grows.

use redb::{ReadTransaction, ReadableTable as _, Table, TableDefinition, WriteTransaction};

use crate::clock::Timestamp;
use crate::store::{Cursor, Followed, Key, Record, Version};

/// The tables, open for one transaction.
pub struct Tables<'t> {
    records: Table<'t, &'static str, RecordRow>,
    entries: Table<'t, (&'static str, u64), EntryRow>,
    numbers: Table<'t, &'static str, u64>,
    /// Numbers versions and entries. Kept in the file, so that a restart repeats none.
    writes: u64,
}

/// Version, until when, value.
type RecordRow = (u64, u64, &'static str);
/// Until when, text. Its key is the name of the log and the number of the entry.
type EntryRow = (u64, &'static str);

impl<'t> Tables<'t> {
    pub fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let numbers = transaction.open_table(NUMBERS)?;
        let writes = numbers.get(WRITES)?.map_or(0, |number| number.value());
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            entries: transaction.open_table(ENTRIES)?,
            numbers,
            writes,
        })
    }

    /// To be called before the transaction is committed.
    pub fn close(mut self) -> Result<(), redb::Error> {
        self.numbers.insert(WRITES, self.writes)?;
        Ok(())
    }

    /// Which layout the file has; a new file gets today's.
    pub fn format(&mut self) -> Result<u64, redb::Error> {
        let written = self.numbers.get(FORMAT)?.map(|number| number.value());
        if written.is_none() {
            self.numbers.insert(FORMAT, TODAYS_FORMAT)?;
        }
        Ok(written.unwrap_or(TODAYS_FORMAT))
    }

    /// Of the living record.
    pub fn version(&self, key: &Key, now: Timestamp) -> Result<Option<Version>, redb::Error> {
        let row = self.records.get(key.as_str())?;
        Ok(row.and_then(|row| living(row.value(), now)).map(|record| record.version))
    }

    pub fn write(
        &mut self,
        key: &Key,
        value: &str,
        until: Timestamp,
    ) -> Result<Version, redb::Error> {
        self.writes += 1;
        self.records.insert(key.as_str(), (self.writes, until.seconds(), value))?;
        Ok(Version(self.writes))
    }

    pub fn remove(&mut self, key: &Key, now: Timestamp) -> Result<Option<Record>, redb::Error> {
        let row = self.records.remove(key.as_str())?;
        Ok(row.and_then(|row| living(row.value(), now)))
    }

    pub fn append(
        &mut self,
        log: &str,
        text: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), redb::Error> {
        let dead: Vec<u64> = self
            .entries
            .range((log, 0)..=(log, u64::MAX))?
            .take(SWEEP_LENGTH)
            .map(|entry| entry.map(|(key, row)| (key.value().1, row.value().0 > now.seconds())))
            .take_while(|entry| entry.as_ref().is_ok_and(|(_, is_alive)| !is_alive))
            .map(|entry| entry.map(|(number, _)| number))
            .collect::<Result<_, _>>()?;
        for number in dead {
            self.entries.remove((log, number))?;
        }
        self.writes += 1;
        self.entries.insert((log, self.writes), (until.seconds(), text))?;
        Ok(())
    }

    /// Look at some records from `from` on and remove those that have expired. Returns where to go on. Who is
    /// about to write `writes` looks at more than it can add, so what is dead stays little beside what is
    /// alive.
    pub fn sweep_some(
        &mut self,
        from: &str,
        writes: usize,
        now: Timestamp,
    ) -> Result<String, redb::Error> {
        let length = SWEEP_LENGTH.max(4 * writes);
        let mut dead = Vec::new();
        let mut last = String::new();
        let mut seen = 0;
        for row in self.records.range(from..)?.take(length) {
            let (key, row) = row?;
            seen += 1;
            key.value().clone_into(&mut last);
            if living(row.value(), now).is_none() {
                dead.push(last.clone());
            }
        }
        for key in dead {
            self.records.remove(key.as_str())?;
        }
        Ok(if seen < length { String::new() } else { last })
    }

    pub fn sweep_all(&mut self, now: Timestamp) -> Result<(), redb::Error> {
        self.records.retain(|_, row| row.1 > now.seconds())?;
        self.entries.retain(|_, row| row.0 > now.seconds())?;
        Ok(())
    }
}

pub fn read(
    transaction: &ReadTransaction,
    key: &Key,
    now: Timestamp,
) -> Result<Option<Record>, redb::Error> {
    let row = transaction.open_table(RECORDS)?.get(key.as_str())?;
    Ok(row.and_then(|row| living(row.value(), now)))
}

pub fn list(
    transaction: &ReadTransaction,
    kind: &str,
    now: Timestamp,
) -> Result<Vec<Record>, redb::Error> {
    // `;` follows `:`, so between the two are the keys of this kind.
    let (first, end) = (format!("{kind}:"), format!("{kind};"));
    let mut records = Vec::new();
    for row in transaction.open_table(RECORDS)?.range(first.as_str()..end.as_str())? {
        records.extend(living(row?.1.value(), now));
    }
    Ok(records)
}

pub fn follow(
    transaction: &ReadTransaction,
    log: &str,
    after: Cursor,
    now: Timestamp,
) -> Result<Followed, redb::Error> {
    let writes = transaction.open_table(NUMBERS)?.get(WRITES)?.map_or(0, |number| number.value());
    if after.at.0 > writes {
        return Ok(Followed::Lost);
    }
    let mut texts = Vec::new();
    let mut next = after;
    let first = after.at.0.saturating_add(1);
    for entry in transaction.open_table(ENTRIES)?.range((log, first)..=(log, u64::MAX))? {
        let (key, row) = entry?;
        let (until, text) = row.value();
        let until = Timestamp::from_seconds(until);
        next = Cursor { at: (key.value().1, 0), until, of: after.of };
        if until > now {
            texts.push(text.to_owned());
        }
    }
    Ok(Followed::New(texts, next))
}

fn living((version, until, value): (u64, u64, &str), now: Timestamp) -> Option<Record> {
    (until > now.seconds()).then(|| Record { value: value.to_owned(), version: Version(version) })
}

const RECORDS: TableDefinition<'static, &str, RecordRow> = TableDefinition::new("records");
const ENTRIES: TableDefinition<'static, (&str, u64), EntryRow> = TableDefinition::new("entries");
const NUMBERS: TableDefinition<'static, &str, u64> = TableDefinition::new("numbers");
const WRITES: &str = "writes";
const FORMAT: &str = "format";
pub const TODAYS_FORMAT: u64 = 1;
const SWEEP_LENGTH: usize = 64;
