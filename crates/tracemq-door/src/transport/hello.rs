//! Which TLS versions a client offers, read from its first message for the record. The TLS library does not tell them.

/// Bytes of a first message that are kept for this.
pub(super) const KEPT_BYTES_MAX: usize = 16 * 1024;

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SUPPORTED_VERSIONS: u16 = 43;

/// The versions offered, in the client's order; empty when `records` hold no client hello.
pub(super) fn offered(records: &[u8]) -> Vec<String> {
    versions(records).unwrap_or_default().into_iter().map(name).collect()
}

/// What stands before what, from the records of the wire inwards (RFC 8446, 4.1.2).
fn versions(records: &[u8]) -> Option<Vec<u16>> {
    let mut message = Vec::new();
    let mut rest = Cursor(records);
    while let Some(&HANDSHAKE_RECORD) = rest.0.first() {
        rest.take(3)?;
        let length = rest.u16()?.min(u16::try_from(rest.0.len()).unwrap_or(u16::MAX));
        message.extend_from_slice(rest.take(usize::from(length))?);
    }
    let mut hello = Cursor(&message);
    if hello.u8()? != CLIENT_HELLO {
        return None;
    }
    hello.take(3)?;
    let legacy = hello.u16()?;
    hello.take(32)?;
    let of_hello = || Some(vec![legacy]);
    let skipped = (|| {
        let session = hello.u8()?;
        hello.take(usize::from(session))?;
        let suites = hello.u16()?;
        hello.take(usize::from(suites))?;
        let compressions = hello.u8()?;
        hello.take(usize::from(compressions))?;
        hello.u16()
    })();
    if skipped.is_none() {
        return of_hello(); // a hello of old, without extensions
    }
    while let (Some(kind), Some(length)) = (hello.u16(), hello.u16()) {
        let Some(content) = hello.take(usize::from(length)) else { break };
        if kind == SUPPORTED_VERSIONS {
            let pairs = content.get(1..)?.chunks_exact(2);
            return Some(pairs.filter_map(|pair| pair.first_chunk()).map(|pair| u16::from_be_bytes(*pair)).collect());
        }
    }
    of_hello()
}

fn name(version: u16) -> String {
    match version {
        0x0300 => "SSL 3.0".into(),
        0x0301 => "TLS 1.0".into(),
        0x0302 => "TLS 1.1".into(),
        0x0303 => "TLS 1.2".into(),
        0x0304 => "TLS 1.3".into(),
        other => format!("0x{other:04x}"),
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let mut message = vec![CLIENT_HELLO, 0, 0, u8::try_from(body.len()).unwrap()];
        message.extend(body);
        let mut record = vec![HANDSHAKE_RECORD, 3, 1, 0, u8::try_from(message.len()).unwrap()];
        record.extend(message);
        record
    }

    #[test]
    fn the_versions_of_the_extension_count_and_else_that_of_the_hello() {
        assert_eq!(offered(&hello(&[0, 43, 0, 5, 4, 3, 4, 3, 3])), ["TLS 1.3", "TLS 1.2"]);
        assert_eq!(offered(&hello(&[0, 5, 0, 1, 1])), ["TLS 1.2"]);
        assert_eq!(offered(b"\x16\x03\x01"), <[&str; 0]>::default());
    }

    #[test]
    fn no_cut_and_no_change_of_a_byte_does_harm() {
        let whole = hello(&[0, 43, 0, 5, 4, 3, 4, 3, 3]);
        for end in 0..whole.len() {
            offered(&whole[..end]);
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                offered(&changed);
            }
        }
    }
}
