//! The build ID of an executable (`NT_GNU_BUILD_ID`, elf(5)): of either word size and byte order,
//! whatever this machine's. The file may hold anything.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Most program headers that are looked at; executables have a dozen.
const MAX_HEADERS: u64 = 64;

/// As much of a segment of notes as is read; it has some hundred bytes.
const MAX_NOTES: u64 = 4 << 10;

/// Size of the longer of the two file headers in bytes.
const FILE_HEADER: usize = 64;

/// Size of the longer of the two program headers in bytes.
const PROGRAM_HEADER: usize = 56;

/// A segment of notes.
const PT_NOTE: u64 = 4;

/// The note that has the build ID.
const NT_GNU_BUILD_ID: u64 = 3;

/// How numbers are written in a file.
#[derive(Clone, Copy, Debug)]
struct Layout {
    is_64_bit: bool,
    is_big_endian: bool,
}

/// The build ID of an executable as the linker has written it; none for a file that has none or is
/// no executable.
pub fn build_id(file: &File) -> Option<Vec<u8>> {
    let header = read(file, 0, FILE_HEADER)?;
    let layout = Layout::of(&header)?;
    let at = |narrow, wide| if layout.is_64_bit { wide } else { narrow };
    let offset = layout.word(&header, at(28, 32))?;
    let size = layout.number(&header, at(42, 54), 2)?;
    let count = layout.number(&header, at(44, 56), 2)?.min(MAX_HEADERS);
    (0..count).find_map(|index| {
        let start = offset.checked_add(index.checked_mul(size)?)?;
        let program = read(file, start, PROGRAM_HEADER)?;
        let notes = layout.notes(&program)?;
        find(layout, &read(file, notes.0, notes.1)?)
    })
}

impl Layout {
    fn of(header: &[u8]) -> Option<Self> {
        let [0x7f, b'E', b'L', b'F', class @ (1 | 2), order @ (1 | 2), ..] = header else {
            return None;
        };
        Some(Self { is_64_bit: *class == 2, is_big_endian: *order == 2 })
    }

    /// The number of `length` bytes at `at`.
    fn number(self, bytes: &[u8], at: usize, length: usize) -> Option<u64> {
        let digits = bytes.get(at..at.checked_add(length)?)?;
        let add = |number: u64, digit: &u8| (number << 8) | u64::from(*digit);
        Some(if self.is_big_endian {
            digits.iter().fold(0, add)
        } else {
            digits.iter().rev().fold(0, add)
        })
    }

    /// The address or offset at `at`.
    fn word(self, bytes: &[u8], at: usize) -> Option<u64> {
        self.number(bytes, at, if self.is_64_bit { 8 } else { 4 })
    }

    /// Where the segment of a program header begins, and its length, if it has notes.
    fn notes(self, program: &[u8]) -> Option<(u64, usize)> {
        let at = |narrow, wide| if self.is_64_bit { wide } else { narrow };
        if self.number(program, 0, 4)? != PT_NOTE {
            return None;
        }
        let length = self.word(program, at(16, 32))?.min(MAX_NOTES);
        Some((self.word(program, at(4, 8))?, usize::try_from(length).ok()?))
    }
}

/// The build ID among notes, each with a name and a description that are padded to 4 bytes.
fn find(layout: Layout, mut notes: &[u8]) -> Option<Vec<u8>> {
    loop {
        let length = |at| usize::try_from(layout.number(notes, at, 4)?).ok();
        let (name, description) = (length(0)?, length(4)?);
        let kind = layout.number(notes, 8, 4)?;
        let start = 12_usize.checked_add(name.checked_next_multiple_of(4)?)?;
        let end = start.checked_add(description)?;
        let is_build_id = kind == NT_GNU_BUILD_ID && notes.get(12..16)? == b"GNU\0" && name == 4;
        if is_build_id {
            return notes.get(start..end).filter(|id| !id.is_empty()).map(<[u8]>::to_vec);
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
}

/// At most `length` bytes at `offset`: a short file has fewer.
fn read(file: &File, offset: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let count = file.read_at(&mut bytes, offset).ok()?;
    bytes.truncate(count);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const ID: [u8; 20] = [7; 20];

    /// An executable with a note that is no build ID before the one that is.
    fn executable(is_64_bit: bool, is_big_endian: bool) -> Vec<u8> {
        let number = |value: u64, length: usize| {
            let mut bytes = value.to_le_bytes()[..length].to_vec();
            if is_big_endian {
                bytes.reverse();
            }
            bytes
        };
        let mut file = vec![0; 0x200];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[0x7f, b'E', b'L', b'F', 1 + u8::from(is_64_bit), 1 + u8::from(is_big_endian)]);
        let at = |narrow, wide| if is_64_bit { wide } else { narrow };
        let (word, size) = (at(4, 8), at(32, 56));
        put(at(28, 32), &number(0x40, word));
        put(at(42, 54), &number(size as u64, 2));
        put(at(44, 56), &number(2, 2));
        let program = 0x40 + size;
        put(program, &number(4, 4));
        put(program + at(4, 8), &number(0x100, word));
        put(program + at(16, 32), &number(0x60, word));
        for (start, name, kind, text) in
            [(0x100, b"Go\0\0", 4, &ID[..3]), (0x114, b"GNU\0", 3, &ID[..])]
        {
            put(start, &number(4, 4));
            put(start + 4, &number(text.len() as u64, 4));
            put(start + 8, &number(kind, 4));
            put(start + 12, name);
            put(start + 16, text);
        }
        file
    }

    fn read_id(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        build_id(&file)
    }

    #[test]
    fn the_id_is_read_in_every_word_size_and_byte_order() {
        for (is_64_bit, is_big_endian) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let id = read_id(&executable(is_64_bit, is_big_endian));
            assert_eq!(id.as_deref(), Some(&ID[..]), "{is_64_bit} {is_big_endian}");
        }
    }

    #[test]
    fn a_file_that_is_cut_or_damaged_has_none_or_another() {
        let whole = executable(true, false);
        for length in 0..0x114 {
            assert_eq!(read_id(&whole[..length]), None, "{length}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] = 0xff;
            let _ = read_id(&damaged);
        }
    }
}
