//! Policies: what a key may do.
//!
//! `{"Version":"1","Statement":[{"Effect":"Allow","Action":"mq:Query*","Resource":"acs:mq:*:*:instance/mqtt-1"}]}`
//!
//! Without a statement that allows, nothing is allowed; one that denies wins over any that allows, in any order.
//! Letter case counts in resources and does not in actions. `*` and `?` are wildcards in the document alone: in what
//! is asked for they are plain characters.

mod document;
mod pattern;

use pattern::Case;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug)]
struct Statement {
    effect: Effect,
    actions: Vec<String>,
    resources: Vec<String>,
}

/// Why a document can't be a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No JSON.
    #[error("the policy is not JSON: {0}")]
    Json(String),
    /// Above [`Self::DOCUMENT_MAX_BYTES`].
    #[error("the policy is longer than {} bytes", Self::DOCUMENT_MAX_BYTES)]
    TooLong,
    /// Something in it is wrong or not supported.
    #[error("{path} {what}")]
    At {
        /// Where: `Statement[0].NotAction`.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl PolicyError {
    /// Longer documents are refused: they are evaluated with every call.
    pub const DOCUMENT_MAX_BYTES: usize = 32_768;

    fn at(path: impl Into<String>, what: &'static str) -> Self {
        Self::At { path: path.into(), what }
    }
}

/// What a policy says about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be made.
    Allow,
    /// A statement forbids it.
    ExplicitDeny,
    /// No statement allows it.
    ImplicitDeny,
}

/// What a key may do.
#[derive(Clone, Debug)]
pub struct Policy {
    statements: Vec<Statement>,
}

impl Policy {
    /// Reads a document; see the module.
    ///
    /// # Errors
    /// When it is not JSON, or says anything that is not understood, by its place.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        document::parse(json).map(|statements| Self { statements })
    }

    /// Everything is allowed.
    pub fn full_access() -> Self {
        let all = vec!["*".to_owned()];
        Self { statements: vec![Statement { effect: Effect::Allow, actions: all.clone(), resources: all }] }
    }

    /// Decides about a call that goes by any of `actions`, on a thing that goes by any of `resources`: allowed if
    /// under one of the names it is allowed, denied if under one it is denied.
    pub fn decide(&self, actions: &[&str], resources: &[&str]) -> Decision {
        let mut decision = Decision::ImplicitDeny;
        for statement in &self.statements {
            if any(&statement.actions, actions, Case::Ignored) && any(&statement.resources, resources, Case::Counts) {
                match statement.effect {
                    Effect::Deny => return Decision::ExplicitDeny,
                    Effect::Allow => decision = Decision::Allow,
                }
            }
        }
        decision
    }

    /// Whether a statement forbids any of `actions` on anything whose name begins with `prefix`.
    pub fn denies_below(&self, actions: &[&str], prefix: &str) -> bool {
        self.statements.iter().any(|statement| {
            statement.effect == Effect::Deny
                && any(&statement.actions, actions, Case::Ignored)
                && statement.resources.iter().any(|pattern| may_be_below(pattern, prefix))
        })
    }
}

/// Part by part where both have all five of `acs:mq:region:account:relative`: else a `*` for the region would stand for
/// anything behind it, too.
fn may_be_below(pattern: &str, prefix: &str) -> bool {
    let parts = |text| -> Option<[&str; 5]> { str::splitn(text, 5, ':').collect::<Vec<_>>().try_into().ok() };
    if let (Some([.., region, account, relative]), Some([.., own_region, own_account, own])) =
        (parts(pattern), parts(prefix))
        && pattern::matches(region, own_region, Case::Counts)
        && pattern::matches(account, own_account, Case::Counts)
    {
        return pattern::can_begin_with(relative, own);
    }
    pattern::can_begin_with(pattern, prefix)
}

/// Whether `pattern`, in which `*` is any text and `?` any character, matches all of `name`.
pub(crate) fn matches_name(pattern: &str, name: &str) -> bool {
    pattern::matches(pattern, name, Case::Counts)
}

fn any(patterns: &[String], names: &[&str], case: Case) -> bool {
    patterns.iter().any(|pattern| names.iter().any(|name| pattern::matches(pattern, name, case)))
}

#[cfg(test)]
mod tests;
