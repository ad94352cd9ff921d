//! What people hand to `validate` and `explain`: all pods of a large cluster, from a file or
//! standard input.

use std::io::Read;
use std::path::Path;

use crate::conf_file::{self, ConfFileError};

/// The most that is read of one file: some ten thousand pods as `kubectl` prints them.
const MAX_BYTES: u64 = 256 << 20;
const TOO_LARGE: &str = "is larger than 256 MiB: give it in parts, one namespace at a time";

/// A file's text, or standard input's if its name is `-`.
///
/// # Errors
/// [`ConfFileError`] if it cannot be read, is too large, or not UTF-8.
pub(super) fn read_text(file: &Path) -> Result<String, ConfFileError> {
    if file == Path::new("-") {
        return read_input(std::io::stdin().lock(), MAX_BYTES);
    }
    // A runtime's file is read by the runtime, and by ADD, within their bound.
    match file.extension() {
        Some(extension) if extension == "conf" || extension == "conflist" => conf_file::read(file),
        _ => conf_file::read_within(file, MAX_BYTES, TOO_LARGE),
    }
}

fn read_input(input: impl Read, max_bytes: u64) -> Result<String, ConfFileError> {
    let path = || "standard input".into();
    let mut text = String::new();
    let failed = |source| ConfFileError::File { path: path(), source };
    input.take(max_bytes + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > max_bytes {
        return Err(ConfFileError::NotAFile { path: path(), problem: TOO_LARGE });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_that_is_too_large_is_refused_and_never_cut() {
        assert_eq!(read_input(b"1234".as_slice(), 4).unwrap(), "1234");
        let error = read_input(b"12345".as_slice(), 4).unwrap_err().to_string();
        let expected =
            "standard input: is larger than 256 MiB: give it in parts, one namespace at a time";
        assert_eq!(error, expected);
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: u64| {
            let path = directory.path().join(name);
            std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
            read_text(&path).map(|text| text.len() as u64).map_err(|error| error.to_string())
        };
        assert_eq!(file("pods.yaml", 3 << 20), Ok(3 << 20));
        assert!(file("x.conf", 3 << 20).unwrap_err().ends_with("is larger than 1 MiB"));
    }
}
