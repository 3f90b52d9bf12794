//! The file of users: a line each, `name:stored password`, and `:disabled` behind it for one that is not let in. Empty
//! lines and lines that begin with `#` are passed over and kept.
//!
//! A file that is not understood as a whole is refused as a whole, and so is one without users: never does a mistake
//! in it let anybody in.

use std::collections::HashMap;
use std::sync::Arc;

use super::password::{PasswordError, StoredPassword};

/// The most bytes of a user's name, and of a line.
const NAME_BYTES_MAX: usize = 1_024;
const LINE_BYTES_MAX: usize = 2_048;

const DISABLED: &str = "disabled";

/// A user.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: Arc<str>,
    /// Its password.
    pub password: StoredPassword,
    /// A disabled user is known and not let in.
    pub enabled: bool,
}

/// Why a file of users can't be used: with the line, never with what stands in it behind the name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsersError {
    /// Nobody in it.
    #[error("no user is in it")]
    Empty,
    /// A line that is no user.
    #[error("line {line}: {fault}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        fault: LineFault,
    },
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// Far too long.
    #[error("it is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// No `:` in it.
    #[error("it is not `name:stored password`")]
    Form,
    /// The name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A name for the second time.
    #[error("user `{0}` is there twice")]
    Twice(String),
    /// What stands behind the name.
    #[error("the password of `{user}` {fault}")]
    Password {
        /// Whose.
        user: String,
        /// What is wrong with it.
        fault: PasswordError,
    },
    /// Something behind the password.
    #[error("behind the password of `{0}` stands something else than `disabled`")]
    Flag(String),
}

/// A name that no user can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a user name has 1 to {NAME_BYTES_MAX} bytes, no `:` and no control character, does not begin with `#` and has no space around it"
)]
pub struct NameError;

fn check_name(name: &str) -> Result<(), NameError> {
    let usable = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('#')
        && name.trim() == name
        && !name.contains(|c: char| c == ':' || c.is_control());
    if usable { Ok(()) } else { Err(NameError) }
}

/// All users of a file.
#[derive(Clone, Debug)]
pub struct Users {
    by_name: HashMap<Arc<str>, User>,
    nobody: StoredPassword,
}

impl Users {
    /// Reads a file's text.
    ///
    /// # Errors
    /// With the line, when it is not understood as a whole.
    pub fn parse(text: &str) -> Result<Self, UsersError> {
        let mut by_name = HashMap::new();
        let mut nobody = None;
        for (line, text) in (1..).zip(text.lines()) {
            let Some(user) = parse_line(text).map_err(|fault| UsersError::Line { line, fault })? else { continue };
            nobody.get_or_insert_with(|| StoredPassword::of_nobody(user.password.cost()));
            if let Some(twice) = by_name.insert(Arc::clone(&user.name), user) {
                return Err(UsersError::Line { line, fault: LineFault::Twice(twice.name.to_string()) });
            }
        }
        Ok(Self { by_name, nobody: nobody.ok_or(UsersError::Empty)? })
    }

    /// The user of that name.
    pub fn get(&self, name: &str) -> Option<&User> {
        self.by_name.get(name)
    }

    /// What to compare with for a name that nobody has: it costs what the first user's costs.
    pub fn nobody(&self) -> &StoredPassword {
        &self.nobody
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none: never so.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

fn parse_line(text: &str) -> Result<Option<User>, LineFault> {
    if text.len() > LINE_BYTES_MAX {
        return Err(LineFault::TooLong);
    }
    if text.trim().is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let (name, rest) = text.split_once(':').ok_or(LineFault::Form)?;
    check_name(name)?;
    let (password, flag) = match rest.trim_end().split_once(':') {
        Some((password, flag)) => (password, Some(flag)),
        None => (rest.trim_end(), None),
    };
    if flag.is_some_and(|flag| flag != DISABLED) {
        return Err(LineFault::Flag(name.to_owned()));
    }
    let password =
        StoredPassword::parse(password).map_err(|fault| LineFault::Password { user: name.to_owned(), fault })?;
    Ok(Some(User { name: name.into(), password, enabled: flag.is_none() }))
}

fn print_line(user: &User) -> String {
    let flag = if user.enabled { String::new() } else { format!(":{DISABLED}") };
    format!("{}:{}{flag}", user.name, user.password.as_str())
}

/// The file's text with a new `password` for `name`: in its line, which keeps its flag, or in a new one at the end.
///
/// # Errors
/// When the name can't be one, or the file is not understood: then nothing may be written.
pub fn with_password(text: &str, name: &str, password: &StoredPassword) -> Result<String, UsersError> {
    check_name(name).map_err(|fault| UsersError::Line { line: text.lines().count() + 1, fault: fault.into() })?;
    let (mut changed, found) = rewrite(text, name, |mut user| {
        user.password = password.clone();
        Some(user)
    })?;
    if !found {
        changed.push_str(&print_line(&User { name: name.into(), password: password.clone(), enabled: true }));
        changed.push('\n');
    }
    Ok(changed)
}

/// The file's text without `name`, or none when it is not there.
///
/// # Errors
/// When the file is not understood.
pub fn without(text: &str, name: &str) -> Result<Option<String>, UsersError> {
    let (changed, found) = rewrite(text, name, |_| None)?;
    Ok(found.then_some(changed))
}

/// The file's text with `name` enabled or disabled, or none when it is not there.
///
/// # Errors
/// When the file is not understood.
pub fn with_enabled(text: &str, name: &str, enabled: bool) -> Result<Option<String>, UsersError> {
    let (changed, found) = rewrite(text, name, |user| Some(User { enabled, ..user }))?;
    Ok(found.then_some(changed))
}

fn rewrite(text: &str, name: &str, change: impl Fn(User) -> Option<User>) -> Result<(String, bool), UsersError> {
    match Users::parse(text) {
        Ok(_) | Err(UsersError::Empty) => {}
        Err(error) => return Err(error),
    }
    let (mut changed, mut found) = (String::with_capacity(text.len() + 128), false);
    for line in text.lines() {
        match parse_line(line) {
            Ok(Some(user)) if &*user.name == name => {
                found = true;
                let Some(user) = change(user) else { continue };
                changed.push_str(&print_line(&user));
            }
            Ok(_) | Err(_) => changed.push_str(line),
        }
        changed.push('\n');
    }
    Ok((changed, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::password::Cost;

    fn stored(password: &str) -> StoredPassword {
        StoredPassword::hash(password.as_bytes(), &[1; 16], Cost { memory_kib: 8, rounds: 1, lanes: 1 }).unwrap()
    }

    fn fits(user: &User, password: &[u8]) -> bool {
        user.password.fits(password, &mut crate::mqtt::Workspace::default())
    }

    #[test]
    fn a_file_is_changed_line_by_line_and_keeps_the_rest() {
        let text = with_password("# pumps\n\n", "pump", &stored("a")).unwrap();
        let text = with_password(&text, "Signature|x y|é", &stored("b")).unwrap();
        let text = with_enabled(&text, "pump", false).unwrap().unwrap();
        let text = with_password(&text, "pump", &stored("c")).unwrap();
        assert!(text.starts_with("# pumps\n\npump:$argon2id$") && text.lines().count() == 4, "{text}");
        let users = Users::parse(&text).unwrap();
        assert_eq!(users.len(), 2);
        let pump = users.get("pump").unwrap();
        assert!(!pump.enabled && fits(pump, b"c") && !fits(pump, b"a"));
        assert!(fits(users.get("Signature|x y|é").unwrap(), b"b"));
        assert!(with_enabled(&text, "pump", true).unwrap().unwrap().contains("pump:"));
        let text = without(&text, "pump").unwrap().unwrap();
        assert!(Users::parse(&text).unwrap().get("pump").is_none() && text.starts_with("# pumps"));
        assert_eq!(without(&text, "pump").unwrap(), None);
        assert_eq!(with_enabled(&text, "pump", true).unwrap(), None);
    }

    #[test]
    fn b61_a_file_that_is_not_understood_as_a_whole_is_refused_as_a_whole() {
        let good = format!("pump:{}\n", stored("a").as_str());
        let refused = |text: &str| Users::parse(text).unwrap_err().to_string();
        for empty in ["", "\n\n", "# nobody\n", "   "] {
            assert_eq!(Users::parse(empty).unwrap_err(), UsersError::Empty, "{empty:?}");
        }
        for (line, said) in [
            ("pump", "name:stored password"),
            ("ops:hunter2", "the password of `ops` is no stored password"),
            (":x", "user name"),
            ("#x y:z\nops :x", "user name"),
            (&*"x".repeat(10_000), "longer than"),
            (&*good, "`pump` is there twice"),
            (&*format!("ops:{}:admin", stored("a").as_str()), "`disabled`"),
            (&*format!("ops:{}:disabled:disabled", stored("a").as_str()), "`disabled`"),
        ] {
            let told = refused(&format!("{good}{line}"));
            assert!(told.starts_with("line ") && told.contains(said), "{line}: {told}");
            assert!(!told.contains("hunter2") && !told.contains("argon2id$v=19$m=8"), "{told}");
            assert!(with_password(&format!("{good}{line}"), "x", &stored("x")).is_err());
        }
        for bad in ["", "a:b", "a\nb", " a", "#a", &"x".repeat(1_025)] {
            assert!(with_password(&good, bad, &stored("x")).is_err(), "{bad:?}");
        }
    }
}
