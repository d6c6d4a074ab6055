//! Which ids a load has met before.

/// The ids that came before, as a Bloom filter: deleting an id that is not there costs a little, and
/// a set of all ids would grow with the load. At ten million ids one in a hundred is taken for seen.
pub(super) struct Seen {
    /// An index with documents may hold any id.
    always: bool,
    bits: Vec<u64>,
}

impl Seen {
    /// 16 MiB, of which a small load touches little.
    const WORDS: usize = 1 << 21;
    const PROBES: u32 = 4;

    pub(super) fn new(always: bool) -> Self {
        let words = if always { 0 } else { Self::WORDS };
        Seen {
            always,
            bits: vec![0; words],
        }
    }

    /// Adds an id; whether it may have been there.
    pub(super) fn add(&mut self, id: &str) -> bool {
        if self.always {
            return true;
        }
        let hash = xxhash_rust::xxh3::xxh3_128(id.as_bytes());
        let mut there = true;
        for probe in 0..Self::PROBES {
            #[allow(clippy::cast_possible_truncation, reason = "some bits are wanted")]
            let bits = (hash >> (probe * 32)) as u32 as usize;
            let (word, bit) = (bits / 64 % Self::WORDS, 1 << (bits % 64));
            there &= self.bits[word] & bit != 0;
            self.bits[word] |= bit;
        }
        there
    }
}
