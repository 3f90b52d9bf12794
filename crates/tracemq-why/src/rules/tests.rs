//! A rule, a short history, what it is to say. Histories in numbers are simulated in `tests/simulated`.

use std::net::SocketAddr;

use proptest::prelude::*;
use tracemq_model::{
    Action, ClientId, ConnectionId, Details, Event, Gap, GapCause, InstanceId, PacketKind, Provenance, Reason, TimeMs,
    Traffic,
};

use crate::{Around, Case, Cause, Confidence, Fact, Judgement, Surroundings, judge};

const HERE: &str = "192.0.2.7:4000";
const THERE: &str = "198.51.100.9:4000";
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// Times are in seconds.
#[derive(Default)]
struct Story {
    events: Vec<Event>,
    gaps: Vec<Gap>,
    surroundings: Surroundings,
    now: i64,
}

struct End {
    at: i64,
    reason: Reason,
    silent: i64,
    kind: Option<PacketKind>,
}

fn end(at: i64, reason: Reason) -> End {
    End { at, reason, silent: 1, kind: None }
}

impl Story {
    fn event(id: u128, at: i64, action: Action, reason: Reason, peer: &str) -> Event {
        Event {
            time: TimeMs(at * 1_000),
            instance: InstanceId::new("i").unwrap(),
            connection: ConnectionId(id),
            action,
            reason,
            provenance: Provenance::Observed,
            client: Some(ClientId::new("device").unwrap()),
            peer: Some(peer.parse::<SocketAddr>().unwrap()),
            details: Details { keep_alive_s: Some(60), username: Some("u".into()), ..Details::default() },
        }
    }

    /// A whole connection, from `peer`.
    fn connection(&mut self, from: i64, end: &End, peer: &str) -> &mut Self {
        let id = self.events.len() as u128 + 1;
        self.events.push(Self::event(id, from, Action::Connect, Reason::Accepted, peer));
        let action = if end.reason == Reason::ClientDisconnected { Action::Disconnect } else { Action::Close };
        let mut event = Self::event(id, end.at, action, end.reason, peer);
        event.details.duration_ms = Some(u64::try_from((end.at - from) * 1_000).unwrap());
        event.details.traffic = Some(Traffic {
            packets_in: 9,
            last_in_age_ms: Some(u64::try_from(end.silent * 1_000).unwrap()),
            last_in_kind: end.kind,
            subscriptions: Some(1),
            ..Traffic::default()
        });
        self.events.push(event);
        self.now = self.now.max(end.at);
        self
    }

    fn open(&mut self, from: i64) -> &mut Self {
        let id = self.events.len() as u128 + 1;
        self.events.push(Self::event(id, from, Action::Connect, Reason::Accepted, HERE));
        self
    }

    fn refused(&mut self, at: i64, reason: Reason) -> &mut Self {
        let id = self.events.len() as u128 + 1;
        let mut event = Self::event(id, at, Action::Close, reason, HERE);
        event.details.duration_ms = Some(20);
        self.events.push(event);
        self.now = self.now.max(at);
        self
    }

    fn each(&mut self, change: impl Fn(&mut Event)) -> &mut Self {
        self.events.iter_mut().for_each(change);
        self
    }

    fn judged(&mut self) -> Judgement {
        self.events.sort_by_key(|event| event.time);
        let now = TimeMs(self.now * 1_000);
        judge(&Case { events: &self.events, gaps: &self.gaps, surroundings: &self.surroundings, now })
    }

    fn says(&mut self) -> (Cause, Confidence) {
        let verdict = self.judged().verdict;
        (verdict.cause, verdict.confidence)
    }
}

/// `count` take-overs, each by the other of `peers`, `each` seconds apart.
fn take_overs(count: i64, each: i64, peers: [&str; 2], silent: i64) -> Story {
    let mut story = Story::default();
    for turn in 0..count {
        let from = turn * each;
        let taken = End { silent, ..end(from + each, Reason::SessionTakenOver) };
        story.connection(from, &taken, peers[usize::try_from(turn % 2).unwrap()]);
    }
    story.open(count * each);
    story
}

#[test]
fn two_addresses_that_put_each_other_out_are_two_devices() {
    let judgement = take_overs(7, 20, [HERE, THERE], 1).judged();
    let verdict = judgement.verdict;
    assert_eq!((verdict.cause, verdict.confidence), (Cause::TwoDevicesOneId, Confidence::Certain));
    assert_eq!(verdict.facts["address_1"], Fact::Text("192.0.2.7".into()));
    assert!(verdict.sentence.contains("back after 20 s"), "{}", verdict.sentence);
    assert!(verdict.ruled_out.iter().any(|one| one.cause == Cause::OwnTakeover));
    assert!(!verdict.evidence.is_empty() && verdict.since == Some(TimeMs(20_000)));
}

#[test]
fn two_certificates_that_alternate_are_two_devices_however_slowly() {
    let mut story = take_overs(8, 500, [HERE, HERE], 1);
    story.each(|event| {
        let name = if (event.connection.0 / 2).is_multiple_of(2) { "CN=one" } else { "CN=two" };
        event.details.certificate_subject = Some(name.into());
    });
    assert_eq!(story.says(), (Cause::TwoDevicesOneId, Confidence::Certain));
}

#[test]
fn two_copies_of_a_program_behind_one_address_are_told_by_their_haste() {
    assert_eq!(take_overs(20, 3, [HERE, HERE], 1).says(), (Cause::TwoDevicesOneId, Confidence::Likely));
}

#[test]
fn a_device_that_roams_between_two_networks_is_one_device() {
    let mut story = Story::default();
    let moves = [0, 7, 19, 20, 41, 66].map(|hour| hour * HOUR);
    for (turn, pair) in moves.windows(2).enumerate() {
        let taken = End { silent: 20 + pair[0] % 7, ..end(pair[1], Reason::SessionTakenOver) };
        story.connection(pair[0], &taken, [HERE, THERE][turn % 2]);
    }
    let verdict = story.open(66 * HOUR).judged().verdict;
    assert_eq!(verdict.cause, Cause::OwnTakeover, "{}", verdict.sentence);
    assert!(verdict.ruled_out.iter().any(|one| one.cause == Cause::TwoDevicesOneId));
}

#[test]
fn a_silent_connection_that_its_own_device_takes_over_is_a_link_that_broke() {
    let mut story = Story::default();
    for (from, to, silent) in [(0, 4_000, 33), (4_000, 19_000, 8), (19_000, 21_000, 51)] {
        story.connection(from, &End { silent, ..end(to, Reason::SessionTakenOver) }, HERE);
    }
    let verdict = story.open(21_000).judged().verdict;
    assert_eq!((verdict.cause, verdict.confidence), (Cause::OwnTakeover, Confidence::Certain));
    assert!(verdict.sentence.contains("silent for 33 s"), "{}", verdict.sentence);
    assert!(verdict.ruled_out.iter().any(|one| one.cause == Cause::TwoDevicesOneId));
}

fn cut_after_300_s(longer: i64) -> Story {
    let mut story = Story::default();
    let mut from = 0;
    for life in [300, 900, 450, 300, 2_000, 4_100, 777] {
        story.connection(from, &End { silent: 300, ..end(from + life, Reason::ConnectionReset) }, HERE);
        from += life + 5;
    }
    if longer > 0 {
        story.connection(from, &End { silent: longer, ..end(from + 2_000, Reason::ClientDisconnected) }, HERE);
    }
    story.each(|event| event.details.keep_alive_s = Some(600));
    story
}

#[test]
fn the_same_silence_before_each_drop_is_a_timeout_in_the_path() {
    let verdict = cut_after_300_s(0).judged().verdict;
    assert_eq!((verdict.cause, verdict.confidence), (Cause::IdleTimeoutInPath, Confidence::Certain));
    assert_eq!((&verdict.facts["period_s"], &verdict.facts["count"]), (&Fact::Number(300), &Fact::Number(7)));
    assert!(verdict.advice.contains("150 s"), "{}", verdict.advice);
    assert_eq!(verdict.evidence.len(), 7);
}

#[test]
fn a_longer_silence_that_was_survived_speaks_for_the_path() {
    let verdict = cut_after_300_s(500).judged().verdict;
    assert_ne!(verdict.cause, Cause::IdleTimeoutInPath);
    assert!(verdict.ruled_out.iter().any(|one| one.because.contains("survived 1 time")), "{:?}", verdict.ruled_out);
}

fn timeouts(away: [i64; 5], kind: PacketKind) -> Story {
    let mut story = Story::default();
    let mut from = 0;
    for (life, away) in [100, 250, 130, 1_000, 95].into_iter().zip(away) {
        let over = End { silent: 90, kind: Some(kind), ..end(from + life, Reason::KeepAliveTimeout) };
        story.connection(from, &over, HERE);
        from += life + away;
    }
    story.open(from);
    story
}

#[test]
fn a_client_that_never_pings_and_is_back_at_once_does_not_honour_its_keep_alive() {
    assert_eq!(
        timeouts([1, 2, 1, 4, 2], PacketKind::Publish).says(),
        (Cause::KeepAliveNotHonoured, Confidence::Certain)
    );
}

#[test]
fn a_client_that_pings_or_stays_away_had_a_dead_link() {
    let pings = timeouts([1, 2, 1, 4, 2], PacketKind::PingReq).judged().verdict;
    assert!(pings.cause != Cause::KeepAliveNotHonoured);
    assert!(pings.ruled_out.iter().any(|one| one.because.contains("does send PINGREQ")), "{:?}", pings.ruled_out);
    let gone = timeouts([900, 45, 4_000, 300, 7], PacketKind::Publish).judged().verdict;
    assert!(gone.cause != Cause::KeepAliveNotHonoured);
    assert!(gone.ruled_out.iter().any(|one| one.because.contains("link was gone")), "{:?}", gone.ruled_out);
}

#[test]
fn a_token_that_lives_an_hour_is_a_fixed_period() {
    let mut story = Story::default();
    let mut from = 0;
    for away in [3, 60, 7, 5_000, 12, 1] {
        story.connection(from, &end(from + HOUR + away % 5, Reason::CredentialsExpired), HERE);
        from += HOUR + away;
    }
    let verdict = story.judged().verdict;
    assert_eq!((verdict.cause, verdict.confidence), (Cause::FixedPeriod, Confidence::Certain));
    assert_eq!(verdict.facts["measured"], Fact::Text("life".into()));
    assert!(verdict.sentence.contains("60 min") && verdict.advice.contains("token"), "{verdict:?}");
}

#[test]
fn drops_on_the_beat_of_a_day_are_a_fixed_period_though_some_are_missing() {
    let mut story = Story::default();
    let mut from = 0;
    for night in [1, 2, 3, 5, 6, 7, 9] {
        let back = 600 * night % 5_000;
        story.connection(from, &end(night * DAY + night * 7, Reason::ConnectionReset), HERE);
        from = night * DAY + back;
    }
    let verdict = story.judged().verdict;
    assert_eq!((verdict.cause, verdict.confidence), (Cause::FixedPeriod, Confidence::Certain));
    assert_eq!(verdict.facts["measured"], Fact::Text("between".into()));
    assert_eq!(verdict.facts["count"], Fact::Number(7));
}

#[test]
fn refused_credentials_say_since_when_and_that_they_were_good_before() {
    let mut story = Story::default();
    story.connection(0, &end(HOUR, Reason::ClientClosed), HERE);
    for at in [10, 20, 40, 80] {
        story.refused(HOUR + at, Reason::BadCredentials);
    }
    story.now = 4 * HOUR;
    let verdict = story.judged().verdict;
    assert_eq!((verdict.cause, verdict.confidence), (Cause::BadCredentials, Confidence::Certain));
    assert_eq!(verdict.since, Some(TimeMs((HOUR + 10) * 1_000)));
    assert!(
        verdict.sentence.contains("for 3 h, 4 times (bad-credentials); before that they were good"),
        "{}",
        verdict.sentence
    );
}

#[test]
fn refusals_of_somebody_else_do_not_speak_for_the_device_that_is_connected() {
    let mut story = Story::default();
    story.open(0).refused(100, Reason::BadCredentials).refused(200, Reason::BadCredentials);
    let (cause, confidence) = story.says();
    assert_eq!((cause, confidence), (Cause::BadCredentials, Confidence::Possible));
}

fn certificate(until: i64) -> Story {
    let mut story = Story::default();
    story.connection(0, &end(20 * HOUR, Reason::ConnectionReset), HERE);
    story.now = 24 * HOUR;
    story.each(|event| {
        event.details.certificate_subject = Some("CN=device".into());
        event.details.certificate_not_after = Some(TimeMs(until * 1_000));
    });
    story
}

#[test]
fn a_device_whose_certificate_is_over_does_not_come_back() {
    assert_eq!(certificate(19 * HOUR).says(), (Cause::CertificateExpired, Confidence::Likely));
    let mut story = certificate(19 * HOUR);
    let mut handshake = Story::event(99, 21 * HOUR, Action::Close, Reason::CertificateRefused, HERE);
    handshake.client = None;
    handshake.details = story.events[0].details.clone();
    story.surroundings.nameless.push(handshake.clone());
    let verdict = story.judged().verdict;
    assert_eq!((verdict.cause, verdict.confidence), (Cause::CertificateExpired, Confidence::Certain));
    assert!(verdict.evidence.contains(&handshake) && verdict.since == Some(TimeMs(19 * HOUR * 1_000)));
}

#[test]
fn a_certificate_that_was_good_at_a_later_connect_is_ruled_out() {
    let mut story = certificate(-HOUR);
    let verdict = story.judged().verdict;
    assert_ne!(verdict.cause, Cause::CertificateExpired);
    assert!(verdict.ruled_out.iter().any(|one| one.cause == Cause::CertificateExpired));
}

#[test]
fn a_certificate_that_ends_soon_is_told_while_all_is_well() {
    let mut story = Story::default();
    story.open(0).now = HOUR;
    let mut expires =
        |at: i64| story.each(|event| event.details.certificate_not_after = Some(TimeMs(at * 1_000))).says();
    assert_eq!(expires(3 * DAY), (Cause::CertificateExpiring, Confidence::Certain));
    assert_eq!(expires(90 * DAY), (Cause::Healthy, Confidence::Certain));
}

#[test]
fn a_topic_that_is_refused_is_named() {
    let mut story = Story::default();
    for turn in 0..4 {
        story.connection(turn * 60, &end(turn * 60 + 1, Reason::PublishNotAuthorized), HERE);
    }
    story.each(|event| event.details.detail = Some("topic a/b".into()));
    let verdict = story.judged().verdict;
    assert_eq!((verdict.cause, verdict.confidence), (Cause::TopicRefused, Confidence::Certain));
    assert!(
        verdict.sentence.starts_with("All 4 ends") && verdict.sentence.contains("topic a/b"),
        "{}",
        verdict.sentence
    );
}

#[test]
fn what_the_server_ended_is_the_servers_doing() {
    for reason in [Reason::ServerShutdown, Reason::ServerLost, Reason::ServerOverloaded, Reason::Kicked] {
        let mut story = Story::default();
        story.connection(0, &end(HOUR, reason), HERE).open(HOUR + 60);
        // The time in which it did not run is no reason to doubt it.
        story.gaps.push(Gap {
            from: TimeMs(HOUR * 1_000),
            to: TimeMs(HOUR * 1_000 + 9),
            lost: None,
            cause: GapCause::NotRunning,
        });
        assert_eq!(story.says(), (Cause::ServerSide, Confidence::Certain), "{reason}");
    }
}

fn together(dropped: u64, stayed: u64, subnet_dropped: u64, subnet_stayed: u64) -> (Cause, Confidence) {
    let mut story = Story::default();
    story.connection(0, &end(HOUR, Reason::ConnectionReset), HERE).open(HOUR + 60);
    let connection = ConnectionId(1);
    let around = Around {
        connection,
        dropped,
        usually_dropped: 2,
        stayed,
        subnet_dropped,
        subnet_stayed,
        ended_by_server: 0,
        is_partial: false,
    };
    story.surroundings.around.push(around);
    story.says()
}

#[test]
fn who_else_dropped_tells_server_and_network_apart() {
    assert_eq!(together(900, 20, 8, 0), (Cause::ServerSide, Confidence::Likely));
    assert_eq!(together(9, 900, 8, 1), (Cause::NetworkOfSubnet, Confidence::Likely));
    assert_eq!(together(8, 1, 8, 1), (Cause::NetworkOfSubnet, Confidence::Possible));
    // In a fleet that is so quiet that nobody is known to have stayed, a few drops are ordinary.
    assert_eq!(together(9, 0, 1, 0), (Cause::NotEnoughEvidence, Confidence::Possible));
    assert_eq!(together(3, 900, 0, 9), (Cause::NotEnoughEvidence, Confidence::Possible));
}

#[test]
fn drops_without_a_pattern_are_flapping_when_they_are_many_and_nothing_when_they_are_few() {
    let lives = [700, 90, 3_000, 411, 60, 1_900, 222, 5_000];
    let story = |count: usize| {
        let mut story = Story::default();
        let mut from = 0;
        for (life, reason) in
            lives.iter().zip([Reason::ConnectionReset, Reason::ClientClosed].iter().cycle()).take(count)
        {
            story.connection(from, &End { silent: life % 59, ..end(from + life, *reason) }, HERE);
            from += life + life % 37;
        }
        story.judged().verdict
    };
    let many = story(8);
    assert_eq!((many.cause, many.confidence), (Cause::Flapping, Confidence::Likely));
    assert!(many.sentence.contains("4 x client-closed"), "{}", many.sentence);
    let few = story(3);
    assert_eq!((few.cause, few.evidence.len()), (Cause::NotEnoughEvidence, 3));
    assert!(few.sentence.contains("3 ends"), "{}", few.sentence);
}

#[test]
fn no_drops_are_health_and_no_events_are_no_evidence() {
    let mut story = Story::default();
    story.connection(0, &end(HOUR, Reason::ClientDisconnected), HERE).open(HOUR + 60).now = 9 * HOUR;
    assert_eq!(story.says(), (Cause::Healthy, Confidence::Certain));
    assert_eq!(Story::default().says(), (Cause::NotEnoughEvidence, Confidence::Possible));
}

#[test]
fn a_gap_among_the_evidence_lowers_the_confidence_and_is_told() {
    let mut story = cut_after_300_s(0);
    let gap =
        |from: i64, to: i64| Gap { from: TimeMs(from), to: TimeMs(to), lost: Some(3), cause: GapCause::QueueFull };
    story.gaps = vec![gap(-5_000, -1_000)];
    assert_eq!(story.says(), (Cause::IdleTimeoutInPath, Confidence::Certain));
    story.gaps = vec![gap(1_000_000, 1_120_000)];
    let verdict = story.judged().verdict;
    assert_eq!(verdict.confidence, Confidence::Likely);
    assert!(verdict.sentence.contains("gaps in that time (2 min in all)"), "{}", verdict.sentence);
}

#[test]
fn what_explains_most_is_the_chief_verdict_and_the_rest_is_told_beside_it() {
    let mut story = cut_after_300_s(0);
    let from = story.now + 5;
    story.connection(from, &end(from + 40, Reason::ServerShutdown), HERE);
    let judgement = story.judged();
    assert_eq!(judgement.verdict.cause, Cause::IdleTimeoutInPath);
    assert_eq!(judgement.others.iter().map(|other| other.cause).collect::<Vec<_>>(), [Cause::ServerSide]);
}

fn any_event() -> impl Strategy<Value = Event> {
    let age = || proptest::option::of(prop_oneof![Just(u64::MAX), 0..1_000_000_u64]);
    let time = prop_oneof![8 => 0..100_000_000_i64, 1 => any::<i64>()];
    let who = (0..40_u128, proptest::option::of(0..40_u128), 0..4_u8, any::<bool>());
    let what = (proptest::sample::select(Action::ALL.as_slice()), proptest::sample::select(Reason::ALL));
    (time, who, what, age(), age(), proptest::option::of(any::<u16>()), proptest::option::of(any::<i64>())).prop_map(
        |(time, (id, other, host, named), (action, reason), silent, open, keep_alive, until)| {
            let mut event = Story::event(id, 0, action, reason, &format!("192.0.2.{host}:1"));
            event.time = TimeMs(time);
            event.details.username = named.then(|| "u".into());
            event.details.other_connection = other.map(ConnectionId);
            event.details.duration_ms = open;
            event.details.keep_alive_s = keep_alive;
            event.details.certificate_not_after = until.map(TimeMs);
            event.details.traffic = silent.map(|age| Traffic { last_in_age_ms: Some(age), ..Traffic::default() });
            event
        },
    )
}

proptest! {
    /// Whatever is on record, in whatever order: there is a verdict, with evidence that is bounded and a sentence.
    #[test]
    fn any_events_get_a_verdict(
        events in proptest::collection::vec(any_event(), 0..120),
        gaps in proptest::collection::vec((any::<i64>(), any::<i64>()), 0..4),
        around in proptest::collection::vec(any::<[u64; 5]>(), 0..4),
        now in any::<i64>(),
    ) {
        let gaps: Vec<Gap> = gaps.into_iter().map(|(from, to)| {
            Gap { from: TimeMs(from), to: TimeMs(to), lost: None, cause: GapCause::Damaged }
        }).collect();
        let around = around.into_iter().enumerate().map(|(at, [dropped, stayed, a, b, ended_by_server])| Around {
            connection: ConnectionId(at as u128), dropped, usually_dropped: b, stayed, subnet_dropped: a, subnet_stayed: b, ended_by_server,
            is_partial: false,
        }).collect();
        let surroundings = Surroundings { around, nameless: events.clone() };
        let judgement = judge(&Case { events: &events, gaps: &gaps, surroundings: &surroundings, now: TimeMs(now) });
        for verdict in std::iter::once(&judgement.verdict).chain(&judgement.others) {
            prop_assert!(!verdict.sentence.is_empty() && verdict.evidence.len() <= crate::EVIDENCE_MAX);
        }
    }
}

#[test]
fn ten_thousand_events_take_about_ten_times_as_long_as_a_thousand() {
    let mut took = [1, 10].map(|times| {
        let mut stories = [
            take_overs(500 * times, 4, [HERE, THERE], 1),
            take_overs(500 * times, 3, [HERE, HERE], 1),
            take_overs(500 * times, 70, [HERE, HERE], 40),
        ];
        let fastest = (0..3).map(|_| {
            let begun = std::time::Instant::now();
            for story in &mut stories {
                assert_ne!(story.judged().verdict.cause, Cause::NotEnoughEvidence);
            }
            begun.elapsed()
        });
        fastest.min().unwrap()
    });
    took[0] = took[0].max(std::time::Duration::from_millis(2));
    // A quadratic rule would take a hundred times as long.
    assert!(took[1] < took[0] * 40, "{took:?}");
}
