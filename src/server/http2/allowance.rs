//! How many frames a client may send that ask for nothing: PING, SETTINGS, PRIORITY, `WINDOW_UPDATE`,
//! `RST_STREAM`, empty DATA, unknown ones (RFC 9113 §10.5). Each costs us work and is free of flow control.
//! An honest client sends them because of what it is sent, so what we write pays for them.

use std::time::Duration;

use tokio::time::Instant;

use crate::server::http2::frames::{CONTINUATION, DATA, END_STREAM, Frame, HEADERS};

/// What one connection has left.
#[derive(Debug)]
pub struct Allowance {
    frames: usize,
    /// Bytes written that have not paid for a frame yet.
    change: usize,
    topped_up: Instant,
}

/// It is used up: the client is flooding us.
#[derive(Debug, PartialEq, Eq)]
pub struct UsedUp;

impl Allowance {
    pub fn new() -> Self {
        Self { frames: AT_ONCE, change: 0, topped_up: Instant::now() }
    }

    /// `frame` has come.
    pub fn spend(&mut self, frame: Frame) -> Result<(), UsedUp> {
        if asks_for_something(frame) {
            return Ok(());
        }
        if self.frames == 0 {
            self.top_up();
        }
        self.frames = self.frames.checked_sub(1).ok_or(UsedUp)?;
        Ok(())
    }

    /// So many bytes were written. An answer to a PING must not pay for it.
    pub fn earn(&mut self, bytes: usize) {
        self.change += bytes;
        self.frames = AT_ONCE.min(self.frames + self.change / BYTES_EACH);
        self.change %= BYTES_EACH;
    }

    /// The clock is asked only when nothing is left.
    fn top_up(&mut self) {
        let now = Instant::now();
        let due = now.duration_since(self.topped_up).as_millis() / ONE_EACH.as_millis();
        if due > 0 {
            self.frames = usize::try_from(due).map_or(AT_ONCE, |due| due.min(AT_ONCE));
            self.topped_up = now;
        }
    }
}

/// Requests, and the bytes of their bodies: h2 limits those by what is open, by flow control, and tiny
/// ones by a budget of its own.
fn asks_for_something(frame: Frame) -> bool {
    match frame.kind {
        HEADERS => true,
        DATA => frame.length > 0 || frame.has(END_STREAM),
        CONTINUATION => frame.length > 0,
        _ => false,
    }
}

/// A client that has cancelled this many calls before any was answered is no client.
const AT_ONCE: usize = 1000;
/// A PING's answer has 17 bytes. A client that returns every little piece of window sends two frames for
/// each event of 95 bytes or so.
const BYTES_EACH: usize = 32;
const ONE_EACH: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const PING: Frame = Frame { length: 8, kind: 6, flags: 0, stream: 0 };

    /// How many `frames` pass if each is answered with so many bytes.
    fn passing(allowance: &mut Allowance, frame: Frame, answer: usize) -> usize {
        let frames = (0..100_000).take_while(|_| {
            allowance.earn(answer);
            allowance.spend(frame).is_ok()
        });
        frames.count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_pings_is_seen_though_each_is_answered() {
        assert_eq!(passing(&mut Allowance::new(), PING, 0), AT_ONCE);
        assert!(passing(&mut Allowance::new(), PING, 17) < 3 * AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_pays_for_two_updates_of_the_window_for_each_event() {
        let mut allowance = Allowance::new();
        let update = Frame { length: 4, kind: 8, flags: 0, stream: 1 };

        for _ in 0..100_000 {
            allowance.earn(95);
            allowance.spend(update).unwrap();
            allowance.spend(update).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_comes_back_with_time() {
        let mut allowance = Allowance::new();
        passing(&mut allowance, PING, 0);

        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(passing(&mut allowance, PING, 0), 30);
        tokio::time::advance(Duration::from_hours(3)).await;
        assert_eq!(passing(&mut allowance, PING, 0), AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_and_their_bodies_are_free() {
        let headers = Frame { length: 9, kind: HEADERS, flags: 5, stream: 1 };
        let data = Frame { length: 1, kind: DATA, flags: 0, stream: 1 };
        let end = Frame { length: 0, kind: DATA, flags: END_STREAM, stream: 1 };
        let empty = Frame { length: 0, kind: DATA, flags: 0, stream: 1 };

        for frame in [headers, data, end] {
            assert_eq!(passing(&mut Allowance::new(), frame, 0), 100_000, "{frame:?}");
        }
        assert_eq!(passing(&mut Allowance::new(), empty, 0), AT_ONCE);
    }
}
