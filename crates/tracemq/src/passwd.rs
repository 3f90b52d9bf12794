//! `tracemq passwd`: changes one line of the file of MQTT users, whole or not at all.

mod prompt;

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use tracemq_access::mqtt::{Cost, StoredPassword, users};

use crate::cli::PasswdArgs;
use crate::exit::{Ended, Ending};

/// Runs the command.
///
/// # Errors
/// When the file is not understood, the user is not in it, or it can't be written: then it is as it was.
pub(crate) fn run(args: &PasswdArgs) -> anyhow::Result<()> {
    let file = real_path(&args.file)?;
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("can't read {}", file.display())),
    };
    let (user, said) = (&args.user, || file.display().to_string());
    let unknown = || Ended {
        ending: Ending::NotFound,
        what: format!("{}: there is no user `{}`", file.display(), user.escape_debug()),
        next: "the name must be as it was given, in capitals and small letters".into(),
    };
    let changed = if args.delete {
        users::without(&text, user).with_context(said)?.ok_or_else(unknown)?
    } else if args.disable || args.enable {
        users::with_enabled(&text, user, args.enable).with_context(said)?.ok_or_else(unknown)?
    } else {
        // Before the password is asked for: a name that can't be is told at once.
        users::with_password(&text, user, &StoredPassword::of_nobody(Cost::default())).with_context(said)?;
        let password = prompt::password(user)?;
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| anyhow!("no random numbers for a salt: {error}"))?;
        let stored = StoredPassword::hash(&password, &salt, Cost::default())?;
        users::with_password(&text, user, &stored).with_context(said)?
    };
    write(&file, &changed).with_context(|| format!("can't write {}", file.display()))
}

/// Behind symbolic links: the file is replaced, not the link.
fn real_path(file: &Path) -> anyhow::Result<PathBuf> {
    match file.canonicalize() {
        Ok(real) if real.is_file() => Ok(real),
        Ok(real) => bail!("{} is no regular file", real.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(file.to_owned()),
        Err(error) => Err(error).with_context(|| format!("can't read {}", file.display())),
    }
}

/// Written whole under another name first, for the owner's eyes only: hashes can be guessed at, too.
pub(crate) fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new()
        .prefix(".tracemq-users-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(file)?;
    fs::File::open(folder)?.sync_all()
}
