//! The file, written as a whole and never changed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tracemq_store::StoreError;

use super::Carried;
use super::chunk::Chunk;
use crate::fs::{Fs, LogFile, not_written, read_exact_at, write_all_at};
use crate::wal::StoreId;

const MAGIC: &[u8; 8] = b"TMQOPEN\n";
const VERSION: u32 = 1;
/// What comes is written so many bytes at a time.
const WRITE_BYTES: usize = 1 << 20;

impl Carried {
    /// Writes it to the file `number`, durably, and goes by that name from then on; writes none when there is nothing to say.
    pub(crate) fn write(&mut self, fs: &dyn Fs, dir: &Path, store: StoreId, number: u64) -> Result<(), StoreError> {
        if self.chunks.is_empty() && self.early.is_empty() {
            self.number = None;
            return Ok(());
        }
        let path = Self::path(dir, number);
        let failed = |source| not_written("write", &path, source);
        let file = fs.create(&path).map_err(failed)?;
        self.write_to(&*file, store, number).map_err(failed)?;
        fs.sync_dir(dir).map_err(|source| StoreError::Io { operation: "sync", path: dir.to_owned(), source })?;
        self.number = Some(number);
        Ok(())
    }

    fn write_to(&self, file: &dyn LogFile, store: StoreId, number: u64) -> io::Result<()> {
        let mut out = Output { file, offset: 0, pending: Vec::new(), sum: crc32fast::Hasher::new() };
        out.push(MAGIC)?;
        out.push(&VERSION.to_le_bytes())?;
        out.push(&store)?;
        out.push(&number.to_le_bytes())?;
        out.push(&wide(self.chunks.len()).to_le_bytes())?;
        for chunk in &self.chunks {
            let short = |count| u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes();
            out.push(&chunk.segment().to_le_bytes())?;
            out.push(&short(chunk.len()))?;
            out.push(&short(chunk.bytes().len()))?;
            out.push(chunk.bytes())?;
        }
        out.push(&wide(self.early.len()).to_le_bytes())?;
        for connection in &self.early {
            out.push(&connection.to_le_bytes())?;
        }
        let sum = out.sum.clone().finalize();
        out.push(&sum.to_le_bytes())?;
        out.flush()?;
        file.sync()
    }

    /// What the file `number` says; none when it is not what was written.
    ///
    /// # Errors
    /// [`StoreError::UnknownFormat`] when a later version wrote it.
    pub(crate) fn load(fs: &dyn Fs, dir: &Path, store: StoreId, number: u64) -> Result<Option<Self>, StoreError> {
        Ok(read(fs, dir, store, number)?.1)
    }

    /// What goes by the name of the file `number`, which can't be read, until the next one is written.
    pub(crate) fn in_place_of(number: u64) -> Self {
        Self { number: Some(number), ..Self::default() }
    }
}

/// How long the file `number` is, and what it says; none when it is not what was written to this file of this store.
pub(super) fn read(fs: &dyn Fs, dir: &Path, store: StoreId, number: u64) -> Result<(u64, Option<Carried>), StoreError> {
    let path = Carried::path(dir, number);
    let read = fs.open_to_read(&path).and_then(|file| {
        let length = file.length()?;
        if let Some(found) = later_version(&*file, length)? {
            return Ok(Err(found));
        }
        let mut input = Input { file: &*file, left: length, offset: 0, sum: crc32fast::Hasher::new() };
        Ok(Ok((length, input.carried(store, number)?)))
    });
    match read {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(found)) => Err(StoreError::UnknownFormat { path, found, known: VERSION }),
        // A folder of that name is no file, and what is not there can't be read.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => Ok((0, None)),
        Err(source) => Err(StoreError::Io { operation: "read", path, source }),
    }
}

/// The version of a file that a later one of us wrote: whole, whatever it says.
fn later_version(file: &dyn LogFile, length: u64) -> io::Result<Option<u32>> {
    let mut input = Input { file, left: length, offset: 0, sum: crc32fast::Hasher::new() };
    let is_ours = input.array::<8>()?.as_ref() == Some(MAGIC);
    let version = input.array()?.map(u32::from_le_bytes).filter(|version| is_ours && *version > VERSION);
    if version.is_none() {
        return Ok(None);
    }
    while input.left > 4 {
        input.take((input.left - 4).min(wide(WRITE_BYTES)))?;
    }
    let sum = input.sum.clone().finalize();
    Ok(version.filter(|_| input.array().is_ok_and(|found| found == Some(sum.to_le_bytes()))))
}

struct Output<'a> {
    file: &'a dyn LogFile,
    offset: u64,
    pending: Vec<u8>,
    sum: crc32fast::Hasher,
}

impl Output<'_> {
    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        write_all_at(self.file, &self.pending, self.offset)?;
        self.offset += wide(self.pending.len());
        self.pending.clear();
        Ok(())
    }
}

struct Input<'a> {
    file: &'a dyn LogFile,
    left: u64,
    offset: u64,
    sum: crc32fast::Hasher,
}

impl Input<'_> {
    /// The next bytes; none when there are fewer. No number makes room for more than there is.
    fn take(&mut self, length: u64) -> io::Result<Option<Vec<u8>>> {
        let Some((length, left)) = usize::try_from(length).ok().zip(self.left.checked_sub(length)) else {
            return Ok(None);
        };
        let mut bytes = vec![0; length];
        match read_exact_at(self.file, &mut bytes, self.offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        self.sum.update(&bytes);
        self.offset += wide(length);
        self.left = left;
        Ok(Some(bytes))
    }

    fn array<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        Ok(self.take(wide(N))?.and_then(|bytes| bytes.first_chunk().copied()))
    }

    fn number(&mut self) -> io::Result<Option<u64>> {
        Ok(self.array()?.map(u64::from_le_bytes))
    }

    fn carried(&mut self, store: StoreId, number: u64) -> io::Result<Option<Carried>> {
        let begin = [MAGIC.as_slice(), &VERSION.to_le_bytes(), &store, &number.to_le_bytes()].concat();
        if self.take(wide(begin.len()))?.is_none_or(|found| found != begin) {
            return Ok(None);
        }
        let Some(chunks) = self.chunks()? else { return Ok(None) };
        let Some(early) = self.number()? else { return Ok(None) };
        let Some(early) = self.take(early.saturating_mul(16))? else { return Ok(None) };
        let early = early.as_chunks().0.iter().map(|id| u128::from_le_bytes(*id)).collect();
        let sum = self.sum.clone().finalize();
        let is_whole = self.array()? == Some(sum.to_le_bytes()) && self.left == 0;
        Ok(is_whole.then_some(Carried { number: Some(number), chunks, early }))
    }

    fn chunks(&mut self) -> io::Result<Option<Vec<Arc<Chunk>>>> {
        let Some(count) = self.number()? else { return Ok(None) };
        let mut chunks: Vec<Arc<Chunk>> = Vec::new();
        // A wrong number ends with the bytes.
        for _ in 0..count {
            let (Some(segment), Some(connections), Some(bytes)) = (self.number()?, self.array()?, self.array()?) else {
                return Ok(None);
            };
            let Some(content) = self.take(u32::from_le_bytes(bytes).into())? else { return Ok(None) };
            let Some(chunk) = Chunk::read(segment, u32::from_le_bytes(connections), content) else { return Ok(None) };
            if chunks.last().is_some_and(|last| !last.is_before(&chunk)) {
                return Ok(None);
            }
            chunks.push(Arc::new(chunk));
        }
        Ok(Some(chunks))
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::tests::{begun, listed, place};
    use super::*;
    use crate::fs::RealFs;
    use crate::fs::simulated::SimulatedFs;
    use crate::store::Unpaired;
    use tracemq_model::ConnectionId;

    const STORE: StoreId = *b"the fixture's id";

    /// Frozen with the fixture.
    fn sample() -> Carried {
        let mut carried = Carried::default();
        let id = |n: u128| n << 80 | 0xdead_beef << 48 | n;
        let rows = [
            (1, place(3, 0, true)),
            (2, place(3, 1, false)),
            (3, place(3, 500, true)),
            (0, place(1 << 40, 1 << 60, false)),
        ];
        carried.advance(begun(rows.map(|(n, place)| (id(n), place))));
        carried.advance(Unpaired { ended: vec![ConnectionId(7), ConnectionId(u128::MAX)], ..Unpaired::default() });
        carried
    }

    fn dir() -> PathBuf {
        PathBuf::from("store")
    }

    fn loaded(disk: &SimulatedFs, store: StoreId, number: u64) -> Option<Carried> {
        read(disk, &dir(), store, number).unwrap().1
    }

    fn is_sample(found: Option<Carried>) -> bool {
        found.is_some_and(|found| listed(&found) == listed(&sample()) && found.early == sample().early)
    }

    #[test]
    fn a_file_says_what_was_written_or_nothing() {
        let disk = SimulatedFs::default();
        sample().write(&disk, &dir(), STORE, 4).unwrap();
        assert!(is_sample(loaded(&disk, STORE, 4)));
        assert!(loaded(&disk, [8; 16], 4).is_none());
        let (path, other) = (Carried::path(&dir(), 4), Carried::path(&dir(), 5));
        let bytes = disk.content(&path);
        disk.put(&other, bytes.clone());
        assert!(loaded(&disk, STORE, 5).is_none());
        assert!(loaded(&disk, STORE, 6).is_none());
        for bit in 0..bytes.len() * 8 {
            disk.change(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            assert!(loaded(&disk, STORE, 4).is_none(), "bit {bit}");
            disk.put(&path, bytes.clone());
        }
        for length in 0..bytes.len() {
            disk.put(&path, bytes[..length].to_vec());
            assert!(loaded(&disk, STORE, 4).is_none(), "cut at {length}");
        }
    }

    #[test]
    fn s38_what_a_later_version_wrote_is_refused_and_damage_to_the_version_is_not() {
        let disk = SimulatedFs::default();
        sample().write(&disk, &dir(), STORE, 4).unwrap();
        let path = Carried::path(&dir(), 4);
        disk.change(&path, |bytes| bytes[8] = 2);
        assert!(loaded(&disk, STORE, 4).is_none());
        disk.change(&path, |bytes| {
            let end = bytes.len() - 4;
            let sum = crc32fast::hash(&bytes[..end]).to_le_bytes();
            bytes[end..].copy_from_slice(&sum);
        });
        let refused = read(&disk, &dir(), STORE, 4);
        assert!(matches!(refused, Err(StoreError::UnknownFormat { found: 2, known: 1, .. })), "{:?}", refused.err());
    }

    #[test]
    fn many_chunks_of_many_segments_come_back() {
        let disk = SimulatedFs::default();
        let mut carried = Carried::default();
        carried.advance(begun((0..100_000).map(|n| (u128::from(n * n), place(n % 2, n * 1_000, n % 3 == 0)))));
        carried.write(&disk, &dir(), STORE, 9).unwrap();
        assert_eq!(listed(&loaded(&disk, STORE, 9).unwrap()), listed(&carried));
        assert!(disk.content(&Carried::path(&dir(), 9)).len() < 100_000 * 19);
    }

    /// Rows that are out of order, and segments, with a checksum that is right.
    #[test]
    fn what_is_out_of_order_is_refused() {
        let disk = SimulatedFs::default();
        let chunk = |segment: u64, steps: &[u8]| {
            let entries: Vec<u8> = steps.iter().flat_map(|step| [&[*step][..], &[*step; 16]].concat()).collect();
            let (count, length) = (u32::try_from(steps.len()).unwrap(), u32::try_from(entries.len()).unwrap());
            [&segment.to_le_bytes()[..], &count.to_le_bytes(), &length.to_le_bytes(), &entries].concat()
        };
        for (chunks, is_read) in [
            (vec![chunk(1, &[0, 2]), chunk(1, &[4]), chunk(2, &[0])], true),
            (vec![chunk(1, &[0, 2]), chunk(1, &[2])], false),
            (vec![chunk(2, &[0]), chunk(1, &[0])], false),
            (vec![chunk(1, &[2, 1])], false),
            (vec![chunk(1, &[])], false),
        ] {
            let mut bytes = [MAGIC.as_slice(), &VERSION.to_le_bytes(), &STORE, &4_u64.to_le_bytes()].concat();
            bytes.extend_from_slice(&wide(chunks.len()).to_le_bytes());
            bytes.extend(chunks.concat());
            bytes.extend_from_slice(&0_u64.to_le_bytes());
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            disk.put(&Carried::path(&dir(), 4), bytes);
            assert_eq!(loaded(&disk, STORE, 4).is_some(), is_read);
        }
    }

    /// `TRACEMQ_GOLDEN=write cargo test -p tracemq-segments format_1` makes the fixture anew: only ever for a format that is not
    /// released yet.
    #[test]
    fn s59_format_1_is_read() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/open-1");
        if std::env::var_os("TRACEMQ_GOLDEN").is_some_and(|mode| mode == "write") {
            std::fs::create_dir_all(&fixture).unwrap();
            sample().write(&RealFs, &fixture, STORE, 8).unwrap();
        }
        assert!(is_sample(read(&RealFs, &fixture, STORE, 8).unwrap().1));
    }
}
