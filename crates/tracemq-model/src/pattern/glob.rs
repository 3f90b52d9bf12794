//! `*` and `?`.

use memchr::memmem::Finder;

/// The pieces between the stars. The first stands at the beginning of a name, the last at its end, those between them each as
/// early as it can: since a piece always takes the same number of characters, an earlier place never leaves less room.
#[derive(Clone, Debug)]
pub(super) enum Glob {
    /// Without a star: the name as a whole.
    Whole(Piece),
    Pieces {
        first: Piece,
        middle: Vec<Piece>,
        last: Piece,
    },
}

/// What stands between two stars.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Literal(Box<Finder<'static>>),
    /// Some of the characters may be any.
    Wild(Vec<Option<char>>),
}

impl Glob {
    pub(super) fn new(pattern: &str) -> Self {
        let Some((first, rest)) = pattern.split_once('*') else { return Self::Whole(Piece::new(pattern)) };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle = middle.split('*').filter(|piece| !piece.is_empty()).map(Piece::new).collect();
        Self::Pieces { first: Piece::new(first), middle, last: Piece::new(last) }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Whole(piece) => piece.behind_start(name) == Some(""),
            Self::Pieces { first, middle, last } => {
                let behind = first.behind_start(name);
                let rest = behind.and_then(|rest| last.before_end(rest));
                rest.and_then(|rest| middle.iter().try_fold(rest, |rest, piece| piece.behind(rest))).is_some()
            }
        }
    }
}

impl Piece {
    fn new(text: &str) -> Self {
        if text.contains('?') {
            Self::Wild(text.chars().map(|c| (c != '?').then_some(c)).collect())
        } else {
            Self::Literal(Box::new(Finder::new(text).into_owned()))
        }
    }

    /// What is left of a text that begins with it.
    fn behind_start<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Literal(finder) => {
                text.as_bytes().starts_with(finder.needle()).then(|| text.get(finder.needle().len()..))?
            }
            Self::Wild(piece) => {
                let mut rest = text.chars();
                piece.iter().all(|wanted| agree(*wanted, rest.next())).then_some(rest.as_str())
            }
        }
    }

    /// What is left of a text that ends with it.
    fn before_end<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Literal(finder) => {
                let left = text.len().checked_sub(finder.needle().len())?;
                text.as_bytes().ends_with(finder.needle()).then(|| text.get(..left))?
            }
            Self::Wild(piece) => {
                let mut rest = text.chars();
                piece.iter().rev().all(|wanted| agree(*wanted, rest.next_back())).then_some(rest.as_str())
            }
        }
    }

    /// What is left of a text behind the first place at which it stands.
    fn behind<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Literal(finder) => text.get(finder.find(text.as_bytes())? + finder.needle().len()..),
            Self::Wild(_) => text.char_indices().find_map(|(at, _)| self.behind_start(text.get(at..)?)),
        }
    }
}

fn agree(wanted: Option<char>, found: Option<char>) -> bool {
    found.is_some() && (wanted.is_none() || wanted == found)
}
