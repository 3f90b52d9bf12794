//! Names that hold a text but for a few typing errors.
//!
//! Walks the name once and knows at each character how many errors the best match that ends there has (Sellers). For a text of
//! up to 64 characters the differences between neighbours fit into the bits of two words (Myers, "A fast bit-vector algorithm
//! for approximate string matching based on dynamic programming", 1999); a longer one takes a column of numbers.

/// The text that is looked for, in lower case as far as it is ASCII.
#[derive(Clone, Debug)]
pub(super) struct Fuzzy {
    errors_max: usize,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Bits(Box<Bits>),
    Column(Vec<char>),
}

/// At which places of the text a character stands, as bits.
#[derive(Clone, Debug)]
struct Bits {
    length: u32,
    ascii: [u64; 128],
    /// The others, sorted.
    others: Vec<(char, u64)>,
}

impl Fuzzy {
    pub(super) fn new(text: &str) -> Self {
        let text: Vec<char> = text.chars().map(|c| c.to_ascii_lowercase()).collect();
        let errors_max = match text.len() {
            0..=2 => 0,
            3..=5 => 1,
            _ => 2,
        };
        let way = match u32::try_from(text.len()) {
            Ok(length @ ..=u64::BITS) => Way::Bits(Box::new(Bits::new(&text, length))),
            _ => Way::Column(text),
        };
        Self { errors_max, way }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match &self.way {
            Way::Bits(bits) => bits.matches(name, self.errors_max),
            Way::Column(text) => column_matches(text, name, self.errors_max),
        }
    }
}

impl Bits {
    fn new(text: &[char], length: u32) -> Self {
        let mut bits = Self { length, ascii: [0; 128], others: Vec::new() };
        for (place, c) in (0..length).zip(text) {
            match bits.ascii.get_mut(usize::try_from(u32::from(*c)).unwrap_or(usize::MAX)) {
                Some(places) => *places |= 1 << place,
                None => bits.others.push((*c, 1 << place)),
            }
        }
        bits.others.sort_unstable();
        bits.others.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                kept.1 |= next.1;
            }
            is_same
        });
        bits
    }

    fn places(&self, c: char) -> u64 {
        match self.ascii.get(usize::try_from(u32::from(c)).unwrap_or(usize::MAX)) {
            Some(places) => *places,
            None => match self.others.binary_search_by_key(&c, |(other, _)| *other) {
                Ok(at) => self.others.get(at).map_or(0, |(_, places)| *places),
                Err(_) => 0,
            },
        }
    }

    /// The names are Myers' own: `pv` and `mv` say where the column grows and falls by one from each place to the next, `ph`
    /// and `mh` the same from column to column.
    fn matches(&self, name: &str, errors_max: usize) -> bool {
        let Some(last) = self.length.checked_sub(1).map(|place| 1_u64 << place) else { return true };
        let errors_max = u32::try_from(errors_max).unwrap_or(u32::MAX);
        let (mut pv, mut mv, mut errors) = (u64::MAX, 0_u64, self.length);
        for c in name.chars() {
            let equal = self.places(c.to_ascii_lowercase());
            let xv = equal | mv;
            let xh = ((equal & pv).wrapping_add(pv) ^ pv) | equal;
            let mut ph = mv | !(xh | pv);
            let mut mh = pv & xh;
            errors += u32::from(ph & last != 0);
            errors -= u32::from(mh & last != 0);
            if errors <= errors_max {
                return true;
            }
            ph <<= 1;
            mh <<= 1;
            pv = mh | !(xv | ph);
            mv = ph & xv;
        }
        false
    }
}

/// `column` holds, for each beginning of the text, the fewest errors of a match of it that ends at the character at hand.
pub(super) fn column_matches(text: &[char], name: &str, errors_max: usize) -> bool {
    let mut column: Vec<usize> = (1..=text.len()).collect();
    for c in name.chars() {
        let c = c.to_ascii_lowercase();
        // A match may begin anywhere: of the empty beginning every place is a match.
        let (mut diagonal, mut above) = (0, 0);
        for (errors, wanted) in column.iter_mut().zip(text) {
            let left = *errors;
            *errors = (diagonal + usize::from(*wanted != c)).min(left + 1).min(above + 1);
            (diagonal, above) = (left, *errors);
        }
        if above <= errors_max {
            return true;
        }
    }
    false
}
