//! Aggregates that are the value of one row a group: `first` and `last` of any type, `min` and `max` of strings, and the
//! columns of the key.

use super::accumulator::{Accumulator, GroupFault, Groups};
use crate::columns::{Column, NONE, row_number};
use crate::schema::Type;

/// Which row of a group is picked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pick {
    First,
    Last,
    /// Of strings, bytewise, nulls left out; of equal ones the first.
    Extreme {
        greatest: bool,
    },
}

/// The picked row of each group. Columns are kept as they came, without the rows that were not picked; one of which more
/// than half the rows were replaced since is compacted, so that at most about twice the rows are held that are picked.
pub(super) struct Picked {
    ty: Type,
    pick: Pick,
    chunks: Vec<Chunk>,
    /// For each group the chunk and the row there; none yet: [`NONE`].
    at: Vec<(u32, u32)>,
}

struct Chunk {
    values: Column,
    /// The group of each row.
    groups: Vec<u32>,
    /// How many rows are picked.
    alive: usize,
}

impl Picked {
    pub(super) fn new(ty: Type, pick: Pick) -> Self {
        Picked {
            ty,
            pick,
            chunks: Vec::new(),
            at: Vec::new(),
        }
    }

    /// Picks among the rows of a column, which becomes a chunk; the chunks that should be compacted now.
    fn pick(&mut self, values: &Column, groups: &Groups) -> Vec<u32> {
        self.at.resize(groups.count, (NONE, NONE));
        let chunk = row_number(self.chunks.len());
        self.chunks.push(Chunk {
            values: values.clone(),
            groups: Vec::new(),
            alive: 0,
        });
        let mut sparse = Vec::new();
        for (row, &group) in (0..).zip(groups.of) {
            let before = self.at[group as usize];
            if !self.wins(before, values, row) {
                continue;
            }
            self.at[group as usize] = (chunk, row);
            if before.0 == chunk {
                continue;
            }
            self.chunks[chunk as usize].alive += 1;
            if before.0 != NONE {
                let old = &mut self.chunks[before.0 as usize];
                old.alive -= 1;
                if old.alive == old.groups.len() / 2 {
                    sparse.push(before.0);
                }
            }
        }
        sparse
    }

    #[inline]
    fn wins(&self, before: (u32, u32), values: &Column, row: u32) -> bool {
        match self.pick {
            Pick::First => before.0 == NONE,
            Pick::Last => true,
            Pick::Extreme { greatest } => {
                let values = values.strings();
                let Some(value) = values.get(row as usize) else {
                    return false;
                };
                if before.0 == NONE {
                    return true;
                }
                let best = self.chunks[before.0 as usize].values.strings();
                let best = best.value(before.1 as usize);
                if greatest { value > best } else { value < best }
            }
        }
    }

    /// Keeps of a chunk the picked rows only, in memory of their own.
    fn compact(&mut self, number: u32, rows: &[u32], groups: Vec<u32>) {
        let chunk = &mut self.chunks[number as usize];
        chunk.values = chunk.values.take(rows).compacted();
        chunk.groups = groups;
        for (row, &group) in (0..).zip(&chunk.groups) {
            self.at[group as usize] = (number, row);
        }
    }

    /// The values of so many groups, null where none was picked.
    fn column(&self, groups: usize) -> Column {
        let mut base = 0usize;
        let mut bases = Vec::with_capacity(self.chunks.len());
        let mut parts = Vec::with_capacity(self.chunks.len());
        for chunk in &self.chunks {
            bases.push(base);
            base += chunk.values.len();
            parts.push(&chunk.values);
        }
        if parts.is_empty() {
            return Column::nulls(&self.ty, groups);
        }
        let place = |&(chunk, row): &(u32, u32)| match chunk {
            NONE => NONE,
            chunk => row_number(bases[chunk as usize] + row as usize),
        };
        let mut rows: Vec<u32> = self.at.iter().map(place).collect();
        rows.resize(groups, NONE);
        Column::concat(&parts).take(&rows)
    }
}

impl Accumulator for Picked {
    fn update(&mut self, values: &Column, groups: &Groups) {
        self.pick(values, groups);
    }

    fn state(self: Box<Self>) -> Vec<Column> {
        vec![self.column(self.at.len())]
    }

    fn merge(&mut self, state: &[Column], groups: &Groups) {
        let number = row_number(self.chunks.len());
        let sparse = self.pick(&state[0], groups);
        let of = (0..).zip(groups.of);
        let picked = of.filter(|&(row, &group)| self.at[group as usize] == (number, row));
        let (rows, of): (Vec<u32>, Vec<u32>) = picked.unzip();
        if rows.is_empty() {
            self.chunks.pop();
        } else {
            self.compact(number, &rows, of);
        }
        for number in sparse {
            let of = &self.chunks[number as usize].groups;
            let of = (0..).zip(of);
            let picked = of.filter(|&(row, &group)| self.at[group as usize] == (number, row));
            let (rows, of): (Vec<u32>, Vec<u32>) = picked.unzip();
            self.compact(number, &rows, of);
        }
    }

    fn evaluate(self: Box<Self>, groups: usize) -> (Column, Vec<GroupFault>) {
        (self.column(groups), Vec::new())
    }
}
