//! Puts the commit into `tracemq --version`, when there is one to know of.

use std::path::Path;
use std::process::Command;

fn main() {
    let version = env!("CARGO_PKG_VERSION");
    let version = match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    };
    say(&format!("rustc-env=TRACEMQ_VERSION={version}"));
    say("rerun-if-changed=build.rs");
}

/// The commit that is checked out; none in a tarball, also one that was unpacked inside another repository.
fn commit() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if !root.join(".git").exists() {
        return None;
    }
    // Written whenever another commit is checked out or made. Cargo looks for the change of a file that exists.
    let log = root.join(git(&root, &["rev-parse", "--git-path", "logs/HEAD"])?);
    if log.exists() {
        say(&format!("rerun-if-changed={}", log.display()));
    }
    git(&root, &["rev-parse", "--short=12", "HEAD"])
}

fn git(folder: &Path, words: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn say(instruction: &str) {
    println!("cargo:{instruction}");
}
