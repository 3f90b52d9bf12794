//! The table for people.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use tracemq_api::rest::EventRow;

use super::client::{GapRow, Row};
use super::clock::Clock;
use super::layout::{Cells, wrapped};
use super::shown::shown;

/// How the table looks.
pub(super) struct Look {
    pub(super) clock: Clock,
    pub(super) colour: bool,
    /// Columns of the terminal; none leaves lines as long as they are.
    pub(super) width: Option<usize>,
    /// Whether the rows are of connections that never named a client.
    pub(super) nameless: bool,
}

/// What an `open` without an end among the rows means where connections are nameless: what came after a CONNECT is under
/// the client's identifier.
const NO_END: &str = "still open, or it named a client later";

/// Columns of the terminal that stdout goes to.
pub(super) fn terminal_width() -> Option<usize> {
    rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Prints `rows` in their order, with the gaps at their place. Without rows there are only the gaps.
pub(super) fn print(
    out: &mut impl Write,
    look: &Look,
    rows: &[Row],
    gaps: &[GapRow],
    newest_first: bool,
) -> io::Result<()> {
    let mut gaps: Vec<&GapRow> = gaps.iter().collect();
    gaps.sort_by_key(|gap| if newest_first { -gap.from_ms } else { gap.from_ms });
    let mut gaps = gaps.into_iter().peekable();
    if !rows.is_empty() {
        let columns = columns("TIME", "ACTION", "REASON", "DURATION");
        let heading = Cells { columns, peer: "PEER".into(), detail: "DETAIL".into() };
        print_lines(out, look, Style::new().bold(), &heading.lines(look.width))?;
    }
    let connections = Connections::of(rows);
    for Row { event, .. } in rows {
        let before = |gap: &&GapRow| {
            if newest_first { gap.from_ms >= event.time_ms } else { gap.from_ms <= event.time_ms }
        };
        while let Some(gap) = gaps.next_if(before) {
            print_gap(out, look, gap)?;
        }
        print_lines(out, look, style(event), &cells(event, &connections, look).lines(look.width))?;
    }
    for gap in gaps {
        print_gap(out, look, gap)?;
    }
    Ok(())
}

/// What the rows say of connections as wholes.
struct Connections<'a> {
    began: HashMap<&'a str, i64>,
    ended: HashSet<&'a str>,
    peers: HashMap<&'a str, &'a str>,
}

impl<'a> Connections<'a> {
    fn of(rows: &'a [Row]) -> Self {
        let (ends, begins): (Vec<_>, Vec<_>) = rows.iter().map(|row| &row.event).partition(|event| is_end(event));
        Self {
            began: begins.iter().map(|event| (event.connection.as_str(), event.time_ms)).collect(),
            ended: ends.iter().map(|event| event.connection.as_str()).collect(),
            peers: rows
                .iter()
                .filter_map(|Row { event, .. }| Some((&*event.connection, event.peer.as_deref()?)))
                .collect(),
        }
    }
}

fn is_end(event: &EventRow) -> bool {
    matches!(event.action.as_str(), "disconnect" | "close")
}

fn columns(time: &str, action: &str, reason: &str, duration: &str) -> String {
    format!("{time:<23}  {action:<10}  {reason:<26}  {duration:>9}")
}

fn cells(event: &EventRow, connections: &Connections<'_>, look: &Look) -> Cells {
    let connection = event.connection.as_str();
    let duration = event.duration_ms.or_else(|| {
        let began = connections.began.get(connection).filter(|_| is_end(event))?;
        Some(u64::try_from(event.time_ms.saturating_sub(*began)).unwrap_or(0))
    });
    // The time of an inferred end is the last one at which the connection is known to have been open.
    let at_least = if event.provenance == "inferred" { "≥" } else { "" };
    let duration = duration.map(|ms| format!("{at_least}{}", duration_words(ms))).unwrap_or_default();
    let mut detail = Vec::new();
    if event.provenance != "observed" {
        detail.push(format!("({})", shown(&event.provenance)));
    }
    detail.extend(event.detail.as_deref().map(shown));
    // The table has a column for addresses and none for connections.
    detail.extend(event.other_connection.as_deref().map(|other| match connections.peers.get(other) {
        Some(peer) => format!("(from {})", shown(peer)),
        None => format!("(connection {})", shown(other)),
    }));
    if look.nameless && event.action == "open" && !connections.ended.contains(connection) {
        detail.push(NO_END.into());
    }
    Cells {
        columns: columns(&look.clock.tell(event.time_ms), &shown(&event.action), &shown(&event.reason), &duration),
        peer: event.peer.as_deref().map(shown).unwrap_or_default(),
        detail: detail.join(" "),
    }
}

/// One line that says what is missing and why.
pub(super) fn gap_words(gap: &GapRow, clock: &Clock) -> String {
    let lost = gap.lost.map_or_else(|| "an unknown number of events".into(), |lost| format!("{lost} events"));
    let (from, to) = (clock.tell(gap.from_ms), clock.tell(gap.to_ms));
    format!("-- not recorded: {from} to {to}, {lost} ({})", shown(&gap.cause))
}

fn print_gap(out: &mut impl Write, look: &Look, gap: &GapRow) -> io::Result<()> {
    let words = gap_words(gap, &look.clock);
    let lines = look.width.map_or_else(|| vec![words.clone()], |width| wrapped(&words, width));
    print_lines(out, look, AnsiColor::Yellow.on_default(), &lines)
}

/// `1.204s`, `4m12s`, `3h05m`, `12d04h`.
fn duration_words(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{seconds}.{:03}s", ms % 1_000),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Colour by what kind of thing happened; the words say the same.
fn style(event: &EventRow) -> Style {
    let colour = match event.reason.as_str() {
        "accepted" => AnsiColor::Green,
        "opened" | "client-disconnected" => return Style::new(),
        "session-taken-over" | "client-closed" => AnsiColor::Yellow,
        "connection-reset" | "broken-pipe" | "network-error" | "tls-failure" | "certificate-refused" => {
            AnsiColor::Magenta
        }
        "server-shutdown" | "server-lost" | "kicked" => AnsiColor::Cyan,
        _ => AnsiColor::Red,
    };
    colour.on_default()
}

fn print_lines(out: &mut impl Write, look: &Look, style: Style, lines: &[String]) -> io::Result<()> {
    for line in lines {
        if look.colour {
            writeln!(out, "{style}{line}{style:#}")?;
        } else {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
