//! Parameters that several calls take, and what they mean. The documents of the API are made of these structs; a call takes
//! the parameters that its structs name, and no others.

use std::net::IpAddr;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Deserialize;
use tracemq_model::{Action, Filter, InstanceId, Order, Reason, Subject, TimeMs, TimeRange, TraceQuery};
use utoipa::IntoParams;

use super::{Problem, time_words};

const LIMIT_DEFAULT: usize = 100;
const DAY_MS: i64 = 86_400_000;

/// Which time is asked about.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RangeParameters {
    /// From when on, included: RFC 3339, milliseconds since 1970, a span back from now (`2h`, `-7d`), or words (`yesterday`,
    /// `10:30`), in UTC unless it names an offset. All of time without it.
    #[param(example = "2h")]
    since: Option<String>,
    /// Until when, included; written as `since`.
    #[param(example = "now")]
    until: Option<String>,
}

/// Which time is asked about, where all of it would be too much.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WindowParameters {
    /// From when on, included: RFC 3339, milliseconds since 1970, a span back from now (`2h`, `-7d`), or words (`yesterday`,
    /// `10:30`), in UTC unless it names an offset. A day before the end without it.
    #[param(example = "2h")]
    since: Option<String>,
    /// Until when, included; written as `since`. Now without it.
    #[param(example = "now")]
    until: Option<String>,
}

/// In which order.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OrderParameter {
    /// `desc`: newest first; `asc`: oldest first.
    #[param(value_type = Option<OrderWord>, default = "desc")]
    order: Option<String>,
}

/// An order.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the document alone")]
pub(super) enum OrderWord {
    Desc,
    Asc,
}

/// How much at once.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LimitParameter {
    /// How many items a page has at most.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<String>,
}

/// Where the page before ended.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CursorParameter {
    /// `next_cursor` of the page before. It carries that page's range and order. Stays valid while events are added.
    pub(super) cursor: Option<String>,
}

/// Which page, for those who count them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParameter {
    /// The number of the page, from 1 on: another way than `cursor`, for histories without a filter. What comes in meanwhile
    /// moves what stands where; past the end a page is empty.
    #[param(value_type = Option<u64>, minimum = 1)]
    page: Option<String>,
}

/// Which events. Each holds for itself; of a list one has to fit.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FilterParameters {
    /// Actions, with commas between them: `open`, `connect`, `disconnect`, `close`.
    #[param(example = "close,disconnect")]
    action: Option<String>,
    /// Codes of reasons, with commas between them.
    #[param(example = "client-closed,connection-reset")]
    reason: Option<String>,
    /// The peer's address.
    #[param(example = "192.0.2.7")]
    address: Option<String>,
    /// Exactly this user name.
    username: Option<String>,
    /// The name of the listener.
    listener: Option<String>,
}

impl RangeParameters {
    /// For a call that words its own parameters.
    pub(super) fn of(since: Option<String>, until: Option<String>) -> Self {
        Self { since, until }
    }

    pub(super) fn read(&self, now: TimeMs) -> Result<TimeRange, Problem> {
        let now = Timestamp::from_millisecond(now.0).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC);
        let moment = |name, sent: &Option<String>, default, latest: &Zoned| match sent {
            None => Ok(default),
            Some(text) => read_moment(text, &now, latest).ok_or_else(|| {
                let forms =
                    "2026-11-22T08:00:00Z, 1795334400000, 2h, yesterday or 10:30, in UTC unless it names an offset";
                Problem::field(name, &format_args!("must be a time such as {forms}"))
            }),
        };
        let to = moment("until", &self.until, TimeMs::MAX, &now)?;
        let until = Timestamp::from_millisecond(to.0).ok().map(|until| until.to_zoned(TimeZone::UTC));
        let latest = time_words::latest_start(until.as_ref(), &now);
        let from = moment("since", &self.since, TimeMs::MIN, &latest)?;
        if from > to {
            return Err(Problem::field("since", &"is after `until`"));
        }
        Ok(TimeRange { from, to })
    }
}

impl WindowParameters {
    pub(super) fn read(self, now: TimeMs) -> Result<TimeRange, Problem> {
        let Self { since, until } = self;
        let is_open = since.is_none();
        let until = until.or_else(|| Some("now".to_owned()));
        let range = RangeParameters { since, until }.read(now)?;
        Ok(if is_open { TimeRange { from: range.to.plus(-DAY_MS), ..range } } else { range })
    }
}

impl OrderParameter {
    pub(super) fn read(&self) -> Result<Order, Problem> {
        match self.order.as_deref() {
            None | Some("desc") => Ok(Order::NewestFirst),
            Some("asc") => Ok(Order::OldestFirst),
            Some(_) => Err(Problem::field("order", &"must be asc or desc")),
        }
    }
}

impl LimitParameter {
    pub(super) fn read(&self) -> Result<usize, Problem> {
        let Some(text) = self.limit.as_deref() else { return Ok(LIMIT_DEFAULT) };
        let digits = text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(limit) if digits && (1..=TraceQuery::LIMIT_MAX).contains(&limit) => Ok(limit),
            Ok(_) | Err(_) => Err(Problem::field("limit", &"must be a number from 1 to 1000")),
        }
    }
}

impl PageParameter {
    pub(super) fn read(&self) -> Result<Option<u64>, Problem> {
        let Some(text) = self.page.as_deref() else { return Ok(None) };
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            // More than that no document can say.
            Ok(page) if digits && page > 0 && i64::try_from(page).is_ok() => Ok(Some(page)),
            Ok(_) | Err(_) => Err(Problem::field("page", &"must be a number from 1 on")),
        }
    }
}

impl FilterParameters {
    pub(super) fn read(
        self,
        instance: InstanceId,
        range: TimeRange,
        subject: Option<Subject>,
    ) -> Result<Filter, Problem> {
        let Self { action, reason, address, username, listener } = self;
        let is_action = |action: &Action, word: &str| action.code() == word;
        let address = address.map(|text| text.parse::<IpAddr>());
        Ok(Filter {
            instance,
            range,
            subject,
            actions: list("action", action.as_deref(), &Action::OF_CONNECTIONS, is_action)?,
            reasons: reasons(reason.as_deref(), Reason::ALL)?,
            address: address.transpose().map_err(|_| Problem::field("address", &"is not an IP address"))?,
            username,
            listener,
        })
    }
}

/// The reasons that `text` names, each one of `all`.
pub(super) fn reasons(text: Option<&str>, all: &[Reason]) -> Result<Vec<Reason>, Problem> {
    list("reason", text, all, |reason, word| reason.code() == word)
}

/// The words of a list with commas between them, each one of `all`.
fn list<T: Copy>(field: &str, text: Option<&str>, all: &[T], is: impl Fn(&T, &str) -> bool) -> Result<Vec<T>, Problem> {
    let words = text.into_iter().flat_map(|text| text.split(','));
    let one = |word: &str| {
        all.iter().copied().find(|known| is(known, word)).ok_or_else(|| {
            let word: String = word.chars().take(64).collect();
            Problem::field(field, &format_args!("does not know `{word}`"))
        })
    };
    words.map(one).collect()
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
        let range = RangeParameters { since: Some("22:00".into()), until: Some("06:00".into()) };
        let range = range.read(now).unwrap();
        assert_eq!(range, TimeRange { from: TimeMs(1_795_298_400_000), to: TimeMs(1_795_327_200_000) });
    }
}
