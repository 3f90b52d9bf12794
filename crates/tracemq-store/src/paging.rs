//! The arithmetic of a page, the same for every store that knows the positions of a subject's events.

use std::ops::Range;

use tracemq_model::{Gap, GapCause, Order, TimeRange, TraceQuery};

use crate::{GAPS_MAX, StoreError};

/// Refuses what no store answers.
///
/// # Errors
/// [`StoreError::InvalidQuery`] when `limit` is above [`TraceQuery::LIMIT_MAX`].
pub fn check(query: &TraceQuery) -> Result<(), StoreError> {
    check_limit(query.limit)
}

/// The same for a question that has no more to it than a limit.
///
/// # Errors
/// [`StoreError::InvalidQuery`] when `limit` is above [`TraceQuery::LIMIT_MAX`].
pub fn check_limit(limit: usize) -> Result<(), StoreError> {
    if limit > TraceQuery::LIMIT_MAX {
        return Err(StoreError::InvalidQuery("limit is above 1,000"));
    }
    Ok(())
}

/// Which of `total` matches, counted oldest first, make the page that `query` asks for. For [`Order::NewestFirst`] the
/// caller still has to reverse them.
pub fn window(total: usize, query: &TraceQuery) -> Range<usize> {
    let skipped = usize::try_from(query.offset).unwrap_or(usize::MAX).min(total);
    let taken = query.limit.min(total - skipped);
    match query.order {
        Order::OldestFirst => skipped..skipped + taken,
        Order::NewestFirst => total - skipped - taken..total - skipped,
    }
}

/// Of `gaps`, sorted by their first moment, those that share a moment with `range`, oldest first. When they are more than
/// [`GAPS_MAX`], the oldest are told as one that covers them: no answer looks complete where it is not. None for a range
/// without a moment.
pub fn gaps_overlapping(gaps: impl DoubleEndedIterator<Item = Gap>, range: TimeRange) -> Vec<Gap> {
    if range.from > range.to {
        return Vec::new();
    }
    at_most(GAPS_MAX, gaps.filter(|gap| gap.range().overlaps(range)))
}

fn at_most(most: usize, gaps: impl DoubleEndedIterator<Item = Gap>) -> Vec<Gap> {
    let mut newest_first = gaps.rev();
    let mut found: Vec<Gap> = newest_first.by_ref().take(most).collect();
    if let Some(oldest) = found.last_mut() {
        *oldest = newest_first.fold(*oldest, joined);
    }
    found.reverse();
    found
}

/// One gap that covers both, for the worse of their causes.
pub(crate) fn joined(one: Gap, other: Gap) -> Gap {
    let is_worse = weight(one.cause) >= weight(other.cause);
    Gap {
        from: one.from.min(other.from),
        to: one.to.max(other.to),
        lost: one.lost.zip(other.lost).map(|(one, other)| one.saturating_add(other)),
        cause: if is_worse { one.cause } else { other.cause },
    }
}

/// How much may be missing for it: some, what was refused, all of a while, and what had been there.
fn weight(cause: GapCause) -> u8 {
    match cause {
        GapCause::QueueFull => 0,
        GapCause::StoreFailed => 1,
        GapCause::NotRunning => 2,
        GapCause::Damaged => 3,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tracemq_model::{InstanceId, Subject, TimeMs};

    use super::*;

    fn query(order: Order, offset: u64, limit: usize) -> TraceQuery {
        let subject = Subject::Address("10.0.0.1".parse().unwrap());
        TraceQuery { instance: InstanceId::new("i").unwrap(), subject, range: TimeRange::ALL, order, offset, limit }
    }

    #[test]
    fn windows_stay_inside_what_there_is() {
        assert_eq!(window(10, &query(Order::OldestFirst, 0, 3)), 0..3);
        assert_eq!(window(10, &query(Order::OldestFirst, 8, 3)), 8..10);
        assert_eq!(window(10, &query(Order::NewestFirst, 0, 3)), 7..10);
        assert_eq!(window(10, &query(Order::NewestFirst, 8, 3)), 0..2);
        assert_eq!(window(10, &query(Order::OldestFirst, u64::MAX, 1_000)), 10..10);
        assert_eq!(window(10, &query(Order::NewestFirst, u64::MAX, 1_000)), 0..0);
        assert_eq!(window(0, &query(Order::NewestFirst, 0, 0)), 0..0);
    }

    fn any_gap() -> impl Strategy<Value = Gap> {
        let time = prop_oneof![8 => 0..200_i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
        let lost = prop_oneof![3 => (0..9_u64).prop_map(Some), 1 => Just(None), 1 => Just(Some(u64::MAX))];
        (time.clone(), time, lost, 0..GapCause::ALL.len()).prop_map(|(one, other, lost, cause)| Gap {
            from: TimeMs(one.min(other)),
            to: TimeMs(one.max(other)),
            lost,
            cause: GapCause::ALL[cause],
        })
    }

    proptest! {
        /// Whatever is bounded, no moment of which something may be missing is left out, and no more than is missing is told as known.
        #[test]
        fn fewer_gaps_cover_all_of_them(mut gaps in vec(any_gap(), 0..60), most in 1..40_usize) {
            gaps.sort_by_key(|gap| gap.from);
            let told = at_most(most, gaps.iter().copied());
            prop_assert!(told.len() <= most);
            prop_assert!(told.is_sorted_by_key(|gap| gap.from));
            let sum = |gaps: &[Gap]| gaps.iter().try_fold(0_u64, |sum, gap| Some(sum.saturating_add(gap.lost?)));
            prop_assert_eq!(sum(&told), sum(&gaps));
            for gap in &gaps {
                let covers = |told: &&Gap| {
                    told.from <= gap.from
                        && told.to >= gap.to
                        && weight(told.cause) >= weight(gap.cause)
                        && told.lost.is_none_or(|told| gap.lost.is_some_and(|lost| told >= lost))
                };
                prop_assert!(told.iter().any(|told| covers(&told)), "{gap:?} is not in {told:?}");
            }
            // What is newest is told as it is.
            let kept = told.len().saturating_sub(1);
            prop_assert_eq!(&told[told.len() - kept..], &gaps[gaps.len() - kept..]);
            if gaps.len() <= most {
                prop_assert_eq!(told, gaps);
            }
        }
    }
}
