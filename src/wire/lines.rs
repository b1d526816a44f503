//! Lines of HTTP/1 headers as they are written.

use std::net::IpAddr;

/// Put `name: value` and the end of the line after what is in `out`.
pub fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub fn number_field(out: &mut Vec<u8>, name: &str, value: u64) {
    field(out, name, itoa::Buffer::new().format(value).as_bytes());
}

/// `address` as text, for less than it takes to format it.
pub fn address(address: IpAddr) -> Vec<u8> {
    let IpAddr::V4(address) = address else { return address.to_string().into_bytes() };
    let mut text = Vec::with_capacity("255.255.255.255".len());
    for octet in address.octets() {
        if !text.is_empty() {
            text.push(b'.');
        }
        text.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_everybody_does() {
        for text in ["0.0.0.0", "127.0.0.1", "255.10.1.200", "::1", "2001:db8::a:1"] {
            let written = address(text.parse().unwrap());
            assert_eq!(String::from_utf8(written).unwrap(), text);
        }
    }
}
