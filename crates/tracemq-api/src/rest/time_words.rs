//! Time as people write it: `42m`, `yesterday`, `10:30`, `2026-11-22T10:30:00Z`. The same words everywhere: here, and in
//! every command that takes a time.

use jiff::civil;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

/// The text means no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no time; write 42m, 1h30m, 2d, 1w, now, today, yesterday, 10:30, 2026-11-22, 2026-11-22T10:30, \
     2026-11-22T10:30:00Z, or seconds or milliseconds since 1970"
)]
pub struct NoTime(String);

/// The moment that `text` means when it is `now`, in the zone of `now`. A span (`42m`, `1h30m`, `2d`, `1w`, with or without
/// `-`) lies in the past. A time without a date is the latest such time that is not after `latest`.
///
/// # Errors
/// When it means nothing; the message shows what would.
pub fn parse(text: &str, now: &Zoned, latest: &Zoned) -> Result<Zoned, NoTime> {
    moment(text.trim(), now, latest).ok_or_else(|| NoTime(text.chars().take(64).collect()))
}

/// The latest start of a range that ends at `until`, for [`parse`]: `22:00` to `06:00` is one night, whatever the time is.
pub fn latest_start(until: Option<&Zoned>, now: &Zoned) -> Zoned {
    let before = until.and_then(|until| until.checked_sub(1.millisecond()).ok());
    before.filter(|latest| latest < now).unwrap_or_else(|| now.clone())
}

fn moment(text: &str, now: &Zoned, latest: &Zoned) -> Option<Zoned> {
    let zone = now.time_zone();
    match text {
        "now" => return Some(now.clone()),
        "today" => return now.date().to_zoned(zone.clone()).ok(),
        "yesterday" => return now.date().yesterday().ok()?.to_zoned(zone.clone()).ok(),
        _ => {}
    }
    if let Some(ago) = span(text.strip_prefix('-').unwrap_or(text)) {
        return now.checked_sub(ago).ok();
    }
    if let Some(timestamp) = epoch(text).or_else(|| text.parse().ok()) {
        return Some(timestamp.to_zoned(zone.clone()));
    }
    if let Ok(time) = text.parse::<civil::DateTime>() {
        return time.to_zoned(zone.clone()).ok();
    }
    latest_of(time_of_day(text)?, latest).ok()
}

/// `10:30`, `9:30`, `10:30:15`.
fn time_of_day(text: &str) -> Option<civil::Time> {
    let (hour, _) = text.split_once(':')?;
    if hour.len() == 1 { format!("0{text}").parse().ok() } else { text.parse().ok() }
}

/// The last moment up to `latest` at which clocks showed `time`.
fn latest_of(time: civil::Time, latest: &Zoned) -> Result<Zoned, jiff::Error> {
    let on = |date: civil::Date| date.to_datetime(time).to_zoned(latest.time_zone().clone());
    let same_day = on(latest.date())?;
    if same_day <= *latest { Ok(same_day) } else { on(latest.date().yesterday()?) }
}

/// `1h30m`: numbers each followed by w, d, h, m or s.
pub(super) fn span(text: &str) -> Option<SignedDuration> {
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
            'w' => 604_800,
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
fn epoch(text: &str) -> Option<Timestamp> {
    let number: i64 = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())??;
    match text.len() {
        9..=10 => Timestamp::from_second(number).ok(),
        12..=13 => Timestamp::from_millisecond(number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> String {
        let now: Zoned = "2026-11-22T14:00:30+08:00[Asia/Shanghai]".parse().unwrap();
        parse(text, &now, &now).unwrap().timestamp().to_string()
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
            ("1w", "2026-11-15T06:00:30Z"),
            ("-1w", "2026-11-15T06:00:30Z"),
            ("1w2d", "2026-11-13T06:00:30Z"),
            ("10:30", "2026-11-22T02:30:00Z"),
            ("9:30", "2026-11-22T01:30:00Z"),
            ("10:30:15", "2026-11-22T02:30:15Z"),
            ("14:00:30", "2026-11-22T06:00:30Z"),
            ("14:00:31", "2026-11-21T06:00:31Z"),
            ("23:59", "2026-11-21T15:59:00Z"),
            ("2026-11-22", "2026-11-21T16:00:00Z"),
            ("2026-11-22 10:00", "2026-11-22T02:00:00Z"),
            ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
            ("2026-11-22T10:00:00+01:00", "2026-11-22T09:00:00Z"),
            ("2026-11-22T10:00+08:00", "2026-11-22T02:00:00Z"),
            ("2026-11-22 10:00:00.250-03:30", "2026-11-22T13:30:00.25Z"),
            ("1621580400", "2021-05-21T07:00:00Z"),
            ("1621580400000", "2021-05-21T07:00:00Z"),
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        let now = Zoned::now();
        for bad in
            ["", "soon", "12", "-", "h", "w", ":30", "0010:30", "1x", "25:00", "99999999999999999999d", "2026-13-01"]
        {
            assert!(parse(bad, &now, &now).is_err(), "{bad}");
        }
        assert!(parse("soon", &now, &now).unwrap_err().to_string().contains("yesterday"));
    }
}
