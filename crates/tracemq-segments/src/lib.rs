//! The embedded store: write-ahead log, memtable, immutable sorted columnar segments.

mod carried;
mod cells;
mod fs;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod inspect;
mod key;
mod lock;
mod manifest;
mod memtable;
mod query;
mod repair;
mod row;
mod segment;
mod settings;
mod store;
mod varint;
mod view;
mod wal;

pub use inspect::{
    CheckReport, ColumnFigures, Figures, Finding, FindingKind, InstanceFigures, LogFigures, Look, Lost, SegmentFigures,
    Selection, check,
};
pub use repair::{Aside, RepairMode, RepairReport, Unknown, repair};
pub use settings::{Keep, Retention, SegmentSettings};
pub use store::{Damage, Left, Recovery, Segments};
