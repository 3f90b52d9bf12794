//! Time as people write it: `42m`, `yesterday`, `10:30`, `2026-11-22T10:30:00Z`.

use anyhow::{Context, anyhow};
use jiff::civil;
use jiff::{SignedDuration, Timestamp, Zoned};
use tracemq_model::TimeMs;

/// The moment that `text` means when it is `now`. A span without sign (`42m`, `1h30m`, `2d`) lies in the past.
///
/// # Errors
/// When it means nothing; the message shows what would.
pub(crate) fn parse(text: &str, now: &Zoned) -> anyhow::Result<TimeMs> {
    let text = text.trim();
    let zoned = |time: Zoned| TimeMs(time.timestamp().as_millisecond());
    let day = |date: civil::Date| Ok(zoned(date.to_zoned(now.time_zone().clone())?));
    match text {
        "now" => return Ok(zoned(now.clone())),
        "today" => return day(now.date()),
        "yesterday" => return day(now.date().yesterday()?),
        _ => {}
    }
    if let Some(ago) = span(text.strip_prefix('-').unwrap_or(text)) {
        return Ok(zoned(now.checked_sub(ago)?));
    }
    if let Some(number) = epoch(text) {
        return Ok(number);
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(TimeMs(timestamp.as_millisecond()));
    }
    if let Ok(time) = text.parse::<civil::DateTime>() {
        return Ok(zoned(time.to_zoned(now.time_zone().clone()).context("there is no such time in this zone")?));
    }
    if text.contains(':')
        && let Ok(time) = text.parse::<civil::Time>()
    {
        return Ok(zoned(now.date().to_datetime(time).to_zoned(now.time_zone().clone())?));
    }
    Err(anyhow!("`{text}` is no time; write 42m, 1h30m, 2d, now, today, yesterday, 10:30, 2026-11-22 or RFC 3339"))
}

/// `1h30m`: numbers each followed by d, h, m or s.
fn span(text: &str) -> Option<SignedDuration> {
    if text.is_empty() {
        return None;
    }
    let mut seconds: i64 = 0;
    let mut number: Option<i64> = None;
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(i64::from(digit))?);
            continue;
        }
        let unit = match c {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    number.is_none().then(|| SignedDuration::from_secs(seconds))
}

/// Ten digits are seconds, thirteen are milliseconds since 1970.
fn epoch(text: &str) -> Option<TimeMs> {
    let number: i64 = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())??;
    match text.len() {
        9..=10 => Some(TimeMs(number * 1_000)),
        12..=13 => Some(TimeMs(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> String {
        let now: Zoned = "2026-11-22T14:00:30+08:00[Asia/Shanghai]".parse().unwrap();
        let TimeMs(ms) = parse(text, &now).unwrap();
        Timestamp::from_millisecond(ms).unwrap().to_string()
    }

    #[test]
    fn people_write_time_in_many_ways() {
        for (text, expected) in [
            ("now", "2026-11-22T06:00:30Z"),
            ("today", "2026-11-21T16:00:00Z"),
            ("yesterday", "2026-11-20T16:00:00Z"),
            ("42m", "2026-11-22T05:18:30Z"),
            ("-42m", "2026-11-22T05:18:30Z"),
            ("1h30m", "2026-11-22T04:30:30Z"),
            ("2d", "2026-11-20T06:00:30Z"),
            ("10:30", "2026-11-22T02:30:00Z"),
            ("2026-11-22", "2026-11-21T16:00:00Z"),
            ("2026-11-22 10:00", "2026-11-22T02:00:00Z"),
            ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
            ("1621580400", "2021-05-21T07:00:00Z"),
            ("1621580400000", "2021-05-21T07:00:00Z"),
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        let now = Zoned::now();
        for bad in ["", "soon", "12", "h", "1x", "25:00", "99999999999999999999d", "2026-13-01"] {
            assert!(parse(bad, &now).is_err(), "{bad}");
        }
        assert!(parse("soon", &now).unwrap_err().to_string().contains("yesterday"));
    }
}
