//! What came from the wire, made safe to look at: no client identifier can move a cursor or forge a line.

/// Whether `c` could act on a terminal, or reorder what is read.
pub(super) fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `text` with everything that acts written as an escape.
pub(crate) fn shown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_the_wire_acts_on_the_terminal() {
        assert_eq!(shown("a\x1b[2Jb\r\n\u{202e}c\u{9b}"), r"a\u{1b}[2Jb\u{d}\u{a}\u{202e}c\u{9b}");
        assert_eq!(shown("pump-07 é中"), "pump-07 é中");
    }
}
