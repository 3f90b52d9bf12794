//! Figures of several rounds: medians, and ratios between servers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::server::Kind;

/// What one round gave for one server.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) cycles_per_second: f64,
    pub(crate) cpu_us_per_cycle: f64,
    /// What the load itself spends, beside the server.
    pub(crate) load_us_per_cycle: f64,
    pub(crate) bytes_per_idle_connection: f64,
    pub(crate) bytes_per_idle_tls_connection: Option<f64>,
    pub(crate) recorded: u64,
    pub(crate) lost: u64,
}

/// All rounds.
pub(crate) struct Report {
    cores: usize,
    rounds: BTreeMap<Kind, Vec<Figures>>,
}

#[derive(Serialize)]
struct Row<'a> {
    server: &'a str,
    rounds: &'a [Figures],
    median_cycles_per_second: f64,
    median_cpu_us_per_cycle: f64,
    median_load_us_per_cycle: f64,
    median_bytes_per_idle_connection: f64,
    bytes_per_idle_tls_connection: Option<f64>,
}

impl Report {
    pub(crate) fn new(cores: usize) -> Self {
        Self { cores, rounds: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, kind: Kind, figures: Figures) {
        self.rounds.entry(kind).or_default().push(figures);
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let rows = self.rounds.iter().map(|(kind, rounds)| Row {
            server: kind.name(),
            rounds,
            median_cycles_per_second: median(rounds.iter().map(|f| f.cycles_per_second)),
            median_cpu_us_per_cycle: median(rounds.iter().map(|f| f.cpu_us_per_cycle)),
            median_load_us_per_cycle: median(rounds.iter().map(|f| f.load_us_per_cycle)),
            median_bytes_per_idle_connection: median(rounds.iter().map(|f| f.bytes_per_idle_connection)),
            bytes_per_idle_tls_connection: rounds.iter().find_map(|f| f.bytes_per_idle_tls_connection),
        });
        rows.collect()
    }

    /// The ratio of cycles a second of one server to another: the median over rounds of the ratio in each round.
    fn ratio(&self, of: Kind, to: Kind) -> Option<f64> {
        let (of, to) = (self.rounds.get(&of)?, self.rounds.get(&to)?);
        Some(median(of.iter().zip(to).map(|(a, b)| a.cycles_per_second / b.cycles_per_second)))
    }

    pub(crate) fn to_table(&self) -> String {
        let mut table = format!(
            "{} cores\n{:<24} {:>10} {:>14} {:>14} {:>16} {:>8} {:>10} {:>8}\n",
            self.cores,
            "server",
            "cycles/s",
            "cpu us/cycle",
            "load us/cycle",
            "bytes/idle conn",
            "TLS",
            "recorded",
            "lost"
        );
        for row in self.rows() {
            let (recorded, lost) = row.rounds.iter().fold((0, 0), |(r, l), f| (r + f.recorded, l + f.lost));
            let _ = writeln!(
                table,
                "{:<24} {:>10.0} {:>14.1} {:>14.1} {:>16.0} {:>8} {:>10} {:>8}",
                row.server,
                row.median_cycles_per_second,
                row.median_cpu_us_per_cycle,
                row.median_load_us_per_cycle,
                row.median_bytes_per_idle_connection,
                row.bytes_per_idle_tls_connection.map_or_else(String::new, |bytes| format!("{bytes:.0}")),
                recorded,
                lost
            );
        }
        if let Some(ratio) = self.ratio(Kind::RecordingOn, Kind::RecordingOff) {
            let _ = writeln!(table, "recording on : off        {ratio:.3}");
        }
        if let Some(ratio) = self.ratio(Kind::RecordingOn, Kind::Mosquitto) {
            let _ = writeln!(table, "recording on : mosquitto  {ratio:.3}");
        }
        table
    }

    pub(crate) fn to_json(&self) -> anyhow::Result<String> {
        let json = serde_json::json!({
            "cores": self.cores,
            "servers": self.rows(),
            "recording_on_to_off": self.ratio(Kind::RecordingOn, Kind::RecordingOff),
            "recording_on_to_mosquitto": self.ratio(Kind::RecordingOn, Kind::Mosquitto),
        });
        Ok(serde_json::to_string_pretty(&json)? + "\n")
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(upper), 0) => values.get(middle.wrapping_sub(1)).map_or(*upper, |lower| f64::midpoint(*lower, *upper)),
        (Some(value), _) => *value,
        (None, _) => f64::NAN,
    }
}

/// The value below which `share` of the sorted `values` are.
pub(crate) fn percentile(values: &[u64], share: f64) -> Option<u64> {
    let last = values.len().checked_sub(1)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of an index")]
    values.get((last as f64 * share).round() as usize).copied()
}
