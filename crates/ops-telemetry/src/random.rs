//! Random numbers for ids: one cryptographic generator a thread, seeded by the operating system.
//!
//! A process that forks without `exec` copies the generators of its threads, and both sides would go on with the same
//! numbers. So each refill asks for the process id, which costs a system call, and starts anew where it has changed;
//! between two refills each number is mixed with the clock, so that the two sides part at once.

use std::cell::RefCell;
use std::sync::LazyLock;
use std::time::Instant;

use rand::Rng;
use rand::rngs::StdRng;

/// Numbers drawn at once.
const BLOCK: usize = 32;

struct Generator {
    source: StdRng,
    process: u32,
    block: [u64; BLOCK],
    used: usize,
}

thread_local! {
    static GENERATOR: RefCell<Generator> = RefCell::new(Generator::new(std::process::id()));
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Draws numbers; unique, uniform, and not to be foreseen from earlier ones.
pub(crate) fn next<const N: usize>() -> [u64; N] {
    let drawn = GENERATOR.try_with(|generator| {
        let mut generator = generator.borrow_mut();
        std::array::from_fn(|_| generator.next(std::process::id))
    });
    // A thread that is ending has no generator left.
    let mut drawn = drawn.unwrap_or_else(|_| {
        let mut source = rand::make_rng::<StdRng>();
        std::array::from_fn(|_| source.next_u64())
    });
    let moment = scatter(clock());
    drawn.iter_mut().for_each(|number| *number ^= moment);
    drawn
}

fn clock() -> u64 {
    // Whole centuries of nanoseconds do not matter here.
    START.elapsed().as_nanos() as u64
}

/// Spreads a number over all bits (the finalizer of SplitMix64).
fn scatter(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Generator {
    fn new(process: u32) -> Self {
        Self { source: rand::make_rng(), process, block: [0; BLOCK], used: BLOCK }
    }

    fn next(&mut self, process: impl FnOnce() -> u32) -> u64 {
        if self.used == BLOCK {
            let process = process();
            if process != self.process {
                *self = Self::new(process);
            }
            let source = &mut self.source;
            self.block.fill_with(|| source.next_u64());
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn numbers_do_not_repeat_between_threads() {
        let draw = || (0..500).flat_map(|_| next::<2>()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let all: HashSet<u64> =
            threads.into_iter().flat_map(|thread| thread.join().expect("draws")).collect();
        assert_eq!(all.len(), 4000);
    }

    #[test]
    fn a_copy_in_another_process_starts_anew() {
        let copy =
            || Generator { source: StdRng::seed_from_u64(7), process: 1, block: [0; BLOCK], used: BLOCK };
        let (mut parent, mut same, mut child) = (copy(), copy(), copy());
        let first = parent.next(|| 1);
        assert_eq!(same.next(|| 1), first, "the copies were not the same to begin with");
        assert_ne!(child.next(|| 2), first);
    }

    #[test]
    fn within_a_block_the_clock_parts_the_copies() {
        assert_ne!(scatter(1), scatter(2));
        let (a, b) = (clock(), clock());
        assert!(b >= a);
        assert_ne!(scatter(1_000_000), scatter(1_000_001));
    }
}
