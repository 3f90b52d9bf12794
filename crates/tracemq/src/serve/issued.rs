//! What the server gives out for devices to log in with: on disk first, then in force.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow};
use tracemq_access::mqtt::issued::{
    Book, Change, DeviceBook, DeviceCredential, Grant, Group, GroupBook, GroupError, Issued, TokenBook, TokenState,
};
use tracemq_api::{DevicesPage, IssueError, Issuing};
use tracemq_door::{Clock, Guard};
use tracemq_model::{ClientId, InstanceId, TimeMs};

use super::book_file::BookFile;

/// The files of tokens, of device credentials and of groups, in the data folder.
const TOKENS_FILE: &str = "mqtt-tokens";
const DEVICES_FILE: &str = "mqtt-devices";
const GROUPS_FILE: &str = "mqtt-groups";

/// Lines that are written while nobody can come in: some milliseconds' work.
const LINES_AT_ONCE: usize = 4_096;

/// The files of the books.
pub(super) struct Files {
    tokens: BookFile,
    devices: BookFile,
    groups: BookFile,
}

/// What was given out, and the files that it stands in.
///
/// # Errors
/// When one can't be read, or is damaged: with the line.
pub(super) fn read(data_dir: &Path) -> anyhow::Result<(Issued, Files)> {
    let open = |file: &str| {
        let path = data_dir.join(file);
        let said = format!("can't read {}", path.display());
        BookFile::open(path).context(said)
    };
    let ((tokens, token_lines), (devices, device_lines)) = (open(TOKENS_FILE)?, open(DEVICES_FILE)?);
    let (groups, group_lines) = open(GROUPS_FILE)?;
    let damaged = |error, file| anyhow!("{}: {error}", data_dir.join(file).display());
    let issued = Issued {
        tokens: TokenBook::parse(&token_lines).map_err(|error| damaged(error, TOKENS_FILE))?,
        devices: DeviceBook::parse(&device_lines).map_err(|error| damaged(error, DEVICES_FILE))?,
        groups: GroupBook::parse(&group_lines).map_err(|error| damaged(error, GROUPS_FILE))?,
    };
    Ok((issued, Files { tokens, devices, groups }))
}

/// Gives out what the guard then lets in by. One change after the other.
pub(super) struct Issuer {
    guard: Arc<Guard>,
    files: Mutex<Files>,
    clock: Clock,
}

impl Issuer {
    pub(super) fn new(guard: Arc<Guard>, files: Files, clock: Clock) -> Self {
        Self { guard, files: Mutex::new(files), clock }
    }

    /// Has a change drawn up, makes it durable, and puts it in force. None when there is nothing to change.
    fn change<T>(
        &self,
        draw: impl FnOnce(&Issued, TimeMs) -> Result<Option<(T, Change)>, IssueError>,
    ) -> Result<Option<T>, IssueError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (self.clock)();
        let Some((given, change)) = self.guard.read_issued(|issued| draw(issued, now))? else { return Ok(None) };
        let book = change.book();
        let file = match book {
            Book::Tokens => &mut files.tokens,
            Book::Devices => &mut files.devices,
            Book::Groups => &mut files.groups,
        };
        let count = self.guard.read_issued(|issued| issued.line_count(book));
        file.add(&change.line(), count, || self.whole(book, now)).map_err(IssueError::Write)?;
        self.guard.apply(&change);
        Ok(Some(given))
    }

    /// A book as a file's text. Piece by piece, so that who comes in meanwhile does not wait for the whole; nothing else
    /// changes the book while the files are locked.
    fn whole(&self, book: Book, now: TimeMs) -> String {
        let count = self.guard.read_issued(|issued| issued.line_count(book));
        let pieces = (0..count).step_by(LINES_AT_ONCE);
        pieces.map(|from| self.guard.read_issued(|issued| issued.lines(book, now, from, LINES_AT_ONCE))).collect()
    }
}

fn random<const N: usize>() -> Result<[u8; N], IssueError> {
    let mut random = [0; N];
    getrandom::fill(&mut random).map_err(|error| IssueError::Write(io::Error::other(error)))?;
    Ok(random)
}

impl Issuing for Issuer {
    fn issue_token(&self, grant: Grant) -> Result<String, IssueError> {
        let random = random()?;
        let given =
            self.change(|issued, now| issued.issue_token(&random, grant, now).map(Some).map_err(IssueError::Token));
        given?.ok_or(IssueError::Off)
    }

    fn token_is_valid(&self, token: &str, instance: &InstanceId) -> bool {
        let now = (self.clock)();
        self.guard.read_issued(|issued| match issued.tokens.state(token, now) {
            TokenState::Valid(grant) => grant.instance == instance.as_str(),
            TokenState::Unknown | TokenState::Expired | TokenState::Revoked => false,
        })
    }

    fn revoke_token(&self, token: &str, instance: &InstanceId) -> Result<bool, IssueError> {
        let change = |issued: &Issued, _| Ok(issued.revoke_token(token, instance.as_str()).map(|change| ((), change)));
        self.change(change).map(|done| done.is_some())
    }

    fn register_device(&self, instance: &InstanceId, client: &ClientId) -> Result<DeviceCredential, IssueError> {
        let random = random()?;
        let given = self.change(|issued, now| {
            let drawn = issued.register_device(instance.as_str(), client.as_str(), &random, now);
            drawn.map(Some).map_err(IssueError::Device)
        });
        given?.ok_or(IssueError::Off)
    }

    fn device(&self, instance: &InstanceId, client: &ClientId) -> Option<DeviceCredential> {
        self.guard.read_issued(|issued| issued.devices.get(instance.as_str(), client.as_str()).cloned())
    }

    /// Piece by piece, so that who comes in meanwhile does not wait for the whole.
    fn devices_of_group(
        &self,
        instance: &InstanceId,
        group: &str,
        after: Option<&str>,
        skip: usize,
        limit: usize,
    ) -> DevicesPage {
        let mut page = DevicesPage::default();
        let mut behind = 0;
        let mut last: Option<String> = None;
        loop {
            let piece: Vec<String> = self.guard.read_issued(|issued| {
                let some = issued.devices.of_group(instance.as_str(), group, last.as_deref());
                some.take(LINES_AT_ONCE).map(str::to_owned).collect()
            });
            page.total += piece.len();
            let Some(end) = piece.last().cloned() else { return page };
            for client in piece.into_iter().filter(|client| after.is_none_or(|after| client.as_str() > after)) {
                behind += 1;
                if behind > skip && page.clients.len() < limit {
                    page.clients.push(client);
                } else if behind > skip {
                    page.has_more = true;
                }
            }
            last = Some(end);
        }
    }

    fn refresh_device(&self, instance: &InstanceId, client: &ClientId) -> Result<Option<DeviceCredential>, IssueError> {
        let random = random()?;
        self.change(|issued, now| Ok(issued.refresh_device(instance.as_str(), client.as_str(), &random, now)))
    }

    fn unregister_device(&self, instance: &InstanceId, client: &ClientId) -> Result<bool, IssueError> {
        let change = |issued: &Issued, _| {
            Ok(issued.unregister_device(instance.as_str(), client.as_str()).map(|change| ((), change)))
        };
        self.change(change).map(|done| done.is_some())
    }

    fn groups(&self, instance: &InstanceId) -> Vec<Group> {
        let configured = self.guard.groups();
        let created = self.guard.read_issued(|issued| issued.groups.of(instance.as_str()).collect::<Vec<_>>());
        let mut all: Vec<Group> = configured
            .into_iter()
            .filter(|name| created.iter().all(|group| group.group != *name))
            .map(|group| Group { instance: instance.to_string(), group, created_ms: 0 })
            .collect();
        all.extend(created);
        all
    }

    fn create_group(&self, instance: &InstanceId, group: &str) -> Result<(), IssueError> {
        if self.guard.groups().iter().any(|known| known == group) {
            return Err(IssueError::Group(GroupError::Exists));
        }
        let change = |issued: &Issued, now| {
            let drawn = issued.create_group(instance.as_str(), group, now).map_err(IssueError::Group);
            drawn.map(|change| Some(((), change)))
        };
        self.change(change).map(drop)
    }

    fn delete_group(&self, instance: &InstanceId, group: &str) -> Result<bool, IssueError> {
        let change = |issued: &Issued, _| Ok(issued.delete_group(instance.as_str(), group).map(|change| ((), change)));
        self.change(change).map(|done| done.is_some())
    }
}
