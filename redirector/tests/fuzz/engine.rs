//! Makes inputs of a corpus, and tries them.

use std::{
    collections::HashSet,
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, mpsc},
    thread,
};

use fastrand::Rng;

use crate::support::{DEADLINE, is_soak};

/// Where seeds begin. Another number is another test.
const SEED: u64 = 0x7e77;

/// How much longer the long test is.
const SOAK: u64 = 50;

/// The longest input, in bytes.
const LONGEST: usize = 20_000;

/// The most texts in a corpus.
const MOST: usize = 2_000;

/// A corpus that grows.
pub struct Engine {
    what: &'static str,
    rng: Rng,
    corpus: Vec<Vec<u8>>,
    /// How many texts there were.
    begin: usize,
    words: &'static [&'static str],
    /// What was said up to now.
    said: HashSet<String>,
}

impl Engine {
    /// With a corpus and words that are put into it.
    pub fn new(what: &'static str, corpus: Vec<Vec<u8>>, words: &'static [&'static str]) -> Self {
        let begin = corpus.len();
        Self { what, rng: Rng::with_seed(SEED), corpus, begin, words, said: HashSet::new() }
    }

    /// Tries the corpus, and so many inputs made of it. The target says what is said of an input, and panics if it should not
    /// be.
    pub fn try_all(mut self, count: u64, target: impl Fn(&[u8]) -> String + Send) {
        let count = if is_soak() { count * SOAK } else { count };
        let current = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let (tick, ticks) = mpsc::channel();
            let current = &current;
            let what = self.what;
            let worker = scope.spawn(move || {
                for number in 0..count {
                    let valid = self.corpus[..self.begin].get(number as usize).cloned();
                    let input = valid.unwrap_or_else(|| self.input());
                    current.lock().expect("nobody panics with it").clone_from(&input);
                    self.try_one(&input, number, &target);
                    let _ = tick.send(());
                }
                println!(
                    "{what}: {count} inputs, {} things said, {} texts kept",
                    self.said.len(),
                    self.corpus.len()
                );
            });
            loop {
                match ticks.recv_timeout(DEADLINE) {
                    Ok(()) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        let input = current.lock().expect("nobody panics with it").clone();
                        eprintln!("{what} takes longer than {DEADLINE:?}: {}", input.escape_ascii());
                        // The thread that is at it does not end.
                        std::process::abort();
                    }
                }
            }
            if let Err(panic) = worker.join() {
                panic::resume_unwind(panic);
            }
        });
    }

    fn try_one(&mut self, input: &[u8], number: u64, target: &impl Fn(&[u8]) -> String) {
        let said = panic::catch_unwind(AssertUnwindSafe(|| target(input)));
        let said = said.unwrap_or_else(|_| {
            panic!("{}, seed {SEED:#x}, input {number}: b\"{}\"", self.what, input.escape_ascii())
        });
        if self.said.insert(shape(&said)) && self.corpus.len() < MOST {
            self.corpus.push(input.to_vec());
        }
    }

    /// A text of the corpus with some changes, or now and then bytes without any sense.
    fn input(&mut self) -> Vec<u8> {
        if self.rng.u8(..50) == 0 {
            let length = self.rng.usize(..100);
            return (0..length).map(|_| self.rng.u8(..)).collect();
        }
        let mut input = self.any();
        for _ in 0..1 + self.rng.usize(..self.rng.clone().usize(1..8)) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    /// A text of the corpus; every other one is of those that it began with.
    fn any(&mut self) -> Vec<u8> {
        let end = if self.rng.bool() { self.begin } else { self.corpus.len() };
        let index = self.rng.usize(..end);
        self.corpus[index].clone()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let length = input.len();
        let (a, b) = (self.rng.usize(..=length), self.rng.usize(..=length));
        let near = (a + self.rng.usize(..12)).min(length);
        match self.rng.u8(..12) {
            0..4 => {
                let word = self.words[self.rng.usize(..self.words.len())];
                let end = if self.rng.bool() { a } else { near };
                input.splice(a..end, word.bytes());
            }
            4 | 5 => drop(input.drain(a..near)),
            6 => input.truncate(a),
            7 => drop(input.drain(a.min(b)..a.max(b))),
            // A part of it once more, or of another.
            8 => {
                let part = input[a..near].to_vec();
                let part = part.repeat(self.rng.usize(1..4));
                input.splice(b..b, part);
            }
            9 => {
                let other = self.any();
                let begin = self.rng.usize(..=other.len());
                let end = (begin + self.rng.usize(..200)).min(other.len());
                input.splice(a..near, other[begin..end].iter().copied());
            }
            10 => {
                if let Some(byte) = input.get_mut(a) {
                    *byte ^= 1 << self.rng.u8(..8);
                }
            }
            _ => {
                let byte = self.rng.u8(..);
                input.insert(a, byte);
            }
        }
    }
}

/// What was said, without what it repeats of the input, which is between quotation marks and may hold others.
fn shape(said: &str) -> String {
    let marks = ['`', '"'];
    let begin = said.split(marks).next().unwrap_or_default();
    let end = said.rsplit(marks).next().filter(|_| said.contains(marks)).unwrap_or_default();
    [begin, end].concat().chars().filter(|character| !character.is_ascii_digit()).take(80).collect()
}
