//! Figures on their way from the process that measures to the one that reports: a line of JSON each, told as soon as it is
//! known, so that a run that is cut short has shown what it had.

use std::io::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One figure: a number with its name, or a remark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Figure {
    Number(f64),
    Text(String),
}

/// A figure and its name, such as `page.giant.deepest.p99_us`.
pub(crate) type Named = (String, Figure);

pub(crate) fn tell(name: &str, figure: Figure) {
    if let Ok(line) = serde_json::to_string::<Named>(&(name.to_owned(), figure)) {
        let mut out = std::io::stdout().lock();
        // Whoever closed the pipe doesn't want to know.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

pub(crate) fn number(name: &str, number: f64) {
    tell(name, Figure::Number(number));
}

pub(crate) fn count(name: &str, count: u64) {
    number(name, count as f64);
}

pub(crate) fn seconds(name: &str, duration: Duration) {
    number(name, duration.as_secs_f64());
}

/// Median, 99th percentile, longest and number of `durations`.
pub(crate) fn latencies(name: &str, mut durations: Vec<Duration>) {
    durations.sort_unstable();
    let Some(longest) = durations.last() else { return };
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    number(&format!("{name}.p50_us"), micros(percentile(&durations, 50)));
    number(&format!("{name}.p99_us"), micros(percentile(&durations, 99)));
    number(&format!("{name}.max_us"), micros(*longest));
    number(&format!("{name}.n"), durations.len() as f64);
}

/// The smallest of `sorted` that `percent` of them don't exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_micros).collect();
        assert_eq!(percentile(&sorted, 50), Duration::from_micros(100));
        assert_eq!(percentile(&sorted, 99), Duration::from_micros(198));
        assert_eq!(percentile(&sorted[..1], 99), Duration::from_micros(1));
    }
}
