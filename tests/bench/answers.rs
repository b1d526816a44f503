//! What `upstream` answers, and `load` therefore expects, byte for byte.

/// To a small call.
pub const RESULT: &[u8] = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Echo: hello"}],"isError":false}}"#;

/// To `?answer=BYTES`: so many, in a pattern that is longer than any buffer's length divides.
pub fn of_size(bytes: usize) -> Vec<u8> {
    (b' '..=b'~').cycle().take(bytes).collect()
}

/// To `?count`, where the request's body had so many bytes.
pub fn counted(bytes: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"bytes":{bytes}}}}}"#)
}
