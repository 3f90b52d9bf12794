//! A new manifest in the place of one that is damaged, gone, or older than the files beside it.
//!
//! The segments and the log say what is live, but for a few cases that a crash leaves:
//!
//! - A merged segment beside those that it was made of: its sequence holds theirs, and their rows stand in it. It counts, unless it
//!   is damaged and they are all there ([`choose`]).
//! - A segment beside the file of the log that it was made of: its sequence is that file's number. The log counts, unless a
//!   later one was sealed, or less can be read of it ([`log`]).
//! - Open connections that are listed as rows of a segment that does not count: they are found again where it went ([`open`]).
//!
//! What no file of rows can say is taken from the newest manifest that can be read: erasures, cutoffs, gaps. What may have
//! come since is told, and where events could be missing unseen there is a gap ([`unknown`]).
//!
//! Nothing is deleted. What does not count gets the name `….aside`, which a start leaves alone; the manifests that were there are
//! kept as `manifest.before-repair-1`. The second names come first, then the manifest, and then the first names go: cut off
//! anywhere, the next repair makes up for it.

mod carry_out;
mod choose;
mod found;
mod log;
mod open;
mod unknown;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tracemq_model::{Gap, TimeMs};
use tracemq_store::StoreError;

use crate::carried::Carried;
use crate::fs::{Fs, RealFs};
use crate::lock::Lock;
use crate::manifest::{Manifest, SegmentEntry};
use crate::store::{Damage, refusal};
use choose::Chosen;
use found::Found;
pub(crate) use found::has_rows;
pub use unknown::Unknown;

/// Whether a repair may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairMode {
    /// It says what it would do.
    Look,
    /// It does it.
    CarryOut,
}

/// What a repair found, and what it did or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// Why the store can't be opened; none when it can, and nothing is to be done.
    pub damage: Option<Damage>,
    /// Segments that the new manifest names.
    pub segments: usize,
    /// Events in them.
    pub segment_events: u64,
    /// Files of the log whose events are in no segment.
    pub log_files: usize,
    /// Events in them.
    pub log_events: u64,
    /// The manifest that erasures, cutoffs and gaps are taken from.
    pub base: Option<PathBuf>,
    /// Erased subjects that it knows of, and gaps.
    pub erasures: usize,
    /// Gaps that it knows of.
    pub gaps: usize,
    /// Files that get another name.
    pub aside: Vec<Aside>,
    /// Damaged segments that the new manifest names, since it is known what is in them: they stay where they are, and are a gap.
    pub damaged: Vec<PathBuf>,
    /// Spans that are marked as incomplete.
    pub new_gaps: Vec<Gap>,
    /// What can't be known any more.
    pub unknown: Vec<Unknown>,
    /// The names under which manifests are kept, when it was carried out.
    pub kept: Vec<PathBuf>,
}

/// A file that does not count, and keeps another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Aside {
    /// What it was called.
    pub path: PathBuf,
    /// What it is called then.
    pub to: PathBuf,
    /// Why it does not count.
    pub why: String,
}

/// Makes a new manifest for the store in `dir` when it can't be opened with the one that it has, or says what would be made.
///
/// # Errors
/// [`StoreError::InUse`] while another process has it open; [`StoreError::UnknownFormat`] when a later version wrote it;
/// [`StoreError::Damaged`] when there is nothing to make one from; [`StoreError::Io`] when there is no store in `dir`, or the
/// operating system refuses.
pub fn repair(dir: &Path, mode: RepairMode) -> Result<RepairReport, StoreError> {
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    // A name that was mistyped makes no folder and no lock.
    if !found::is_store(&*fs, dir) {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no event store in it");
        return Err(StoreError::Io { operation: "repair", path: dir.to_owned(), source });
    }
    let lock = Lock::take(dir)?;
    repair_on(&fs, dir, lock.last_alive(), mode)
}

/// As [`repair`], on any file system and without its lock.
pub(crate) fn repair_on(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    last_alive: Option<TimeMs>,
    mode: RepairMode,
) -> Result<RepairReport, StoreError> {
    let found = Found::look(&**fs, dir)?;
    let damage = match &found.manifest {
        Err(damage) => damage.clone(),
        Ok(manifest) => match refusal(fs, dir, manifest)? {
            Some(damage) => damage,
            None => return Ok(RepairReport::default()),
        },
    };
    let plan = Plan::make(&**fs, dir, &found, last_alive, damage)?;
    match mode {
        RepairMode::Look => Ok(plan.report),
        RepairMode::CarryOut => plan.carry_out(&**fs, dir),
    }
}

/// What is to be done.
struct Plan {
    manifest: Manifest,
    /// The list of open connections, when it is another than the file says that the manifest would name.
    carried: Option<Carried>,
    report: RepairReport,
}

impl Plan {
    fn make(
        fs: &dyn Fs,
        dir: &Path,
        found: &Found,
        last_alive: Option<TimeMs>,
        damage: Damage,
    ) -> Result<Self, StoreError> {
        let base = found.base.as_ref().map(|(manifest, _)| manifest);
        let mut chosen = choose::choose(&found.whole, base)?;
        let kept = choose::kept_entries(found, &chosen);
        let log = log::choose(fs, dir, found, &kept, &mut chosen)?;
        let open = open::choose(fs, dir, found, &chosen, kept.is_empty())?;
        let (mut new_gaps, mut unknown) = unknown::since(found, &chosen, log.first, last_alive);
        new_gaps.extend(log.gaps);
        unknown.extend(open.is_lost.then_some(Unknown::OpenConnections));
        let mut manifest = Manifest::new(found.store, log.first);
        manifest.generation = found.generation.saturating_add(2);
        manifest.next_file = found.next_file;
        manifest.orphans = open.number;
        manifest.segments = chosen.live.iter().map(|segment| SegmentEntry::of(segment.meta())).chain(kept).collect();
        if let Some(base) = base {
            manifest.erasures.clone_from(&base.erasures);
            manifest.cutoffs.clone_from(&base.cutoffs);
            manifest.gaps.clone_from(&base.gaps);
            manifest.clock = base.clock;
        }
        for gap in &new_gaps {
            manifest.push_gap(*gap);
        }
        let aside = asides(dir, found, &chosen, &manifest, &log.stale);
        let report = RepairReport {
            damage: Some(damage),
            segments: chosen.live.len(),
            segment_events: chosen.live.iter().map(|segment| segment.meta().rows).sum(),
            log_files: log.files,
            log_events: log.events,
            erasures: manifest.erasures.len(),
            gaps: base.map_or(0, |base| base.gaps.len()),
            base: found.base.as_ref().map(|(_, path)| path.clone()),
            aside,
            damaged: found.broken_paths(|number| manifest.segments.iter().any(|entry| entry.number == number)),
            new_gaps,
            unknown,
            kept: Vec::new(),
        };
        Ok(Self { manifest, carried: open.rewritten, report })
    }
}

/// All files of the store that the new manifest does not name.
fn asides(
    dir: &Path,
    found: &Found,
    chosen: &Chosen,
    manifest: &Manifest,
    stale: &[(u64, &'static str)],
) -> Vec<Aside> {
    let mut aside = Vec::new();
    let mut put = |path: PathBuf, why: String| {
        let mut to = path.clone().into_os_string();
        to.push(".aside");
        aside.push(Aside { path, to: to.into(), why });
    };
    for (segment, why) in &chosen.aside {
        put(segment.path().to_owned(), why.clone());
    }
    for broken in &found.broken {
        if !manifest.segments.iter().any(|entry| entry.number == broken.number) {
            put(
                broken.path.clone(),
                format!("it can't be opened ({}), and no manifest says what was in it", broken.what),
            );
        }
    }
    for (number, why) in stale {
        put(crate::wal::path(dir, *number), (*why).to_owned());
    }
    for number in &found.opens {
        if manifest.orphans != Some(*number) {
            put(Carried::path(dir, *number), "another list of open connections counts".to_owned());
        }
    }
    aside
}
