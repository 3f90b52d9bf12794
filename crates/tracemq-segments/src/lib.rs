//! The embedded store: write-ahead log, memtable, immutable sorted columnar segments.

mod carried;
mod cells;
mod fs;
mod inspect;
mod key;
mod lock;
mod manifest;
mod memtable;
mod query;
mod row;
mod segment;
mod settings;
mod store;
mod varint;
mod view;
mod wal;

pub use inspect::{
    CheckReport, ColumnFigures, Figures, Finding, FindingKind, InstanceFigures, LogFigures, Look, Lost, Selection, SegmentFigures,
    check,
};
pub use settings::{Keep, Retention, SegmentSettings};
pub use store::{Damage, Recovery, Segments};
