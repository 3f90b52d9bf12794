//! What to say when there is no event to show: whether that means that nothing happened, and what to ask instead.

use tracemq_api::rest::EventRow;

use super::client::GapRow;
use super::clock::Clock;
use super::hints::Hints;
use super::question::{Question, Subject};
use super::shown::shown;
use crate::exit::{Ended, Ending};

/// The end of a command that found no event. `gaps`, which were shown, lie in the range that was asked for; `last` is
/// the newest event outside it.
pub(super) fn nothing_on_record(
    question: &Question,
    gaps: &[GapRow],
    last: Option<&EventRow>,
    clock: &Clock,
    hints: &Hints<'_>,
) -> Ended {
    let name = question.name();
    let all_missing = question.since.is_some_and(|since| {
        let until = question.until.unwrap_or(question.asked_at);
        cover(gaps, since.0, until.0)
    });
    let mut what = match (all_missing, question.has_range()) {
        (true, _) => format!("nothing was recorded in that range (above), so nothing can be said of {name}"),
        (false, true) => format!("nothing is on record for {name} in that range"),
        (false, false) => format!("nothing is on record for {name}"),
    };
    if !gaps.is_empty() && !all_missing {
        what.push_str(if question.has_range() {
            "; part of it was not recorded (above)"
        } else {
            "; part of the time was not recorded (above)"
        });
    }
    if let Some(last) = last {
        let (action, reason) = (shown(&last.action), shown(&last.reason));
        what.push_str(&format!("; its last event was {} {action} {reason}", clock.tell(last.time_ms)));
    }
    let next = match &question.subject {
        _ if last.is_some() => format!("without --since and --until: {}", hints.any_time()),
        _ if all_missing => "ask for another range with --since and --until".into(),
        Subject::Client(_) => format!(
            "is that the exact client identifier? Connections that never named one: {}",
            hints.about("--address IP")
        ),
        Subject::Address(_) => {
            format!("connections that named a client are under its identifier: {}", hints.about("CLIENT_ID"))
        }
    };
    Ended { ending: if all_missing { Ending::NotRecorded } else { Ending::NotFound }, what, next }
}

/// Whether the gaps together leave no moment from `from` to `to`, both included.
fn cover(gaps: &[GapRow], from: i64, to: i64) -> bool {
    let mut spans: Vec<_> = gaps.iter().map(|gap| (gap.from_ms, gap.to_ms)).collect();
    spans.sort_unstable();
    let mut open_from = from;
    for (gap_from, gap_to) in spans {
        if gap_from > open_from {
            break;
        }
        open_from = open_from.max(gap_to.saturating_add(1));
    }
    open_from > to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_cover_a_range_together_or_not_at_all() {
        let gaps = |spans: &[(i64, i64)]| -> Vec<GapRow> {
            let gap = |&(from_ms, to_ms)| GapRow { from_ms, to_ms, lost: None, cause: "not-running".into() };
            spans.iter().map(gap).collect()
        };
        for (spans, expected) in [
            (&[][..], false),
            (&[(10, 20)], true),
            (&[(0, 30)], true),
            (&[(11, 20)], false),
            (&[(10, 19)], false),
            (&[(15, 20), (10, 14)], true),
            (&[(10, 14), (16, 20)], false),
            (&[(5, 20), (6, 7)], true),
        ] {
            assert_eq!(cover(&gaps(spans), 10, 20), expected, "{spans:?}");
        }
    }
}
