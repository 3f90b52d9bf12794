//! `tracemq store check`: all that is wrong with the files, and what it means for answers.

use std::fmt::Write as _;
use std::io::{Write, stdout};

use anyhow::bail;
use serde_json::json;
use tracemq_segments::{CheckReport, Finding, FindingKind, Lost};

use super::args::CheckArgs;
use super::progress::Progress;
use super::words::{bytes, counted, moment};
use super::{cannot_look, events_dir};
use crate::shell;

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let dir = events_dir(args.dir.as_deref().or(args.place.data_dir.as_deref()));
    let report = {
        let progress = Progress::of_bytes("checking", 1);
        tracemq_segments::check(&dir, &mut |done, total| progress.set_of(done, total)).map_err(cannot_look)?
    };
    let mut out = stdout().lock();
    if args.json {
        let is_damaged = report.is_damaged();
        let mut object = serde_json::to_value(&report)?;
        if let Some(object) = object.as_object_mut() {
            object.insert("damaged".into(), json!(is_damaged));
        }
        writeln!(out, "{object}")?;
    } else {
        write!(out, "{}", told(&report))?;
    }
    out.flush()?;
    let damages = report.findings.iter().filter(|finding| finding.kind == FindingKind::Damage).count();
    match damages {
        0 => Ok(()),
        1 => bail!("one part of the store is damaged; it is left as it is, and answers say that they are incomplete"),
        many => bail!(
            "{many} parts of the store are damaged; they are left as they are, and answers say that they are incomplete"
        ),
    }
}

fn told(report: &CheckReport) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let _ = writeln!(text, "{}", finding_told(finding));
        if let Some(lost) = &finding.lost {
            let _ = writeln!(text, "  {}", lost_told(lost));
        }
    }
    let _ = writeln!(
        text,
        "{}: {} in {} and {} of the log, {} read",
        if report.is_damaged() { "damaged" } else { "sound" },
        counted(report.events, "event"),
        counted(report.segments as u64, "segment"),
        counted(report.log_files as u64, "file"),
        bytes(report.bytes),
    );
    text
}

/// Where, and what. One line.
pub(super) fn finding_told(finding: &Finding) -> String {
    let kind = match finding.kind {
        FindingKind::Damage => "damage",
        FindingKind::Unfinished => "note",
        FindingKind::Leftover => "left over",
        FindingKind::Stranger => "not ours",
    };
    // Names may have been chosen by anybody.
    let path = shell::quoted(&finding.path.to_string_lossy()).into_owned();
    let place = match finding.length {
        0 => String::new(),
        length => format!(", bytes {} to {}", finding.offset, finding.offset.saturating_add(length)),
    };
    let after = match finding.kind {
        FindingKind::Damage => "",
        FindingKind::Unfinished => ": normal beside a running server and after a kill",
        FindingKind::Leftover => "; the next start of the server removes it",
        FindingKind::Stranger => "; it is left alone",
    };
    format!("{kind}: {path}{place}: {}{after}", finding.what)
}

/// What it means for answers. One line.
pub(super) fn lost_told(lost: &Lost) -> String {
    let mut text = if lost.only_counts { "counts of events".to_owned() } else { "events".to_owned() };
    if !lost.instances.is_empty() {
        let names: Vec<&str> = lost.instances.iter().map(|instance| instance.as_str()).collect();
        let _ = write!(text, " of {}", names.join(", "));
    }
    match (lost.from, lost.to) {
        (Some(from), Some(to)) => {
            let _ = write!(text, " between {} and {}", moment(from), moment(to));
        }
        (Some(from), None) => {
            let _ = write!(text, " from {} on", moment(from));
        }
        (None, Some(to)) => {
            let _ = write!(text, " up to {}", moment(to));
        }
        (None, None) => {}
    }
    let verb = if lost.only_counts { " may be wrong or missing" } else { " can't be read" };
    text.push_str(verb);
    match lost.events_at_most {
        Some(events) => {
            let _ = write!(text, ": up to {}", counted(events, "event"));
        }
        None => text.push_str("; how many is not known"),
    }
    text
}

#[cfg(test)]
mod tests {
    use tracemq_model::{InstanceId, TimeMs};

    use super::*;

    fn lost() -> Lost {
        Lost {
            instances: vec![InstanceId::new("mqtt-local").unwrap()],
            from: Some(TimeMs(1_621_580_400_000)),
            to: Some(TimeMs(1_621_584_000_000)),
            events_at_most: Some(1_812),
            only_counts: false,
        }
    }

    #[test]
    fn what_is_lost_is_told_in_a_sentence() {
        assert_eq!(
            lost_told(&lost()),
            "events of mqtt-local between 2021-05-21 07:00:00Z and 2021-05-21 08:00:00Z can't be read: up to 1,812 events"
        );
        let unknown = Lost { instances: Vec::new(), from: None, events_at_most: None, ..lost() };
        assert_eq!(lost_told(&unknown), "events up to 2021-05-21 08:00:00Z can't be read; how many is not known");
        let counts = Lost { only_counts: true, to: None, events_at_most: Some(1), ..lost() };
        assert_eq!(
            lost_told(&counts),
            "counts of events of mqtt-local from 2021-05-21 07:00:00Z on may be wrong or missing: up to 1 event"
        );
    }

    #[test]
    fn a_finding_names_file_and_place_and_can_not_act_on_the_terminal() {
        let finding = Finding {
            kind: FindingKind::Damage,
            path: "data/events/0000000007.segment".into(),
            offset: 40,
            length: 60,
            what: "its checksum is another".into(),
            lost: None,
        };
        assert_eq!(
            finding_told(&finding),
            "damage: data/events/0000000007.segment, bytes 40 to 100: its checksum is another"
        );
        let strange = Finding { kind: FindingKind::Stranger, path: "\u{1b}[31m".into(), length: 0, ..finding };
        assert!(!finding_told(&strange).contains('\u{1b}'));
    }
}
