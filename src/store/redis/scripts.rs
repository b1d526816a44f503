//! What Redis does in one step. Sent whole each time: they are short, and a server that was restarted, or
//! another node, then needs no second round trip to learn them.

use ::redis::{Cmd, cmd};

use crate::clock::Timestamp;

/// Write `row` where there is nothing that lives. Answers whether it was written.
pub fn create(key: &str, now: Timestamp, row: &str, expiry: u128) -> Cmd {
    let mut command = script(CREATE, key);
    command.arg(now.seconds()).arg(row).arg(expiry.to_string());
    command
}

/// Write `row` where version `read` lives. Answers whether it was written.
pub fn swap(key: &str, read: &str, now: Timestamp, row: &str, expiry: u128) -> Cmd {
    let mut command = script(SWAP, key);
    command.arg(read).arg(now.seconds()).arg(row).arg(expiry.to_string());
    command
}

/// Add `entry` to the stream at `key`; a new stream begins with `mark`, which tells it from others that had
/// its name.
pub fn append(
    key: &str,
    mark: &str,
    now: Timestamp,
    until: Timestamp,
    entry: &str,
    expiry: u128,
) -> Cmd {
    let mut command = script(APPEND, key);
    command.arg(mark).arg(now.seconds()).arg(until.seconds()).arg(entry).arg(expiry.to_string());
    command
}

/// Answers the mark of the stream, whether `place` is in it, and at most `most` entries after that.
pub fn follow(key: &str, place: &str, most: usize) -> Cmd {
    let mut command = script(FOLLOW, key);
    command.arg(place).arg(most);
    command
}

fn script(text: &str, key: &str) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(text).arg(1).arg(key);
    command
}

/// The place of the mark: before every entry.
pub const MARK: &str = "0-1";

const CREATE: &str = r"
local old = redis.call('GET', KEYS[1])
local ends = old and tonumber(string.match(old, '^%x+ (%d+) '))
if ends and ends > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
";

const SWAP: &str = r"
local old = redis.call('GET', KEYS[1])
if not old then return 0 end
local version, ends = string.match(old, '^(%x+) (%d+) ')
if version ~= ARGV[1] or tonumber(ends) <= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 1
";

// What has expired is removed from the front, one by one, so that the mark stays.
const APPEND: &str = r"
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XADD', KEYS[1], '0-1', 'mark', ARGV[1])
end
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '(0-1', '+', 'COUNT', 16)) do
  if tonumber(entry[2][2]) > tonumber(ARGV[2]) then break end
  redis.call('XDEL', KEYS[1], entry[1])
end
redis.call('XADD', KEYS[1], '*', 'until', ARGV[3], 'text', ARGV[4])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[5]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
return 1
";

const FOLLOW: &str = r"
local mark = redis.call('XRANGE', KEYS[1], '0-1', '0-1')
if #mark == 0 then return false end
return {
  mark[1][2][2],
  #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]),
  redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
}
";
