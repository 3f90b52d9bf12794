//! A moment as people read it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Tells moments in one zone.
pub(super) struct Clock {
    zone: TimeZone,
    /// What follows each moment, where its zone would be in doubt.
    mark: &'static str,
}

impl Clock {
    /// The clock of a table: local time, or what `--utc` asked for.
    pub(super) fn of_table(zone: TimeZone) -> Self {
        Self { zone, mark: "" }
    }

    /// The clock of what is said beside JSON, whose times are UTC too: marked, for whoever reads it thinks in local
    /// time.
    pub(super) fn of_json() -> Self {
        Self { zone: TimeZone::UTC, mark: "Z" }
    }

    /// The moment `ms` after 1970.
    pub(super) fn tell(&self, ms: i64) -> String {
        match Timestamp::from_millisecond(ms) {
            Ok(time) => format!("{}{}", time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f"), self.mark),
            Err(_) => format!("{ms} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_milliseconds() {
        assert_eq!(Clock::of_table(TimeZone::UTC).tell(1_621_580_400_844), "2021-05-21 07:00:00.844");
        assert_eq!(Clock::of_json().tell(1_621_580_400_844), "2021-05-21 07:00:00.844Z");
    }

    #[test]
    fn times_outside_the_calendar_are_still_told() {
        assert_eq!(Clock::of_json().tell(i64::MAX), format!("{} ms", i64::MAX));
    }
}
