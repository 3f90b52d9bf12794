//! Whatever bytes there are, read as a segment.

use std::path::Path;

use tracemq_model::{Action, ClientId, Details, InstanceId, Provenance, Reason, Subject, TimeMs};

use super::checksum::{Checksums, Piece};
use super::{Segment, SegmentId, SegmentWriter};
use crate::cells::{cells, push_cells};
use crate::fs::memory::MemoryFs;
use crate::key::push_key;
use crate::row::{Kind, Peer, Row};

const ID: SegmentId = SegmentId { store: *b"sixteen bytes id", number: 7 };
const DIR: &str = "/store";

/// Reads `bytes` as a segment; and a small sound one with changes that `bytes` say, whose checksums are made right: of each
/// change a byte says which piece, two where, one what.
pub(crate) fn read_all(bytes: &[u8]) {
    let fs = MemoryFs::default();
    let path = Path::new(DIR).join(ID.file_name());
    fs.put(&path, bytes.to_vec());
    ask(&fs, &path);
    let Some(pieces) = small(&fs).and_then(|()| Some(pieces(&Segment::open(&fs, &path, ID).ok()?))) else { return };
    let mut content = fs.content(&path);
    for change in bytes.chunks_exact(4) {
        let [which, low, high, value] = *change else { continue };
        let Some((piece, offset, length)) = pieces.get(usize::from(which) % pieces.len()).copied() else { continue };
        let Some(inside) = content.get_mut(offset..offset + length).filter(|inside| !inside.is_empty()) else {
            continue;
        };
        let at = usize::from(u16::from_le_bytes([low, high])) % inside.len();
        if let Some(byte) = inside.get_mut(at) {
            *byte = value;
        }
        let sum = Checksums::new(ID).of(piece, u64::try_from(offset).unwrap_or(0), inside);
        let at = offset + length + if piece == Piece::Footer { 4 } else { 0 };
        if let Some(place) = content.get_mut(at..at + 4) {
            place.copy_from_slice(&sum);
        }
    }
    fs.put(&path, content);
    ask(&fs, &path);
}

fn ask(fs: &MemoryFs, path: &Path) {
    let Ok(segment) = Segment::open(fs, path, ID) else { return };
    let _ = segment.key_of_row(3);
    let _ = segment.minutes();
    let damages = segment.verify(&mut |_| {});
    assert!(read(&segment).is_some() || !damages.is_empty(), "the check did not find it");
}

fn read(segment: &Segment) -> Option<()> {
    let mut keys = segment.keys(&[]).ok()?;
    let mut rows = segment.rows();
    while let Some((key, range)) = keys.next().ok()? {
        let _ = segment.find(key);
        for number in range {
            let (block, at) = rows.at(number).ok()?;
            block.row(at)?;
            segment.details(block, at).ok()?;
        }
    }
    Some(())
}

fn small(fs: &MemoryFs) -> Option<()> {
    let mut writer = SegmentWriter::create(fs, Path::new(DIR), ID).ok()?;
    for client in ["GID_fleet@@@dev-1", "GID_fleet@@@dev-2", "other"] {
        let mut key = Vec::new();
        push_key(&InstanceId::new("i-1").ok()?, &Subject::Client(ClientId::new(client).ok()?), &mut key);
        writer.subject(&key).ok()?;
        for time in 0_u8..3 {
            let row = Row {
                time: TimeMs(1_621_580_400_000 + i64::from(time)),
                connection: tracemq_model::ConnectionId(u128::from(time) << 70 | 5),
                peer: if time == 2 { Peer::None } else { Peer::Some { ip: [10, 0, 0, time].into(), port: 1_024 } },
                kind: Kind::new(Action::Connect, Reason::Accepted, Provenance::Observed),
            };
            let details = Details { username: Some("user".into()), duration_ms: Some(7), ..Details::default() };
            let mut bytes = Vec::new();
            push_cells(&details, |text| writer.text(text).unwrap_or(0), &mut bytes);
            writer.row(&row, cells(&bytes).flatten()).ok()?;
        }
    }
    writer.finish(1..=2).ok().map(drop)
}

/// Where each piece stands, its checksum not included.
fn pieces(segment: &Segment) -> Vec<(Piece, usize, usize)> {
    let rows = segment.row_index.blocks().iter().map(|at| (Piece::Rows, at.extent));
    let directory = (0..segment.directory.len()).filter_map(|block| segment.directory.extent(block));
    let texts = segment.text_index.extents().map(|(extent, _)| (Piece::Texts, extent));
    let blocks = rows.chain(directory.map(|extent| (Piece::Directory, extent))).chain(texts);
    let blocks = blocks.map(|(piece, extent)| (piece, extent.offset(), extent.length() - 4));
    let sections = segment.sections().in_order().map(|(piece, section)| (piece, section.offset, section.length - 4));
    let footer = segment.footer_bytes - 16;
    let ends = [(Piece::Header, 0, 36), (Piece::Footer, segment.meta().bytes - 16 - footer, footer)];
    let all = blocks.chain(sections).chain(ends);
    all.filter_map(|(piece, offset, length)| Some((piece, offset.try_into().ok()?, length.try_into().ok()?))).collect()
}
