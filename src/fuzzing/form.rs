//! Forms and queries (`wire::form`), beside a slow reader (WHATWG URL, "application/x-www-form-urlencoded").

use crate::wire::Form;
use crate::wire::form::Repeated;

pub fn form(data: &[u8]) {
    let form = Form::parse(data);

    let pairs: Vec<(String, String)> = data
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(equals);
            (decoded(name), decoded(value.get(1..).unwrap_or_default()))
        })
        // RFC 6749 §3.1: without a value it counts as left out.
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let asked = ["code", "client_id", "resource", "", "absent"];
    for name in pairs.iter().map(|(name, _)| name.as_str()).chain(asked) {
        let named = pairs.iter().filter(|(own, _)| own == name);
        let values: Vec<&str> = named.map(|(_, value)| value.as_str()).collect();
        let expected = match values[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            [..] => Err(Repeated),
        };
        assert_eq!(form.one(name), expected, "{name:?}");
        assert_eq!(form.all(name).collect::<Vec<_>>(), values, "{name:?}");
    }
}

pub(super) fn decoded(text: &[u8]) -> String {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(byte);
        out.push(escaped.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Not by `from_str_radix`, which takes a sign.
fn byte(digits: &[u8]) -> Option<u8> {
    let mut values = digits.iter().map(|digit| char::from(*digit).to_digit(16));
    let (high, low) = (values.next()??, values.next()??);
    u8::try_from(high << 4 | low).ok()
}
