//! Walks over the fields of a packet without copying any.

use super::Fault;

/// What is left of a packet's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], Fault> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(Fault::malformed(format!("{what} is cut off by the end of the packet")));
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self, what: &str) -> Result<u8, Fault> {
        Ok(self.take(1, what)?.first().copied().unwrap_or_default())
    }

    pub(crate) fn u16(&mut self, what: &str) -> Result<u16, Fault> {
        Ok(self.take(2, what)?.iter().fold(0, |value, byte| value << 8 | u16::from(*byte)))
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, Fault> {
        Ok(self.take(4, what)?.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    /// Two bytes of length, then that many bytes.
    pub(crate) fn binary(&mut self, what: &str) -> Result<&'a [u8], Fault> {
        let length = self.u16(what)?;
        self.take(usize::from(length), what)
    }

    /// A UTF-8 encoded string.
    pub(crate) fn string(&mut self, what: &str) -> Result<&'a str, Fault> {
        text(self.binary(what)?, what)
    }

    /// A variable byte integer: at most four bytes, and as few as its value needs.
    pub(crate) fn variable(&mut self, what: &str) -> Result<u32, Fault> {
        let mut value = 0;
        for at in 0..4u32 {
            let byte = self.byte(what)?;
            value |= u32::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                if byte == 0 && at > 0 {
                    return Err(Fault::malformed(format!("{what} takes more bytes than it needs [MQTT-1.5.5-1]")));
                }
                return Ok(value);
            }
        }
        Err(Fault::malformed(format!("{what} is longer than 4 bytes")))
    }

    /// A property block with its length in front.
    pub(crate) fn properties(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.variable("property length")?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX), "property block")
    }
}

/// `bytes` as MQTT allows text to be.
pub(crate) fn text<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, Fault> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Fault::malformed(format!("{what} is not UTF-8 [MQTT-1.5.4-1]")))?;
    if bytes.contains(&0) {
        return Err(Fault::malformed(format!("{what} contains U+0000 [MQTT-1.5.4-2]")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_are_bounded_and_minimal() {
        let read = |bytes: &[u8]| Reader::new(bytes).variable("it").ok();
        assert_eq!(read(&[0x00]), Some(0));
        assert_eq!(read(&[0x80, 0x01]), Some(128));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0x7f]), Some(268_435_455));
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x01]), None);
        assert_eq!(read(&[0x81, 0x00]), None);
        assert_eq!(read(&[0x80]), None);
    }

    #[test]
    fn text_is_utf8_without_nul() {
        assert!(text("é".as_bytes(), "it").is_ok());
        assert!(text(b"a\0", "it").is_err());
        assert!(text(&[0xed, 0xa0, 0x80], "it").is_err(), "surrogate");
        assert!(text(&[0xc0, 0x80], "it").is_err(), "over-long");
    }
}
