//! What calls have changed of who may come in: tokens and device credentials that were given out, and groups that were created, as
//! ApsaraMQ knows them.
//!
//! The books are kept as files of JSON lines, in which a later line stands in place of an earlier one of the same
//! token, client or group. So a [`Change`] is one line: whoever owns the files writes [`Change::line`] first, and when that is
//! durable has it applied by [`Issued::apply`]. [`Issued::lines`] are those of a whole file anew.

mod devices;
mod groups;
mod held;
mod notice;
mod tokens;

pub use devices::{DeviceBook, DeviceCredential, DeviceError};
pub use groups::{Group, GroupBook, GroupError};
pub use notice::{Notice, UPLOAD_TOPIC};
pub use tokens::{Grant, TokenBook, TokenError, TokenState};

pub(super) use held::{Bearer, TokenFault, Tokens};
pub(super) use notice::Code;
pub(super) use tokens::TokenDigest;

use devices::Unregistered;
use groups::Deleted;
use serde::Serialize;
use tokens::Token;
use tracemq_model::TimeMs;

use super::Identity;

/// A file of a book that can't be used: with the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not what was written there")]
pub struct BookError(pub usize);

/// All books.
#[derive(Debug, Default)]
pub struct Issued {
    /// Tokens.
    pub tokens: TokenBook,
    /// Credentials of devices.
    pub devices: DeviceBook,
    /// Groups.
    pub groups: GroupBook,
}

/// Which of the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Book {
    /// [`Issued::tokens`].
    Tokens,
    /// [`Issued::devices`].
    Devices,
    /// [`Issued::groups`].
    Groups,
}

/// A change of a book that is not in force yet.
#[derive(Clone, Debug)]
pub struct Change(Inside);

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Inside {
    Token(Token),
    Device(DeviceCredential),
    NoDevice(Unregistered),
    Group(Group),
    NoGroup(Deleted),
}

impl Change {
    /// Whose file it belongs into.
    pub fn book(&self) -> Book {
        match &self.0 {
            Inside::Token(_) => Book::Tokens,
            Inside::Device(_) | Inside::NoDevice(_) => Book::Devices,
            Inside::Group(_) | Inside::NoGroup(_) => Book::Groups,
        }
    }

    /// The line of the file, with its end.
    pub fn line(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default() + "\n"
    }

    /// Whether it may end the connection of `who`.
    pub fn concerns(&self, who: &Identity) -> bool {
        match &self.0 {
            Inside::Token(token) => who.came_by_token(&token.digest),
            Inside::Device(device) => who.came_by_credential(&device.instance, &device.client_id),
            Inside::NoDevice(gone) => who.came_by_credential(&gone.instance, &gone.client_id),
            Inside::Group(_) => false,
            Inside::NoGroup(gone) => who.is_of_group(&gone.instance, &gone.group),
        }
    }
}

impl Issued {
    /// A new token with the rights of `grant`, made of `random`, and the change that gives it out.
    ///
    /// # Errors
    /// When it would give no right, or the book is full.
    pub fn issue_token(&self, random: &[u8; 32], grant: Grant, now: TimeMs) -> Result<(String, Change), TokenError> {
        let (text, token) = self.tokens.draw(random, grant, now)?;
        Ok((text, Change(Inside::Token(token))))
    }

    /// What takes a token back. None when it was not given out for `instance`, or is long forgotten.
    pub fn revoke_token(&self, text: &str, instance: &str) -> Option<Change> {
        self.tokens.revoked(text, instance).map(|token| Change(Inside::Token(token)))
    }

    /// A new credential for a client, made of `random`, in place of the one that it has, and the change that registers it.
    ///
    /// # Errors
    /// When the book is full.
    pub fn register_device(
        &self,
        instance: &str,
        client_id: &str,
        random: &[u8; 64],
        now: TimeMs,
    ) -> Result<(DeviceCredential, Change), DeviceError> {
        let credential = self.devices.draw(instance, client_id, random, now)?;
        Ok((credential.clone(), Change(Inside::Device(credential))))
    }

    /// The client's credential with a new secret, and the change to it. None when the client has none.
    pub fn refresh_device(
        &self,
        instance: &str,
        client_id: &str,
        random: &[u8; 64],
        now: TimeMs,
    ) -> Option<(DeviceCredential, Change)> {
        let credential = self.devices.refreshed(instance, client_id, random, now)?;
        Some((credential.clone(), Change(Inside::Device(credential))))
    }

    /// What takes the client's credential away. None when it has none.
    pub fn unregister_device(&self, instance: &str, client_id: &str) -> Option<Change> {
        self.devices.unregistered(instance, client_id).map(|gone| Change(Inside::NoDevice(gone)))
    }

    /// A new group, and the change that creates it.
    ///
    /// # Errors
    /// When it is there, can't be called that, or there are too many.
    pub fn create_group(&self, instance: &str, group: &str, now: TimeMs) -> Result<Change, GroupError> {
        self.groups.draw(instance, group, now).map(|group| Change(Inside::Group(group)))
    }

    /// What takes a group away. None when it was not created.
    pub fn delete_group(&self, instance: &str, group: &str) -> Option<Change> {
        self.groups.deleted(instance, group).map(|gone| Change(Inside::NoGroup(gone)))
    }

    /// Puts a change in force.
    pub fn apply(&mut self, change: Change, now: TimeMs) {
        match change.0 {
            Inside::Token(token) => self.tokens.put(token, now),
            Inside::Device(credential) => self.devices.put(credential),
            Inside::NoDevice(gone) => self.devices.take_out(&gone),
            Inside::Group(group) => self.groups.put(group),
            Inside::NoGroup(gone) => self.groups.take_out(gone),
        }
    }

    /// `count` lines of a book from the `from`th on, as they stand in a file. In the same order as long as nothing is
    /// changed; tokens that are long past are left out.
    pub fn lines(&self, book: Book, now: TimeMs, from: usize, count: usize) -> String {
        match book {
            Book::Tokens => self.tokens.lines(now, from, count),
            Book::Devices => self.devices.lines(from, count),
            Book::Groups => self.groups.lines(from, count),
        }
    }

    /// How many there are.
    pub fn line_count(&self, book: Book) -> usize {
        match book {
            Book::Tokens => self.tokens.len(),
            Book::Devices => self.devices.len(),
            Book::Groups => self.groups.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimeMs = TimeMs(1_000);

    fn grant() -> Grant {
        let (access_key_id, instance, resources) = ("ak".into(), "i".into(), vec!["a/+".into()]);
        Grant { access_key_id, instance, read: true, write: false, resources, expires_ms: 9_000 }
    }

    /// What a file of these lines says.
    fn read(lines: &[&str]) -> Issued {
        let (tokens, devices): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| line.contains("digest"));
        Issued {
            tokens: TokenBook::parse(&tokens.concat()).unwrap(),
            devices: DeviceBook::parse(&devices.concat()).unwrap(),
            groups: GroupBook::default(),
        }
    }

    #[test]
    fn what_a_file_says_line_by_line_is_what_was_applied() {
        let mut issued = Issued::default();
        let mut lines = Vec::new();
        let mut apply = |issued: &mut Issued, change: Change| {
            lines.push(change.line());
            issued.apply(change, NOW);
            read(&lines.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let (text, change) = issued.issue_token(&[1; 32], grant(), NOW).unwrap();
        assert!(!change.line().contains(&text), "a token is in no file");
        assert_eq!(issued.tokens.state(&text, NOW), TokenState::Unknown, "not yet in force");
        let found = apply(&mut issued, change);
        assert_eq!(found.tokens.state(&text, NOW), TokenState::Valid(&grant()));
        assert!(issued.revoke_token(&text, "j").is_none() && issued.revoke_token("forged", "i").is_none());
        let change = issued.revoke_token(&text, "i").unwrap();
        let found = apply(&mut issued, change);
        assert_eq!(found.tokens.state(&text, NOW), TokenState::Revoked);

        let (first, change) = issued.register_device("i", "c", &[2; 64], NOW).unwrap();
        let found = apply(&mut issued, change);
        assert_eq!(found.devices.get("i", "c"), Some(&first));
        let (second, change) = issued.refresh_device("i", "c", &[3; 64], TimeMs(2_000)).unwrap();
        assert_eq!((&second.id, second.updated_ms), (&first.id, 2_000));
        let found = apply(&mut issued, change);
        assert_eq!(found.devices.get("i", "c"), Some(&second));
        let change = issued.unregister_device("i", "c").unwrap();
        let found = apply(&mut issued, change);
        assert_eq!(found.devices.get("i", "c"), None);
        assert!(issued.unregister_device("i", "c").is_none());
        assert!(issued.refresh_device("i", "c", &[3; 64], NOW).is_none());

        let whole = [Book::Tokens, Book::Devices].map(|book| issued.lines(book, NOW, 0, 10));
        assert_eq!(whole.iter().map(|text| text.lines().count()).collect::<Vec<_>>(), [1, 0]);
        assert_eq!((issued.line_count(Book::Tokens), issued.line_count(Book::Devices)), (1, 0));
        let found = read(&[whole[0].as_str()]);
        assert_eq!(found.tokens.state(&text, NOW), TokenState::Revoked);
    }
}
