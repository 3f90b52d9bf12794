//! Commands that we suggest must work when they are pasted.

use std::borrow::Cow;
use std::env;
use std::path::Path;

/// What to type to run this very program: `tracemq` when the shell finds it by that name, else its path.
pub(crate) fn own_command() -> String {
    let Ok(this) = env::current_exe() else { return "tracemq".into() };
    let on_path = env::var_os("PATH").is_some_and(|path| {
        let mut found = env::split_paths(&path).map(|folder| folder.join("tracemq")).filter(|file| file.exists());
        found.next().and_then(|first| first.canonicalize().ok()) == this.canonicalize().ok()
    });
    if on_path {
        return "tracemq".into();
    }
    let here = env::current_dir().unwrap_or_default();
    quoted(&this.strip_prefix(&here).unwrap_or(&this).to_string_lossy()).into_owned()
}

/// `text` as one word of a shell; bash's `$'...'` where it holds control characters.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "-_.@:/+=%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        Cow::Borrowed(text)
    } else if text.contains(char::is_control) {
        let escaped = text.chars().map(|c| match c {
            '\'' | '\\' => format!("\\{c}"),
            c if c.is_control() && c.is_ascii() => format!("\\x{:02x}", u32::from(c)),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.into(),
        });
        Cow::Owned(format!("$'{}'", escaped.collect::<String>()))
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
    }
}

/// ` -D FOLDER` when the data folder is not the default one, absolute, so that it can be pasted anywhere.
pub(crate) fn data_dir_flag(data_dir: &Path) -> String {
    if data_dir == Path::new("tracemq-data") {
        return String::new();
    }
    let absolute = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
    format!(" -D {}", quoted(&absolute.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_can_be_pasted() {
        for (text, expected) in [
            ("pump-07", "pump-07"),
            ("GID_a@@@b/c", "GID_a@@@b/c"),
            ("", "''"),
            ("p q", "'p q'"),
            ("it's", r"'it'\''s'"),
            ("$(reboot)", "'$(reboot)'"),
            ("\x1b[31mred", r"$'\x1b[31mred'"),
            ("a'\n", r"$'a\'\x0a'"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
