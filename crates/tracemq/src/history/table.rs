//! The table for people.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracemq_api::rest::EventRow;

use super::client::{GapRow, Row};
use super::shown::shown;

/// How the table looks.
pub(super) struct Look {
    pub(super) zone: TimeZone,
    pub(super) colour: bool,
    /// Columns of the terminal; none leaves lines as long as they are.
    pub(super) width: Option<usize>,
}

/// Columns of the terminal that stdout goes to.
pub(super) fn terminal_width() -> Option<usize> {
    rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Prints `rows` in their order, with the gaps at their place.
pub(super) fn print(
    out: &mut impl Write,
    look: &Look,
    rows: &[Row],
    gaps: &[GapRow],
    newest_first: bool,
) -> io::Result<()> {
    let began: HashMap<&str, i64> = rows
        .iter()
        .filter(|row| row.event.action == "connect" || row.event.action == "open")
        .map(|row| (row.event.connection.as_str(), row.event.time_ms))
        .collect();
    let mut gaps: Vec<&GapRow> = gaps.iter().collect();
    gaps.sort_by_key(|gap| if newest_first { -gap.from_ms } else { gap.from_ms });
    let mut gaps = gaps.into_iter().peekable();
    let heading =
        format!("{:<23}  {:<10}  {:<26}  {:>9}  {:<21}  {}", "TIME", "ACTION", "REASON", "DURATION", "PEER", "DETAIL");
    line(out, look, Style::new().bold(), &heading)?;
    for row in rows {
        let before = |gap: &&GapRow| {
            if newest_first { gap.from_ms >= row.event.time_ms } else { gap.from_ms <= row.event.time_ms }
        };
        while let Some(gap) = gaps.next_if(before) {
            line(out, look, AnsiColor::Yellow.on_default(), &gap_words(gap, &look.zone))?;
        }
        let duration = row.event.duration_ms.or_else(|| {
            let began = began.get(row.event.connection.as_str())?;
            matches!(row.event.action.as_str(), "disconnect" | "close")
                .then(|| u64::try_from(row.event.time_ms - began).unwrap_or(0))
        });
        line(out, look, style(&row.event), &event_words(&row.event, duration, &look.zone))?;
    }
    for gap in gaps {
        line(out, look, AnsiColor::Yellow.on_default(), &gap_words(gap, &look.zone))?;
    }
    Ok(())
}

fn event_words(event: &EventRow, duration: Option<u64>, zone: &TimeZone) -> String {
    let mut words = format!(
        "{:<23}  {:<10}  {:<26}  {:>9}  {:<21}  ",
        local(event.time_ms, zone),
        shown(&event.action),
        shown(&event.reason),
        duration.map(duration_words).unwrap_or_default(),
        event.peer.as_deref().map(shown).unwrap_or_default(),
    );
    if event.provenance != "observed" {
        let _ = write!(words, "({}) ", shown(&event.provenance));
    }
    words.push_str(&event.detail.as_deref().map(shown).unwrap_or_default());
    if let Some(other) = &event.other_connection {
        let _ = write!(words, " by connection {}", shown(other));
    }
    words.truncate(words.trim_end().len());
    words
}

/// One line that says what is missing and why.
pub(super) fn gap_words(gap: &GapRow, zone: &TimeZone) -> String {
    let lost = gap.lost.map_or_else(|| "an unknown number of events".into(), |lost| format!("{lost} events"));
    let (from, to) = (local(gap.from_ms, zone), local(gap.to_ms, zone));
    format!("-- not recorded: {from} to {to}, {lost} ({})", shown(&gap.cause))
}

fn local(ms: i64, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        Err(_) => format!("{ms} ms"),
    }
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
        "connection-reset" | "broken-pipe" | "network-error" | "tls-failure" => AnsiColor::Magenta,
        "server-shutdown" | "server-lost" | "kicked" => AnsiColor::Cyan,
        _ => AnsiColor::Red,
    };
    colour.on_default()
}

fn line(out: &mut impl Write, look: &Look, style: Style, text: &str) -> io::Result<()> {
    let cut: String = match look.width {
        Some(width) if text.chars().count() > width => {
            text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
        }
        Some(_) | None => text.to_owned(),
    };
    if look.colour { writeln!(out, "{style}{cut}{style:#}") } else { writeln!(out, "{cut}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (ms, expected) in [(0, "0.000s"), (1_204, "1.204s"), (252_000, "4m12s"), (11_100_000, "3h05m")] {
            assert_eq!(duration_words(ms), expected);
        }
        assert_eq!(duration_words(u64::MAX), "213503982334d14h");
    }

    #[test]
    fn times_outside_the_calendar_are_still_told() {
        assert_eq!(local(i64::MAX, &TimeZone::UTC), format!("{} ms", i64::MAX));
        assert_eq!(local(1_621_580_400_844, &TimeZone::UTC), "2021-05-21 07:00:00.844");
    }
}
