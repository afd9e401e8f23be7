//! Medians, ranges and intervals, and tables of them.

use std::{
    fmt::{self, Display},
    time::{SystemTime, UNIX_EPOCH},
};

/// One figure a round.
#[derive(Clone, Debug, Default)]
pub struct Figures(pub Vec<f64>);

impl Figures {
    /// The middle one.
    pub fn median(&self) -> f64 {
        median(&mut self.0.clone())
    }

    /// The lowest.
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The highest.
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// What comes of each round's figures.
    pub fn with(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(one, other)| combine(*one, *other)).collect())
    }

    /// Between what the median lies, by 95 % of drawings from the rounds (bootstrap).
    pub fn interval(&self) -> (f64, f64) {
        const DRAWINGS: usize = 2000;
        let mut random = Random::new(1);
        let drawing = |random: &mut Random| {
            let mut drawn: Vec<f64> = (0..self.0.len()).map(|_| self.0[random.below(self.0.len())]).collect();
            median(&mut drawn)
        };
        let mut medians: Vec<f64> = (0..DRAWINGS).map(|_| drawing(&mut random)).collect();
        medians.sort_by(f64::total_cmp);
        (medians[DRAWINGS / 40], medians[DRAWINGS - 1 - DRAWINGS / 40])
    }

    /// `median [lowest … highest]`
    pub fn range(&self, digits: usize) -> String {
        format!("{:.digits$} [{:.digits$} … {:.digits$}]", self.median(), self.min(), self.max())
    }

    /// `median (low … high)`, the interval being that of the median.
    pub fn with_interval(&self, digits: usize) -> String {
        let (low, high) = self.interval();
        format!("{:.digits$} ({low:.digits$} … {high:.digits$})", self.median())
    }
}

/// The middle one of these, which it sorts.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => figures[length / 2],
        length => f64::midpoint(figures[length / 2 - 1], figures[length / 2]),
    }
}

/// Random enough to shuffle (SplitMix64).
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Other numbers each time.
    pub fn by_time() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
        Self(now.as_nanos() as u64)
    }

    /// A number below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % limit as u64) as usize
    }

    /// The numbers below a limit in any order.
    pub fn order(&mut self, limit: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..limit).collect();
        for last in (1..limit).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

/// Columns under their names, the first to the left and the others to the right.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty one.
    pub fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = format!("{:width$}", row[0], width = widths[0]);
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                line += &format!("  {cell:>width$}");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
