//! Policies: what a key may do.
//!
//! `{"Version":"1","Statement":[{"Effect":"Allow","Action":"mq:Query*","Resource":"acs:mq:*:*:instance/mqtt-1"}]}`
//!
//! Without a statement that allows, nothing is allowed; one that denies wins over any that allows, in any order.
//! Letter case counts in resources and does not in actions. `*` and `?` are wildcards in the document alone: in what
//! is asked for they are plain characters. A statement may hold under conditions alone, see [`Context`].

mod condition;
mod document;
mod pattern;

use std::sync::Arc;

pub use condition::Context;

use condition::{Condition, Fit};
use pattern::Case;

/// What a statement does where it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It allows, unless another denies.
    Allow,
    /// It denies.
    Deny,
}

#[derive(Clone, Debug)]
struct Statement {
    effect: Effect,
    actions: Vec<String>,
    resources: Vec<String>,
    conditions: Vec<Condition>,
}

/// Why a statement says nothing about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It is about other actions.
    Action,
    /// It is about other resources.
    Resource,
    /// It holds under other circumstances.
    Condition {
        /// `IpAddress`
        operator: &'static str,
        /// `acs:SourceIp`
        key: &'static str,
        /// The call does not tell; such a statement may deny, and never allows.
        unknown: bool,
    },
}

impl Statement {
    fn misfit(&self, actions: &[&str], resources: &[&str], context: &Context) -> Option<Misfit> {
        if !any(&self.actions, actions, Case::Ignored) {
            return Some(Misfit::Action);
        }
        if !any(&self.resources, resources, Case::Counts) {
            return Some(Misfit::Resource);
        }
        self.unmet(context)
    }

    /// The condition that keeps it from holding: what is not known keeps nobody from being denied.
    fn unmet(&self, context: &Context) -> Option<Misfit> {
        let unmet = |condition: &Condition| match (condition.fit(context), self.effect) {
            (Fit::Yes, _) | (Fit::Unknown, Effect::Deny) => None,
            (fit, _) => Some(condition.misfit(fit == Fit::Unknown)),
        };
        self.conditions.iter().find_map(unmet)
    }
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

/// A document, with the name that it is kept under.
#[derive(Debug)]
struct Document {
    name: String,
    statements: Vec<Statement>,
}

/// What a key may do: what some documents say together.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    documents: Vec<Arc<Document>>,
}

/// What one statement says about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding<'a> {
    /// The name of its policy.
    pub policy: &'a str,
    /// Its place in it, from 0.
    pub number: usize,
    /// What it does where it fits.
    pub effect: Effect,
    /// Why it does not; none when it does.
    pub misfit: Option<Misfit>,
}

impl Policy {
    /// Reads a document; see the module.
    ///
    /// # Errors
    /// When it is not JSON, or says anything that is not understood, by its place.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        Self::named("", json)
    }

    /// The same with a name, by which [`Self::findings`] tell of it.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn named(name: &str, json: &str) -> Result<Self, PolicyError> {
        document::parse(json).map(|statements| Self::of(name, statements))
    }

    fn of(name: &str, statements: Vec<Statement>) -> Self {
        Self { documents: vec![Arc::new(Document { name: name.to_owned(), statements })] }
    }

    /// Everything is allowed.
    pub fn full_access() -> Self {
        let all = vec!["*".to_owned()];
        let statement =
            Statement { effect: Effect::Allow, actions: all.clone(), resources: all, conditions: Vec::new() };
        Self::of("", vec![statement])
    }

    /// What all of `policies` say together; of none nothing is allowed.
    pub fn together<'a>(policies: impl IntoIterator<Item = &'a Self>) -> Self {
        Self { documents: policies.into_iter().flat_map(|policy| &policy.documents).cloned().collect() }
    }

    fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.documents.iter().flat_map(|document| &document.statements)
    }

    /// Decides about a call that goes by any of `actions`, on a thing that goes by any of `resources`: allowed if
    /// under one of the names it is allowed, denied if under one it is denied.
    pub fn decide(&self, actions: &[&str], resources: &[&str], context: &Context) -> Decision {
        let mut decision = Decision::ImplicitDeny;
        for statement in self.statements() {
            if statement.misfit(actions, resources, context).is_none() {
                match statement.effect {
                    Effect::Deny => return Decision::ExplicitDeny,
                    Effect::Allow => decision = Decision::Allow,
                }
            }
        }
        decision
    }

    /// What each statement says about such a call.
    pub fn findings<'a>(&'a self, actions: &[&str], resources: &[&str], context: &Context) -> Vec<Finding<'a>> {
        let mut findings = Vec::new();
        for document in &self.documents {
            for (number, statement) in document.statements.iter().enumerate() {
                let (policy, effect) = (document.name.as_str(), statement.effect);
                let misfit = statement.misfit(actions, resources, context);
                findings.push(Finding { policy, number, effect, misfit });
            }
        }
        findings
    }

    /// Whether a statement forbids any of `actions` on anything whose name begins with `prefix`.
    pub fn denies_below(&self, actions: &[&str], prefix: &str, context: &Context) -> bool {
        self.statements().any(|statement| {
            statement.effect == Effect::Deny
                && any(&statement.actions, actions, Case::Ignored)
                && statement.resources.iter().any(|pattern| may_be_below(pattern, prefix))
                && statement.unmet(context).is_none()
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
