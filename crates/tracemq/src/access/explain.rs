//! `tracemq access explain`: what would be decided, by which statement, and why the others have no say.

use std::fmt::Write as _;
use std::iter;

use anyhow::Context as _;
use tracemq_access::accounts::AccountsFile;
use tracemq_access::policy::{Effect, Finding, Misfit};
use tracemq_access::{Context, Decision, Policy};
use tracemq_api::names_of_right;
use tracemq_model::TimeMs;

use super::args::ExplainArgs;
use super::{document, ended, now, print};
use crate::exit::{Ended, Ending};

/// Tells it on stdout; that it is denied is an exit status of its own.
pub(super) fn run(file: &AccountsFile, args: &ExplainArgs) -> anyhow::Result<()> {
    let id = &file.user(&args.user).map_err(ended)?.id;
    let accounts = file.accounts()?;
    let user = accounts.sessions.user(id).context("the user is not in force")?;
    let given = args.policy.as_deref().map(document).transpose()?;
    let given = given.map(|json| Policy::named("(of the temporary key)", &json)).transpose().context("--policy")?;
    let time = args.time.map_or_else(now, |time| TimeMs(time.as_millisecond()));
    let context = Context { source_ip: args.source_ip, time: Some(time), secure: args.secure };
    let actions = all_names_of_right(&args.action);
    let resources = all_names_of_thing(&args.resource, user.account.as_str());
    let mut text = format!("action    {}\nresource  {}\n", actions.join(" or "), resources.join(" or "));
    let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
    let resources: Vec<&str> = resources.iter().map(String::as_str).collect();
    if !user.enabled {
        let _ = writeln!(text, "user {} is disabled: no key of it is let in, whatever its policies say", user.name);
    }
    let mut allowed = user.enabled;
    for policy in [Some(&user.policy), given.as_ref()].into_iter().flatten() {
        let decision = policy.decide(&actions, &resources, &context);
        tell(&mut text, decision, &policy.findings(&actions, &resources, &context));
        allowed &= decision == Decision::Allow;
    }
    print(&text)?;
    if allowed {
        return Ok(());
    }
    let what = format!("{} would be denied", args.action.join(" or "));
    let next = "the statements above say why; `tracemq access attach` gives a user another policy".to_owned();
    Err(Ended { ending: Ending::Refused, what, next }.into())
}

/// As the server asks: an operation may be allowed by its own name and by that of the right it belongs to.
fn all_names_of_right(typed: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    for action in typed {
        let of_operation = names_of_right(action).unwrap_or_default().iter().map(|name| (*name).to_owned());
        for name in iter::once(action.clone()).chain(of_operation) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// As the server asks: an instance goes by both of its names, under the account of who asks.
fn all_names_of_thing(typed: &[String], account: &str) -> Vec<String> {
    let mut names = Vec::new();
    for resource in typed {
        let parts: Vec<&str> = resource.splitn(5, ':').collect();
        let spellings = if let [acs @ "acs", mq, region, owner, id] = parts[..] {
            let owner = if owner == "*" { account } else { owner };
            let id = id.strip_prefix("instance/").unwrap_or(id);
            let named = |id: &str| [acs, mq, region, owner, id].join(":");
            let is_instance = !id.contains(['/', ':']);
            if is_instance { vec![named(id), named(&format!("instance/{id}"))] } else { vec![named(id)] }
        } else {
            vec![resource.clone()]
        };
        for name in spellings {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

fn tell(text: &mut String, decision: Decision, findings: &[Finding<'_>]) {
    let fits = |effect| findings.iter().find(|found| found.misfit.is_none() && found.effect == effect);
    let (word, decided_by) = match decision {
        Decision::Allow => ("allowed", fits(Effect::Allow)),
        Decision::ExplicitDeny => ("denied (ExplicitDeny)", fits(Effect::Deny)),
        Decision::ImplicitDeny => ("denied (ImplicitDeny)", None),
    };
    let _ = match decided_by {
        Some(found) => writeln!(text, "{word} by {}", place(found)),
        None if findings.is_empty() => writeln!(text, "{word}: no policy is attached to the user or its groups"),
        None => writeln!(text, "{word}: no statement allows it"),
    };
    for found in findings.iter().filter(|found| decided_by != Some(found)) {
        let why = match found.misfit {
            None if found.effect == Effect::Allow && decision == Decision::ExplicitDeny => {
                "would allow; a Deny wins".to_owned()
            }
            None => "says the same".to_owned(),
            Some(Misfit::Action) => "is about other actions".to_owned(),
            Some(Misfit::Resource) => "is about other resources".to_owned(),
            Some(Misfit::Condition { operator, key, unknown: true }) => {
                format!("{operator} asks for {key}, which is not given")
            }
            Some(Misfit::Condition { operator, key, unknown: false }) => format!("{operator} of {key} is not met"),
        };
        let _ = writeln!(text, "  {}: {why}", place(found));
    }
}

fn place(found: &Finding<'_>) -> String {
    let effect = match found.effect {
        Effect::Allow => "Allow",
        Effect::Deny => "Deny",
    };
    format!("{} Statement[{}] ({effect})", found.policy, found.number)
}
