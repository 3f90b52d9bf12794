//! The one form in which signed requests say when: `2026-11-22T08:17:52Z`.

use tracemq_model::TimeMs;

/// Reads `yyyy-MM-ddTHH:mm:ssZ`; none for anything else: other zones, fractions, leap seconds, days that no month has.
pub fn parse_timestamp(text: &str) -> Option<TimeMs> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2, b'Z'] = bytes else {
        return None;
    };
    let year = number(&[*y1, *y2, *y3, *y4])?;
    let (month, day) = (number(&[*m1, *m2])?, number(&[*d1, *d2])?);
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*n1, *n2])?, number(&[*s1, *s2])?);
    if day < 1 || day > days_in(year, month)? || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years are counted from March, so that the leap day is a year's last (Howard Hinnant, days_from_civil).
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468;
    Some(TimeMs((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

fn days_in(year: i64, month: i64) -> Option<i64> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => Some(29),
        2 => Some(28),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_right() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-22T08:17:52Z", 1_795_335_472_000),
            ("2016-02-29T23:59:59Z", 1_456_790_399_000),
            ("2000-03-01T00:00:00Z", 951_868_800_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ] {
            assert_eq!(parse_timestamp(text), Some(TimeMs(expected)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "2026-11-22T08:17:52",
            "2026-11-22T08:17:52z",
            "2026-11-22t08:17:52Z",
            "2026-11-22 08:17:52Z",
            "2026-11-22T08:17:60Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T08:60:00Z",
            "2026-13-22T08:17:52Z",
            "2026-00-22T08:17:52Z",
            "2026-11-31T08:17:52Z",
            "2026-11-00T08:17:52Z",
            "2025-02-29T08:17:52Z",
            "1900-02-29T08:17:52Z",
            "10000-01-01T00:00:00Z",
            "-001-01-01T00:00:00Z",
            "2026-11-22T08:17:52+00:00",
            "2026-11-22T08:17:52.000Z",
            "+026-11-22T08:17:52Z",
            "２026-11-22T08:17Z",
            "None",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}
