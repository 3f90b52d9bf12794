//! What is counted of connections without a byte, in a file: so that a kill loses no more than was counted since it was
//! last written, about a second, and not a minute.
//!
//! A line of JSON for each address, as the event would be if it were recorded now. The file is replaced whole, and not
//! synced: it need not survive the machine, only the process.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use tracemq_model::Event;

/// As much as is read of a file: far more than is ever written.
const FILE_BYTES_MAX: u64 = 16 << 20;

pub(crate) struct Counts {
    path: PathBuf,
    /// The last write failed, and the log says so.
    failing: bool,
}

impl Counts {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, failing: false }
    }

    /// What the last run left. What of it can't be read is lost, and the log says so: no reason not to start.
    pub(crate) fn left_by_last_run(&self) -> Vec<Event> {
        let file = self.path.display();
        match self.left() {
            Ok((events, 0)) => events,
            Ok((events, unknown)) => {
                tracing::warn!(%file, unknown, "a part of the counts of connections without a byte can't be read, and is lost");
                events
            }
            Err(error) => {
                tracing::warn!(%file, %error, "the counts of connections without a byte can't be read, and are lost");
                Vec::new()
            }
        }
    }

    /// And how many lines can't be understood.
    fn left(&self) -> io::Result<(Vec<Event>, usize)> {
        let file = match fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let (mut events, mut unknown) = (Vec::new(), 0);
        for line in lines {
            match serde_json::from_slice::<Event>(line) {
                Ok(event) if event.details.count.is_some() => events.push(event),
                Ok(_) | Err(_) => unknown += 1,
            }
        }
        Ok((events, unknown))
    }

    /// Replaces what is there; a file without events is none.
    pub(crate) fn write(&mut self, events: &[Event]) {
        let written = self.try_write(events);
        if let Err(error) = &written
            && !self.failing
        {
            tracing::warn!(file = %self.path.display(), %error, "counts of connections without a byte can't be written: a kill would lose those of a minute");
        }
        self.failing = written.is_err();
    }

    fn try_write(&self, events: &[Event]) -> io::Result<()> {
        if events.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            };
        }
        let mut text = Vec::new();
        for event in events {
            serde_json::to_writer(&mut text, event)?;
            text.push(b'\n');
        }
        let new = self.path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use tracemq_model::{Action, ConnectionId, Details, InstanceId, Provenance, Reason, TimeMs};

    use super::*;

    #[test]
    fn what_was_written_last_is_there_and_what_is_damaged_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut counts = Counts::new(folder.path().join("counts"));
        assert_eq!(counts.left().unwrap(), (Vec::new(), 0));
        let event = |count| Event {
            time: TimeMs(7),
            instance: InstanceId::new("mqtt-local").unwrap(),
            connection: ConnectionId(u128::MAX - 1),
            action: Action::Close,
            reason: Reason::ClientClosed,
            provenance: Provenance::Observed,
            client: None,
            peer: Some("192.0.2.1:9".parse().unwrap()),
            details: Details { count: Some(count), ..Details::default() },
        };
        counts.write(&[event(1), event(2)]);
        counts.write(&[event(3), event(4)]);
        assert_eq!(counts.left().unwrap(), (vec![event(3), event(4)], 0));
        let text = fs::read(&counts.path).unwrap();
        for cut in 0..text.len() {
            fs::write(&counts.path, &text[..cut]).unwrap();
            let (events, unknown) = counts.left().unwrap();
            assert!(events.len() + unknown <= 2 && events.iter().all(|event| event.details.count.is_some()));
        }
        counts.write(&[]);
        counts.write(&[]);
        assert!(!counts.path.exists());

        fs::remove_dir_all(folder.path()).unwrap();
        counts.write(&[event(1)]);
        assert!(counts.failing, "told, and gone on with");
    }
}
