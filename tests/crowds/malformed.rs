//! What clients send that mean harm, and some that don't: requests in raw bytes, made by a grammar and then bent.
//! The same seed makes the same bytes.

use crate::dice::Dice;

/// What one client sends over one connection.
#[derive(Clone, Debug)]
pub struct Input {
    pub bytes: Vec<u8>,
    /// Where one write ends and the next begins.
    pub cuts: Vec<usize>,
    /// Nothing in it was bent: each request is to be answered.
    pub is_plain: bool,
    /// What was bent.
    pub bent: Vec<&'static str>,
}

/// Makes input number `number` with `token` as the good one.
pub fn input(seed: u64, number: usize, token: &str) -> Input {
    let dice = Dice::seeded(seed.wrapping_mul(0x1000_0000_01b3) ^ number as u64);
    let mut maker = Maker { dice, token: token.to_owned(), number, made: 0, bent: Vec::new() };
    let is_plain = maker.dice.one_in(4);
    let count = 1 + maker.dice.below(3);
    let bent_one = maker.dice.below(count);
    let mut bytes = Vec::new();
    for at in 0..count {
        let mut draft = maker.draft();
        if !is_plain && at == bent_one {
            for _ in 0..=maker.dice.below(5) / 3 {
                maker.bend(&mut draft);
            }
        }
        if at + 1 == count && maker.dice.one_in(2) {
            draft.fields.push("Connection: close".into());
        }
        let from = bytes.len();
        draft.write(&mut bytes);
        if !is_plain && at == bent_one && maker.dice.one_in(8) {
            maker.scratch(&mut bytes, from);
        }
    }
    if !is_plain && maker.dice.one_in(12) {
        maker.bent.push("cut off");
        bytes.truncate(1 + maker.dice.below(bytes.len() - 1));
    }
    let pieces = maker.dice.below(5);
    let mut cuts: Vec<usize> = (0..pieces).map(|_| maker.dice.below(bytes.len())).collect();
    cuts.sort_unstable();
    Input { bytes, cuts, is_plain, bent: maker.bent }
}

struct Maker {
    dice: Dice,
    token: String,
    number: usize,
    made: usize,
    bent: Vec<&'static str>,
}

/// A request before it is written.
struct Draft {
    before: &'static str,
    line: Vec<u8>,
    fields: Vec<Vec<u8>>,
    body: Vec<u8>,
    /// Index of the line that does not end in CRLF, and in what it ends.
    odd_end: Option<(usize, &'static str)>,
}

impl Draft {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.before.as_bytes());
        let lines = [&self.line].into_iter().chain(&self.fields);
        for (at, line) in lines.chain([&Vec::new()]).enumerate() {
            out.extend_from_slice(line);
            let odd = self.odd_end.filter(|(odd, _)| *odd == at || *odd == usize::MAX);
            out.extend_from_slice(odd.map_or("\r\n", |(_, end)| end).as_bytes());
        }
        out.extend_from_slice(&self.body);
    }

    fn is_framed_by(&self, name: &str) -> Option<usize> {
        let of_name = |field: &Vec<u8>| {
            field.len() > name.len() && field[..name.len()].eq_ignore_ascii_case(name.as_bytes())
        };
        self.fields.iter().position(of_name)
    }
}

/// To bend a request, and what is bent.
type Way = (&'static str, fn(&mut Maker, &mut Draft));

impl Maker {
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.dice.below(choices.len())]
    }

    /// A request as it should be, most with the good token.
    fn draft(&mut self) -> Draft {
        let method = self.one_of(&["POST", "POST", "GET", "DELETE"]);
        let target = self.one_of(&["/mcp", "/mcp", "/mcp?a=1&b=%20c", "/mcp/", "/mcp/x.y~z"]);
        let mark = format!("{}-{}", self.number, self.made);
        self.made += 1;
        let mut fields: Vec<Vec<u8>> = vec![
            self.one_of(&[
                "Host: tools.example.com",
                "host:tools.example.com",
                "HOST: Tools.Example.Com",
            ])
            .into(),
            format!("{}: {mark}", self.one_of(&["X-Input", "x-input", "X-INPUT"])).into(),
        ];
        let scheme = self.one_of(&["Bearer", "Bearer", "bearer"]);
        let good = format!("Authorization: {scheme} {}", self.token);
        match self.dice.below(8) {
            0 => {}
            1 => fields.push(b"Authorization: Bearer doorman_at_of_nobody".into()),
            _ => fields.push(good.into()),
        }
        for _ in 0..self.dice.below(4) {
            let more = self.one_of(&[
                "Accept: application/json, text/event-stream",
                "Content-Type: application/json",
                "Mcp-Protocol-Version: 2025-11-25",
                "Empty:",
                "X-Tabs: \ta\tb\t",
                "Cookie: a=b; c=d",
                "Accept-Encoding: gzip",
                "Keep-Alive: timeout=5",
                "Connection: keep-alive",
            ]);
            // Those that may come once do.
            if !fields.iter().any(|field| field == more.as_bytes()) {
                fields.push(more.into());
            }
        }
        let content = self.content();
        let mut body = Vec::new();
        match self.dice.below(3) {
            0 => {}
            1 => {
                fields.push(format!("Content-Length: {}", content.len()).into());
                body = content;
            }
            _ => {
                fields.push(
                    self.one_of(&["Transfer-Encoding: chunked", "transfer-encoding:CHUNKED"])
                        .into(),
                );
                body = self.chunked(&content);
            }
        }
        // The order says nothing.
        let (one, other) = (self.dice.below(fields.len()), self.dice.below(fields.len()));
        fields.swap(one, other);
        Draft {
            before: "",
            line: format!("{method} {target} HTTP/1.1").into(),
            fields,
            body,
            odd_end: None,
        }
    }

    /// What looks like a request, with the good token, inside a body.
    fn smuggled(&mut self) -> Vec<u8> {
        let (method, mark) = (self.one_of(&["GET", "POST", "DELETE"]), self.number);
        format!(
            "{method} /mcp?smuggled HTTP/1.1\r\nHost: tools.example.com\r\nAuthorization: Bearer {}\r\n\
             X-Input: {mark}-smuggled-{}\r\n\r\n",
            self.token,
            self.dice.below(1000),
        )
        .into()
    }

    fn content(&mut self) -> Vec<u8> {
        match self.dice.below(5) {
            0 => Vec::new(),
            1 => self.smuggled(),
            2 => [b"0\r\n\r\n".to_vec(), self.smuggled()].concat(),
            3 => (0..self.dice.below(3000))
                .map(|_| u8::try_from(self.dice.below(256)).unwrap())
                .collect(),
            _ => br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#.to_vec(),
        }
    }

    fn chunked(&mut self, content: &[u8]) -> Vec<u8> {
        let (mut rest, mut body) = (content, Vec::new());
        while !rest.is_empty() {
            let size = 1 + self.dice.below(rest.len());
            let extension = self.one_of(&["", "", "", ";a", ";a=b", ";a=\"b c\""]);
            let size_text = match self.dice.below(3) {
                0 => format!("{size:X}"),
                1 => format!("{size:04x}"),
                _ => format!("{size:x}"),
            };
            body.extend_from_slice(format!("{size_text}{extension}\r\n").as_bytes());
            body.extend_from_slice(&rest[..size]);
            body.extend_from_slice(b"\r\n");
            rest = &rest[size..];
        }
        body.extend_from_slice(self.one_of(&["0\r\n", "0\r\n", "000;x\r\n"]).as_bytes());
        let trailer = [
            "",
            "",
            "",
            "X-Trailer: root\r\n",
            "X-Forwarded-User: root\r\nAuthorization: root\r\n",
        ];
        body.extend_from_slice(self.one_of(&trailer).as_bytes());
        body.extend_from_slice(b"\r\n");
        body
    }

    fn bend(&mut self, draft: &mut Draft) {
        let ways: [Way; 16] = [
            ("length", Self::bend_length),
            ("length", Self::bend_length),
            ("coding", Self::bend_coding),
            ("coding", Self::bend_coding),
            ("chunks", Self::bend_chunks),
            ("chunks", Self::bend_chunks),
            ("line end", Self::bend_line_end),
            ("value", Self::bend_value),
            ("request line", Self::bend_line),
            ("request line", Self::bend_line),
            ("target", Self::bend_target),
            ("target", Self::bend_target),
            ("host", Self::bend_host),
            ("this hop", Self::bend_hop),
            ("identity", Self::bend_identity),
            ("token", Self::bend_token),
        ];
        let (name, bend) = self.one_of(&ways);
        self.bent.push(name);
        bend(self, draft);
    }

    fn bend_length(&mut self, draft: &mut Draft) {
        let real = draft.body.len();
        let less = real.saturating_sub(1 + self.dice.below(40));
        let more = real + 1 + self.dice.below(40);
        let value = match self.dice.below(16) {
            0 => format!("+{real}"),
            1 => format!("-{real}"),
            2 => format!("{real}, {real}"),
            3 => format!("{real},{less}"),
            4 => format!("0x{real:x}"),
            5 => format!("{real:x}h"),
            6 => format!("18446744073709551616{real}"),
            7 => "99999999999999999999999999999999".to_owned(),
            8 => format!("{real}.0"),
            9 => format!("{real} "),
            10 => format!("\t{real}"),
            11 => format!("00{real}"),
            12 => String::new(),
            13 => less.to_string(),
            14 => more.to_string(),
            _ => format!("{real} {real}"),
        };
        let name = self.one_of(&[
            "Content-Length: ",
            "content-length:",
            "Content-Length : ",
            "Content_Length: ",
            "Content-Length\t: ",
            " Content-Length: ",
            "Content-Length: ",
            "Content-Length: ",
        ]);
        let field = format!("{name}{value}").into_bytes();
        match draft.is_framed_by("content-length") {
            Some(at) if self.dice.one_in(2) => draft.fields[at] = field,
            Some(at) if self.dice.one_in(2) => {
                let twice = draft.fields[at].clone();
                draft.fields.push(twice);
            }
            _ => draft.fields.insert(self.dice.below(draft.fields.len() + 1), field),
        }
    }

    fn bend_coding(&mut self, draft: &mut Draft) {
        let field = self.one_of(&[
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunkedx",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding:\x0bchunked",
            "Transfer-Encoding: chunked\x0c",
            "Transfer-Encoding: ,chunked",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding:",
            "Transfer-Encoding : chunked",
            "Transfer_Encoding: chunked",
            "Transfer-Encoding\r\n : chunked",
            "Transfer-Encoding:\r\n chunked",
            "Transfer-Encoding:\tchunked\t",
            "X: y\nTransfer-Encoding: chunked",
            "X: y\rTransfer-Encoding: chunked",
            "Content-Length: 3",
            "Content-Length: 0",
        ]);
        match draft.is_framed_by("transfer-encoding") {
            Some(at) if self.dice.one_in(2) => draft.fields[at] = field.into(),
            _ => draft.fields.insert(self.dice.below(draft.fields.len() + 1), field.into()),
        }
    }

    fn bend_chunks(&mut self, draft: &mut Draft) {
        let content = self.content();
        if draft.is_framed_by("transfer-encoding").is_none() {
            draft.fields.retain(|field| !field.to_ascii_lowercase().starts_with(b"content-length"));
            draft.fields.push(b"Transfer-Encoding: chunked".into());
        }
        let size = content.len();
        let digits = match self.dice.below(18) {
            0 => format!("0x{size:x}\r\n"),
            1 => format!("+{size:x}\r\n"),
            2 => format!(" {size:x}\r\n"),
            3 => format!("{size:x} \r\n"),
            4 => format!("{size:x}\n"),
            5 => format!("{size:x}\r"),
            6 => format!("{size:x};a=\"\n\"\r\n"),
            7 => format!("{size:x};a\rb\r\n"),
            8 => format!("{size:x};a\0b\r\n"),
            9 => format!("{size:x} ;a\r\n"),
            10 => format!("{:x}\r\n", size + 1 + self.dice.below(9)),
            11 => format!("{:x}\r\n", size.saturating_sub(1 + self.dice.below(9)).max(1)),
            12 => format!("ffffffffffffffff{size:x}\r\n"),
            13 => "ffffffffffffffff\r\n".to_owned(),
            14 => format!("-{size:x}\r\n"),
            15 => format!("{size:032x}\r\n"),
            16 => "\r\n".to_owned(),
            _ => format!("{size:x}\r\n"),
        };
        let after = self.one_of(&["\r\n", "\r\n", "\r\n", "\n", "\r", "", "x\r\n", "\r\r\n"]);
        let last = self.one_of(&[
            "0\r\n\r\n",
            "0\r\n\r\n",
            "0\r\n\n",
            "0\n\n",
            "0\r\n",
            "",
            "-0\r\n\r\n",
            "0\r\nX\r\n\r\n",
            "0\r\n X: y\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nContent-Length: 5\r\n\r\n",
            "0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "0\r\nHost: evil.example\r\n\r\n",
            "00000000000000000\r\n\r\n",
        ]);
        draft.body = [digits.as_bytes(), &content, after.as_bytes(), last.as_bytes()].concat();
    }

    fn bend_line_end(&mut self, draft: &mut Draft) {
        let end = self.one_of(&["\n", "\r", "\n\r", "\r\r\n", "", "\0\r\n", "\x0b\r\n"]);
        let lines = draft.fields.len() + 2;
        let at = if self.dice.one_in(4) { usize::MAX } else { self.dice.below(lines) };
        draft.odd_end = Some((at, end));
        if self.dice.one_in(3) {
            draft.before = self.one_of(&["\r\n", "\r\n\r\n", "\n", "\r", " ", "\0", "\r\n \r\n"]);
            if self.dice.one_in(2) {
                draft.odd_end = None;
            }
        }
    }

    fn bend_value(&mut self, draft: &mut Draft) {
        let field: &[u8] = self.one_of(&[
            b"X-A: a\0b".as_slice(),
            b"X-A: a\rb",
            b"X-A: a\nb",
            b"X-A: a\r\n b",
            b"X-A: a\r\n\tX-Forwarded-User: root",
            b" X-A: a",
            b"X-A",
            b": a",
            b"X A: a",
            b"X-A\0: a",
            b"X-\xe9: a",
            b"X-A: \xff\xfe",
            b"X-A: \x7f",
            b"X-A: \x1b[0m",
            b"X(A): a",
            b"X-A: a\r\n\r\nGET /mcp?smuggled HTTP/1.1\r\nHost: tools.example.com",
            b"GET /mcp?smuggled HTTP/1.1",
        ]);
        draft.fields.insert(self.dice.below(draft.fields.len() + 1), field.to_vec());
        if self.dice.one_in(12) {
            let count = self.one_of(&[62, 64, 70, 300]);
            draft.fields.extend((0..count).map(|at| format!("X-{at}: a").into_bytes()));
        }
        if self.dice.one_in(20) {
            let length = self.one_of(&[8_000, 16_300, 40_000]);
            draft.fields.push(format!("X-Long: {}", "x".repeat(length)).into());
        }
    }

    fn bend_line(&mut self, draft: &mut Draft) {
        let line = self.one_of(&[
            "POST /mcp HTTP/1.0",
            "GET /mcp HTTP/1.0",
            "POST /mcp",
            "GET /mcp",
            "POST /mcp HTTP/0.9",
            "POST /mcp HTTP/1.2",
            "POST /mcp HTTP/2.0",
            "POST /mcp HTTP/11",
            "POST /mcp http/1.1",
            "POST /mcp HTTP/1.1 ",
            "POST /mcp HTTP/1.1 HTTP/1.1",
            "POST /mcp  HTTP/1.1",
            "POST  /mcp HTTP/1.1",
            "POST\t/mcp\tHTTP/1.1",
            " POST /mcp HTTP/1.1",
            "POST /mcp a HTTP/1.1",
            "post /mcp HTTP/1.1",
            "Post /mcp HTTP/1.1",
            "get /mcp HTTP/1.1",
            "P\0ST /mcp HTTP/1.1",
            "POST( /mcp HTTP/1.1",
            "CONNECT tools.example.com:443 HTTP/1.1",
            "CONNECT /mcp HTTP/1.1",
            "TRACE /mcp HTTP/1.1",
            "PRI * HTTP/2.0",
            "OPTIONS * HTTP/1.1",
            "OPTIONS /mcp HTTP/1.1",
            "HEAD /mcp HTTP/1.1",
            "PUT /mcp HTTP/1.1",
            "PATCH /mcp HTTP/1.1",
            "PROPFIND /mcp HTTP/1.1",
            "",
            "HTTP/1.1 200 OK",
        ]);
        draft.line = line.into();
    }

    fn bend_target(&mut self, draft: &mut Draft) {
        let target = self.one_of(&[
            "http://tools.example.com/mcp",
            "https://tools.example.com/mcp",
            "https://tools.example.com:443/mcp",
            "http://evil.example/mcp",
            "https://user@tools.example.com/mcp",
            "//tools.example.com/mcp",
            "tools.example.com/mcp",
            "tools.example.com:443",
            "*",
            "/mcp#/livez",
            "/mcp#",
            "/mcp?a b",
            "/mcp ?a",
            "/mcp/..",
            "/mcp/../admin",
            "/mcp/./x",
            "/mcp/%2e%2e/admin",
            "/mcp/%2E./admin",
            "/mcp/..%2fadmin",
            "/mcp%2f..%2fadmin",
            "/mcp/..;/admin",
            "/mcp;a=b",
            "/mcp/;/x",
            "//mcp",
            "/mcp//x",
            "/mcp\\..\\admin",
            "/mcp%5c..%5cadmin",
            "/mcp%00",
            "/mcp%0d%0aX-Forwarded-User:%20root",
            "/mcp/\u{e9}",
            "/mcp%",
            "/mcp%zz",
            "/mcp%252e%252e",
            "/%6dcp",
            "/MCP",
            "/mcp2",
            "/mcp/../../mcp",
            "/",
            "mcp",
            "?",
            "/mcp?\"<>",
            "/mcp?a=/../..",
            "/mcp?smuggled\u{b}",
        ]);
        draft.line = format!("{} {target} HTTP/1.1", self.one_of(&["POST", "GET"])).into();
    }

    fn bend_host(&mut self, draft: &mut Draft) {
        let host = self.one_of(&[
            "Host: evil.example",
            "Host: tools.example.com:443",
            "Host: tools.example.com:80",
            "Host: tools.example.com:99999",
            "Host: tools.example.com.",
            "Host: user@tools.example.com",
            "Host: tools.example.com, evil.example",
            "Host: tools.example.com/mcp",
            "Host: tools.example.com#",
            "Host:",
            "Host : tools.example.com",
            "Host: [::1]",
            "Host: tools.example.com evil.example",
            "Host: tools.example.com",
        ]);
        let at = draft.is_framed_by("host");
        match (self.dice.below(3), at) {
            (0, Some(at)) => draft.fields[at] = host.into(),
            (1, Some(at)) => drop(draft.fields.remove(at)),
            _ => draft.fields.insert(self.dice.below(draft.fields.len() + 1), host.into()),
        }
    }

    fn bend_hop(&mut self, draft: &mut Draft) {
        let field = self.one_of(&[
            "Connection: X-Forwarded-User",
            "Connection: x-forwarded-email, close",
            "Connection: Authorization",
            "Connection: Content-Length",
            "Connection: Transfer-Encoding",
            "Connection: Host",
            "Connection: close, X-Nothing",
            "Connection: close\r\nConnection: keep-alive",
            "Connection: ,,,",
            "Connection: \"close\"",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Upgrade: h2c",
            "Upgrade: TLS/1.0, HTTP/1.1",
            "Expect: 100-continue",
            "Expect: 100-Continue",
            "Expect: 200-ok",
            "Expect: 100-continue, 100-continue",
            "Expect:",
            "TE: trailers",
            "TE: chunked",
            "Trailer: X-Forwarded-User",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: Basic cm9vdDpyb290",
            "Max-Forwards: 0",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
        ]);
        draft.fields.insert(self.dice.below(draft.fields.len() + 1), field.into());
    }

    fn bend_identity(&mut self, draft: &mut Draft) {
        for _ in 0..=self.dice.below(3) {
            let field = self.one_of(&[
                "X-Forwarded-User: root",
                "x-forwarded-user:root",
                "X-FORWARDED-USER: root",
                "X_Forwarded_User: root",
                "X-Forwarded_User: root",
                "x_forwarded-user: root",
                "X-Forwarded-User : root",
                "X-Forwarded-User\0: root",
                "X-Forwarded-Email: root",
                "X-Forwarded-Groups: root",
                "X_FORWARDED_GROUPS: root",
                "X-Forwarded-For: root",
                "X-Forwarded-Host: root",
                "X-Forwarded-Proto: root",
                "X-Forwarded-Uri: /root",
                "X-Forwarded-Method: root",
                "Forwarded: for=root",
                "X-Original-URL: /root",
                "X-Rewrite-URL: /root",
                "X-Real-IP: root",
                "X-HTTP-Method-Override: root",
                "X-Forwarded-User: a\r\n root",
            ]);
            draft.fields.insert(self.dice.below(draft.fields.len() + 1), field.into());
        }
    }

    fn bend_token(&mut self, draft: &mut Draft) {
        draft.fields.retain(|field| !field.to_ascii_lowercase().starts_with(b"authorization"));
        let good = self.token.clone();
        let flipped: String = {
            let at = self.dice.below(good.len());
            let flip = |(own, letter)| {
                if own != at {
                    letter
                } else if letter == 'A' {
                    'B'
                } else {
                    'A'
                }
            };
            good.chars().enumerate().map(flip).collect()
        };
        let bad = if flipped == good { "x".to_owned() } else { flipped };
        let fields = match self.dice.below(12) {
            0 => vec![],
            1 => vec![format!("Authorization: Bearer {bad}")],
            2 => vec![
                format!("Authorization: Bearer {good}"),
                format!("Authorization: Bearer {good}"),
            ],
            3 => vec![
                format!("Authorization: Bearer {bad}"),
                format!("Authorization: Bearer {good}"),
            ],
            4 => vec![format!("Authorization: Bearer {good}, Bearer {bad}")],
            5 => vec![format!("Authorization: Basic {good}")],
            6 => vec![format!("Authorization: {good}")],
            7 => vec![format!("Authorization: Bearer {good}x")],
            8 => vec![format!("Authorization: Bearer {}", &good[..good.len() - 1])],
            9 => vec![format!("Authorization : Bearer {good}")],
            10 => vec![format!("Cookie: access_token={good}"), format!("X-Access-Token: {good}")],
            _ => vec![format!("Authorization: Bearer\t{good}")],
        };
        for field in fields {
            draft.fields.insert(self.dice.below(draft.fields.len() + 1), field.into());
        }
    }

    /// A few bytes changed, whatever they are.
    fn scratch(&mut self, bytes: &mut Vec<u8>, from: usize) {
        self.bent.push("scratched");
        for _ in 0..=self.dice.below(3) {
            let at = from + self.dice.below(bytes.len() - from);
            match self.dice.below(4) {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, self.one_of(b"\r\n\0 :;,\t0aZ\xff")),
                2 => bytes[at] ^= 1 << self.dice.below(8),
                _ => {
                    let to = (at + self.dice.below(30)).min(bytes.len());
                    let again = bytes[at..to].to_vec();
                    bytes.splice(at..at, again);
                }
            }
            if bytes.len() == from {
                return;
            }
        }
    }
}
