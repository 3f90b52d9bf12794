//! Reads a password: on a terminal unseen and twice, else one line of stdin.

use std::io::{IsTerminal, Read, Write, stderr, stdin};

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Longer passwords don't fit into a CONNECT.
const PASSWORD_BYTES_MAX: usize = 65_535;

/// The password for `user`.
///
/// # Errors
/// When it is empty or too long, the two differ, or nobody wants to tell it.
pub(super) fn password(user: &str) -> anyhow::Result<Vec<u8>> {
    let password = if stdin().is_terminal() {
        let first = unseen(&format!("Password for {}: ", user.escape_debug()))?;
        let second = unseen("The same again: ")?;
        if first != second {
            bail!("the two passwords differ; nothing was changed");
        }
        first
    } else {
        line()?
    };
    if password.is_empty() {
        bail!("the password is empty; nothing was changed");
    }
    Ok(password)
}

fn line() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(PASSWORD_BYTES_MAX).unwrap_or(u64::MAX) + 3;
    stdin().lock().take(most).read_to_end(&mut bytes).context("can't read the password from stdin")?;
    let mut password = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    password = password.strip_suffix(b"\r").unwrap_or(password);
    if password.len() > PASSWORD_BYTES_MAX {
        bail!("the password is longer than {PASSWORD_BYTES_MAX} bytes, which no CONNECT can hold");
    }
    Ok(password.to_vec())
}

/// Puts the terminal back as it was, however reading ends.
struct Unseen(Termios);

impl Drop for Unseen {
    fn drop(&mut self) {
        // There is nothing better to do if it can't be.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Byte by byte, and with Ctrl-C as a byte: a signal would leave the terminal as it is.
fn unseen(prompt: &str) -> anyhow::Result<Vec<u8>> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const BACKSPACE: u8 = 8;
    const CTRL_U: u8 = 21;
    const DELETE: u8 = 127;
    let before = tcgetattr(stdin()).context("can't look at the terminal")?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    let _restored = Unseen(before);
    tcsetattr(stdin(), OptionalActions::Flush, &quiet).context("can't make the terminal quiet")?;
    let mut out = stderr();
    out.write_all(prompt.as_bytes())?;
    out.flush()?;
    let mut password = Vec::new();
    let mut input = stdin().lock();
    let mut byte = [0];
    loop {
        let [typed] = if input.read(&mut byte)? == 0 { [CTRL_D] } else { byte };
        match typed {
            b'\n' | b'\r' => break,
            CTRL_C => {
                writeln!(out)?;
                bail!("nothing was changed");
            }
            CTRL_D => break,
            BACKSPACE | DELETE => {
                // A character of UTF-8 has one byte that does not begin with the bits 10.
                while password.pop().is_some_and(|last: u8| last & 0xc0 == 0x80) {}
            }
            CTRL_U => password.clear(),
            _ if password.len() < PASSWORD_BYTES_MAX => password.push(typed),
            _ => {}
        }
    }
    writeln!(out)?;
    Ok(password)
}
