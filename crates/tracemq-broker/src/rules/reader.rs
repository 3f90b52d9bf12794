//! Walks over the fields of a packet without copying any, and knows where in the packet it is.

use super::Fault;

/// What is left of a packet, or of a part of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// How many bytes of the packet are before it, the fixed header among them.
    at: usize,
}

impl<'a> Reader<'a> {
    /// `bytes`, which begin at byte `at` of a packet.
    pub(crate) fn new(at: usize, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Which byte of the packet is next.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next `count` bytes. When they are not there, what is cut off is named by its first byte.
    pub(crate) fn take(&mut self, count: usize, what: &str) -> Result<Reader<'a>, Fault> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(Fault::malformed(self.at, format_args!("{what} is cut off by the end of the packet")));
        };
        let taken = Self::new(self.at, taken);
        *self = Self::new(self.at + count, rest);
        Ok(taken)
    }

    pub(crate) fn byte(&mut self, what: &str) -> Result<u8, Fault> {
        Ok(self.take(1, what)?.rest.first().copied().unwrap_or_default())
    }

    pub(crate) fn u16(&mut self, what: &str) -> Result<u16, Fault> {
        Ok(self.take(2, what)?.rest.iter().fold(0, |value, byte| value << 8 | u16::from(*byte)))
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, Fault> {
        Ok(self.take(4, what)?.rest.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    /// Two bytes of length, then that many bytes.
    pub(crate) fn binary(&mut self, what: &str) -> Result<Reader<'a>, Fault> {
        let length = self.u16(what)?;
        self.take(usize::from(length), what)
    }

    /// A UTF-8 encoded string.
    pub(crate) fn string(&mut self, what: &str) -> Result<&'a str, Fault> {
        self.binary(what)?.text(what)
    }

    /// A variable byte integer: at most four bytes, and as few as its value needs.
    pub(crate) fn variable(&mut self, what: &str) -> Result<u32, Fault> {
        let begin = self.at;
        let mut value = 0;
        for at in 0..4u32 {
            let byte = self.byte(what)?;
            value |= u32::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                if byte == 0 && at > 0 {
                    let detail = format_args!("{what} takes more bytes than it needs [MQTT-1.5.5-1]");
                    return Err(Fault::malformed(begin, detail));
                }
                return Ok(value);
            }
        }
        Err(Fault::malformed(begin, format_args!("{what} is longer than 4 bytes")))
    }

    /// A property block with its length in front.
    pub(crate) fn properties(&mut self) -> Result<Reader<'a>, Fault> {
        let length = self.variable("property length")?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX), "property block")
    }

    /// All that is left as MQTT allows text to be.
    pub(crate) fn text(self, what: &str) -> Result<&'a str, Fault> {
        let text = std::str::from_utf8(self.rest).map_err(|error| {
            Fault::malformed(self.at + error.valid_up_to(), format_args!("{what} is not UTF-8 [MQTT-1.5.4-1]"))
        })?;
        if self.rest.contains(&0) {
            let nul = text.find('\0').unwrap_or_default();
            return Err(Fault::malformed(self.at + nul, format_args!("{what} contains U+0000 [MQTT-1.5.4-2]")));
        }
        Ok(text)
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), Fault> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Fault::malformed(self.at, format_args!("{left} bytes behind the last field"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // MQTT 5.0: 1.5.5-1
    #[test]
    fn variable_byte_integers_are_bounded_and_minimal() {
        let read = |bytes: &[u8]| Reader::new(0, bytes).variable("it").ok();
        assert_eq!(read(&[0x00]), Some(0));
        assert_eq!(read(&[0x80, 0x01]), Some(128));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0x7f]), Some(268_435_455));
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x01]), None);
        assert_eq!(read(&[0x81, 0x00]), None);
        assert_eq!(read(&[0x80]), None);
    }

    #[test]
    fn text_is_utf8_without_nul() {
        let text = |bytes: &'static [u8]| Reader::new(0, bytes).text("it");
        assert!(text("é".as_bytes()).is_ok());
        assert!(text(b"a\0").is_err());
        assert!(text(&[0xed, 0xa0, 0x80]).is_err(), "surrogate");
        assert!(text(&[0xc0, 0x80]).is_err(), "over-long");
    }
}
