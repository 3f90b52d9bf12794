//! What is asked, out of a query string; and the store's answer to it.

use jiff::Timestamp;
use tracemq_access::params::Params;
use tracemq_model::{Gap, InstanceId, Order, Subject, TimeMs, TimeRange, TraceQuery};
use tracemq_store::{EventStore, StoreError};

use crate::gaps::merged;

use super::cursor::Cursor;
use super::row::{EventRow, GapRow};
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
    let moment = |name, default| match params.get(name) {
        None => Ok(default),
        Some(text) => read_moment(text, now).ok_or_else(|| {
            Problem::field(name, &"must be a time such as 2026-11-22T08:00:00Z, 1795334400000 or 2h (s, m, h, d, w)")
        }),
    };
    let range = TimeRange { from: moment("since", TimeMs::MIN)?, to: moment("until", TimeMs::MAX)? };
    if range.from > range.to {
        return Err(Problem::field("since", &"is after `until`"));
    }
    Ok(range)
}

/// RFC 3339, milliseconds since 1970, or a span back from `now` (`2h`, also written `-2h`).
fn read_moment(text: &str, now: TimeMs) -> Option<TimeMs> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits(text.strip_prefix('-').unwrap_or(text)) {
        return text.parse().ok().map(TimeMs);
    }
    let span = text.strip_prefix('-').unwrap_or(text);
    if span.ends_with(|unit: char| unit.is_ascii_lowercase()) {
        let unit_at = span.len().checked_sub(1)?;
        let (number, unit) = span.split_at_checked(unit_at)?;
        let unit_ms: i64 = match unit {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        let number: i64 = digits(number).then(|| number.parse().ok())??;
        return Some(now.plus(number.checked_mul(unit_ms)?.checked_neg()?));
    }
    // A `+` that stands for itself in a query string arrives as a space: `...T08:00:00 01:00`.
    let time = text.parse::<Timestamp>().or_else(|_| text.replace(' ', "+").parse());
    time.ok().map(|time| TimeMs(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_in_three_spellings() {
        let now = TimeMs(1_795_334_400_000);
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
            ("yesterday", None),
            ("2026-11-22", None),
        ] {
            assert_eq!(read_moment(text, now), expected.map(TimeMs), "{text}");
        }
    }
}
