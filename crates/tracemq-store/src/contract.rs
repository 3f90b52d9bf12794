//! The contract suite: every promise of [`EventStore`](crate::EventStore) as a test of its own, for every store.
//!
//! ```ignore
//! tracemq_store::contract_suite!(MyHarness::new());
//! ```
//!
//! in a test file makes them tests of the store that `MyHarness` opens. Feature `contract`; not for production code:
//! a broken promise panics.

mod concurrency;
mod counts;
mod erasing;
mod gaps;
mod messages;
mod model;
mod names;
mod orphans;
mod pages;
mod scans;
mod sessions;
mod subjects;
mod tallies;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use tracemq_model::{
    Action, ClientId, ConnectionId, Count, Details, Event, Filter, InstanceId, Order, PacketKind, Pattern,
};
use tracemq_model::{MessageDetails, MessageId, TlsVersion, TracePage, TraceQuery, Traffic};
use tracemq_model::{ProtocolVersion, Provenance, Reason, SessionPage, Subject, SubjectPage, Tally, TimeMs, TimeRange};

use crate::{Batch, EventStore};

pub use concurrency::*;
pub use counts::*;
pub use erasing::*;
pub use gaps::*;
pub use messages::*;
pub use model::*;
pub use names::*;
pub use orphans::*;
pub use pages::*;
pub use scans::*;
pub use sessions::*;
pub use subjects::*;
pub use tallies::*;

/// Opens the store under test.
pub trait Harness {
    /// The first call gives an empty store that was never open. A later one gives what the process after would find;
    /// whoever calls has dropped what an earlier call gave.
    fn open(&self) -> Arc<dyn EventStore>;

    /// Has a store that works in the background do some of that now: `how` chooses what, by whatever rule the harness has.
    /// `store` is what was last opened. No answer may change by it.
    fn settle(&self, store: &dyn EventStore, how: u8) {
        let _ = (store, how);
    }
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
            of_too_many_gaps_the_oldest_are_told_as_one
            any_number_of_gaps_is_covered
            a_beginning_without_an_end_is_an_orphan
            the_later_beginning_is_the_orphan
            an_end_in_a_later_batch_ends_it
            an_end_that_arrives_first_ends_it
            an_end_ends_each_beginning
            a_closed_orphan_is_none_at_the_next_start
            orphans_can_be_closed_while_they_are_shown
            the_last_sign_of_life_is_that_of_the_run_before
            stats_count_what_is_on_record
            readers_see_whole_batches
            gaps_are_told_with_every_answer
            scans_go_by_time_then_subject_then_arrival
            a_filter_asks_by_every_field
            a_break_ends_a_scan
            a_scan_sees_the_store_as_it_was
            events_without_a_subject_are_scanned_and_counted
            instances_never_mix
            an_address_is_one_in_either_notation
            fleet_answers_see_whole_batches
            counts_fall_into_buckets
            counts_tell_actions_and_reasons_apart
            counts_are_of_what_the_filter_asks_for
            the_extremes_of_time_are_counted
            a_bucket_of_no_length_is_refused
            more_counts_than_the_maximum_are_refused
            a_tally_has_the_number_the_oldest_and_the_newest
            tallies_go_by_subject_and_end_at_a_break
            subjects_are_listed_once_and_in_order
            subjects_are_paged_through
            subjects_are_found_by_pattern
            a_limit_of_subjects_above_the_maximum_is_refused
            a_session_is_a_connections_events
            a_session_is_where_its_first_event_is
            parts_of_a_session_are_looked_for_within_reach
            sessions_are_paged_through
            the_current_state_tells_what_may_have_ended_in_a_gap
            the_current_state_is_that_of_the_newest_events
            a_message_is_a_subject
            messages_stand_behind_addresses_among_the_subjects
            message_events_neither_begin_nor_end_a_connection
            what_is_erased_is_in_no_answer
            what_arrives_after_an_erasure_is_kept
            an_erased_beginning_is_no_orphan
            an_erased_end_is_an_end
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
            last_in_kind: Some(PacketKind::PingReq),
            last_out_kind: Some(PacketKind::Publish),
            subscriptions: Some(number),
            in_flight: Some(u32::MAX),
            missed_keep_alives: Some(number),
        }),
        tls_version: Some(if number.is_multiple_of(2) { TlsVersion::V12 } else { TlsVersion::V13 }),
        server_name: Some("mqtt.example".into()),
        certificate_subject: Some(format!("CN=device-{number}").into()),
        certificate_issuer: Some("CN=fleet".into()),
        certificate_not_after: Some(TimeMs::MIN),
        count: Some(u64::MAX),
        message: None, // it would be whose the event is, where there is no client
    }
}

fn message_details(number: u32) -> MessageDetails {
    MessageDetails {
        id: MessageId(u128::MAX - u128::from(number)),
        topic: format!("telemetry/{number}/é").into(),
        qos: 2,
        payload_bytes: u64::MAX,
        client: number.is_multiple_of(4).then(|| "somebody".into()),
    }
}

/// What became of message `id` for `client`, at `time`: as it is kept under the client, and under the message.
fn message_rows(id: u128, client: &str, reason: Reason, time: i64) -> [Event; 2] {
    let details = MessageDetails { id: MessageId(id), topic: "a/b".into(), qos: 1, payload_bytes: 5, client: None };
    let details = Details { message: Some(Box::new(details)), ..Details::default() };
    let row = Event { action: Action::Message, reason, details, ..event(client, time, 0) };
    let under_it = row.under_its_message().expect("it is of a message");
    [row, under_it]
}

fn message(id: u128) -> Subject {
    Subject::Message(MessageId(id))
}

/// The beginning or end of connection `number`.
fn act(action: Action, number: u32, time: i64) -> Event {
    Event { action, connection: ConnectionId(u128::from(number)), ..event("device", time, 0) }
}

fn one_of<T: Copy>(all: &[T], number: u32) -> T {
    *all.iter().cycle().nth(usize::try_from(number).unwrap_or(0) % all.len()).expect("there is one")
}

fn append(store: &dyn EventStore, events: &[Event]) {
    store.append(&Batch { events: events.to_vec(), gaps: Vec::new() }).expect("the store takes the batch");
}

/// By connection.
fn orphans(store: &dyn EventStore) -> Vec<Event> {
    let mut found = Vec::new();
    store.orphans(&mut |beginning| found.push(beginning)).expect("the store answers");
    found.sort_by_key(|event| event.connection);
    found
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
    let page = store.page(query).expect("the store answers");
    // At once or not: it is the same page.
    if let Some(at_once) = store.page_at_once(query).expect("the store answers") {
        assert_eq!(at_once, page);
    }
    page
}

fn rows(store: &dyn EventStore, subject: Subject) -> Vec<Event> {
    page(store, &query(subject)).events
}

fn sessions(store: &dyn EventStore, query: &TraceQuery) -> SessionPage {
    store.sessions(query).expect("the store answers")
}

fn scan(store: &dyn EventStore, filter: &Filter, order: Order) -> Vec<Event> {
    let mut seen = Vec::new();
    let mut visit = |event: &Event| {
        seen.push(event.clone());
        ControlFlow::Continue(())
    };
    store.scan(filter, order, &mut visit).expect("the store answers");
    seen
}

fn counts(store: &dyn EventStore, filter: &Filter, bucket_ms: u64) -> Vec<Count> {
    store.counts(filter, bucket_ms).expect("the store answers").counts
}

fn tally(store: &dyn EventStore, filter: &Filter) -> Vec<Tally> {
    let mut seen = Vec::new();
    let mut visit = |tally: &Tally| {
        seen.push(tally.clone());
        ControlFlow::Continue(())
    };
    store.tally(filter, &mut visit).expect("the store answers");
    seen
}

fn subjects(
    store: &dyn EventStore,
    instance: &InstanceId,
    pattern: &Pattern,
    after: Option<&Subject>,
    limit: usize,
) -> SubjectPage {
    store.subjects(instance, pattern, after, limit).expect("the store answers")
}
