//! What can happen to a store, and what it can be asked.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::{Just, Strategy};
use proptest::prop_oneof;
use proptest::sample::select;
use tracemq_model::{Action, Filter, InstanceId, Order, Pattern, Reason, Subject, TimeMs, TimeRange, TraceQuery};

use super::super::{address, client, instance, instance_named};

/// Who has events: client, if any, and peer, if any.
pub(super) const WHO: [(Option<&str>, Option<&str>); 11] = [
    (Some("a"), Some("10.0.0.7:1")),
    (Some("A"), None),
    (Some("ab"), Some("[2001:db8::7]:2")),
    (Some("ab/c"), Some("[::ffff:10.0.0.7]:3")),
    (Some("é中\u{1F980}"), Some("9.0.0.1:4")),
    (None, Some("10.0.0.7:5")),
    (None, Some("[::ffff:10.0.0.7]:6")),
    (None, Some("[2001:db8::7]:7")),
    (None, Some("9.0.0.1:8")),
    (None, Some("[::1]:9")),
    (None, None),
];
const ADDRESSES: [&str; 6] = ["10.0.0.7", "::ffff:10.0.0.7", "2001:db8::7", "9.0.0.1", "::1", "::"];
pub(super) const ENDS: [Reason; 3] = [Reason::KeepAliveTimeout, Reason::ClientDisconnected, Reason::BadCredentials];

/// An event to be.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) instance: InstanceId,
    pub(super) who: usize,
    pub(super) time: TimeMs,
    pub(super) action: Action,
    /// Few, so that connections have several events.
    pub(super) connection: u8,
    pub(super) listener: Option<&'static str>,
    pub(super) username: Option<&'static str>,
    pub(super) end: Reason,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Append(Vec<Row>),
    Page(TraceQuery),
    Scan { filter: Filter, order: Order, stop_after: Option<usize> },
    Counts { filter: Filter, bucket_ms: u64 },
    Tally { filter: Filter, stop_after: Option<usize> },
    Names(Names),
    Sessions(TraceQuery),
    State { instance: InstanceId, subject: Subject },
    Erase { instance: InstanceId, subject: Subject },
    Settle(u8),
    Reopen,
}

/// A question for subjects.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) instance: InstanceId,
    pub(super) pattern: Pattern,
    pub(super) after: Option<Subject>,
    pub(super) limit: usize,
}

pub(super) fn any_instance() -> impl Strategy<Value = InstanceId> {
    prop_oneof![5 => Just(instance()), 1 => Just(instance_named("mqtt-locale"))]
}

/// Close together, around the borders of minutes, spread over hours, and anything.
fn time() -> impl Strategy<Value = TimeMs> {
    let borders = (-5..300_i64, -1..=1_i64).prop_map(|(minute, off)| minute * 60_000 + off);
    let extremes = prop_oneof![Just(i64::MIN), Just(i64::MAX), proptest::prelude::any::<i64>()];
    prop_oneof![8 => 0..6_i64, 6 => borders, 4 => 0..20_000_000_i64, 1 => extremes].prop_map(TimeMs)
}

fn range() -> impl Strategy<Value = TimeRange> {
    let range = |(one, other)| TimeRange { from: one, to: other };
    let right_way_round = |(one, other): (TimeMs, TimeMs)| TimeRange { from: one.min(other), to: one.max(other) };
    prop_oneof![
        3 => Just(TimeRange::ALL),
        6 => (time(), time()).prop_map(right_way_round),
        1 => (time(), time()).prop_map(range),
    ]
}

fn order() -> impl Strategy<Value = Order> {
    select(vec![Order::OldestFirst, Order::NewestFirst])
}

fn subject() -> impl Strategy<Value = Subject> {
    let names: Vec<&str> = WHO.iter().filter_map(|(name, _)| *name).chain(["zz"]).collect();
    prop_oneof![3 => select(names).prop_map(client), 2 => select(ADDRESSES.to_vec()).prop_map(address)]
}

fn listener() -> impl Strategy<Value = Option<&'static str>> {
    select(vec![None, Some("mqtt"), Some("mqtts")])
}

fn username() -> impl Strategy<Value = Option<&'static str>> {
    select(vec![None, Some("u"), Some("U"), Some("")])
}

fn row() -> impl Strategy<Value = Row> {
    let actions = vec![Action::Open, Action::Connect, Action::Disconnect, Action::Close];
    let what = (select(actions), 0..40_u8, select(ENDS.to_vec()));
    (any_instance(), 0..WHO.len(), time(), what, listener(), username()).prop_map(
        |(instance, who, time, (action, connection, end), listener, username)| Row {
            instance,
            who,
            time,
            action,
            connection,
            listener,
            username,
            end,
        },
    )
}

fn query() -> impl Strategy<Value = TraceQuery> {
    let offset = prop_oneof![5 => Just(0), 9 => 0..40_u64, 1 => proptest::prelude::any::<u64>()];
    (any_instance(), subject(), range(), order(), offset, 0..30_usize).prop_map(
        |(instance, subject, range, order, offset, limit)| TraceQuery {
            instance,
            subject,
            range,
            order,
            offset,
            limit,
        },
    )
}

fn filter() -> impl Strategy<Value = Filter> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let actions = vec![Action::Open, Action::Connect, Action::Disconnect, Action::Close];
    let reasons: Vec<Reason> = ENDS.into_iter().chain([Reason::Opened, Reason::Accepted, Reason::Kicked]).collect();
    let address = select(ADDRESSES.to_vec()).prop_map(|text| text.parse::<IpAddr>().expect("a good address"));
    let kinds = (vec(select(actions), 0..3), vec(select(reasons), 0..3));
    let details = (weighted(0.2, address), username().prop_map(owned), listener().prop_map(owned));
    let by_kind = (any_instance(), range(), kinds)
        .prop_map(|(instance, range, (actions, reasons))| Filter { actions, reasons, ..Filter::all(instance, range) })
        .boxed();
    let by_all = (by_kind.clone(), weighted(0.4, subject()), details).prop_map(
        |(filter, subject, (address, username, listener))| Filter { subject, address, username, listener, ..filter },
    );
    prop_oneof![by_kind, by_all]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let text = select(vec!["", "a", "A", "ab", "b/", "0.0", "10.", "é", "中", "\u{1F980}", "zz", "2001:", "::1"]);
    let glob = select(vec!["*", "?", "a*", "*b*", "a?", "?b/*", "*.*.*.?", "*::*", "é*", "??\u{1F980}", "", "a", "*7"]);
    let fuzzy = select(vec!["", "AB", "axc", "abcd", "10.1.0.7", "2002:db8", "9.0.1", "é中x"]);
    prop_oneof![
        2 => Just(Pattern::All),
        2 => text.clone().prop_map(|text| Pattern::Prefix(text.to_owned())),
        2 => text.prop_map(|text| Pattern::Substring(text.to_owned())),
        2 => glob.prop_map(|text| Pattern::Glob(text.to_owned())),
        2 => fuzzy.prop_map(|text| Pattern::Fuzzy(text.to_owned())),
    ]
}

fn names() -> impl Strategy<Value = Names> {
    (any_instance(), pattern(), weighted(0.4, subject()), 0..12_usize)
        .prop_map(|(instance, pattern, after, limit)| Names { instance, pattern, after, limit })
}

pub(super) fn any() -> impl Strategy<Value = Step> {
    let stop_after = || weighted(0.2, 1..10_usize);
    let buckets = [1, 7, 1_000, 60_000, 120_000, 3_600_000, 86_400_000, 1 << 62, 1 << 63, u64::MAX];
    let of_one = || (any_instance(), subject());
    prop_oneof![
        10 => vec(row(), 0..20).prop_map(Step::Append),
        4 => query().prop_map(Step::Page),
        4 => (filter(), order(), stop_after()).prop_map(|(filter, order, stop_after)| {
            Step::Scan { filter, order, stop_after }
        }),
        4 => (filter(), select(buckets.to_vec())).prop_map(|(filter, bucket_ms)| Step::Counts { filter, bucket_ms }),
        4 => (filter(), stop_after()).prop_map(|(filter, stop_after)| Step::Tally { filter, stop_after }),
        4 => names().prop_map(Step::Names),
        // No session at a time leads nowhere.
        4 => (query(), 1..8_usize).prop_map(|(query, limit)| Step::Sessions(TraceQuery { limit, ..query })),
        2 => of_one().prop_map(|(instance, subject)| Step::State { instance, subject }),
        2 => of_one().prop_map(|(instance, subject)| Step::Erase { instance, subject }),
        4 => proptest::prelude::any::<u8>().prop_map(Step::Settle),
        2 => Just(Step::Reopen),
    ]
}
