//! A staged run: one stage after another, each output held until its last reader has run, so that a stage's time
//! is its own.

use super::driver::{Driver, Terminal};
use super::stream::Held;
use super::wiring::Wiring;
use crate::clock;
use crate::error::Result;

impl Driver<'_> {
    /// Runs every stage.
    pub(super) fn run_staged(
        &self,
        wiring: &mut Wiring,
        terminals: &mut Vec<Terminal>,
    ) -> Result<()> {
        let mut given: Vec<u64> = Vec::new();
        for (at, step) in self.pipeline.steps.iter().enumerate() {
            let taken: u64 = step.inputs.iter().map(|&input| given[input]).sum();
            let readers = self.plan.edges_from(at).count();
            if readers == 0 {
                terminals.push(self.own(at, || self.run_terminal(at, wiring))?);
                given.push(0);
            } else {
                // Its reader reports a fault of it, after the rows before it.
                let mut held = self.own(at, || Held::of(wiring.step(at, &mut Vec::new())));
                given.push(held.weigh());
                wiring.held.insert(at, (held, readers));
                self.options.stop.check()?;
            }
            self.records[at].totals().moved = Some(taken + given[at]);
        }
        Ok(())
    }

    /// A stage that nobody reads, to its last row.
    fn run_terminal(&self, at: usize, wiring: &mut Wiring) -> Result<Terminal> {
        let mut terminal = Terminal {
            at,
            stream: Some(wiring.step(at, &mut Vec::new())),
            sink: wiring.begun[at].sink.take(),
            tees: Vec::new(),
        };
        while terminal.stream.is_some() {
            self.pull(&mut terminal)?;
        }
        Ok(terminal)
    }

    /// Does a part of what a staged run does for stage `at` alone: that is the stage's own time, processes
    /// started and sessions opened.
    pub(super) fn own<T>(&self, at: usize, work: impl FnOnce() -> T) -> T {
        let from = clock::monotonic();
        let result = work();
        if self.options.staged {
            let took = clock::monotonic().saturating_sub(from);
            *self.records[at].totals().own.get_or_insert_default() += took;
        }
        result
    }
}
