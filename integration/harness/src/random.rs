//! Random numbers that a seed repeats.

use std::time::{SystemTime, UNIX_EPOCH};

/// What repeats a run.
const SEED: &str = "RUNSC_GUARD_SEED";

/// A seed of this moment, or the one that RUNSC_GUARD_SEED names; it is printed.
pub fn seed() -> u64 {
    let named = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seed = named.unwrap_or_else(clock);
    println!("to repeat this: {SEED}={seed}");
    seed
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Of this seed.
    pub fn new(seed: u64) -> Self {
        // Seeds that follow each other shall not give sequences that do.
        Self(seed.wrapping_mul(0xA24B_AED4_963E_E407))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Puts these into an order of its own (Fisher and Yates).
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            let other = (self.fraction() * (last + 1) as f64) as usize;
            all.swap(last, other);
        }
    }

    /// One of these; `None` where there is none.
    pub fn choose<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get((self.fraction() * from.len() as f64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes_and_nothing_is_lost() {
        let orders: std::collections::BTreeSet<_> = (0..200)
            .map(|seed| {
                let mut all = [1, 2, 3];
                Random::new(seed).shuffle(&mut all);
                all
            })
            .collect();
        assert_eq!(orders.len(), 6);
        assert!(orders.iter().all(|order| order.iter().sum::<i32>() == 6));
        let mut none: [i32; 0] = [];
        Random::new(1).shuffle(&mut none);
    }
}
