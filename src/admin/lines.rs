//! An answer of many lines, each a JSON value: written as it is made, so that it is nowhere in memory as a
//! whole.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;
use tokio::task::yield_now;

use crate::admin::words::Line;
use crate::wire::{Body, Response};

/// The writing end. Dropped without `end`, the answer is not whole, and who reads it can tell.
#[derive(Debug)]
pub struct Lines {
    pieces: mpsc::Sender<Bytes>,
    written: Vec<u8>,
}

/// Whoever asked has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl Lines {
    /// The answer, and where to write it.
    pub fn answer() -> (Self, Response) {
        let (pieces, body) = mpsc::channel(1);
        let mut response = Response::new(Body::Pieces(body));
        response.headers_mut().insert(CONTENT_TYPE, NDJSON);
        (Self { pieces, written: Vec::new() }, response)
    }

    pub async fn write(&mut self, line: &Line) -> Result<(), Gone> {
        // Serialising our own structs to memory can't fail: no map has a key that is not a string.
        serde_json::to_writer(&mut self.written, line).map_err(|_| Gone)?;
        self.written.push(b'\n');
        if self.written.len() >= PIECE { self.flush().await } else { Ok(()) }
    }

    /// Send what was written, and let others have a turn: this may go on for long.
    pub async fn flush(&mut self) -> Result<(), Gone> {
        let piece = std::mem::take(&mut self.written);
        if piece.is_empty() {
            return Ok(());
        }
        self.pieces.send(piece.into()).await.map_err(|_| Gone)?;
        yield_now().await;
        Ok(())
    }
}

/// Bytes.
const PIECE: usize = 16 * 1024;
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
