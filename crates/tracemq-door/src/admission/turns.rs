//! Turns to do what can be done so many times at once, and a queue of bounded length for those who wait for one.
//!
//! Fair by where they come from: one after the other gets the next turn, however many more wait from the same address. When
//! the queue is full, the last of whoever has most in it makes room for somebody who has less. So one address alone can use all
//! of it, and can't keep another from its turn.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tracemq_access::mqtt::attempts::Source;

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// Too many wait already, and too many of them come from the same address.
    Full,
    /// None came within the time.
    Late,
}

struct Waiter {
    number: u64,
    granted: oneshot::Sender<usize>,
}

#[derive(Default)]
struct State {
    /// Numbers of free turns. Nobody waits while there are any.
    free: Vec<usize>,
    /// Who waits, in the order in which they came; none of them is empty.
    queues: HashMap<Source, VecDeque<Waiter>>,
    /// In which order they get the next turns.
    order: VecDeque<Source>,
    waiting: usize,
    last_number: u64,
}

pub(super) struct Turns {
    state: Mutex<State>,
    waiting_max: usize,
    wait_max: Duration,
}

/// A turn. The next in the queue has it when this is dropped.
pub(super) struct Turn {
    turns: Arc<Turns>,
    /// Which it is: no two have the same number at once.
    pub(super) number: usize,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().pass_on(self.number);
    }
}

/// One who waits, until it is dropped.
struct Waiting<'a> {
    turns: &'a Arc<Turns>,
    source: Source,
    number: u64,
    granted: oneshot::Receiver<usize>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        self.granted.close();
        match self.granted.try_recv() {
            Ok(turn) => state.pass_on(turn), // granted, and nobody there any more to take it
            Err(_) => state.leave(self.source, self.number),
        }
    }
}

impl Turns {
    /// So many turns at once, of the numbers from 0, and so many who wait, for so long.
    pub(super) fn new(at_once: usize, waiting_max: usize, wait_max: Duration) -> Arc<Self> {
        let state = State { free: (0..at_once).rev().collect(), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), waiting_max, wait_max })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn of somebody who comes from `address`.
    pub(super) async fn take(self: &Arc<Self>, address: IpAddr) -> Result<Turn, NoTurn> {
        let turn = |number| Turn { turns: Arc::clone(self), number };
        let source = Source::from(address);
        let mut waiting = {
            let mut state = self.lock();
            if let Some(number) = state.free.pop() {
                return Ok(turn(number));
            }
            if state.waiting >= self.waiting_max && !state.make_room(source) {
                return Err(NoTurn::Full);
            }
            let (number, granted) = state.join(source);
            Waiting { turns: self, source, number, granted }
        };
        match tokio::time::timeout(self.wait_max, &mut waiting.granted).await {
            Ok(Ok(number)) => Ok(turn(number)),
            Ok(Err(_)) => Err(NoTurn::Full), // another took the place
            Err(_) => Err(NoTurn::Late),
        }
    }
}

impl State {
    fn join(&mut self, source: Source) -> (u64, oneshot::Receiver<usize>) {
        let (granted, receiver) = oneshot::channel();
        self.last_number += 1;
        self.waiting += 1;
        let queue = self.queues.entry(source).or_default();
        if queue.is_empty() {
            self.order.push_back(source);
        }
        queue.push_back(Waiter { number: self.last_number, granted });
        (self.last_number, receiver)
    }

    fn leave(&mut self, source: Source, number: u64) {
        let Some(queue) = self.queues.get_mut(&source) else { return };
        let Ok(place) = queue.binary_search_by_key(&number, |waiter| waiter.number) else { return };
        queue.remove(place);
        self.waiting -= 1;
        if queue.is_empty() {
            self.queues.remove(&source);
            self.order.retain(|one| *one != source);
        }
    }

    /// Takes the place of the last of whoever has most of them; false when that is not more than `source` would have then.
    fn make_room(&mut self, source: Source) -> bool {
        let own = self.queues.get(&source).map_or(0, VecDeque::len);
        let Some(queue) = self.queues.values_mut().max_by_key(|queue| queue.len()) else { return false };
        let has_more = queue.len() > own + 1;
        if has_more {
            queue.pop_back();
            self.waiting -= 1;
        }
        has_more
    }

    /// Gives the turn to the next who waits, if there is one.
    fn pass_on(&mut self, turn: usize) {
        while let Some(source) = self.order.pop_front() {
            let Some(queue) = self.queues.get_mut(&source) else { continue };
            let next = queue.pop_front();
            if queue.is_empty() {
                self.queues.remove(&source);
            } else {
                self.order.push_back(source);
            }
            let Some(next) = next else { continue };
            self.waiting -= 1;
            if next.granted.send(turn).is_ok() {
                return;
            }
        }
        self.free.push(turn);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Taking = Pin<Box<dyn Future<Output = Result<Turn, NoTurn>>>>;

    /// Begins to wait.
    fn take(turns: &Arc<Turns>, last: u8) -> (Taking, Poll<Result<Turn, NoTurn>>) {
        let turns = Arc::clone(turns);
        let mut taking: Taking = Box::pin(async move { turns.take(IpAddr::from([192, 0, 2, last])).await });
        let first = look(&mut taking);
        (taking, first)
    }

    fn waits(turns: &Arc<Turns>, last: u8) -> Taking {
        let (taking, first) = take(turns, last);
        assert!(first.is_pending());
        taking
    }

    fn look(taking: &mut Taking) -> Poll<Result<Turn, NoTurn>> {
        pin!(taking).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn turn(taking: &mut Taking) -> Turn {
        match look(taking) {
            Poll::Ready(Ok(turn)) => turn,
            Poll::Ready(Err(error)) => panic!("{error:?}"),
            Poll::Pending => panic!("no turn yet"),
        }
    }

    fn first_of(turns: &Arc<Turns>) -> Turn {
        let (_, Poll::Ready(Ok(turn))) = take(turns, 9) else { panic!("no turn") };
        turn
    }

    const LONG: Duration = Duration::from_secs(1_000);

    #[tokio::test]
    async fn one_address_after_the_other_gets_the_next_turn_however_many_more_it_has() {
        let turns = Turns::new(1, 100, LONG);
        let held = first_of(&turns);
        let mut many: Vec<_> = (0..50).map(|_| waits(&turns, 1)).collect();
        let mut few = [waits(&turns, 2), waits(&turns, 2)];
        drop(held);
        for n in 0..2 {
            let of_many = turn(&mut many[n]);
            assert!(look(&mut few[n]).is_pending());
            drop(of_many);
            drop(turn(&mut few[n]));
        }
        drop(turn(&mut many[2]));
        drop(turn(&mut many[3]));
        drop(many);
        let state = turns.lock();
        assert_eq!((state.waiting, state.queues.len(), state.order.len(), &state.free), (0, 0, 0, &vec![0]));
    }

    #[tokio::test]
    async fn the_last_of_whoever_has_most_makes_room_and_no_one_else_does() {
        let turns = Turns::new(1, 4, LONG);
        let held = first_of(&turns);
        let mut many: Vec<_> = (0..4).map(|_| waits(&turns, 1)).collect();
        assert!(matches!(take(&turns, 1).1, Poll::Ready(Err(NoTurn::Full))), "it has all of them itself");
        let mut other = [waits(&turns, 2), waits(&turns, 2)];
        for gone in [2, 3] {
            assert!(matches!(look(&mut many[gone]), Poll::Ready(Err(NoTurn::Full))));
        }
        assert!(matches!(take(&turns, 2).1, Poll::Ready(Err(NoTurn::Full))), "both have as many");
        assert_eq!(turns.lock().waiting, 4);
        drop(held);
        drop(turn(&mut many[0]));
        drop(turn(&mut other[0]));
        drop(turn(&mut many[1]));
        drop(turn(&mut other[1]));
        drop(first_of(&turns));
    }

    #[tokio::test]
    async fn who_leaves_gives_up_its_place_and_a_turn_that_was_granted_meanwhile() {
        let turns = Turns::new(1, 2, LONG);
        let held = first_of(&turns);
        let (leaves, granted, mut stays) = (waits(&turns, 1), waits(&turns, 1), waits(&turns, 3));
        drop(leaves);
        drop(held); // to the one that does not look any more
        drop(granted);
        assert_eq!(turn(&mut stays).number, 0);
        drop(stays);
        assert_eq!(turns.lock().free, [0]);
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_so() {
        let turns = Turns::new(0, 1, Duration::from_millis(1));
        assert!(matches!(turns.take(IpAddr::from([192, 0, 2, 1])).await, Err(NoTurn::Late)));
        assert_eq!(turns.lock().waiting, 0);
    }
}
