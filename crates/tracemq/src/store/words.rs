//! Numbers, moments and names as people read them.

use jiff::Timestamp;
use tracemq_model::TimeMs;

/// The moment in UTC.
pub(super) fn moment(time: TimeMs) -> String {
    match Timestamp::from_millisecond(time.0) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        Err(_) => format!("{} ms", time.0),
    }
}

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `events`, or `event` for one of them.
pub(super) fn counted(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{} {one}s", count(number)) }
}

/// `1.5 MB`, in powers of ten.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(super) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return if unit == "B" { format!("{number} B") } else { format!("{} {unit}", short(value)) };
        }
        value /= 1_000.0;
    }
    format!("{} TB", short(value))
}

/// Three digits at least.
fn short(value: f64) -> String {
    if value < 99.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// `17.3`: how often `part` is in `whole`; a dash when there is nothing to divide by.
#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
pub(super) fn ratio(whole: u64, part: u64) -> String {
    if part == 0 { "-".into() } else { format!("{:.1}", whole as f64 / part as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), expected);
        }
        assert_eq!((counted(1, "event"), counted(2_000, "event")), ("1 event".into(), "2,000 events".into()));
    }

    #[test]
    fn bytes_have_a_unit() {
        for (number, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_550_000, "1.6 MB"),
            (99_900_000, "99.9 MB"),
            (123_456_789, "123 MB"),
            (999_900_000, "1.0 GB"),
            (5_000_000_000_000, "5.0 TB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(number), expected);
        }
        assert_eq!((ratio(10, 4), ratio(1, 0)), ("2.5".into(), "-".into()));
    }

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(moment(TimeMs(1_621_580_400_844)), "2021-05-21 07:00:00Z");
        assert_eq!(moment(TimeMs::MAX), format!("{} ms", i64::MAX));
    }
}
