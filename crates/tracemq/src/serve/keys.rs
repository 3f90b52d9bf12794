//! The access keys of the configuration and of the data folder, as the API takes them.

use anyhow::{Context, anyhow};
use tracemq_access::{AccessKey, AccountId, KeyRing, Policy, Secret};

use crate::config::{AccessKeyEntry, Config, LOCAL_ACCOUNT};
use crate::credentials::Credentials;

/// Checks the keys of the configuration, before anything is made on disk.
///
/// # Errors
/// When a key can't be used: with its id.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let keys = config.access_keys.iter().map(key).collect::<anyhow::Result<Vec<_>>>()?;
    KeyRing::new(keys).map_err(|error| anyhow!("access_keys: {error}"))?;
    Ok(())
}

/// All keys that open this server.
///
/// # Errors
/// When a key of the configuration can't be used: with its id.
pub(super) fn ring(config: &Config, credentials: &Credentials) -> anyhow::Result<KeyRing> {
    let own = AccessKey {
        id: credentials.access_key_id.clone(),
        secret: Secret::new(&credentials.access_key_secret).context("credentials.toml: access_key_secret")?,
        account: AccountId::new(LOCAL_ACCOUNT)?,
        enabled: true,
        security_token: None,
        expires: None,
        policy: Policy::full_access(),
    };
    let mut keys = vec![own];
    for entry in &config.access_keys {
        keys.push(key(entry)?);
    }
    KeyRing::new(keys).map_err(|error| anyhow!("access_keys: {error}"))
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
    })
}
