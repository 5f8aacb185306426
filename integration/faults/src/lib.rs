//! What is run by hand with faults on real parts: the [`matrix`] of all of them, [`kills`] of guards at random moments, and
//! [`load`]. The programs only take options and print; scenarios run the same in short.

pub mod kills;
pub mod load;
pub mod matrix;
