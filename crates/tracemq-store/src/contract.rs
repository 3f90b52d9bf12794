//! The contract suite: every promise of [`EventStore`](crate::EventStore) as a test of its own, for every store.
//!
//! ```ignore
//! tracemq_store::contract_suite!(MyHarness::new());
//! ```
//!
//! in a test file makes them tests of the store that `MyHarness` opens. Feature `contract`; not for production code:
//! a broken promise panics.

mod concurrency;
mod gaps;
mod model;
mod orphans;
mod pages;
mod subjects;

use std::net::SocketAddr;
use std::sync::Arc;

use tracemq_model::{Action, ClientId, ConnectionId, Details, Event, InstanceId, Order, ProtocolVersion, Provenance};
use tracemq_model::{Reason, Subject, TimeMs, TimeRange, TracePage, TraceQuery, Traffic};

use crate::{Batch, EventStore};

pub use concurrency::*;
pub use gaps::*;
pub use model::*;
pub use orphans::*;
pub use pages::*;
pub use subjects::*;

/// Opens the store under test.
pub trait Harness {
    /// The first call gives an empty store that was never open. A later one gives what the process after would find;
    /// whoever calls has dropped what an earlier call gave.
    fn open(&self) -> Arc<dyn EventStore>;
}

/// Makes a test of each promise. `$harness` makes a [`Harness`] and is evaluated anew for each test.
#[macro_export]
macro_rules! contract_suite {
    ($harness:expr) => {
        $crate::contract_suite! { @each $harness;
            what_is_appended_is_visible_and_survives
            a_batch_keeps_every_field
            an_empty_batch_is_taken
            totals_are_exact_on_every_page
            the_two_orders_are_each_others_reverse
            borders_of_a_range_are_in_it
            late_events_are_sorted_into_place
            behind_the_last_page_there_are_no_rows_but_the_total
            offset_and_limit_do_not_overflow
            a_limit_above_the_maximum_is_refused
            the_extremes_of_time_are_times
            an_unknown_subject_has_no_history
            subjects_never_mix
            names_of_64_kb_are_names
            events_without_a_subject_are_taken
            gaps_are_returned_where_they_overlap
            gaps_are_capped_to_the_newest
            a_beginning_without_an_end_is_an_orphan
            the_later_beginning_is_the_orphan
            an_end_in_a_later_batch_ends_it
            an_end_that_arrives_first_ends_it
            a_closed_orphan_is_none_at_the_next_start
            the_last_sign_of_life_is_that_of_the_run_before
            stats_count_what_can_be_asked_for
            readers_see_whole_batches
        }

        #[test]
        fn answers_are_those_of_a_sorted_list() {
            $crate::contract::answers_are_those_of_a_sorted_list(|| $harness);
        }
    };
    (@each $harness:expr; $($promise:ident)+) => {
        $(
            #[test]
            fn $promise() {
                $crate::contract::$promise(&$harness);
            }
        )+
    };
}

/// The instance of most events here.
fn instance() -> InstanceId {
    instance_named("mqtt-local")
}

fn instance_named(name: &str) -> InstanceId {
    InstanceId::new(name).expect("a good name")
}

fn client(name: &str) -> Subject {
    Subject::Client(ClientId::new(name).expect("a good name"))
}

fn address(text: &str) -> Subject {
    Subject::Address(text.parse().expect("a good address"))
}

/// An event of `client` at `time`; `number` makes it unlike all others, in every field that there is.
fn event(client: &str, time: i64, number: u32) -> Event {
    let actions = [Action::Open, Action::Connect, Action::Disconnect, Action::Close];
    let provenances = [Provenance::Observed, Provenance::Reported, Provenance::Inferred];
    let at = |count: usize| usize::try_from(number).unwrap_or(0) % count;
    let address = if number.is_multiple_of(2) { "10.0.0.7" } else { "2001:db8::7" };
    Event {
        time: TimeMs(time),
        instance: instance(),
        connection: ConnectionId(u128::from(number) << 64 | 1),
        action: actions.into_iter().cycle().nth(at(4)).unwrap_or(Action::Open),
        reason: Reason::ALL.iter().copied().nth(at(Reason::ALL.len())).unwrap_or(Reason::Opened),
        provenance: provenances.into_iter().nth(at(3)).unwrap_or_default(),
        client: Some(ClientId::new(client).expect("a good name")),
        peer: Some(SocketAddr::new(address.parse().expect("a good address"), 1_024)),
        details: if number.is_multiple_of(3) { Details::default() } else { details(number) },
    }
}

fn details(number: u32) -> Details {
    let versions = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];
    Details {
        listener: Some("mqtt".into()),
        protocol: versions.into_iter().cycle().nth(usize::try_from(number).unwrap_or(0) % 3),
        username: Some(format!("user-{number}").into()),
        keep_alive_s: Some(u16::MAX),
        clean_start: Some(number.is_multiple_of(2)),
        session_present: Some(!number.is_multiple_of(2)),
        reason_code: Some(0x87),
        detail: Some("topic é中/#".into()),
        other_connection: Some(ConnectionId(u128::MAX - u128::from(number))),
        duration_ms: Some(u64::MAX),
        traffic: Some(Traffic {
            bytes_in: u64::MAX,
            bytes_out: u64::from(number),
            packets_in: 0,
            packets_out: 1,
            last_in_age_ms: None,
            last_out_age_ms: Some(u64::MAX),
        }),
    }
}

/// The beginning or end of connection `number`.
fn act(action: Action, number: u32, time: i64) -> Event {
    Event { action, connection: ConnectionId(u128::from(number)), ..event("device", time, 0) }
}

fn append(store: &dyn EventStore, events: &[Event]) {
    store.append(&Batch { events: events.to_vec(), gaps: Vec::new() }).expect("the store takes the batch");
}

/// All of `subject`, oldest first, up to the largest page.
fn query(subject: Subject) -> TraceQuery {
    TraceQuery {
        instance: instance(),
        subject,
        range: TimeRange::ALL,
        order: Order::OldestFirst,
        offset: 0,
        limit: TraceQuery::LIMIT_MAX,
    }
}

fn between(from: i64, to: i64) -> TimeRange {
    TimeRange { from: TimeMs(from), to: TimeMs(to) }
}

fn page(store: &dyn EventStore, query: &TraceQuery) -> TracePage {
    store.page(query).expect("the store answers")
}

fn rows(store: &dyn EventStore, subject: Subject) -> Vec<Event> {
    page(store, &query(subject)).events
}
