//! A response as text and as lines, compressed or not, in bounded memory.

use std::io::Write;

use flate2::write::MultiGzDecoder;
use http::Response;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// The longest line that is read: an object has no more than etcd takes.
const MAX_LINE_BYTES: usize = 2 << 20;
/// The longest text that is read whole.
const MAX_TEXT_BYTES: usize = 4 << 20;
/// Compressed bytes that are taken at a time. They become a thousand times as many at most.
const STEP: usize = 512;

/// The text of a body.
pub(super) struct Text {
    decoder: Decoder,
}

enum Decoder {
    Plain(Vec<u8>),
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
}

impl Text {
    pub(super) fn new<B>(response: &Response<B>) -> Self {
        let encoding = response.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes());
        let decoder = match encoding {
            Some(b"gzip" | b"x-gzip") => Decoder::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            _ => Decoder::Plain(Vec::new()),
        };
        Self { decoder }
    }

    /// Takes more of the body in.
    ///
    /// # Errors
    /// What is wrong with it.
    fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        match &mut self.decoder {
            Decoder::Plain(text) => text.extend_from_slice(bytes),
            Decoder::Gzip(decoder) => {
                let outcome = decoder.write_all(bytes).and_then(|()| decoder.flush());
                outcome.map_err(|error| format!("it is not compressed as it says: {error}"))?;
            }
        }
        Ok(())
    }

    /// What the body has been so far and was not taken.
    fn text(&mut self) -> &mut Vec<u8> {
        match &mut self.decoder {
            Decoder::Plain(text) => text,
            Decoder::Gzip(decoder) => decoder.get_mut(),
        }
    }

    /// The whole body; `None` if it is too large.
    ///
    /// # Errors
    /// What is wrong with it, or with the connection.
    pub(super) async fn read_to_end(
        &mut self,
        mut body: Incoming,
    ) -> Result<Option<Vec<u8>>, String> {
        while let Some(bytes) = next_bytes(&mut body).await? {
            for step in bytes.chunks(STEP) {
                self.push(step)?;
                if self.text().len() > MAX_TEXT_BYTES {
                    return Ok(None);
                }
            }
        }
        Ok(Some(std::mem::take(self.text())))
    }
}

async fn next_bytes(body: &mut Incoming) -> Result<Option<hyper::body::Bytes>, String> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(error.to_string()),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(_) => continue,
            },
        }
    }
}

/// The lines of a body, one at a time.
pub(super) struct Lines {
    text: Text,
    /// What was received and not taken in yet.
    received: hyper::body::Bytes,
    /// Whether the rest of a line is passed over that was too long.
    skips: bool,
}

impl Lines {
    pub(super) fn new<B>(response: &Response<B>) -> Self {
        Self { text: Text::new(response), received: hyper::body::Bytes::new(), skips: false }
    }

    /// The next line without its end; `None` at the end of the body. A line that is too long is
    /// passed over.
    ///
    /// # Errors
    /// What is wrong with the body, or with the connection.
    pub(super) async fn next(&mut self, body: &mut Incoming) -> Result<Option<Vec<u8>>, String> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.received.is_empty() {
                match next_bytes(body).await? {
                    Some(bytes) => self.received = bytes,
                    None => return Ok(None),
                }
            }
            let step = self.received.split_to(STEP.min(self.received.len()));
            self.text.push(&step)?;
        }
    }

    /// A line that is there whole.
    fn take(&mut self) -> Option<Vec<u8>> {
        loop {
            let text = self.text.text();
            let Some(end) = memchr::memchr(b'\n', text) else {
                if text.len() > MAX_LINE_BYTES {
                    log::warn!("a pod of the watch is passed over: it is too large");
                    text.clear();
                    self.skips = true;
                }
                return None;
            };
            let rest = text.split_off(end + 1);
            let mut line = std::mem::replace(text, rest);
            line.pop();
            let skips = std::mem::take(&mut self.skips);
            if !skips && !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn lines(encoding: Option<&str>) -> Lines {
        let mut response = Response::builder();
        if let Some(encoding) = encoding {
            response = response.header(CONTENT_ENCODING, encoding);
        }
        Lines::new(&response.body(()).unwrap())
    }

    fn taken(lines: &mut Lines, bytes: &[u8]) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        for step in bytes.chunks(STEP) {
            lines.text.push(step)?;
            while let Some(line) = lines.take() {
                found.push(String::from_utf8(line).unwrap());
            }
        }
        Ok(found)
    }

    #[test]
    fn lines_come_one_by_one_however_they_are_cut() {
        let mut plain = lines(None);
        assert_eq!(taken(&mut plain, b"a\n\nb").unwrap(), ["a"]);
        assert_eq!(taken(&mut plain, b"c\r\n").unwrap(), ["bc\r"]);
    }

    /// A server flushes after each event: each can be read before the next comes.
    #[test]
    fn a_compressed_line_can_be_read_as_soon_as_it_is_flushed() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut compressed = lines(Some("gzip"));
        for text in ["first", "second"] {
            writeln!(encoder, "{text}").unwrap();
            encoder.flush().unwrap();
            let bytes = std::mem::take(encoder.get_mut());
            assert_eq!(taken(&mut compressed, &bytes).unwrap(), [text]);
        }
        assert!(taken(&mut lines(Some("gzip")), b"plain text, and not compressed").is_err());
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_the_longest() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![b'x'; 64 << 20]).unwrap();
        encoder.write_all(b"\nnext\n").unwrap();
        let bytes = encoder.finish().unwrap();
        let mut compressed = lines(Some("gzip"));
        let mut found = Vec::new();
        for step in bytes.chunks(STEP) {
            compressed.text.push(step).unwrap();
            while let Some(line) = compressed.take() {
                found.push(line);
            }
            assert!(compressed.text.text().capacity() < 4 * MAX_LINE_BYTES);
        }
        assert_eq!(found, [b"next"]);
    }
}
