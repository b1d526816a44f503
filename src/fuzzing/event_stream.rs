//! A stream of events read slowly, all of it at once, to compare with (HTML standard, §9.2.5 and §9.2.6).

/// What a client makes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: Vec<u8>,
    /// Lines of data, with LF between.
    pub data: Vec<u8>,
    pub last_id: Vec<u8>,
}

/// Its events, and how long to wait before it is opened again, if it says so. What the end cuts off is no event.
pub fn read(stream: &[u8]) -> (Vec<Event>, Option<Vec<u8>>) {
    let (mut events, mut retry, mut last_id) = (Vec::new(), None, Vec::new());
    let (mut kind, mut data): (Vec<u8>, Option<Vec<u8>>) = (Vec::new(), None);
    for line in lines(stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream)) {
        if line.is_empty() {
            let kind = std::mem::take(&mut kind);
            if let Some(data) = data.take() {
                events.push(Event { kind, data, last_id: last_id.clone() });
            }
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => kind = value.to_vec(),
            b"data" => match &mut data {
                None => data = Some(value.to_vec()),
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            b"id" if !value.contains(&0) => last_id = value.to_vec(),
            b"retry" if value.iter().all(u8::is_ascii_digit) => retry = Some(value.to_vec()),
            _ => {}
        }
    }
    (events, retry)
}

/// Those that have an end: LF, CR, or CR LF.
pub fn lines(stream: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), stream);
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        let (line, after) = rest.split_at(end);
        lines.push(line);
        let both = after.starts_with(b"\r\n");
        rest = after.get(if both { 2 } else { 1 }..).unwrap_or_default();
    }
    lines
}
