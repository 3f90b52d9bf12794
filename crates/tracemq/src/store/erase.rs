//! `tracemq store erase`: takes the history of clients away, out of the files of a stopped store as well.
//!
//! What is to be erased is hidden first, durably, all of it; then the files that hold it are written anew. Whoever is stopped in
//! between has it hidden already, and goes on with the same command.

mod found;
mod names;

use std::fmt::Write as _;
use std::io::{Write as _, stderr, stdout};
use std::path::Path;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use serde_json::json;
use tracemq_segments::{FindingKind, Left, Look, SegmentSettings, Segments};
use tracemq_store::EventStore;

use super::progress::Progress;
use super::words::{bytes, counted};
use super::{cannot_look, events_dir, signals};
use crate::exit::{Ended, Ending};
use crate::shell;
use found::Found;
pub(super) use names::EraseArgs;

/// A longer command is not repeated as a whole.
const COMMAND_BYTES_MAX: usize = 1_000;

pub(super) fn run(args: &EraseArgs) -> anyhow::Result<()> {
    let subjects = args.subjects()?;
    let dir = events_dir(args.place.data_dir.as_deref());
    // Opening to write would make a store where there is none.
    let look = Look::open(&dir).map_err(cannot_look)?;
    let instances = args.instances(&look)?;
    // Before it is gone through: whoever has it open is named at once.
    let store = if args.yes { Some(open(&dir)?) } else { None };
    let found = Found::in_store(&look, &instances, &subjects)?;
    tell_damage(&look)?;
    drop(look);
    match store {
        Some(store) => carry_out(args, &store, found),
        None => only_tell(args, &found),
    }
}

fn open(dir: &Path) -> anyhow::Result<Segments> {
    // Which segments become one is the server's to say, which knows what is to be kept.
    let settings = SegmentSettings { merge_segments: usize::MAX, ..SegmentSettings::default() };
    Ok(Segments::open(dir, settings).map_err(cannot_look)?.0)
}

/// That there may be more than what is found.
fn tell_damage(look: &Look) -> anyhow::Result<()> {
    let damages = look.findings().iter().filter(|finding| finding.kind == FindingKind::Damage).count();
    if damages > 0 {
        let (parts, verb) = (counted(damages as u64, "part"), if damages == 1 { "is" } else { "are" });
        writeln!(
            stderr(),
            "{parts} of the store {verb} damaged and may hold more of them: tracemq store check tells which"
        )?;
    }
    Ok(())
}

fn only_tell(args: &EraseArgs, found: &Found) -> anyhow::Result<()> {
    tell(args, found, false, &[])?;
    if !found.is_any() {
        return Err(nothing_found(args, found));
    }
    let next = match again_with_yes() {
        Some(command) => format!("to do it: {command}"),
        None => "to do it, add --yes".to_owned(),
    };
    Err(Ended { ending: Ending::Failed, what: "nothing was changed yet".into(), next }.into())
}

fn carry_out(args: &EraseArgs, store: &Segments, mut found: Found) -> anyhow::Result<()> {
    let asked_to_stop = Arc::new(AtomicI32::new(0));
    let asked = Arc::clone(&asked_to_stop);
    signals::at_the_first(move |ending| asked.store(ending as i32, Ordering::Relaxed))?;
    let left = hide(store, &mut found, &asked_to_stop)
        .and_then(|()| take_from_disk(store, &found, &asked_to_stop))
        .map_err(|error| Ended {
            ending: Ending::Failed,
            what: format!("{error:#}"),
            next: "what is hidden stays hidden; the same command goes on from there".into(),
        })?;
    tell(args, &found, true, &left)?;
    if !left.is_empty() {
        let files = if left.len() == 1 { "1 file" } else { "the files named" };
        let what = format!("no answer shows them any more, but {files} may still hold something of them");
        let next =
            "copies that a repair has kept are deleted by hand; a file that is damaged goes with retention, or by hand";
        return Err(Ended { ending: Ending::Failed, what, next: next.into() }.into());
    }
    let dir = shell::quoted(&store.dir().to_string_lossy()).into_owned();
    if found.is_any() {
        let (events, whose) = (counted(found.events(), "event"), found.whose());
        writeln!(stderr(), "erased {events} of {whose}; nothing of them is left in the files of {dir}")?;
    }
    if found.missing().is_empty() { Ok(()) } else { Err(nothing_found(args, &found)) }
}

/// Hides all of it from every answer, durably.
fn hide(store: &Segments, found: &mut Found, asked_to_stop: &AtomicI32) -> anyhow::Result<()> {
    let progress = Progress::of_share("erasing");
    let all = found.rows.len().max(1);
    for (done, row) in found.rows.iter_mut().enumerate() {
        stop_when_asked(asked_to_stop, &progress);
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        progress.share(done as f64 / all as f64);
        row.events = store.erase(&row.instance, &row.subject)?;
    }
    Ok(())
}

fn take_from_disk(store: &Segments, found: &Found, asked_to_stop: &AtomicI32) -> anyhow::Result<Vec<Left>> {
    let progress = Progress::of_share("writing files anew");
    let erased: Vec<_> = found.rows.iter().map(|row| (row.instance.clone(), row.subject.clone())).collect();
    let left = store.purge(&erased, &mut |share| {
        progress.share(share);
        stop_when_asked(asked_to_stop, &progress);
    })?;
    Ok(left)
}

/// Ends the process, which loses nothing.
fn stop_when_asked(asked_to_stop: &AtomicI32, progress: &Progress) {
    let status = asked_to_stop.load(Ordering::Relaxed);
    if status != 0 {
        progress.say("tracemq: stopped by a signal; the same command goes on from there");
        exit(status);
    }
}

fn nothing_found(args: &EraseArgs, found: &Found) -> anyhow::Error {
    let of = if args.instance.is_empty() { String::new() } else { format!(" in {}", args.instance.join(", ")) };
    let what = format!("nothing is on record{of} of {}", found::named(&found.missing()));
    let next = "names have to be exact, with upper and lower case; those on record: tracemq store export | jq -r .client | sort -u";
    Ended { ending: Ending::Failed, what, next: next.into() }.into()
}

/// What is, or was, erased: a line each, or one JSON object.
fn tell(args: &EraseArgs, found: &Found, is_done: bool, left: &[Left]) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    if args.json {
        let left: Vec<_> = left.iter().map(|left| json!({"path": left.path, "why": left.why})).collect();
        let object = json!({
            "done": is_done,
            "subjects": found.rows.iter().map(found::Row::json).collect::<Vec<_>>(),
            "not_found": found.missing().into_iter().map(found::json_of).collect::<Vec<_>>(),
            "events": found.events(),
            "bytes_estimate": found.bytes(),
            "left": left,
        });
        writeln!(out, "{object}")?;
    } else {
        let mut text = String::new();
        for row in &found.rows {
            let _ = writeln!(text, "{}", row.told(found.has_instances()));
        }
        let verb = if is_done { "erased" } else { "would be erased" };
        if found.rows.len() > 1 || !is_done {
            let (events, whose) = (counted(found.events(), "event"), found.whose());
            let _ = writeln!(text, "{verb}: {events} of {whose}, about {}", bytes(found.bytes()));
        }
        for left in left {
            let path = shell::quoted(&left.path.to_string_lossy()).into_owned();
            let _ = writeln!(text, "may still hold something of them: {path}: {}", left.why);
        }
        write!(out, "{text}")?;
    }
    out.flush()?;
    Ok(())
}

/// What was typed, and `--yes`; none when that is long.
fn again_with_yes() -> Option<String> {
    let mut words = vec![shell::own_command()];
    for word in std::env::args_os().skip(1) {
        let is_this = word == "erase" && words.last().is_some_and(|last| last == "store");
        words.push(shell::quoted(&word.to_string_lossy()).into_owned());
        if is_this {
            words.push("--yes".into());
        }
    }
    let command = words.join(" ");
    (command.len() <= COMMAND_BYTES_MAX).then_some(command)
}
