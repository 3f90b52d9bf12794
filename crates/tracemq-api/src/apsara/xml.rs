//! Writing XML: elements with text, and nothing else of it.

/// XML being written.
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn new() -> Self {
        Self(r#"<?xml version="1.0" encoding="UTF-8"?>"#.to_owned())
    }

    /// An element with what `content` writes into it. `name` is a word of ours.
    pub(super) fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.tag("<", name);
        content(self);
        self.tag("</", name);
    }

    /// An element with `text`, escaped.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.element(name, |writer| escape(&mut writer.0, text));
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    fn tag(&mut self, open: &str, name: &str) {
        self.0.push_str(open);
        self.0.push_str(name);
        self.0.push('>');
    }
}

/// Markup becomes references, and characters that XML 1.0 can't hold in any form become U+FFFD. A carriage return
/// becomes a reference too: a parser would turn it into a line feed.
fn escape(escaped: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\r' => escaped.push_str("&#13;"),
            '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}' => escaped.push(c),
            _ => escaped.push('\u{fffd}'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(text: &str) -> String {
        let mut escaped = String::new();
        escape(&mut escaped, text);
        escaped
    }

    /// A strict reading of character data: allowed characters, and the references that we write, nothing else.
    fn read_strictly(text: &str) -> Option<String> {
        let mut read = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c == '&' {
                let (name, after) = rest.as_str().split_once(';')?;
                read.push(match name {
                    "lt" => '<',
                    "gt" => '>',
                    "amp" => '&',
                    "quot" => '"',
                    "apos" => '\'',
                    "#13" => '\r',
                    _ => return None,
                });
                rest = after.chars();
                continue;
            }
            let allowed = matches!(c, '\t' | '\n') || (c >= ' ' && !matches!(c, '<' | '>' | '\u{fffe}' | '\u{ffff}'));
            read.push(allowed.then_some(c)?);
        }
        Some(read)
    }

    #[test]
    fn markup_and_what_xml_can_t_hold_does_not_come_through() {
        assert_eq!(escaped("</ClientId><x>]]>&amp;\r"), "&lt;/ClientId&gt;&lt;x&gt;]]&gt;&amp;amp;&#13;");
        assert_eq!(escaped("\0\u{1}\u{fffe}\u{1b}é中🛰"), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}é中🛰");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(text in any::<String>()) {
            let in_xml = |c: char| matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}'));
            let expected: String = text.chars().map(|c| if in_xml(c) { c } else { '\u{fffd}' }).collect();
            prop_assert_eq!(read_strictly(&escaped(&text)), Some(expected));
        }
    }
}
