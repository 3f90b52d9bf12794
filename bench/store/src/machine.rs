//! What the operating system knows of processes and files: memory, bytes written, processor time, page cache.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise};

/// A process and all that it started and that still run.
pub(crate) fn with_descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc").into_iter().flatten().filter_map(parent_of).collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, other)| *other == parent).map(|(child, _)| child));
        next += 1;
    }
    family
}

fn parent_of(entry: std::io::Result<fs::DirEntry>) -> Option<(u32, u32)> {
    let process = entry.ok()?.file_name().to_str()?.parse().ok()?;
    Some((process, number(&fs::read_to_string(format!("/proc/{process}/status")).ok()?, "PPid:")?.try_into().ok()?))
}

/// The number behind `name` at the beginning of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Memory of `processes` beside the page cache, in bytes: anonymous, and what PostgreSQL shares among its processes.
pub(crate) fn memory(processes: &[u32]) -> u64 {
    let statuses: Vec<String> =
        processes.iter().filter_map(|process| fs::read_to_string(format!("/proc/{process}/status")).ok()).collect();
    let anonymous: u64 = statuses.iter().filter_map(|status| number(status, "RssAnon:")).sum();
    let shared = statuses.iter().filter_map(|status| number(status, "RssShmem:")).max().unwrap_or_default();
    (anonymous + shared) * 1024
}

/// Bytes that `processes`, and those of their children that have ended, caused to be written to a device.
pub(crate) fn bytes_written(processes: &[u32]) -> u64 {
    let of = |process: &u32| number(&fs::read_to_string(format!("/proc/{process}/io")).ok()?, "write_bytes:");
    processes.iter().filter_map(of).sum()
}

/// Processor time of `processes` in ticks of the kernel.
pub(crate) fn ticks(processes: &[u32]) -> u64 {
    let of = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    processes.iter().filter_map(of).sum()
}

/// Bytes that the files below `dir` take on the disk.
pub(crate) fn disk_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    each_file(dir, &mut |file| {
        use std::os::unix::fs::MetadataExt;
        // A file that is deleted meanwhile takes nothing.
        bytes += fs::metadata(file).map_or(0, |metadata| metadata.blocks() * 512);
        Ok(())
    })?;
    Ok(bytes)
}

/// Has the files below `dir` leave the page cache; says whether everything else had to leave as well.
pub(crate) fn drop_page_cache(dir: &Path) -> Result<bool> {
    each_file(dir, &mut |path| {
        let Ok(file) = fs::File::open(path) else { return Ok(()) }; // deleted meanwhile, or a socket
        file.sync_all().ok();
        Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
    })?;
    Ok(fs::write("/proc/sys/vm/drop_caches", "1").is_ok())
}

fn each_file(dir: &Path, visit: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("can't list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            each_file(&path, visit).or_else(|error| if path.exists() { Err(error) } else { Ok(()) })?;
        } else {
            visit(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_files_have_bytes() {
        let own = [std::process::id()];
        assert!(memory(&own) > 100_000);
        assert!(with_descendants(own[0]).contains(&own[0]));
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), [1; 100_000]).unwrap();
        drop_page_cache(dir.path()).unwrap();
        assert!(disk_bytes(dir.path()).unwrap() >= 100_000);
    }
}
