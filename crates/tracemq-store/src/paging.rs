//! The arithmetic of a page, the same for every store that knows the positions of a subject's events.

use std::ops::Range;

use tracemq_model::{Gap, Order, TimeRange, TraceQuery};

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

/// Of `gaps`, sorted by their first moment, those that share a moment with `range`: the newest [`GAPS_MAX`] of them,
/// oldest first. None for a range without a moment.
pub fn gaps_overlapping(gaps: impl DoubleEndedIterator<Item = Gap>, range: TimeRange) -> Vec<Gap> {
    if range.from > range.to {
        return Vec::new();
    }
    let mut found: Vec<Gap> = gaps.rev().filter(|gap| gap.range().overlaps(range)).take(GAPS_MAX).collect();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use tracemq_model::{InstanceId, Subject};

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
}
