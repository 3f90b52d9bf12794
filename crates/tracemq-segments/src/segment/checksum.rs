//! Checksums that hold at one place of one file only.

/// Which file: a segment of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentId {
    /// Tells one store's files from another's.
    pub(crate) store: [u8; 16],
    /// Never given twice in a store.
    pub(crate) number: u64,
}

impl SegmentId {
    /// The file's name in the store's folder.
    pub(crate) fn file_name(self) -> String {
        format!("{:010}.segment", self.number)
    }
}

/// What a piece of a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Piece {
    Header = 1,
    Rows = 2,
    Directory = 3,
    Texts = 4,
    Minutes = 5,
    RowIndex = 6,
    DirectoryIndex = 7,
    TextIndex = 8,
    Instances = 9,
    Footer = 10,
}

/// The checksums of one file. They also cover the file's identity, the kind of piece and where it stands, so that bytes
/// which are valid elsewhere are not valid here.
#[derive(Clone)]
pub(super) struct Checksums(crc32fast::Hasher);

impl Checksums {
    pub(super) const BYTES: usize = 4;

    pub(super) fn new(id: SegmentId) -> Self {
        let mut seed = crc32fast::Hasher::new();
        seed.update(&id.store);
        seed.update(&id.number.to_le_bytes());
        Self(seed)
    }

    pub(super) fn of(&self, piece: Piece, offset: u64, content: &[u8]) -> [u8; Self::BYTES] {
        let mut hasher = self.0.clone();
        hasher.update(&offset.to_le_bytes());
        hasher.update(&[piece as u8]);
        hasher.update(content);
        hasher.finalize().to_le_bytes()
    }

    /// The content of `bytes`, which end in its checksum; none when that is another.
    pub(super) fn open<'a>(&self, piece: Piece, offset: u64, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (content, sum) = bytes.split_last_chunk()?;
        (self.of(piece, offset, content) == *sum).then_some(content)
    }
}
