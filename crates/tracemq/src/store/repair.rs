//! `tracemq store repair`: a new list of files for a store that can't be opened with the one that it has.

use std::fmt::Write as _;
use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use tracemq_model::{Gap, TimeMs};
use tracemq_segments::{RepairMode, RepairReport, Unknown};

use super::args::Place;
use super::words::{counted, moment};
use super::{cannot_look, events_dir};
use crate::shell;

/// Flags of `tracemq store repair`.
#[derive(Args)]
#[command(after_help = "\
The server has to be stopped. Without --yes nothing is changed. Nothing is
deleted: what does not count is kept under another name.

Exit status:
  0 nothing to do, or done   1 something is to be done, or it failed
  2 wrong usage, no store, or it is in use

Examples:
  tracemq store repair --yes
  tracemq store repair --json | jq '.aside[].path'")]
pub(crate) struct RepairArgs {
    /// The same as --data-dir DIR
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where the store is.
    #[command(flatten)]
    place: Place,
    /// Do it
    #[arg(short = 'y', long)]
    yes: bool,
    /// Print one JSON object, which may only gain fields between releases
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &RepairArgs) -> anyhow::Result<()> {
    let data_dir = args.dir.as_deref().or(args.place.data_dir.as_deref());
    let dir = events_dir(data_dir);
    let mode = if args.yes { RepairMode::CarryOut } else { RepairMode::Look };
    let report = tracemq_segments::repair(&dir, mode).map_err(cannot_look)?;
    let mut out = stdout().lock();
    if args.json {
        writeln!(out, "{}", object(&report, mode)?)?;
    } else {
        write!(out, "{}", told(&report, mode))?;
    }
    out.flush()?;
    if report.damage.is_none() {
        return Ok(());
    }
    if args.yes {
        writeln!(stderr(), "repaired; the server can be started")?;
        return Ok(());
    }
    let place = data_dir.map(|dir| format!(" -D {}", shell::quoted(&dir.to_string_lossy()))).unwrap_or_default();
    bail!("nothing was changed yet; to do it: {} store repair{place} --yes", shell::own_command())
}

/// The report as it is, whether it was done, and bounds that are none as null.
fn object(report: &RepairReport, mode: RepairMode) -> anyhow::Result<Value> {
    let mut object = serde_json::to_value(report)?;
    let gaps = report.new_gaps.iter().map(|gap| {
        let (from, to) = bounds(gap);
        json!({ "from": from, "to": to, "lost": gap.lost, "cause": gap.cause })
    });
    let is_done = mode == RepairMode::CarryOut && report.damage.is_some();
    if let Some(object) = object.as_object_mut() {
        object.insert("new_gaps".into(), gaps.collect());
        object.insert("done".into(), json!(is_done));
    }
    Ok(object)
}

fn told(report: &RepairReport, mode: RepairMode) -> String {
    let Some(damage) = &report.damage else {
        return "nothing to repair: the list of files is sound; what else is damaged, tracemq store check tells\n"
            .into();
    };
    let mut text = String::new();
    let mut line = |words: String| {
        let _ = writeln!(text, "{words}");
    };
    // What follows in it is what this command is for.
    let what = damage.what.split(';').next().unwrap_or_default();
    line(format!("damage: {}: {what}", quoted(&damage.path)));
    let names = if mode == RepairMode::Look { "a new one would name" } else { "the new one names" };
    line(format!(
        "{names} {} with {}; behind them {} of the log with {}",
        counted(report.segments as u64, "segment"),
        counted(report.segment_events, "event"),
        counted(report.log_files as u64, "file"),
        counted(report.log_events, "event"),
    ));
    match &report.base {
        Some(base) => line(format!(
            "of {}: {} and {}, and what had expired",
            quoted(base),
            counted(report.erasures as u64, "erased subject"),
            counted(report.gaps as u64, "gap")
        )),
        None => line("no other manifest can be read: erasures, gaps and what had expired are not known".into()),
    }
    for path in &report.damaged {
        line(format!("stays damaged, and a gap: {}", quoted(path)));
    }
    for aside in &report.aside {
        let to = aside.to.file_name().unwrap_or_default().to_string_lossy();
        line(format!("kept as {}: {}: {}", shell::quoted(&to), quoted(&aside.path), aside.why));
    }
    for gap in &report.new_gaps {
        line(gap_told(gap));
    }
    for unknown in &report.unknown {
        line(unknown_told(*unknown));
    }
    for path in &report.kept {
        line(format!("the manifest before is kept as {}", quoted(path)));
    }
    text
}

fn quoted(path: &Path) -> String {
    shell::quoted(&path.to_string_lossy()).into_owned()
}

fn gap_told(gap: &Gap) -> String {
    let (from, to) = bounds(gap);
    let lost = match gap.lost {
        Some(lost) => format!("{} missing", counted(lost, "event")),
        None => "it can't be told whether events are missing".to_owned(),
    };
    format!("a gap{}: {lost}", span(from, to))
}

fn bounds(gap: &Gap) -> (Option<TimeMs>, Option<TimeMs>) {
    (Some(gap.from).filter(|from| *from != TimeMs::MIN), Some(gap.to).filter(|to| *to != TimeMs::MAX))
}

fn span(from: Option<TimeMs>, to: Option<TimeMs>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => format!(" between {} and {}", moment(from), moment(to)),
        (Some(from), None) => format!(" from {} on", moment(from)),
        (None, Some(to)) => format!(" up to {}", moment(to)),
        (None, None) => String::new(),
    }
}

fn unknown_told(unknown: Unknown) -> String {
    match unknown {
        Unknown::Erasures { from, to } => format!(
            "erasures{} are not known: clients that were erased then may show again; erase them again: tracemq store erase",
            span(from, to)
        ),
        Unknown::Cutoffs => {
            "what had expired is not known: it may show until retention is looked after, a minute from the start".into()
        }
        Unknown::OpenConnections => {
            "which connections were open is not known, and can't be found where files can't be read: after a kill, those that began before the log stay open on record".into()
        }
    }
}

#[cfg(test)]
mod tests {
    use tracemq_segments::Damage;

    use super::*;

    #[test]
    fn what_is_not_known_is_told_with_its_span() {
        let (from, to) = (Some(TimeMs(1_621_580_400_000)), Some(TimeMs(1_621_584_000_000)));
        assert_eq!(
            unknown_told(Unknown::Erasures { from, to }),
            "erasures between 2021-05-21 07:00:00Z and 2021-05-21 08:00:00Z are not known: clients that were erased then may show again; \
             erase them again: tracemq store erase"
        );
        assert_eq!(span(None, to), " up to 2021-05-21 08:00:00Z");
        assert_eq!((span(from, None).as_str(), span(None, None).as_str()), (" from 2021-05-21 07:00:00Z on", ""));
        let gap = Gap { from: TimeMs::MIN, to: TimeMs::MAX, lost: Some(1), cause: tracemq_model::GapCause::Damaged };
        assert_eq!(gap_told(&gap), "a gap: 1 event missing");
    }

    #[test]
    fn json_has_no_bounds_that_are_none_and_says_what_is_not_known() {
        let damage = Damage { path: "manifest".into(), offset: 0, length: 7, what: "it is not what was written" };
        let gap = Gap { from: TimeMs::MIN, to: TimeMs(5), lost: None, cause: tracemq_model::GapCause::Damaged };
        let report = RepairReport {
            damage: Some(damage),
            new_gaps: vec![gap],
            unknown: vec![Unknown::Erasures { from: Some(TimeMs(1)), to: None }, Unknown::OpenConnections],
            ..RepairReport::default()
        };
        let object = object(&report, RepairMode::Look).unwrap();
        assert_eq!(object["new_gaps"], json!([{ "from": null, "to": 5, "lost": null, "cause": "damaged" }]));
        assert_eq!(
            object["unknown"],
            json!([{ "what": "erasures", "from": 1, "to": null }, { "what": "open-connections" }])
        );
        assert_eq!((&object["damage"]["length"], &object["done"]), (&json!(7), &json!(false)));
        assert_eq!(super::object(&report, RepairMode::CarryOut).unwrap()["done"], true);
        let sound = super::object(&RepairReport::default(), RepairMode::CarryOut).unwrap();
        assert_eq!((&sound["damage"], &sound["done"]), (&Value::Null, &json!(false)));
    }
}
