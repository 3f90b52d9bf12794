use jiff::tz::TimeZone;

use super::*;

fn look(width: Option<usize>, nameless: bool) -> Look {
    Look { clock: Clock::of_table(TimeZone::UTC), colour: false, width, nameless }
}

fn row(connection: &str, action: &str, reason: &str) -> Row {
    let event = EventRow {
        time_ms: 1_621_580_400_844,
        connection: connection.into(),
        action: action.into(),
        reason: reason.into(),
        provenance: "observed".into(),
        peer: Some("127.0.0.1:59642".into()),
        ..EventRow::default()
    };
    Row { json: String::new(), event }
}

fn printed(look: &Look, rows: &[Row], gaps: &[GapRow]) -> String {
    let mut out = Vec::new();
    print(&mut out, look, rows, gaps, false).unwrap();
    String::from_utf8(out).unwrap()
}

fn gap() -> GapRow {
    GapRow { from_ms: 1_621_580_400_000, to_ms: 1_621_580_409_000, lost: None, cause: "not-running".into() }
}

#[test]
fn durations_are_short() {
    for (ms, expected) in [(0, "0.000s"), (1_204, "1.204s"), (252_000, "4m12s"), (11_100_000, "3h05m")] {
        assert_eq!(duration_words(ms), expected);
    }
    assert_eq!(duration_words(u64::MAX), "213503982334d14h");
}

#[test]
fn a_narrow_table_tells_all_that_a_wide_one_does() {
    let mut lost = row("1", "close", "keep-alive-timeout");
    lost.event.duration_ms = Some(3_002);
    lost.event.detail = Some("no packet for 3002 ms, keep alive is 2 s [MQTT-3.1.2-22]".into());
    assert_eq!(
        printed(&look(Some(80), false), &[lost.clone()], &[gap()]),
        "\
TIME                     ACTION      REASON                       DURATION
    from PEER; DETAIL
-- not recorded: 2021-05-21 07:00:00.000 to 2021-05-21 07:00:09.000, an unknown
    number of events (not-running)
2021-05-21 07:00:00.844  close       keep-alive-timeout             3.002s
    from 127.0.0.1:59642; no packet for 3002 ms, keep alive is 2 s
    [MQTT-3.1.2-22]
"
    );
    assert_eq!(
        printed(&look(Some(120), false), &[lost.clone()], &[]),
        "\
TIME                     ACTION      REASON                       DURATION  PEER                   DETAIL
2021-05-21 07:00:00.844  close       keep-alive-timeout             3.002s  127.0.0.1:59642
    no packet for 3002 ms, keep alive is 2 s [MQTT-3.1.2-22]
"
    );
    let whole = printed(&look(None, false), &[lost.clone()], &[gap()]);
    assert_eq!(whole.lines().count(), 3, "{whole}");
    assert_eq!(printed(&look(Some(155), false), &[lost], &[gap()]), whole);
}

#[test]
fn gaps_are_told_without_rows() {
    let told = printed(&look(None, false), &[], &[gap(), gap()]);
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.lines().all(|line| line.contains("(not-running)")), "{told}");
}

#[test]
fn an_inferred_duration_is_a_lower_bound() {
    let mut lost = row("1", "close", "server-lost");
    lost.event.duration_ms = Some(944);
    assert!(printed(&look(None, false), &[lost.clone()], &[]).contains("     0.944s  127"));
    lost.event.provenance = "inferred".into();
    lost.event.detail = Some("the server stopped".into());
    let told = printed(&look(None, false), &[lost], &[]);
    assert!(told.contains("server-lost                   ≥0.944s  127"), "{told}");
    assert!(told.contains("(inferred) the server stopped\n"), "{told}");
}

#[test]
fn a_takeover_names_the_other_connection_once() {
    let mut ended = row("1", "close", "session-taken-over");
    ended.event.detail = Some("taken over by".into());
    ended.event.other_connection = Some("0a".into());
    let told = printed(&look(None, false), &[ended.clone()], &[]);
    assert!(told.ends_with("  taken over by (connection 0a)\n"), "{told}");
    // By what the table has a column for, when the other one is in it.
    let mut newer = row("0a", "connect", "accepted");
    newer.event.peer = Some("192.0.2.7:60082".into());
    let told = printed(&look(None, false), &[newer, ended], &[]);
    assert!(told.ends_with("  taken over by (from 192.0.2.7:60082)\n"), "{told}");
}

#[test]
fn a_nameless_connection_without_an_end_is_explained() {
    let rows = [row("1", "open", "opened"), row("1", "close", "connect-timeout"), row("2", "open", "opened")];
    let told = printed(&look(None, true), &rows, &[]);
    let lines: Vec<_> = told.lines().map(|line| line.ends_with(NO_END)).collect();
    assert_eq!(lines, [false, false, false, true], "{told}");
    assert!(!printed(&look(None, false), &rows, &[]).contains(NO_END), "a client's table knows its connections");
}
