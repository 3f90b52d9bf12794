//! `tracemq access`: users of the HTTP API, their keys, groups and policies; and why a call is allowed or not.

mod args;
mod explain;
pub(crate) mod file;
mod list;

use std::fs::File;
use std::io::{Read, Write, stdin, stdout};
use std::path::Path;

use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};
use tracemq_access::AccessKey;
use tracemq_access::accounts::{AccountsFile, Attached, EditError};
use tracemq_access::policy::PolicyError;
use tracemq_model::TimeMs;

pub(crate) use args::{AccessCommand, AccessPlace};

use crate::exit::{Ended, Ending};
use args::{AttachArgs, GroupCommand, KeyCommand, PolicyCommand, StsArgs, UserCommand};

/// Runs the command.
///
/// # Errors
/// When it can't be done: then nothing is changed.
pub(crate) fn run(place: &AccessPlace, command: &AccessCommand) -> anyhow::Result<()> {
    let at = place.data_dir.as_deref().unwrap_or(Path::new("tracemq-data"));
    match command {
        AccessCommand::User(command) => user(at, command),
        AccessCommand::Key(command) => key(at, command),
        AccessCommand::Group(command) => group(at, command),
        AccessCommand::Policy(command) => policy(at, command),
        AccessCommand::Attach(args) => edit(at, |file| file.attach(&args.policy, whose(args))),
        AccessCommand::Detach(args) => edit(at, |file| file.detach(&args.policy, whose(args))),
        AccessCommand::Sts(args) => sts(at, args),
        AccessCommand::Explain(args) => explain::run(&existing(at)?, args),
    }
}

fn user(at: &Path, command: &UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::Add { name, account } => {
            let random = file::random()?;
            edit(at, |file| file.add_user(name, account, random))
        }
        UserCommand::List => print(&list::users(&existing(at)?)),
        UserCommand::Disable { name } => edit(at, |file| file.enable_user(name, false)),
        UserCommand::Enable { name } => edit(at, |file| file.enable_user(name, true)),
        UserCommand::Delete { name } => edit(at, |file| file.delete_user(name)),
    }
}

fn key(at: &Path, command: &KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::Add { user } => {
            let (id, secret) = AccessKey::random_pair(&file::random()?);
            edit(at, |file| file.add_key(user, &id, &secret, now()))?;
            print(&format!("access_key_id      {id}\naccess_key_secret  {secret}\n"))
        }
        KeyCommand::List { user } => {
            let file = existing(at)?;
            if let Some(user) = user {
                file.user(user).map_err(ended)?;
            }
            print(&list::keys(&file, user.as_deref()))
        }
        KeyCommand::Disable { id } => edit(at, |file| file.enable_key(id, false)),
        KeyCommand::Enable { id } => edit(at, |file| file.enable_key(id, true)),
        KeyCommand::Delete { id } => edit(at, |file| file.delete_key(id)),
    }
}

fn group(at: &Path, command: &GroupCommand) -> anyhow::Result<()> {
    match command {
        GroupCommand::Add { name } => edit(at, |file| file.add_group(name)),
        GroupCommand::List => print(&list::groups(&existing(at)?)),
        GroupCommand::Join { name, user } => edit(at, |file| file.join(name, user)),
        GroupCommand::Leave { name, user } => edit(at, |file| file.leave(name, user)),
        GroupCommand::Delete { name } => edit(at, |file| file.delete_group(name)),
    }
}

fn policy(at: &Path, command: &PolicyCommand) -> anyhow::Result<()> {
    match command {
        PolicyCommand::Put { name, file } => {
            let document = document(file)?;
            edit(at, |file| file.put_policy(name, &document))
        }
        PolicyCommand::List => print(&list::policies(&existing(at)?)),
        PolicyCommand::Show { name } => {
            let file = existing(at)?;
            let found = file.policies.iter().find(|policy| policy.name == *name);
            let unknown = || ended(EditError::Unknown { kind: "policy", name: name.escape_debug().to_string() });
            print(&format!("{}\n", found.ok_or_else(unknown)?.document.get()))
        }
        PolicyCommand::Delete { name } => edit(at, |file| file.delete_policy(name)),
    }
}

fn sts(at: &Path, args: &StsArgs) -> anyhow::Result<()> {
    let life: SignedDuration = args
        .duration
        .parse()
        .with_context(|| format!("--duration: `{}` is no time such as 15m or 1h30m", args.duration.escape_debug()))?;
    let life_ms = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
    let policy = args.policy.as_deref().map(document).transpose()?;
    let file = existing(at)?;
    let id = &file.user(&args.user).map_err(ended)?.id;
    let sessions = file.accounts()?.sessions;
    let given = sessions.grant(id, policy.as_deref(), now(), life_ms, &file::random()?)?;
    let expires = list::told(given.expires);
    print(&format!(
        "access_key_id      {}\naccess_key_secret  {}\nsecurity_token     {}\nexpires            {expires}\n",
        given.id, given.secret, given.token
    ))
}

fn whose(args: &AttachArgs) -> Attached<'_> {
    match (&args.user, &args.group) {
        (Some(user), _) => Attached::User(user),
        (None, group) => Attached::Group(group.as_deref().unwrap_or_default()), // clap asks for one of them
    }
}

fn edit(at: &Path, change: impl FnOnce(&mut AccountsFile) -> Result<(), EditError>) -> anyhow::Result<()> {
    file::change(at, |file| change(file).map_err(ended))
}

/// The users; none when nobody has added one yet.
fn existing(at: &Path) -> anyhow::Result<AccountsFile> {
    match file::load(at)? {
        Some(file) => Ok(file),
        None => bail!("{} is not there yet; `tracemq access user add NAME` makes it", file::path(at).display()),
    }
}

/// What names something that there is not has an exit status of its own.
fn ended(error: EditError) -> anyhow::Error {
    match &error {
        EditError::Unknown { kind, .. } => {
            let next = format!("`tracemq access {kind} list` lists all; the name must be as it was given");
            Ended { ending: Ending::NotFound, what: error.to_string(), next }.into()
        }
        EditError::Exists { .. } | EditError::InUse { .. } | EditError::Nothing(_) | EditError::File(_) => error.into(),
    }
}

/// A policy's document, by the name of its file.
fn document(path: &Path) -> anyhow::Result<String> {
    // One byte more than may be, so that a longer one is seen to be.
    let bound = PolicyError::DOCUMENT_MAX_BYTES as u64 + 1;
    let mut text = String::new();
    let read = if path == Path::new("-") {
        stdin().take(bound).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(bound).read_to_string(&mut text))
    };
    read.with_context(|| format!("can't read {}", path.display()))?;
    Ok(text)
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn now() -> TimeMs {
    TimeMs(Timestamp::now().as_millisecond())
}
