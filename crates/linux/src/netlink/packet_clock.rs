//! The clock of the kernel's packet schedulers.

use std::io;
use std::path::Path;

use crate::file::FileError;

const PATH: &str = "/proc/net/psched";

/// How the kernel counts time in packet schedulers: in ticks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PacketClock {
    ns_per_us: u64,
    ns_per_tick: u64,
    us_per_second: u64,
}

impl PacketClock {
    /// Reads the kernel's figures.
    ///
    /// # Errors
    /// [`FileError`] if `/proc` does not tell.
    pub fn read() -> Result<Self, FileError> {
        let text = std::fs::read_to_string(PATH).map_err(FileError::of("read", Path::new(PATH)))?;
        let strange = || io::Error::new(io::ErrorKind::InvalidData, "it has no such figures");
        Self::parse(&text).ok_or_else(|| FileError::of("read", Path::new(PATH))(strange()))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut figures = text.split_whitespace().map(|word| u64::from_str_radix(word, 16).ok());
        let mut next = || figures.next().flatten().filter(|figure| *figure != 0);
        Some(Self { ns_per_us: next()?, ns_per_tick: next()?, us_per_second: next()? })
    }

    /// The ticks in this many microseconds, at most what fits.
    pub fn ticks(&self, microseconds: u32) -> u32 {
        let all =
            u128::from(microseconds) * u128::from(self.ns_per_us) * u128::from(self.us_per_second);
        let ticks = all / (u128::from(self.ns_per_tick) * 1_000_000);
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_microsecond_has_the_ticks_that_the_kernel_says() {
        let clock = PacketClock::parse("000003e8 00000040 000f4240 3b9aca00\n").unwrap();
        assert_eq!([0, 1, 2, 64, 1000].map(|us| clock.ticks(us)), [0, 15, 31, 1000, 15_625]);
        assert_eq!(clock.ticks(u32::MAX), u32::MAX);
        for text in ["", "3e8 40", "3e8 0 f4240", "x y z"] {
            assert_eq!(PacketClock::parse(text), None, "{text}");
        }
    }
}
