//! `Date` (RFC 9110 §6.6.1), written once a second.

use std::cell::Cell;
use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;

use crate::clock::{Clock, Timestamp};

/// `Sun, 06 Nov 1994 08:49:37 GMT`
pub type Date = [u8; 29];

thread_local! {
    static LAST: Cell<(Timestamp, Date)> = const { Cell::new((NEVER, [b' '; 29])) };
}

/// Now: what it tells decides nothing, so that the clock is the machine's.
pub fn now() -> Date {
    let now = Clock::System.now();
    let (last, mut date) = LAST.get();
    if now != last {
        let since = Duration::from_secs(now.seconds().min(LAST_SECOND));
        // It always has that length.
        let _ = write!(&mut date[..], "{}", HttpDate::from(UNIX_EPOCH + since));
        LAST.set((now, date));
    }
    date
}

const NEVER: Timestamp = Timestamp::from_seconds(0);
/// Of the year 9999: there is no way to write a later one.
const LAST_SECOND: u64 = 253_402_300_799;
