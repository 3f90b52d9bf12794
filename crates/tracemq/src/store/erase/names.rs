//! Whose history `tracemq store erase` is to erase, as it was typed.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, stdin};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tracemq_model::{ClientId, InstanceId, Subject};
use tracemq_segments::Look;

use crate::store::args::Place;
use crate::store::usage;

/// So many at once: each is a durable write. More are several commands.
const NAMES_MAX: usize = 10_000;

/// Flags of `tracemq store erase`.
#[derive(Args)]
#[command(after_help = "\
Without --yes nothing is changed, and it works beside a running server. With
it the server has to be stopped: what is erased is hidden for good, and then
the files that hold it are written anew without it. A command that was
interrupted goes on when it is given again.

Exit status:
  0 done, and nothing is left of them in the files of the store
  1 something is to be done, nothing is on record of one of them, something
    of them may be left, or it failed
  2 wrong usage, no store, or it is in use
  130 stopped by Ctrl-C

Examples:
  tracemq store erase pump-07 pump-08
  tracemq store erase --instance mqtt-local --file gone.txt --yes
  tracemq store erase --address 192.0.2.7 --yes")]
pub(crate) struct EraseArgs {
    /// Client identifiers, exactly as they are on record
    #[arg(value_name = "CLIENT_ID")]
    clients: Vec<String>,
    /// File with a client identifier a line, or - for standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Connections from this address that never named a client; may be given
    /// more than once
    #[arg(long, value_name = "IP")]
    address: Vec<IpAddr>,
    /// Of this instance; may be given more than once. Not needed when the
    /// store has one only
    #[arg(long, value_name = "ID")]
    pub(super) instance: Vec<String>,
    /// Where the store is.
    #[command(flatten)]
    pub(super) place: Place,
    /// Do it
    #[arg(short = 'y', long)]
    pub(super) yes: bool,
    /// Print one JSON object, which may only gain fields between releases
    #[arg(long)]
    pub(super) json: bool,
}

impl EraseArgs {
    /// Whose, each once, as they were typed.
    pub(super) fn subjects(&self) -> anyhow::Result<Vec<Subject>> {
        let mut subjects = Vec::new();
        for client in &self.clients {
            let client = ClientId::new(client).map_err(|error| bad("a client identifier", &error))?;
            subjects.push(Subject::Client(client));
        }
        if let Some(file) = &self.file {
            from_file(file, &mut subjects)?;
        }
        subjects.extend(self.address.iter().map(|address| Subject::Address(address.to_canonical())));
        let mut known = HashSet::new();
        subjects.retain(|subject| known.insert(subject.clone()));
        if subjects.is_empty() {
            return Err(usage("whose history?", "name clients, or a file of them with --file, or --address IP"));
        }
        if subjects.len() > NAMES_MAX {
            return Err(too_many());
        }
        Ok(subjects)
    }

    /// Of which instances; asks back when that is not clear.
    pub(super) fn instances(&self, look: &Look) -> anyhow::Result<Vec<InstanceId>> {
        if self.instance.is_empty() {
            let known = look.instances();
            if known.len() > 1 {
                let names: Vec<&str> = known.iter().map(InstanceId::as_str).collect();
                let what = format!("the store has more than one instance: {}", names.join(", "));
                return Err(usage(&what, "say which, with --instance ID; it may be given more than once"));
            }
            return Ok(known);
        }
        let mut instances = Vec::new();
        for id in &self.instance {
            let id = InstanceId::new(id).map_err(|error| bad("--instance", &error))?;
            if !instances.contains(&id) {
                instances.push(id);
            }
        }
        Ok(instances)
    }
}

fn bad(what: &str, error: &dyn std::fmt::Display) -> anyhow::Error {
    usage(&format!("{what}: {error}"), "see tracemq store erase --help")
}

fn too_many() -> anyhow::Error {
    usage("more than 10,000 names", "give them to several commands")
}

fn from_file(path: &Path, subjects: &mut Vec<Subject>) -> anyhow::Result<()> {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    let cannot = || format!("can't read {name}");
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(stdin())
    } else {
        Box::new(std::fs::File::open(path).with_context(cannot)?)
    };
    each_line(&mut BufReader::new(source), &name, subjects)
}

/// One client identifier a line. Lines with nothing are passed over, and so is a carriage return before the end.
fn each_line(source: &mut impl BufRead, name: &str, subjects: &mut Vec<Subject>) -> anyhow::Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        // No identifier is longer, and a file without lines is not read as a whole.
        let longest = ClientId::MAX_BYTES as u64 + 2;
        let read = source.take(longest).read_until(b'\n', &mut line).with_context(|| format!("can't read {name}"))?;
        if read == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() {
            continue;
        }
        let place = format!("{name}, line {number}");
        let text = std::str::from_utf8(text).map_err(|error| bad(&place, &error))?;
        subjects.push(Subject::Client(ClientId::new(text).map_err(|error| bad(&place, &error))?));
        if subjects.len() > NAMES_MAX {
            return Err(too_many());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &[u8]) -> Result<Vec<String>, String> {
        let mut subjects = Vec::new();
        each_line(&mut &*text, "x", &mut subjects).map_err(|error| error.to_string())?;
        let name = |subject: &Subject| match subject {
            Subject::Client(client) => client.as_str().to_owned(),
            Subject::Address(address) => address.to_string(),
            Subject::Message(id) => id.to_string(),
        };
        Ok(subjects.iter().map(name).collect())
    }

    #[test]
    fn a_file_has_a_name_a_line() {
        assert_eq!(names(b"a\nb c \r\n\n\n \xc3\xa9\nlast").unwrap(), ["a", "b c ", " \u{e9}", "last"]);
        assert!(names(b"a\n\xff\n").unwrap_err().starts_with("x, line 2: "));
        let (longest, longer) = ("x".repeat(ClientId::MAX_BYTES), "x".repeat(ClientId::MAX_BYTES * 2));
        assert_eq!(names(format!("{longest}\r\nb").as_bytes()).unwrap(), [longest.as_str(), "b"]);
        assert!(names(longer.as_bytes()).unwrap_err().starts_with("x, line 1: "));
        assert!(names("a\n".repeat(NAMES_MAX + 1).as_bytes()).unwrap_err().starts_with("more than 10,000 names"));
    }
}
