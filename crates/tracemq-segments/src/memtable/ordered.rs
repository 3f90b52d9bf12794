//! A memtable's rows as a segment wants them: subject after subject, by time and arrival.
//!
//! A subject's rows are all over memory, and fetching them one by one is waiting for memory. So the rows are gone
//! through from the first to the last, and those of subjects that follow each other are put side by side, few enough for the
//! processor's caches; a part of all in one walk, so that no second copy of all is made.

use super::{State, Stored};

/// Subjects whose rows are put side by side: some thousands of rows.
const SUBJECTS_A_GROUP: usize = 4_096;
/// Subjects whose rows are gathered in one walk: a quarter of a fleet with a row each.
const SUBJECTS_A_WALK: usize = 64 * SUBJECTS_A_GROUP;

/// Rows of subjects that follow each other, in order of arrival.
#[derive(Default)]
struct Group {
    rows: Vec<Stored>,
    /// Which of the group's subjects each row is of.
    subjects: Vec<u16>,
}

impl State {
    /// Shows `visit` the key of each subject with its rows, as far as they are not erased.
    pub(super) fn each_in_order<E>(&self, mut visit: impl FnMut(&[u8], &[Stored]) -> Result<(), E>) -> Result<(), E> {
        let order = self.subjects.sorted();
        let mut ranks: Vec<u32> = vec![0; order.len()];
        for (rank, subject) in (0..).zip(&order) {
            if let Some(place) = ranks.get_mut(*subject as usize) {
                *place = rank;
            }
        }
        let mut groups = Vec::new();
        for (walk, subjects) in order.chunks(SUBJECTS_A_WALK).enumerate() {
            self.gather(&ranks, walk * SUBJECTS_A_WALK, subjects.len(), &mut groups);
            for (group, subjects) in groups.iter().zip(subjects.chunks(SUBJECTS_A_GROUP)) {
                let (mut rows, ends) = group.by_subject(subjects.len());
                let mut start = 0;
                for (key, end) in self.subjects.keys_of(subjects).into_iter().zip(ends) {
                    let rows = rows.get_mut(std::mem::replace(&mut start, end)..end).unwrap_or_default();
                    // A stable sort, and at once for what is in order.
                    rows.sort_by_key(|stored| stored.row.time);
                    visit(key, rows)?;
                }
            }
        }
        Ok(())
    }

    /// Puts the rows of so many subjects into `groups`, in the place of what is there; the first of them has the rank `first`.
    fn gather(&self, ranks: &[u32], first: usize, subjects: usize, groups: &mut Vec<Group>) {
        groups.resize_with(subjects.div_ceil(SUBJECTS_A_GROUP), Group::default);
        for group in groups.iter_mut() {
            group.rows.clear();
            group.subjects.clear();
        }
        for (row, stored) in self.rows.iter().enumerate() {
            let rank = ranks.get(stored.subject as usize).copied().unwrap_or_default() as usize;
            let Some(place) = rank.checked_sub(first) else { continue };
            let Some(group) = groups.get_mut(place / SUBJECTS_A_GROUP) else { continue };
            if self.subjects.has_erased() && self.subjects.is_erased(stored.subject, row) {
                continue;
            }
            group.rows.push(*stored);
            group.subjects.push(u16::try_from(place % SUBJECTS_A_GROUP).unwrap_or_default());
        }
    }
}

impl Group {
    /// The rows, those of one of the `subjects` subjects behind those of the one before; and where each one's end.
    fn by_subject(&self, subjects: usize) -> (Vec<Stored>, Vec<usize>) {
        let mut ends = vec![0; subjects];
        for subject in &self.subjects {
            if let Some(count) = ends.get_mut(*subject as usize) {
                *count += 1;
            }
        }
        let mut before = 0;
        for end in &mut ends {
            before += std::mem::replace(end, before);
        }
        // Until now where each one's begin; each row moves one on.
        let mut order = vec![0; self.rows.len()];
        for (row, subject) in self.subjects.iter().enumerate() {
            let Some(end) = ends.get_mut(*subject as usize) else { continue };
            if let Some(place) = order.get_mut(*end) {
                *place = row;
            }
            *end += 1;
        }
        (order.iter().filter_map(|row| self.rows.get(*row).copied()).collect(), ends)
    }
}
