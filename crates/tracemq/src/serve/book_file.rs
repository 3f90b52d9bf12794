//! The file of one book of what is given out: lines, of which a later one stands in place of an earlier one.
//!
//! A change is a line that is appended and synced. Where lines that count no more outweigh the others, or where the last
//! write failed, the whole file is written anew under another name, synced and renamed. Nothing but the last line can
//! be torn, and then nobody was told that it was taken: it is left out. For the eyes of the server's user alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// So many lines may count no more before the file is written anew; and as many as count, on top.
const IDLE_LINES: usize = 1_000;

pub(super) struct BookFile {
    path: PathBuf,
    /// Open for appending; none when there is none yet, or what stands there is not to be trusted.
    file: Option<File>,
    bytes: u64,
    lines: usize,
}

impl BookFile {
    /// What stands in the file, without a last line that was not finished; nothing when there is no file.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn open(path: PathBuf) -> io::Result<(Self, String)> {
        let mut file = match OpenOptions::new().read(true).append(true).open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        if let Some(file) = &mut file {
            file.read_to_string(&mut text)?;
        }
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let torn = text.len() - whole;
        if torn > 0 {
            tracing::warn!(file = %path.display(), bytes = torn, "the last line was not finished before the last stop; it is left out");
            text.truncate(whole);
            file = None; // the first change writes it anew
        }
        let (bytes, lines) = (text.len() as u64, text.lines().count());
        Ok((Self { path, file, bytes, lines }, text))
    }

    /// Makes `line` durable. Of `count` lines that count, `whole` gives the text of the file without it.
    ///
    /// # Errors
    /// When that fails: then the change must not be in force.
    pub(super) fn add(&mut self, line: &str, count: usize, whole: impl FnOnce() -> String) -> io::Result<()> {
        let idle = self.lines.saturating_sub(count);
        let (file, bytes, lines) = match self.file.take().filter(|_| idle <= count + IDLE_LINES) {
            Some(file) => (append(file, line, self.bytes)?, self.bytes, self.lines),
            None => {
                let mut text = whole();
                let (bytes, lines) = (text.len() as u64, text.lines().count());
                text.push_str(line);
                (replace(&self.path, &text)?, bytes, lines)
            }
        };
        (self.file, self.bytes, self.lines) = (Some(file), bytes + line.len() as u64, lines + 1);
        Ok(())
    }
}

/// When it fails the file is what it was, if the system lets us; in any case it is written anew next time.
fn append(mut file: File, line: &str, bytes: u64) -> io::Result<File> {
    match file.write_all(line.as_bytes()).and_then(|()| file.sync_data()) {
        Ok(()) => Ok(file),
        Err(error) => {
            let _ = file.set_len(bytes).and_then(|()| file.sync_data());
            Err(error)
        }
    }
}

fn replace(path: &Path, text: &str) -> io::Result<File> {
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn text_of(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn each_line_is_in_the_file_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("book");
        let (mut file, text) = BookFile::open(path.clone()).unwrap();
        assert!(text.is_empty() && !path.exists(), "reading makes no file");
        file.add("a\n", 0, String::new).unwrap();
        file.add("b\n", 1, || panic!("not written anew")).unwrap();
        assert_eq!(text_of(&path), "a\nb\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (mut file, text) = BookFile::open(path.clone()).unwrap();
        assert_eq!(text, "a\nb\n");
        file.add("c\n", 2, || panic!("not written anew")).unwrap();
        assert_eq!(text_of(&path), "a\nb\nc\n");
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_does_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("book");
        fs::write(&path, "a\nhalf a li").unwrap();
        let (mut file, text) = BookFile::open(path.clone()).unwrap();
        assert_eq!(text, "a\n");
        file.add("b\n", 1, || text).unwrap();
        assert_eq!(text_of(&path), "a\nb\n");
    }

    #[test]
    fn lines_that_count_no_more_go_and_the_file_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("book");
        let (mut file, _) = BookFile::open(path.clone()).unwrap();
        let mut most = 0;
        for n in 0..3_000 {
            file.add(&format!("one {n}\n"), 1, || format!("one {}\n", n - 1)).unwrap();
            most = most.max(text_of(&path).lines().count());
        }
        assert!(most <= IDLE_LINES + 3, "{most}");
        assert!(text_of(&path).ends_with("one 2999\n"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn what_could_not_be_written_is_not_in_the_file_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("book");
        let (mut file, _) = BookFile::open(path.clone()).unwrap();
        file.add("a\n", 0, String::new).unwrap();
        file.file = Some(File::open(&path).unwrap()); // can't be written to
        assert!(file.add("lost\n", 1, String::new).is_err());
        file.add("b\n", 1, || "a\n".to_owned()).unwrap();
        assert_eq!(text_of(&path), "a\nb\n");
        fs::remove_dir_all(folder.path()).unwrap();
        file.file = None;
        assert!(file.add("lost\n", 2, || "a\nb\n".to_owned()).is_err());
    }
}
