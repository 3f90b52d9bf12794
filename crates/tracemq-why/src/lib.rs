//! Why did this device drop? A verdict with evidence, out of recorded facts.
//!
//! Pure: events, gaps and what the fleet did meanwhile come in, verdicts go out. Each cause has a rule of its own in `rules/`;
//! `judge` asks all of them and says which verdict is the chief one. A rule says what holds, what it is told by, and what to do; or
//! why it does not hold although something speaks for it; or nothing.
//!
//! Where the record does not suffice, that is the verdict.

mod cluster;
mod histories;
mod judge;
mod rules;
mod surroundings;
mod verdict;
mod words;

pub use judge::{Case, judge};
pub use surroundings::{Around, Surroundings};
pub use verdict::{Cause, Confidence, EVIDENCE_MAX, Fact, Judgement, RuledOut, Verdict};

/// The most events of the client that are worth handing in, the newest ones: what a pattern needs is in far fewer.
pub const EVENTS_MAX: usize = 5_000;
