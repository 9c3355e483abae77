//! Slots of memory that batches take turns in: while one batch runs in its slot, the next is written into another.
//!
//! A slot is acquired, filled, sealed, run, read, and recycled, in this order and in no other. What holds it is a value
//! of its own ([`Held`]), so that nothing can reach a slot's memory after it was given back; and each time a slot is
//! given out it has a new generation, by which a slot that comes back twice, or to the wrong place, is refused. The ring
//! knows nothing of what the memory is: pinned and on a device, or, in tests, the host's own.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::{fault::Fault, message::rejection::Stage};

/// Where the memory of slots comes from.
pub(super) trait Allocator {
    /// All that one batch needs.
    type Area: Area;

    /// The memory of one slot.
    fn allocate(&mut self) -> Result<Self::Area, Fault>;
}

/// The memory of one slot.
pub(super) trait Area {
    /// Returns when no device uses it any more, whatever was asked of one.
    fn quiesce(&mut self);
}

/// How far a batch has come in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Rows are being written.
    Filling,
    /// All rows are there.
    Sealed,
    /// The device has it.
    Running,
    /// The outputs are there.
    Readable,
}

/// A few slots, allocated once. Clones are the same ring.
#[derive(Debug)]
pub(super) struct Ring<A: Area>(Arc<Inner<A>>);

impl<A: Area> Clone for Ring<A> {
    fn clone(&self) -> Self {
        Ring(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Inner<A> {
    places: Mutex<Vec<Place<A>>>,
    recycled: Condvar,
}

#[derive(Debug)]
struct Place<A> {
    /// `None` while a batch has it.
    area: Option<A>,
    /// How often it was given out.
    generation: u64,
}

/// A slot that a batch has; recycled when dropped.
#[derive(Debug)]
pub(super) struct Held<A: Area> {
    ring: Ring<A>,
    /// Taken when it is given back.
    area: Option<A>,
    place: usize,
    generation: u64,
    step: Step,
}

impl<A: Area> Ring<A> {
    /// A ring of so many slots.
    pub(super) fn new(
        slots: usize,
        allocator: &mut impl Allocator<Area = A>,
    ) -> Result<Self, Fault> {
        let place = |_| {
            Ok(Place {
                area: Some(allocator.allocate()?),
                generation: 0,
            })
        };
        let places = (0..slots).map(place).collect::<Result<_, Fault>>()?;
        Ok(Ring(Arc::new(Inner {
            places: Mutex::new(places),
            recycled: Condvar::new(),
        })))
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place<A>>> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot to fill, as soon as there is one.
    pub(super) fn acquire(&self) -> Held<A> {
        let mut places = self.places();
        loop {
            if let Some(held) = self.take(&mut places) {
                return held;
            }
            let woken = self.0.recycled.wait(places);
            places = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A slot to fill, if there is one.
    #[cfg(test)]
    pub(super) fn try_acquire(&self) -> Option<Held<A>> {
        self.take(&mut self.places())
    }

    /// Of those that are free the one that was given out least often.
    fn take(&self, places: &mut [Place<A>]) -> Option<Held<A>> {
        let free = places.iter_mut().enumerate();
        let free = free.filter(|(_, place)| place.area.is_some());
        let (number, place) = free.min_by_key(|(_, place)| place.generation)?;
        place.generation += 1;
        Some(Held {
            ring: self.clone(),
            area: place.area.take(),
            place: number,
            generation: place.generation,
            step: Step::Filling,
        })
    }

    /// Takes a slot back; refused, and its memory freed, where it is not the one that was given out.
    fn recycle(&self, number: usize, generation: u64, area: A) -> bool {
        let mut places = self.places();
        let place = places.get_mut(number);
        let place = place.filter(|place| place.generation == generation && place.area.is_none());
        let own = place.is_some();
        if let Some(place) = place {
            place.area = Some(area);
            self.0.recycled.notify_one();
        }
        own
    }
}

impl<A: Area> Held<A> {
    /// The memory, while the batch is at `step`.
    pub(super) fn at(&mut self, step: Step) -> Result<&mut A, Fault> {
        let (found, place, generation) = (self.step, self.place, self.generation);
        let area = self.area.as_mut().filter(|_| found == step);
        area.ok_or_else(|| {
            Fault::internal(
                Stage::Predict,
                format!("slot {place}, generation {generation}, is {found:?}; expected {step:?}"),
            )
        })
    }

    /// The batch has come to the next step.
    pub(super) fn advance(&mut self, from: Step) -> Result<(), Fault> {
        self.at(from)?;
        self.step = match from {
            Step::Filling => Step::Sealed,
            Step::Sealed => Step::Running,
            Step::Running | Step::Readable => Step::Readable,
        };
        Ok(())
    }
}

impl<A: Area> Drop for Held<A> {
    fn drop(&mut self) {
        let Some(mut area) = self.area.take() else {
            return;
        };
        // A run that failed midway, or that nobody waited for.
        if matches!(self.step, Step::Sealed | Step::Running) {
            area.quiesce();
        }
        if !self.ring.recycle(self.place, self.generation, area) {
            tracing::error!(
                place = self.place,
                generation = self.generation,
                "a slot came back that was not given out"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The host's memory, and a count of what was asked of it.
    struct Host {
        quiesced: Arc<AtomicUsize>,
        allocated: usize,
    }

    #[derive(Debug)]
    struct Words {
        number: usize,
        cells: Vec<u64>,
        quiesced: Arc<AtomicUsize>,
    }

    impl Allocator for Host {
        type Area = Words;

        fn allocate(&mut self) -> Result<Words, Fault> {
            self.allocated += 1;
            Ok(Words {
                number: self.allocated,
                cells: vec![0; 4],
                quiesced: Arc::clone(&self.quiesced),
            })
        }
    }

    impl Area for Words {
        fn quiesce(&mut self) {
            self.quiesced.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn ring(slots: usize) -> (Ring<Words>, Arc<AtomicUsize>) {
        let quiesced = Arc::new(AtomicUsize::new(0));
        let mut host = Host {
            quiesced: Arc::clone(&quiesced),
            allocated: 0,
        };
        let ring = Ring::new(slots, &mut host).unwrap();
        assert_eq!(host.allocated, slots);
        (ring, quiesced)
    }

    const STEPS: [Step; 4] = [Step::Filling, Step::Sealed, Step::Running, Step::Readable];

    #[test]
    fn a_slot_goes_through_its_steps_in_order_and_in_no_other() {
        let (ring, _) = ring(1);
        let mut held = ring.acquire();
        for (before, step) in STEPS.iter().enumerate() {
            for other in STEPS.iter().filter(|other| *other != step) {
                let fault = held.at(*other).unwrap_err();
                assert!(fault.detail.contains(&format!("{step:?}")), "{fault}");
                assert!(held.advance(*other).is_err());
            }
            assert!(held.at(*step).is_ok());
            if before + 1 < STEPS.len() {
                held.advance(*step).unwrap();
            }
        }
    }

    #[test]
    fn what_comes_back_twice_or_to_another_place_is_refused() {
        let (ring, _) = ring(2);
        let mut held = ring.acquire();
        let (place, generation) = (held.place, held.generation);
        let area = held.area.take().unwrap();
        assert!(ring.recycle(place, generation, area));
        let stranger = || Words {
            number: 9,
            cells: vec![],
            quiesced: Arc::default(),
        };
        assert!(!ring.recycle(place, generation, stranger()), "twice");
        let other = ring.acquire();
        assert!(!ring.recycle(other.place, other.generation + 1, stranger()));
        assert!(!ring.recycle(7, 1, stranger()));
    }

    #[test]
    fn whoever_finds_no_slot_waits_for_the_next_that_is_recycled() {
        let (ring, _) = ring(1);
        let held = ring.acquire();
        let waiting = ring.clone();
        let waiter = std::thread::spawn(move || waiting.acquire().generation);
        drop(held);
        assert_eq!(waiter.join().unwrap(), 2);
    }

    proptest! {
        /// Each batch writes what it alone writes, and finds it there to the end, whatever others do meanwhile.
        #[test]
        fn no_two_batches_share_a_slot_and_every_slot_comes_back(
            slots in 1..5_usize,
            moves in vec((0..6_usize, 0..5_usize), 1..200),
        ) {
            let (ring, quiesced) = ring(slots);
            let mut held: Vec<(Held<Words>, usize, u64)> = Vec::new();
            let (mut batches, mut cut_short) = (0_u64, 0);
            let mut given_out = std::collections::BTreeSet::new();
            for (kind, which) in moves {
                if kind < 2 {
                    let Some(mut slot) = ring.try_acquire() else {
                        prop_assert_eq!(held.len(), slots);
                        continue;
                    };
                    prop_assert!(held.len() < slots);
                    prop_assert!(given_out.insert((slot.place, slot.generation)));
                    batches += 1;
                    slot.at(Step::Filling).unwrap().cells.fill(batches);
                    held.push((slot, 0, batches));
                } else if !held.is_empty() {
                    let which = which % held.len();
                    let (slot, step, batch) = &mut held[which];
                    let area = slot.at(STEPS[*step]).unwrap();
                    prop_assert!(area.cells.iter().all(|cell| cell == batch));
                    if kind < 5 && *step < 3 {
                        slot.advance(STEPS[*step]).unwrap();
                        *step += 1;
                    } else {
                        cut_short += usize::from([1, 2].contains(step));
                        held.swap_remove(which);
                    }
                    prop_assert_eq!(quiesced.load(Ordering::Relaxed), cut_short);
                }
            }
            drop(held);
            let mut all: Vec<_> = (0..slots).map(|_| ring.try_acquire().unwrap()).collect();
            prop_assert!(ring.try_acquire().is_none());
            let mut numbers: Vec<usize> =
                all.iter_mut().map(|slot| slot.at(Step::Filling).unwrap().number).collect();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (1..=slots).collect::<Vec<_>>());
        }
    }
}
