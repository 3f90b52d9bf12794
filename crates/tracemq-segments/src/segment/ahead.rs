//! Knowing what the disk is to be asked for, so that whoever needs several pieces waits for them together.
//!
//! What is in the operating system's memory is read at once. The first piece that isn't shows that there is something to wait for,
//! and then all that will be needed is asked for before the first wait. What is found wrong here is told by whoever reads it.

use super::block::Block;
use super::checksum::Piece;
use super::reader::{Lookup, Segment};
use super::source::Extent;

impl Segment {
    /// Whether [`find_with`](Self::find_with) answers without waiting for the disk; what it needs for that is in `lookup` then.
    pub(crate) fn has_key_at_hand(&self, key: &[u8], lookup: &mut Lookup) -> bool {
        let block = self.directory.block_of_key(key);
        let Some(extent) = self.directory.extent(block) else { return true };
        if lookup.holds(self.meta().id, block).is_some() {
            return true;
        }
        lookup.held = None;
        let Some(content) = self.read_at_once(Piece::Directory, extent, &mut lookup.bytes) else { return false };
        lookup.held = Some((self.meta().id, block, content));
        true
    }

    /// Asks for what [`find_with`](Self::find_with) needs.
    pub(crate) fn ask_for_key(&self, key: &[u8]) {
        if let Some(extent) = self.directory.extent(self.directory.block_of_key(key)) {
            self.ask_for(extent);
        }
    }

    /// Whether a block of rows is read without waiting for the disk; it is in `block` then.
    pub(crate) fn has_block_at_hand(&self, number: u64, block: &mut Block) -> bool {
        if block.holds(self.meta().id, number) {
            return true;
        }
        let Some(at) = self.row_index.get(number) else { return true };
        let content = self.read_at_once(Piece::Rows, at.extent, block.buffer());
        content
            .is_some_and(|content| block.open((self.meta().id, number), content, self.rows_of(number), at.from).is_ok())
    }

    /// Asks for a block of rows.
    pub(crate) fn ask_for_block(&self, number: u64) {
        if let Some(at) = self.row_index.get(number) {
            self.ask_for(at.extent);
        }
    }

    /// The length of a piece's content, which is in `buffer` then; none when it has to be waited for, or is not what was written.
    fn read_at_once(&self, piece: Piece, extent: Extent, buffer: &mut Vec<u8>) -> Option<usize> {
        self.pieces().read_at_once(piece, extent.offset(), extent.length(), buffer)
    }

    fn ask_for(&self, extent: Extent) {
        self.pieces().ask_for(extent.offset(), extent.length());
    }
}
