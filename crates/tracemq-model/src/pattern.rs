//! How clients are looked for by a part of their name.
//!
//! A [`Matcher`] is made once and held against every name that there is, so what can be prepared is prepared. None takes more
//! steps than the length of the name times that of the pattern.

mod fuzzy;
mod glob;

use memchr::memmem::Finder;

use crate::Subject;
use fuzzy::Fuzzy;
use glob::Glob;

/// Which names are looked for: clients by their identifier, addresses as text (IPv4 with dots). All but fuzzy tell letters of
/// different case apart, as MQTT does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pattern {
    /// Every name.
    #[default]
    All,
    /// Names that begin with this.
    Prefix(String),
    /// Names that hold this anywhere.
    Substring(String),
    /// Names that are this as a whole, where `*` stands for any characters, also none, and `?` for one.
    Glob(String),
    /// Names that hold this anywhere but for a few typing errors (characters too much, too few, or others): none in a text
    /// of up to 2 characters, one up to 5, two in longer ones. Letters of ASCII match in either case.
    Fuzzy(String),
}

impl Pattern {
    /// Makes it ready.
    pub fn matcher(&self) -> Matcher {
        Matcher(match self {
            Self::All => Kind::All,
            Self::Prefix(prefix) => Kind::Prefix(prefix.clone()),
            Self::Substring(part) => Kind::Substring(Box::new(Finder::new(part).into_owned())),
            Self::Glob(pattern) => Kind::Glob(Glob::new(pattern)),
            Self::Fuzzy(part) => Kind::Fuzzy(Fuzzy::new(part)),
        })
    }

    /// What every name that matches begins with.
    pub fn literal_prefix(&self) -> &str {
        match self {
            Self::Prefix(prefix) => prefix,
            Self::Glob(pattern) => pattern.split(['*', '?']).next().unwrap_or_default(),
            Self::All | Self::Substring(_) | Self::Fuzzy(_) => "",
        }
    }
}

/// A [`Pattern`], ready to be held against many names.
#[derive(Clone, Debug)]
pub struct Matcher(Kind);

#[derive(Clone, Debug)]
enum Kind {
    All,
    Prefix(String),
    Substring(Box<Finder<'static>>),
    Glob(Glob),
    Fuzzy(Fuzzy),
}

impl Matcher {
    /// Whether `name` is one of those looked for.
    pub fn matches(&self, name: &str) -> bool {
        match &self.0 {
            Kind::All => true,
            Kind::Prefix(prefix) => name.starts_with(prefix.as_str()),
            Kind::Substring(finder) => finder.find(name.as_bytes()).is_some(),
            Kind::Glob(glob) => glob.matches(name),
            Kind::Fuzzy(fuzzy) => fuzzy.matches(name),
        }
    }

    /// Whether `subject` is one of those looked for.
    pub fn matches_subject(&self, subject: &Subject) -> bool {
        match (subject, &self.0) {
            (_, Kind::All) => true,
            (Subject::Client(client), _) => self.matches(client.as_str()),
            (Subject::Address(address), _) => self.matches(&address.to_canonical().to_string()),
            (Subject::Message(id), _) => self.matches(&id.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
