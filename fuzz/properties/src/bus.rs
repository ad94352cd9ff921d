//! Messages of the system's message bus, which any process of the node may send.

use plugins::internals::read_bus_message;

use super::assert_told_well;

/// A message is read from its own bytes, in either byte order, and what follows changes nothing.
pub fn bus(bytes: &[u8]) {
    let (reply_to, error, text) = match read_bus_message(bytes) {
        Ok(message) => message,
        Err(problem) => return assert_told_well(&problem),
    };
    // A byte that is no UTF-8 becomes three.
    let most = bytes.len() * 3;
    assert!(error.len() <= most && text.as_ref().is_none_or(|text| text.len() <= most));
    let longer = [bytes, b"l\x02\0\x01"].concat();
    assert_eq!(read_bus_message(&longer), Ok((reply_to, error, text)));
}
