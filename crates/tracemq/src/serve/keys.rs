//! The access keys of the configuration and of the data folder, as the API takes them: at the start, and when they are
//! read again.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use tracemq_access::accounts::Accounts;
use tracemq_access::{AccessKey, AccountId, Holder, KeyRing, Policy, Secret};

use crate::access::file as users;
use crate::cli::ServeArgs;
use crate::config::{AccessKeyEntry, Config, LOCAL_ACCOUNT};
use crate::credentials::{self, Credentials};

/// Checks the keys of the configuration, before anything is made on disk.
///
/// # Errors
/// When a key can't be used: with its id.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let keys = config.access_keys.iter().map(key).collect::<anyhow::Result<Vec<_>>>()?;
    KeyRing::new(keys).map_err(|error| anyhow!("access_keys: {error}"))?;
    Ok(())
}

/// All keys that open a server: `entries` of its configuration, `credentials` of its data folder, and the users' there.
///
/// # Errors
/// When a key can't be used: with its id or file.
pub(super) fn ring(entries: &[AccessKeyEntry], credentials: &Credentials, data_dir: &Path) -> anyhow::Result<KeyRing> {
    let file = credentials::path(data_dir);
    let own = own(credentials).with_context(|| file.display().to_string())?;
    if entries.iter().any(|entry| entry.id == own.id) {
        bail!("{}: access_key_id: `{}` is among the access_keys of the config, too", file.display(), own.id);
    }
    let mut keys = vec![own];
    for entry in entries {
        keys.push(key(entry)?);
    }
    let users = users::load(data_dir)?.map(|file| file.accounts()).transpose()?;
    let (of_users, sessions) = users.map(|Accounts { keys, sessions }| (keys, sessions)).unzip();
    let taken: HashSet<String> = keys.iter().map(|key| key.id.clone()).collect();
    for key in of_users.into_iter().flatten() {
        if taken.contains(&key.id) {
            let file = users::path(data_dir);
            bail!("{}: the key `{}` is in the config or in credentials.toml, too", file.display(), key.id);
        }
        keys.push(key);
    }
    let ring = KeyRing::new(keys).map_err(|error| anyhow!("access_keys: {error}"))?;
    Ok(match sessions {
        Some(sessions) => ring.with_sessions(sessions),
        None => ring,
    })
}

/// The configuration and the keys that stand now in the files of a server that was started with `args` and runs on `data_dir`. Nothing is
/// written.
///
/// # Errors
/// When a start would refuse the files, or would make a key because there is none: with the file and the field.
pub(super) fn read_again(args: &ServeArgs, data_dir: &Path) -> anyhow::Result<(Config, KeyRing)> {
    if let Some(file) = &args.config
        && fs::metadata(file).is_ok_and(|found| !found.is_file())
    {
        // A pipe gives its text once. Read again it would say nothing, and so take all keys away, or never end.
        bail!("{} is no regular file, which could be read again", file.display());
    }
    let config = args.resolve()?;
    let Some(credentials) = credentials::load(data_dir)? else {
        bail!("{} is not there; a restart makes a new key", credentials::path(data_dir).display());
    };
    let ring = ring(&config.access_keys, &credentials, data_dir)?;
    Ok((config, ring))
}

fn own(credentials: &Credentials) -> anyhow::Result<AccessKey> {
    let key = AccessKey {
        id: credentials.access_key_id.clone(),
        secret: Secret::new(&credentials.access_key_secret).context("access_key_secret")?,
        account: AccountId::new(LOCAL_ACCOUNT)?,
        enabled: true,
        security_token: None,
        expires: None,
        holder: Holder::Account,
        policy: Policy::full_access(),
        session: None,
    };
    KeyRing::new([key.clone()]).context("access_key_id")?;
    Ok(key)
}

fn key(entry: &AccessKeyEntry) -> anyhow::Result<AccessKey> {
    usable(entry).with_context(|| format!("access_keys: `{}`", entry.id))
}

fn usable(entry: &AccessKeyEntry) -> anyhow::Result<AccessKey> {
    Ok(AccessKey {
        id: entry.id.clone(),
        secret: Secret::new(entry.secret.reveal()).context("secret")?,
        account: AccountId::new(&entry.account).context("account")?,
        enabled: entry.enabled,
        security_token: match &entry.security_token {
            Some(token) => Some(Secret::new(token.reveal()).context("security_token")?),
            None => None,
        },
        expires: entry.expires_at()?,
        policy: match &entry.policy {
            Some(json) => Policy::parse(json).context("policy")?,
            None => Policy::full_access(),
        },
        holder: Holder::Account,
        session: None,
    })
}
