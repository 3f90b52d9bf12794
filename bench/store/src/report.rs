//! What was measured, as a table for people and as JSON for comparing runs.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::figures::{Figure, Named};
use crate::stores::Kind;

/// A run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// As they were typed or by default.
    pub(crate) settings: BTreeMap<String, String>,
    /// What it ran on.
    pub(crate) machine: BTreeMap<String, String>,
    pub(crate) generator_rate: f64,
    pub(crate) stores: Vec<StoreReport>,
}

/// A store's part of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoreReport {
    pub(crate) store: Kind,
    pub(crate) figures: BTreeMap<String, Figure>,
    /// Why there are no more figures.
    pub(crate) failed: Option<String>,
}

impl StoreReport {
    pub(crate) fn new(store: Kind) -> Self {
        Self { store, figures: BTreeMap::new(), failed: None }
    }

    pub(crate) fn take(&mut self, (name, figure): Named) {
        self.figures.insert(name, figure);
    }

    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        match self.figures.get(name)? {
            Figure::Number(number) => Some(*number),
            Figure::Text(_) => None,
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.figures.get(name)? {
            Figure::Number(_) => None,
            Figure::Text(text) => Some(text),
        }
    }
}

impl Report {
    /// Answers that differ between stores that hold the same events: one of them lies.
    pub(crate) fn disagreements(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (at, one) in self.stores.iter().enumerate() {
            for other in self.stores.iter().skip(at + 1) {
                if one.number("known.events") != other.number("known.events") {
                    continue;
                }
                for name in one.figures.keys().filter(|name| name.starts_with("answer.")) {
                    let answers = (one.number(name), other.number(name));
                    if let (Some(a), Some(b)) = answers
                        && a != b
                    {
                        found.push(format!("{name}: {} says {a}, {} says {b}", one.store.name(), other.store.name()));
                    }
                }
            }
        }
        found
    }
}

#[derive(Clone, Copy)]
enum Unit {
    Count,
    Bytes,
    BytesEach,
    Micros,
    Seconds,
}

fn show(number: f64, unit: Unit) -> String {
    match unit {
        Unit::Count => with_commas(number),
        Unit::Bytes => format!("{:.0} MiB", number / 1_048_576.0),
        Unit::BytesEach => format!("{number:.1} B"),
        Unit::Micros if number >= 1e6 => format!("{:.2} s", number / 1e6),
        Unit::Micros if number >= 1e4 => format!("{:.0} ms", number / 1e3),
        Unit::Micros if number < 10.0 => format!("{number:.1} us"),
        Unit::Micros => format!("{:.2} ms", number / 1e3),
        Unit::Seconds => format!("{number:.3} s"),
    }
}

fn with_commas(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Rows of the table: a latency has its median and 99th percentile in one.
const ROWS: &[(&str, &str, Unit)] = &[
    ("events", "ingest.events", Unit::Count),
    ("durable events/s, until acknowledged", "ingest.rate", Unit::Count),
    ("  within append alone", "ingest.rate_in_append", Unit::Count),
    ("  until settled", "ingest.rate_until_settled", Unit::Count),
    ("  batch p50 / p99", "ingest.batch", Unit::Micros),
    ("  longest batch", "ingest.batch.max_us", Unit::Micros),
    ("bytes on disk an event", "disk.bytes_an_event", Unit::BytesEach),
    ("  tables and indexes alone", "disk.live_bytes_an_event", Unit::BytesEach),
    ("bytes written an event", "disk.written_an_event", Unit::BytesEach),
    ("page of anybody, ever", "page.anybody.ever", Unit::Micros),
    ("page of anybody, ever, for the first time", "page.anybody.first", Unit::Micros),
    ("page of anybody, last day", "page.anybody.day", Unit::Micros),
    ("page of the giant, first", "page.giant.first", Unit::Micros),
    ("page of the giant, middle", "page.giant.middle", Unit::Micros),
    ("page of the giant, deepest", "page.giant.deepest", Unit::Micros),
    ("cold page of anybody", "cold.page.anybody", Unit::Micros),
    ("cold page of the giant, deepest", "cold.page.giant.deepest", Unit::Micros),
    ("events/s while asked for pages", "mixed.rate", Unit::Count),
    ("  batch p50 / p99", "mixed.batch", Unit::Micros),
    ("  longest batch", "mixed.batch.max_us", Unit::Micros),
    ("  page of anybody meanwhile", "mixed.page.anybody", Unit::Micros),
    ("  page of the giant meanwhile", "mixed.page.giant", Unit::Micros),
    ("events/s while asked about the fleet", "mixed_fleet.rate", Unit::Count),
    ("  batch p50 / p99", "mixed_fleet.batch", Unit::Micros),
    ("  longest batch", "mixed_fleet.batch.max_us", Unit::Micros),
    ("  last 24 h by minute meanwhile", "mixed_fleet.day_by_minute", Unit::Micros),
    ("  who dropped meanwhile", "mixed_fleet.dropped_in_5_minutes", Unit::Micros),
    ("  names by rare substring meanwhile", "mixed_fleet.rare_substring", Unit::Micros),
    ("  all time, by address, meanwhile", "mixed_fleet.address", Unit::Micros),
    ("last 24 h by minute and reason", "window.day_by_minute", Unit::Micros),
    ("clients in the last 24 h", "window.clients_of_day", Unit::Micros),
    ("who dropped in 5 minutes", "window.dropped_in_5_minutes", Unit::Micros),
    ("all time, by address", "scan.address", Unit::Micros),
    ("  events/s", "scan.address.rate", Unit::Count),
    ("all time, by address and reason", "scan.address_and_reason", Unit::Micros),
    ("  events/s", "scan.address_and_reason.rate", Unit::Count),
    ("100 names by prefix", "names.prefix", Unit::Micros),
    ("100 names by substring", "names.substring", Unit::Micros),
    ("names by rare substring", "names.rare_substring", Unit::Micros),
    ("open after a clean stop", "open.clean_s", Unit::Seconds),
    ("  cold", "cold.open", Unit::Micros),
    ("open after kill -9 at work", "killed.open_s", Unit::Seconds),
    ("  events acknowledged", "killed.acknowledged", Unit::Count),
    ("  events found", "killed.found", Unit::Count),
    ("  of them in the log", "killed.from_log", Unit::Count),
    ("open after kill -9 with a full log", "logged.open_s", Unit::Seconds),
    ("  events found", "logged.found", Unit::Count),
    ("  of them in the log", "logged.from_log", Unit::Count),
    ("  memory that they took", "logged.memory", Unit::Bytes),
    ("open after kill -9, sealing far behind", "behind.open_s", Unit::Seconds),
    ("  events found", "behind.found", Unit::Count),
    ("  of them in the log", "behind.from_log", Unit::Count),
    ("memory, peak of ingest", "memory.peak", Unit::Bytes),
    ("memory after ingest", "memory.after_ingest", Unit::Bytes),
    ("memory after questions", "memory.after_queries", Unit::Bytes),
    ("floor: events/s made and synced", "floor.rate", Unit::Count),
    ("  write and sync of a batch's bytes", "floor.batch", Unit::Micros),
    ("  read a log of a million", "floor.read_log_s", Unit::Seconds),
    ("  read of a block, warm", "floor.read.warm", Unit::Micros),
    ("  read of a block, cold", "floor.read.cold", Unit::Micros),
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<38}", "")?;
        for store in &self.stores {
            write!(f, "{:>22}", store.store.name())?;
        }
        writeln!(f)?;
        for (label, name, unit) in ROWS {
            let cells: Vec<String> = self.stores.iter().map(|store| cell(store, name, *unit)).collect();
            if cells.iter().any(|cell| cell != "-") {
                write!(f, "{label:<38}")?;
                cells.iter().try_for_each(|cell| write!(f, "{cell:>22}"))?;
                writeln!(f)?;
            }
        }
        for store in &self.stores {
            if let Some(why) = &store.failed {
                writeln!(f, "{}: {why}", store.store.name())?;
            }
        }
        for line in self.disagreements() {
            writeln!(f, "DISAGREE {line}")?;
        }
        writeln!(f, "The generator alone makes {} events/s.", with_commas(self.generator_rate))
    }
}

fn cell(store: &StoreReport, name: &str, unit: Unit) -> String {
    let median_and_tail = (store.number(&format!("{name}.p50_us")), store.number(&format!("{name}.p99_us")));
    match (store.number(name), median_and_tail) {
        (Some(number), _) => show(number, unit),
        (None, (Some(median), Some(tail))) => format!("{} / {}", show(median, unit), show(tail, unit)),
        (None, _) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_units_and_lies_are_found() {
        let mut one = StoreReport::new(Kind::Segments);
        for (name, number) in [("ingest.rate", 1_234_567.0), ("page.giant.first.p50_us", 140.0)] {
            one.take((name.into(), Figure::Number(number)));
        }
        one.take(("page.giant.first.p99_us".into(), Figure::Number(14_000.0)));
        one.take(("answer.scan".into(), Figure::Number(3.0)));
        let mut other = StoreReport::new(Kind::Sqlite);
        other.take(("answer.scan".into(), Figure::Number(4.0)));
        let report = Report {
            settings: BTreeMap::new(),
            machine: BTreeMap::new(),
            generator_rate: 0.0,
            stores: vec![one, other],
        };
        let table = report.to_string();
        assert!(table.contains("1,234,567"), "{table}");
        assert!(table.contains("0.14 ms / 14 ms"), "{table}");
        assert_eq!(report.disagreements(), ["answer.scan: segments says 3, sqlite says 4"]);
    }
}
