//! The access key of the first start: made once, kept in the data folder for the owner's eyes only.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};
use tracemq_access::AccessKey;
use tracemq_model::InstanceId;

use crate::config::{fault_of_toml, secret_text};

/// What stands in `credentials.toml`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    /// The key's name.
    pub access_key_id: String,
    /// The key's secret.
    #[serde(deserialize_with = "secret_text")]
    pub access_key_secret: String,
    /// The instance that it was made for.
    pub instance_id: InstanceId,
}

/// Where the credentials of a data folder are.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("credentials.toml")
}

/// Reads the credentials of a data folder; none when there are none yet.
///
/// # Errors
/// When the file can't be read, or is not what was written: with the way out.
pub(crate) fn load(data_dir: &Path) -> anyhow::Result<Option<Credentials>> {
    let path = path(data_dir);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
    };
    toml::from_str(&text).map(Some).map_err(|error| {
        anyhow!(
            "{} can't be read ({}); mend it, or delete it to get a new key at the next start",
            path.display(),
            fault_of_toml(&text, &error).lines().next().unwrap_or_default()
        )
    })
}

/// The credentials of a data folder, for `instance`; drawn anew when there are none, and then true. Nothing is written:
/// a start that fails must not use up the one time that a new key is shown.
///
/// # Errors
/// When they can't be read or drawn.
pub(crate) fn load_or_draw(data_dir: &Path, instance: &InstanceId) -> anyhow::Result<(Credentials, bool)> {
    if let Some(credentials) = load(data_dir)? {
        return Ok((Credentials { instance_id: instance.clone(), ..credentials }, false));
    }
    let mut random = [0; 64];
    getrandom::fill(&mut random).map_err(|error| anyhow!("no random numbers for a new key: {error}"))?;
    let (id, secret) = AccessKey::random_pair(&random);
    Ok((Credentials { access_key_id: id, access_key_secret: secret, instance_id: instance.clone() }, true))
}

/// Writes `credentials` into a data folder, if it holds others or none.
///
/// # Errors
/// When they can't be written.
pub(crate) fn save(data_dir: &Path, credentials: &Credentials) -> anyhow::Result<()> {
    if load(data_dir)?.is_some_and(|kept| kept.instance_id == credentials.instance_id) {
        return Ok(());
    }
    let path = path(data_dir);
    write_private(&path, &toml::to_string(credentials)?).with_context(|| format!("can't write {}", path.display()))
}

/// Written whole under another name first, so that a crash leaves no half file that would bar the next start.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let draft = path.with_extension("toml.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}
