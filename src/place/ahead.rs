//! Ranges that are asked for before they are read: who reads an object says which ones it will read, in order. Those that
//! lie near each other are one request, and some requests are under way while an answer is used.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::object::{RANGE_MAX, RANGE_MIN};
use crate::error::{Error, Result};

/// Bytes between two ranges that are read too, so that one request does. A request takes some 50 ms to a store that is
/// far away: the time in which even a line of 50 Mbit/s brings as many.
const GAP_MAX: u64 = 256 << 10;
/// How many requests are under way at most, beside what is read. Of full size it is two, which [`HELD_MAX`] sees to: more
/// are under way only where ranges are small and lie apart.
const AHEAD_MAX: usize = 8;
/// What is held at most, come or not: one request of full size that is read, and two ahead of it.
const HELD_MAX: u64 = 3 * RANGE_MAX;

/// How bytes are asked for.
pub(super) trait Requests {
    /// Bytes on their way; dropped, they are no longer wanted.
    type Pending;

    /// Asks for a range.
    fn begin(&self, range: Range<u64>) -> Self::Pending;

    /// Waits for it.
    fn wait(&self, pending: Self::Pending) -> Result<Bytes>;
}

/// What will be read of an object, what was asked for, and what has come.
pub(super) struct Ahead<P> {
    /// What will be read and was not asked for, in the order of reading.
    coming: VecDeque<Range<u64>>,
    requests: VecDeque<Request<P>>,
    /// How much the next request asks for, if so much is wanted; it grows as long as somebody reads on.
    size: u64,
    /// How many may be under way beside what is read; it grows too.
    beside: usize,
}

struct Request<P> {
    range: Range<u64>,
    /// The parts of it that will be read and were not.
    wanted: Vec<Range<u64>>,
    bytes: Answer<P>,
    /// Whether some of it was read.
    in_use: bool,
}

enum Answer<P> {
    UnderWay(P),
    Here(Bytes),
}

impl<P> Default for Ahead<P> {
    fn default() -> Self {
        Ahead {
            coming: VecDeque::new(),
            requests: VecDeque::new(),
            size: RANGE_MIN,
            beside: 1,
        }
    }
}

impl<P> Ahead<P> {
    /// These will be read too, after those that were named before.
    pub(super) fn expect(&mut self, ranges: impl IntoIterator<Item = Range<u64>>) {
        let ranges = ranges.into_iter().filter(|range| !range.is_empty());
        self.coming.extend(ranges);
    }

    /// Bytes `at..end`. What was not expected is asked for now.
    pub(super) fn read(
        &mut self,
        requests: &impl Requests<Pending = P>,
        mut at: u64,
        end: u64,
    ) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while at < end {
            let part = self.part(requests, at, end)?;
            at += part.len() as u64;
            if bytes.is_empty() {
                // Not copied, if it is all that has come.
                bytes = part.into();
            } else {
                bytes.extend_from_slice(&part);
            }
        }
        Ok(bytes)
    }

    /// The next bytes of `at..end`, for one who reads on to `end`.
    pub(super) fn read_on(
        &mut self,
        requests: &impl Requests<Pending = P>,
        at: u64,
        end: u64,
    ) -> Result<Bytes> {
        if self.is_expected(at) {
            // What lies in front of it was passed over.
            self.requests.retain(|request| request.range.end > at);
            self.coming.retain(|range| range.end > at);
        } else {
            *self = Ahead::default();
            self.expect(std::iter::once(at..end));
        }
        self.part(requests, at, end)
    }

    fn is_expected(&self, at: u64) -> bool {
        let mut asked = self.requests.iter().map(|request| &request.range);
        asked.any(|range| range.contains(&at))
            || self.coming.iter().any(|range| range.contains(&at))
    }

    /// The first bytes of `at..end`, as many as one answer has.
    fn part(&mut self, requests: &impl Requests<Pending = P>, at: u64, end: u64) -> Result<Bytes> {
        let Some(found) = self.request_of(requests, at) else {
            let next = self.coming.iter().map(|range| range.start);
            let asked = self.requests.iter().map(|request| request.range.start);
            let next = next.chain(asked).filter(|&start| start > at).min();
            let to = next.map_or(end, |next| next.min(end));
            return whole(requests.wait(requests.begin(at..to))?, &(at..to));
        };
        if !self.requests[found].in_use {
            self.requests[found].in_use = true;
            self.fill(requests);
            self.beside = AHEAD_MAX.min(self.beside + 1);
        }
        let mut request = self.requests.remove(found).expect("it was just found");
        let bytes = match request.bytes {
            Answer::Here(bytes) => bytes,
            Answer::UnderWay(pending) => whole(requests.wait(pending)?, &request.range)?,
        };
        let read = at..end.min(request.range.end);
        let from = index(read.start - request.range.start);
        let part = bytes.slice(from..index(read.end - request.range.start));
        request.wanted = request
            .wanted
            .into_iter()
            .flat_map(|wanted| {
                let before = wanted.start..wanted.end.min(read.start);
                [before, wanted.start.max(read.end)..wanted.end]
            })
            .filter(|wanted| !wanted.is_empty())
            .collect();
        if !request.wanted.is_empty() {
            request.bytes = Answer::Here(bytes);
            self.requests.insert(found, request);
        }
        Ok(part)
    }

    /// The place of the request that has the byte at `at`; it is begun now if the byte is expected. `None`: it is not.
    fn request_of(&mut self, requests: &impl Requests<Pending = P>, at: u64) -> Option<usize> {
        let found = self.requests.iter();
        let mut found = found.map(|request| &request.range);
        if let Some(found) = found.position(|range| range.contains(&at)) {
            return Some(found);
        }
        let coming = self.coming.iter().position(|range| range.contains(&at))?;
        let range = self.coming.remove(coming).expect("it was just found");
        let rest = at..range.end;
        if coming == 0 {
            self.coming.push_front(rest);
            self.begin_next(requests);
        } else {
            // Others were to be read before it, and still may be.
            let now = at..range.end.min(at + RANGE_MAX);
            self.coming.insert(coming, now.end..range.end);
            self.coming.retain(|range| !range.is_empty());
            self.begin(requests, now.clone(), vec![now]);
        }
        Some(self.requests.len() - 1)
    }

    /// Asks for what comes next, as far as there is room for it.
    fn fill(&mut self, requests: &impl Requests<Pending = P>) {
        while let Some(next) = self.coming.front() {
            let held = self.requests.iter().map(|request| length(&request.range));
            let more = self.size.max(length(next).min(RANGE_MAX));
            let ahead = self.requests.iter().filter(|request| !request.in_use);
            if ahead.count() >= self.beside || held.sum::<u64>() + more > HELD_MAX {
                return;
            }
            self.begin_next(requests);
        }
    }

    /// Asks for the next range, and for those after it that lie near. One that is longer than a request is cut.
    fn begin_next(&mut self, requests: &impl Requests<Pending = P>) {
        let Some(mut all) = self.coming.pop_front() else {
            return;
        };
        if length(&all) > RANGE_MAX {
            let end = all.start + self.size;
            self.coming.push_front(end..all.end);
            all.end = end;
        }
        let mut wanted = vec![all.clone()];
        while let Some(next) = self.coming.front() {
            let is_near = (all.start..=all.end + GAP_MAX).contains(&next.start);
            let end = all.end.max(next.end);
            if !is_near || end - all.start > self.size {
                break;
            }
            all.end = end;
            wanted.extend(self.coming.pop_front());
        }
        self.begin(requests, all, wanted);
    }

    fn begin(
        &mut self,
        requests: &impl Requests<Pending = P>,
        range: Range<u64>,
        wanted: Vec<Range<u64>>,
    ) {
        let bytes = Answer::UnderWay(requests.begin(range.clone()));
        self.requests.push_back(Request {
            range,
            wanted,
            bytes,
            in_use: false,
        });
        self.size = RANGE_MAX.min(self.size * 4);
    }
}

/// An answer, which must be as long as what was asked for.
fn whole(bytes: Bytes, asked: &Range<u64>) -> Result<Bytes> {
    if bytes.len() as u64 == length(asked) {
        return Ok(bytes);
    }
    let (came, asked) = (bytes.len(), length(asked));
    Err(Error::failed(format!(
        "{came} bytes came of {asked} that were asked for"
    )))
}

fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}

/// A place within an answer.
fn index(at: u64) -> usize {
    usize::try_from(at).expect("an answer is in memory")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::rc::Rc;

    use super::*;

    /// A place where each byte says where it lies; it notes what is asked for, and what of that is not waited for.
    #[derive(Default)]
    struct Model {
        asked: RefCell<Vec<Range<u64>>>,
        open: Rc<RefCell<BTreeSet<usize>>>,
        most_open: RefCell<usize>,
        fails_at: Option<u64>,
    }

    struct Asked {
        number: usize,
        range: Range<u64>,
        open: Rc<RefCell<BTreeSet<usize>>>,
    }

    impl Drop for Asked {
        fn drop(&mut self) {
            self.open.borrow_mut().remove(&self.number);
        }
    }

    fn byte(at: u64) -> u8 {
        (at % 251) as u8
    }

    impl Requests for Model {
        type Pending = Asked;

        fn begin(&self, range: Range<u64>) -> Asked {
            let mut asked = self.asked.borrow_mut();
            let number = asked.len();
            asked.push(range.clone());
            self.open.borrow_mut().insert(number);
            let most = self.most_open.borrow().max(self.open.borrow().len());
            self.most_open.replace(most);
            let open = self.open.clone();
            Asked {
                number,
                range,
                open,
            }
        }

        fn wait(&self, pending: Asked) -> Result<Bytes> {
            let range = pending.range.clone();
            if self.fails_at.is_some_and(|at| range.contains(&at)) {
                return Err(Error::failed("it was replaced"));
            }
            Ok(range.map(byte).collect::<Vec<u8>>().into())
        }
    }

    const K: u64 = 1 << 10;
    const M: u64 = 1 << 20;

    /// So many ranges of so many bytes, each so far behind the one before.
    fn ranges(count: u64, bytes: u64, gap: u64) -> Vec<Range<u64>> {
        let start = |at| 4 + at * (bytes + gap);
        (0..count).map(|at| start(at)..start(at) + bytes).collect()
    }

    fn read_all(model: &Model, ranges: &[Range<u64>]) -> Result<()> {
        let mut ahead = Ahead::default();
        ahead.expect(ranges.to_vec());
        for range in ranges {
            let read = ahead.read(model, range.start, range.end)?;
            assert!(read.into_iter().eq(range.clone().map(byte)), "{range:?}");
            let held = ahead.requests.iter().map(|request| length(&request.range));
            assert!(held.sum::<u64>() <= HELD_MAX);
        }
        assert!(ahead.requests.is_empty() && ahead.coming.is_empty());
        Ok(())
    }

    #[test]
    fn near_ranges_are_one_request_and_some_are_under_way() {
        for (what, ranges, requests, at_once) in [
            ("small ones side by side", ranges(150, 230 * K, 0), 7, 3),
            ("with small gaps", ranges(150, 230 * K, 10 * K), 7, 3),
            ("with large gaps", ranges(150, 230 * K, M), 150, 9),
            ("of full size", ranges(6, 8 * M, 0), 6, 3),
            ("larger", ranges(1, 40 * M, 0), 8, 3),
            ("one", ranges(1, 100, 0), 1, 1),
            ("none", ranges(0, 0, 0), 0, 0),
        ] {
            let model = Model::default();
            read_all(&model, &ranges).expect("it is there");
            let asked = model.asked.take();
            let found = (asked.len(), model.most_open.take());
            assert_eq!(found, (requests, at_once), "{what}: {asked:?}");
            assert!(asked.iter().all(|range| length(range) <= RANGE_MAX));
            assert!(model.open.take().is_empty(), "{what}");
        }
    }

    #[test]
    fn what_is_read_in_another_order_or_not_expected_is_right_too() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let model = Model::default();
            let mut ahead = Ahead::default();
            let mut expected: Vec<Range<u64>> = (0..random.u64(..12))
                .map(|_| {
                    let start = random.u64(..3 * M);
                    start..start + random.u64(..300 * K)
                })
                .collect();
            ahead.expect(expected.clone());
            random.shuffle(&mut expected);
            for range in &expected {
                // Some in two, some with more than was said, some not at all.
                let (start, end) = (range.start, range.end);
                let middle = start + length(range) / 2;
                let reads = match random.u8(..4) {
                    0 => vec![(start, middle), (middle, end)],
                    1 => vec![(start, end + 100 * K)],
                    2 => vec![],
                    _ => vec![(start, end)],
                };
                for (from, to) in reads {
                    let read = ahead.read(&model, from, to).expect("it is there");
                    assert!(read.into_iter().eq((from..to).map(byte)), "{range:?}");
                }
            }
            drop(ahead);
            assert!(model.open.take().is_empty(), "what is not read is dropped");
        }
    }

    #[test]
    fn one_who_reads_on_gets_all_and_may_pass_over_some() {
        let model = Model::default();
        let mut ahead = Ahead::default();
        let (mut at, end) = (10, 30 * M);
        while at < end {
            let part = ahead.read_on(&model, at, end).expect("it is there");
            assert!(
                part.iter()
                    .copied()
                    .eq((at..at + part.len() as u64).map(byte))
            );
            at += part.len() as u64;
            // As a reader that leaves out what it does not want.
            at += 5;
        }
        assert_eq!(
            model.asked.take().len(),
            7,
            "256 KiB, 1, 4, 8, 8, 8, and the rest"
        );
        assert_eq!(model.most_open.take(), 3);
        // From elsewhere it begins anew, and small.
        let part = ahead.read_on(&model, 5, end).expect("it is there");
        assert_eq!(part.len() as u64, RANGE_MIN);
    }

    #[test]
    fn what_went_wrong_is_said_where_it_is_read() {
        let all = ranges(10, 8 * M, 0);
        let model = Model {
            fails_at: Some(all[2].start),
            ..Model::default()
        };
        let mut ahead = Ahead::default();
        ahead.expect(all.clone());
        for (at, range) in all[..3].iter().enumerate() {
            let read = ahead.read(&model, range.start, range.end);
            assert_eq!(read.is_err(), at == 2);
        }
    }
}
