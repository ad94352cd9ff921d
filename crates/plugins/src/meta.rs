//! The plugins that change what an earlier one of their chain has made.
//!
//! Each passes on the result of that one. The calling thread's network namespace is the host's.

mod chain;
mod tuning;

pub use tuning::Tuning;

#[cfg(test)]
mod tests;
