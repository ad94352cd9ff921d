//! The TLS alert that ends a connection. HTTP only reports that the connection ended.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::transport_error::tls_error;

/// The error of TLS that ended a connection, once there is one.
pub(super) type TlsAlert = Arc<OnceLock<rustls::Error>>;

/// A stream that records the error of TLS that ends it. A server judges a client's certificate
/// after the client may begin to send (RFC 8446, section 4.4.2.4), so that the refusal meets the
/// first request.
pub(super) struct TlsAlertRecorder {
    tls: TlsStream<TcpStream>,
    alert: TlsAlert,
    /// Why a write failed, until it is reported.
    failed_write: Option<io::Error>,
}

impl TlsAlertRecorder {
    /// Records the errors of `tls` in `alert`.
    pub(super) fn new(tls: TlsStream<TcpStream>, alert: TlsAlert) -> Self {
        Self { tls, alert, failed_write: None }
    }

    fn record<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &outcome
            && let Some(tls) = tls_error(error)
        {
            let _ = self.alert.set(tls.clone());
        }
        outcome
    }

    /// A peer that has closed may have sent an alert before, and hyper reads nothing once a write
    /// has failed. So a failed write is reported after all that arrived has been read, which on
    /// such a connection is soon.
    fn after_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = outcome else { return outcome };
        let mut scratch = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = Pin::new(&mut self.tls).poll_read(cx, &mut buffer);
            match self.record(read) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.failed_write = Some(error);
                    return Poll::Pending;
                }
            }
        }
    }
}

impl AsyncRead for TlsAlertRecorder {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.tls).poll_read(cx, buffer);
        this.record(outcome)
    }
}

impl AsyncWrite for TlsAlertRecorder {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = match this.failed_write.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut this.tls).poll_write(cx, bytes),
        };
        this.after_write(cx, outcome)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = match this.failed_write.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut this.tls).poll_flush(cx),
        };
        this.after_write(cx, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_shutdown(cx)
    }
}
