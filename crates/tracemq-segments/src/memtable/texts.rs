//! Texts of cells, each kept once.

use std::sync::Arc;

use hashbrown::HashMap;

/// Texts by number, and numbers by text.
#[derive(Default)]
pub(crate) struct Texts {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    bytes: usize,
}

impl Texts {
    /// The number of `text`.
    pub(super) fn intern(&mut self, text: &Arc<str>) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.bytes += text.len() + 64;
        self.texts.push(Arc::clone(text));
        self.numbers.insert(Arc::clone(text), number);
        number
    }

    /// The text of `number`.
    pub(crate) fn get(&self, number: u32) -> Option<Arc<str>> {
        self.texts.get(number as usize).cloned()
    }

    /// The memory that they take, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
