//! What is asked, out of a query string; and the store's answer to it.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use tracemq_access::params::Params;
use tracemq_model::{Gap, InstanceId, Order, Subject, TimeMs, TimeRange, TraceQuery};
use tracemq_store::{EventStore, StoreError};

use crate::gaps::merged;

use super::cursor::Cursor;
use super::row::{EventRow, GapRow};
use super::time_words;
use super::{EventsPage, Problem};

const NAMES: [&str; 6] = ["since", "until", "order", "limit", "cursor", "instance"];
const LIMIT_DEFAULT: usize = 100;

/// The parameters of a query string: each known, none twice.
pub(super) fn read_parameters(query: &str) -> Result<Params, Problem> {
    read_named(query, &NAMES)
}

/// The same with other names.
pub(super) fn read_named(query: &str, names: &[&str]) -> Result<Params, Problem> {
    let parsed = Params::parse(query.as_bytes()).and_then(|params| Params::joined(&params, &Params::default()));
    let params = parsed.map_err(|error| Problem::field("query", &format_args!("can't be read: {error}")))?;
    if let Some((unknown, _)) = params.iter().find(|(name, _)| !names.contains(name)) {
        let unknown: String = unknown.chars().take(64).collect();
        return Err(Problem::field(&unknown, &"is not a parameter of this call"));
    }
    Ok(params)
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    instance: InstanceId,
    subject: Subject,
    range: TimeRange,
    order: Order,
    limit: usize,
    cursor: Option<Cursor>,
}

impl Question {
    pub(super) fn read(params: &Params, instance: InstanceId, subject: Subject, now: TimeMs) -> Result<Self, Problem> {
        let limit = read_limit(params.get("limit"))?;
        let (range, order) = (read_range(params, now)?, read_order(params.get("order"))?);
        let cursor = params.get("cursor").map(|text| {
            let cursor = Cursor::read(text, &instance, &subject);
            cursor.ok_or_else(|| Problem::field("cursor", &"is not one of this subject's pages"))
        });
        let cursor = cursor.transpose()?;
        // Later pages are of what the first one was asked for: `-2h` has moved on since.
        let (range, order) = cursor.as_ref().map_or((range, order), |cursor| (cursor.range, cursor.order));
        Ok(Self { instance, subject, range, order, limit, cursor })
    }

    /// The page, with gaps from the store and from the `unstored`, which were asked for before.
    pub(super) fn answer(&self, store: &dyn EventStore, unstored: &[Gap]) -> Result<EventsPage, StoreError> {
        let (range, offset) = match &self.cursor {
            Some(cursor) => cursor.resume(|range| self.count(store, range))?,
            None => (self.range, 0),
        };
        let found = store.page(&self.query(range, offset, self.limit))?;
        let (total, gaps) = if self.cursor.is_some() {
            let whole = store.page(&self.query(self.range, 0, 1))?;
            (whole.total, whole.gaps)
        } else {
            (found.total, found.gaps)
        };
        let ends_here = offset.saturating_add(found.events.len() as u64) >= found.total;
        let next = if ends_here { None } else { self.next(store, &found.events)? };
        Ok(EventsPage {
            items: found.events.iter().map(EventRow::of).collect(),
            total,
            gaps: merged(gaps, unstored, self.range).into_iter().map(GapRow::of).collect(),
            next_cursor: next,
        })
    }

    fn next(&self, store: &dyn EventStore, events: &[tracemq_model::Event]) -> Result<Option<String>, StoreError> {
        let Some(at) = events.last().map(|event| event.time) else { return Ok(None) };
        let here = events.iter().rev().take_while(|event| event.time == at).count() as u64;
        let before = match &self.cursor {
            Some(cursor) if cursor.at == at && here == events.len() as u64 => {
                cursor.resume(|range| self.count(store, range))?.1
            }
            Some(_) | None => 0,
        };
        let passed = before + here;
        let mark = match self.order {
            Order::OldestFirst => passed,
            Order::NewestFirst => self.count(store, TimeRange { from: at, to: at })?.saturating_sub(passed),
        };
        let cursor = Cursor { order: self.order, range: self.range, at, mark };
        Ok(Some(cursor.write(&self.instance, &self.subject)))
    }

    fn count(&self, store: &dyn EventStore, range: TimeRange) -> Result<u64, StoreError> {
        store.page(&self.query(range, 0, 1)).map(|page| page.total)
    }

    fn query(&self, range: TimeRange, offset: u64, limit: usize) -> TraceQuery {
        let (instance, subject) = (self.instance.clone(), self.subject.clone());
        TraceQuery { instance, subject, range, order: self.order, offset, limit }
    }
}

pub(super) fn read_limit(text: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(LIMIT_DEFAULT) };
    let digits = text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(limit) if digits && (1..=TraceQuery::LIMIT_MAX).contains(&limit) => Ok(limit),
        Ok(_) | Err(_) => Err(Problem::field("limit", &"must be a number from 1 to 1000")),
    }
}

fn read_order(text: Option<&str>) -> Result<Order, Problem> {
    match text {
        None | Some("desc") => Ok(Order::NewestFirst),
        Some("asc") => Ok(Order::OldestFirst),
        Some(_) => Err(Problem::field("order", &"must be asc or desc")),
    }
}

fn read_range(params: &Params, now: TimeMs) -> Result<TimeRange, Problem> {
    let now = Timestamp::from_millisecond(now.0).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC);
    let moment = |name, default, latest: &Zoned| match params.get(name) {
        None => Ok(default),
        Some(text) => read_moment(text, &now, latest).ok_or_else(|| {
            let forms = "2026-11-22T08:00:00Z, 1795334400000, 2h, yesterday or 10:30, in UTC unless it names an offset";
            Problem::field(name, &format_args!("must be a time such as {forms}"))
        }),
    };
    let to = moment("until", TimeMs::MAX, &now)?;
    let until = Timestamp::from_millisecond(to.0).ok().map(|until| until.to_zoned(TimeZone::UTC));
    let from = moment("since", TimeMs::MIN, &time_words::latest_start(until.as_ref(), &now))?;
    if from > to {
        return Err(Problem::field("since", &"is after `until`"));
    }
    Ok(TimeRange { from, to })
}

/// Milliseconds since 1970, however many digits they have, or a time in words.
fn read_moment(text: &str, now: &Zoned, latest: &Zoned) -> Option<TimeMs> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(TimeMs);
    }
    // A `+` that stands for itself in a query string arrives as a space: `...T08:00:00 01:00`.
    let time =
        time_words::parse(text, now, latest).or_else(|_| time_words::parse(&text.replace(' ', "+"), now, latest));
    time.ok().map(|time| TimeMs(time.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_in_many_spellings() {
        let now = TimeMs(1_795_334_400_000);
        let zoned = Timestamp::from_millisecond(now.0).unwrap().to_zoned(TimeZone::UTC);
        for (text, expected) in [
            ("0", Some(0)),
            ("-5", Some(-5)),
            ("1795334400000", Some(1_795_334_400_000)),
            ("-2h", Some(1_795_327_200_000)),
            ("-30m", Some(1_795_332_600_000)),
            ("-7d", Some(1_794_729_600_000)),
            ("-1w", Some(1_794_729_600_000)),
            ("-0s", Some(1_795_334_400_000)),
            ("2026-11-22T08:00:00Z", Some(1_795_334_400_000)),
            ("2026-11-22T16:00:00.001+08:00", Some(1_795_334_400_001)),
            ("", None),
            ("-", None),
            ("-h", None),
            ("2h", Some(1_795_327_200_000)),
            ("2026-11-22T16:00:00 08:00", Some(1_795_334_400_000)),
            ("h", None),
            ("-2x", None),
            ("-2é", None),
            ("--2h", None),
            ("99999999999999999999", None),
            ("-99999999999999999999h", None),
            ("-9223372036854775807w", None),
            ("1h30m", Some(1_795_329_000_000)),
            ("now", Some(1_795_334_400_000)),
            ("yesterday", Some(1_795_219_200_000)),
            ("2026-11-22", Some(1_795_305_600_000)),
            ("07:30", Some(1_795_332_600_000)),
            ("someday", None),
        ] {
            assert_eq!(read_moment(text, &zoned, &zoned), expected.map(TimeMs), "{text}");
        }
    }

    #[test]
    fn a_night_begins_before_it_ends() {
        let now = TimeMs(1_795_334_400_000); // 08:00
        let params = Params::parse(b"since=22:00&until=06:00").unwrap();
        let range = read_range(&params, now).unwrap();
        assert_eq!(range, TimeRange { from: TimeMs(1_795_298_400_000), to: TimeMs(1_795_327_200_000) });
    }
}
