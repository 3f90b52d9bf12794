//! `tracemq store stats`: what takes how much room.

use std::fmt::Write as _;
use std::io::{Write, stdout};

use serde_json::json;
use tracemq_files::ndjson;
use tracemq_segments::{Figures, FindingKind, Look};

use super::args::StatsArgs;
use super::words::{bytes, count, counted, moment, ratio};
use super::{cannot_look, events_dir};

/// What the same events would take as lines of JSON, judged by a sample.
#[derive(Clone, Copy)]
struct AsNdjson {
    sampled: u64,
    bytes: u64,
}

pub(super) fn run(args: &StatsArgs) -> anyhow::Result<()> {
    let look = Look::open(&events_dir(args.dir.as_deref().or(args.place.data_dir.as_deref()))).map_err(cannot_look)?;
    let figures = look.figures();
    let sample = look.sample().map_err(cannot_look)?;
    let damages = look.findings().iter().filter(|finding| finding.kind == FindingKind::Damage).count();
    let mut as_ndjson = AsNdjson { sampled: sample.len() as u64, bytes: 0 };
    let mut line = Vec::new();
    for event in &sample {
        line.clear();
        ndjson::push_event(event, &mut line)?;
        as_ndjson.bytes += line.len() as u64;
    }
    let mut out = stdout().lock();
    if args.json {
        let mut object = serde_json::to_value(&figures)?;
        if let Some(object) = object.as_object_mut() {
            object.insert("damaged".into(), json!(damages > 0));
            object.insert("ndjson_sample".into(), json!({"events": as_ndjson.sampled, "bytes": as_ndjson.bytes}));
        }
        writeln!(out, "{object}")?;
    } else {
        write!(out, "{}", told(&figures, as_ndjson, damages))?;
    }
    out.flush()?;
    Ok(())
}

fn told(figures: &Figures, as_ndjson: AsNdjson, damages: usize) -> String {
    let mut text = String::new();
    let sealed: u64 = figures.segments.iter().map(|segment| segment.bytes).sum();
    let sealed_events: u64 = figures.segments.iter().map(|segment| segment.events).sum();
    let _ = writeln!(
        text,
        "{} in {}: {} in {}{}, {} in the log ({}, {}), {} list open connections",
        counted(figures.events, "event"),
        bytes(figures.bytes),
        counted(sealed_events, "event"),
        counted(figures.segments.len() as u64, "segment"),
        if sealed_events == 0 { String::new() } else { format!(" ({} bytes an event)", ratio(sealed, sealed_events)) },
        counted(figures.log.events, "event"),
        counted(figures.log.files as u64, "file"),
        bytes(figures.log.bytes),
        bytes(figures.open_connections_bytes),
    );
    if as_ndjson.sampled > 0 && sealed_events > 0 {
        let whole = u128::from(as_ndjson.bytes) * u128::from(sealed_events) / u128::from(as_ndjson.sampled);
        let whole = u64::try_from(whole).unwrap_or(u64::MAX);
        let _ = writeln!(
            text,
            "as lines of JSON, uncompressed, the segments' events would take about {} ({} bytes an event, by {} of them): {} times as much",
            bytes(whole),
            ratio(as_ndjson.bytes, as_ndjson.sampled),
            count(as_ndjson.sampled),
            ratio(whole, sealed),
        );
    }
    let _ = writeln!(
        text,
        "{} on record, {} waiting for {} bytes to be removed",
        counted(figures.gaps as u64, "gap"),
        counted(figures.erasures_pending as u64, "erased subject"),
        if figures.erasures_pending == 1 { "its" } else { "their" },
    );
    text.push_str(&damage_told(damages));
    let of_all = |part: u64| ratio(part.saturating_mul(100), sealed);
    let mut columns: Vec<_> = figures.columns.iter().filter(|column| column.bytes > 0).collect();
    columns.sort_by_key(|column| std::cmp::Reverse(column.bytes));
    if !columns.is_empty() {
        let rows = columns.iter().map(|column| {
            [column.column.to_owned(), bytes(column.bytes), ratio(column.bytes, sealed_events), of_all(column.bytes)]
        });
        table(&mut text, ["column", "bytes", "an event", "%"], 1, rows);
    }
    if !figures.instances.is_empty() {
        let rows = figures.instances.iter().map(|instance| {
            let (name, events) = (instance.instance.as_str().to_owned(), count(instance.events));
            [name, moment(instance.from), moment(instance.to), events, bytes(instance.bytes)]
        });
        table(&mut text, ["instance", "from", "to", "events", "rows' bytes"], 3, rows);
    }
    if !figures.segments.is_empty() {
        let rows = figures.segments.iter().map(|segment| {
            [
                segment.file.clone(),
                moment(segment.from),
                moment(segment.to),
                count(segment.events),
                count(segment.subjects),
                bytes(segment.bytes),
                ratio(segment.bytes, segment.events),
            ]
        });
        table(&mut text, ["segment", "from", "to", "events", "subjects", "bytes", "an event"], 3, rows);
    }
    text
}

/// That some of it can't be read. A line, or nothing.
fn damage_told(damages: usize) -> String {
    let verb = match damages {
        0 => return String::new(),
        1 => "is",
        _ => "are",
    };
    let parts = counted(damages as u64, "part");
    format!("{parts} of the store {verb} damaged, and not in these figures: tracemq store check tells which\n")
}

/// Appends a table; the first `words` columns are words, which begin under each other, the others numbers.
fn table<const N: usize>(text: &mut String, heads: [&str; N], words: usize, rows: impl Iterator<Item = [String; N]>) {
    let mut all = vec![heads.map(str::to_owned)];
    all.extend(rows);
    let mut widths = [0; N];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    text.push('\n');
    for row in &all {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = if at < words { write!(line, "{cell:<width$}  ") } else { write!(line, "{cell:>width$}  ") };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_table_stand_under_each_other() {
        let mut text = String::new();
        let rows = [["é".to_owned(), "1".to_owned()], ["long name".to_owned(), "22,333".to_owned()]];
        table(&mut text, ["name", "n"], 1, rows.into_iter());
        assert_eq!(text, "\nname            n\né               1\nlong name  22,333\n");
    }
}
