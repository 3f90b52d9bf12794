//! Rows on terminals of any width. Nothing is ever cut: what finds no room on a line goes on below it.

/// Time, action, reason, duration and peer as columns. A narrower terminal has no column for the peer, for then a table
/// would have it now here, now there.
const WIDE: usize = 99;
const INDENT: &str = "    ";
/// On what is narrower the terminal itself may break lines.
const NARROWEST: usize = 24;

/// A row, before it is known how many lines it takes.
pub(super) struct Cells {
    /// Time, action, reason and duration.
    pub(super) columns: String,
    pub(super) peer: String,
    pub(super) detail: String,
}

impl Cells {
    /// The lines of the row on a terminal of `width`; one line where there is no terminal.
    pub(super) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let Self { columns, peer, detail } = self;
        let with_peer = format!("{columns}  {peer:<21}");
        let whole = format!("{with_peer}  {detail}");
        let Some(width) = width else { return vec![whole.trim_end().to_owned()] };
        let fits = |text: &str| width >= WIDE && text.trim_end().chars().count() <= width;
        if fits(&whole) {
            return vec![whole.trim_end().to_owned()];
        }
        let (first, rest) = if fits(&with_peer) {
            (with_peer, detail.clone())
        } else if peer.is_empty() || detail.is_empty() {
            (columns.clone(), if peer.is_empty() { detail.clone() } else { format!("from {peer}") })
        } else {
            (columns.clone(), format!("from {peer}; {detail}"))
        };
        let mut lines = vec![first.trim_end().to_owned()];
        if !rest.is_empty() {
            lines.extend(wrapped(&format!("{INDENT}{rest}"), width));
        }
        lines
    }
}

/// `text` on lines of at most `width`, broken at spaces; all lines but the first are indented. A word that is longer
/// than a line stays whole, for the terminal breaks it in such a way that it can still be copied.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(NARROWEST);
    let mut lines = Vec::new();
    let start = text.len() - text.trim_start().len();
    let (indent, text) = text.split_at_checked(start).unwrap_or(("", text));
    let (mut line, mut length, mut is_empty) = (indent.to_owned(), indent.len(), true);
    for word in text.split(' ') {
        let word_length = word.chars().count();
        if !is_empty && length + 1 + word_length > width {
            lines.push(std::mem::replace(&mut line, INDENT.to_owned()));
            (length, is_empty) = (INDENT.len(), true);
        }
        if !is_empty {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        (length, is_empty) = (length + word_length, false);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: &str, detail: &str) -> Cells {
        Cells { columns: format!("{:<74}", "c".repeat(72)), peer: peer.into(), detail: detail.into() }
    }

    const DETAIL: &str = "no packet for 3002 ms, keep alive is 2 s [MQTT-3.1.2-22]";
    const PEER: &str = "127.0.0.1:59642";

    #[test]
    fn what_fits_is_one_line() {
        let columns = "c".repeat(72);
        let whole = format!("{columns}    {PEER:<21}  {DETAIL}");
        let length = whole.chars().count();
        assert_eq!(row(PEER, DETAIL).lines(None), [whole.as_str()]);
        assert_eq!(row(PEER, DETAIL).lines(Some(length)), [whole.as_str()]);
        assert_eq!(row("", "").lines(Some(80)), [columns.as_str()]);
        let below = [format!("{columns}    {PEER}"), format!("    {DETAIL}")];
        assert_eq!(row(PEER, DETAIL).lines(Some(length - 1)), below);
        assert_eq!(row(PEER, "").lines(Some(99)), [below[0].as_str()]);
    }

    #[test]
    fn a_narrow_terminal_has_the_peer_below_too() {
        let columns = "c".repeat(72);
        let lines = row(PEER, DETAIL).lines(Some(60));
        let rest = ["    from 127.0.0.1:59642; no packet for 3002 ms, keep alive", "    is 2 s [MQTT-3.1.2-22]"];
        assert_eq!(lines, [columns.as_str(), rest[0], rest[1]]);
        assert_eq!(row(PEER, "").lines(Some(98)), [columns.as_str(), "    from 127.0.0.1:59642"]);
        assert_eq!(row("", "why").lines(Some(98)), [columns.as_str(), "    why"]);
        let long_peer = "[2001:db8:1111:2222:3333:4444:5555:6666]:59642";
        assert_eq!(row(long_peer, "").lines(Some(99))[1], format!("    from {long_peer}"), "no room in the column");
    }

    #[test]
    fn nothing_is_lost_at_any_width() {
        let detail = format!("PUBLISH: no permission for topic \"{}\"  \"é中 x\"", "a/".repeat(60));
        let all: String = format!("{}from{PEER};{detail}", "c".repeat(72)).replace(' ', "");
        for width in 1..200 {
            let lines = row(PEER, &detail).lines(Some(width));
            let told: String = lines.concat().replace(' ', "");
            let expected =
                if lines.concat().contains("from") { all.clone() } else { all.replace("from", "").replace(';', "") };
            assert_eq!(told, expected, "at {width}");
            let longest_word = detail.split(' ').map(|word| word.chars().count()).max().unwrap() + INDENT.len();
            let within = lines.iter().skip(1).all(|line| line.chars().count() <= width.max(longest_word));
            assert!(within, "at {width}: {lines:#?}");
        }
    }
}
