//! The file of users in the data folder: read whole, replaced whole, changed by one command at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use tracemq_access::accounts::AccountsFile;

/// Where the users of a data folder are.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("access.json")
}

/// Reads the users of a data folder; none when there is no file of them.
///
/// # Errors
/// When the file can't be read, or is not understood: with its name, and never with what stands in it.
pub(crate) fn load(data_dir: &Path) -> anyhow::Result<Option<AccountsFile>> {
    let path = path(data_dir);
    let said = || path.display().to_string();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
    };
    let found = file.metadata().with_context(said)?;
    if !found.is_file() || found.len() > AccountsFile::BYTES_MAX {
        bail!("{} is no regular file, or larger than {} bytes", said(), AccountsFile::BYTES_MAX);
    }
    if found.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "secrets of access keys can be read by others on this machine: chmod 600");
    }
    let mut text = String::new();
    file.take(AccountsFile::BYTES_MAX).read_to_string(&mut text).with_context(said)?;
    AccountsFile::parse(&text).map(Some).with_context(said)
}

/// Changes the users of a data folder, all that `change` does or nothing. Others who change them wait for it.
///
/// # Errors
/// When `change` fails, or the file can't be read or written: then it is as it was.
pub(super) fn change<T>(
    data_dir: &Path,
    change: impl FnOnce(&mut AccountsFile) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let path = path(data_dir);
    if !data_dir.is_dir() {
        bail!(
            "{} is no folder; name the server's data folder with -D DIR, or start a server to make one",
            data_dir.display()
        );
    }
    // The lock is a file of its own, since the other is replaced.
    let lock = data_dir.join("access.lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock);
    let lock = lock.with_context(|| format!("can't write to {}", data_dir.display()))?;
    lock.lock().with_context(|| format!("can't lock {}", path.display()))?;
    let mut file = match load(data_dir)? {
        Some(file) => file,
        None => AccountsFile::new(&random()?),
    };
    let done = change(&mut file)?;
    let text = file.text();
    // What is written must be readable, or the next start would fail.
    AccountsFile::parse(&text).with_context(|| format!("{} would not be readable", path.display()))?;
    write(&path, &text).with_context(|| format!("can't write {}", path.display()))?;
    Ok(done)
}

/// Written whole under another name first, for the owner's eyes only.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new()
        .prefix(".access-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    File::open(folder)?.sync_all()
}

/// Random bytes of the operating system.
///
/// # Errors
/// When it has none.
pub(super) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut random = [0; N];
    getrandom::fill(&mut random).map_err(|error| anyhow!("no random numbers: {error}"))?;
    Ok(random)
}
