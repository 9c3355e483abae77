//! The byte stream under lapin: frames are screened on the way in, and a peer that does not finish the
//! handshake in time fails the stream instead of hanging lapin's thread for ever.

use crate::broker::screen::{Marks, Screen, Told};
use crate::broker::tls::Socket;
use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::Task;
use async_rs::{Runtime, Tokio};
use bytes::{Buf, BytesMut};
use futures::io::{AsyncRead, AsyncWrite};
use futures::stream::Stream;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;

/// Bytes asked of the socket at once.
const READ: usize = 64 * 1024;
/// No method or header frame is this large under any `frame_max` in use.
const MAX_FRAME: usize = 16 * 1024 * 1024;
/// Frame type, channel, size.
const HEAD: usize = 7;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// When a socket took bytes last; with TLS, when what encrypts them did, or the socket was given all of it.
#[derive(Debug)]
pub(super) struct LastWrite {
    opened: Instant,
    nanos: AtomicU64,
}

impl LastWrite {
    fn note(&self) {
        let since = self.opened.elapsed().as_nanos();
        let nanos = u64::try_from(since).unwrap_or(u64::MAX);
        self.nanos.store(nanos, Ordering::Relaxed);
    }

    /// When that was; when it was opened, if it has taken none.
    pub(super) fn last(&self) -> Instant {
        self.opened + Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

/// A stream whose method and header frames come whole and screened; body frames pass as they come.
pub(super) struct Screened<S> {
    inner: S,
    inbox: BytesMut,
    /// How many bytes of `inbox`, from its front, may be read.
    cleared: usize,
    /// How many bytes behind `cleared` pass unseen: the rest of a body frame.
    passing: u64,
    screen: Screen,
    written: Arc<LastWrite>,
    /// Bytes may be on their way to the socket.
    flushes: bool,
    /// Ends the stream unless the handshake is over first.
    handshake: Option<Pin<Box<Sleep>>>,
}

impl<S> Screened<S> {
    /// Screens `inner`; the handshake must be over within `patience` from now.
    pub(super) fn new(inner: S, patience: Duration) -> Self {
        Screened {
            inner,
            inbox: BytesMut::new(),
            cleared: 0,
            passing: 0,
            screen: Screen::default(),
            written: Arc::new(LastWrite {
                opened: Instant::now(),
                nanos: AtomicU64::new(0),
            }),
            flushes: false,
            handshake: Some(Box::pin(tokio::time::sleep(patience))),
        }
    }

    pub(super) fn marks(&self) -> Arc<Marks> {
        self.screen.marks()
    }

    pub(super) fn written(&self) -> Arc<LastWrite> {
        Arc::clone(&self.written)
    }

    fn took(&mut self, bytes: usize) -> Poll<io::Result<usize>> {
        self.written.note();
        self.flushes = true;
        Poll::Ready(Ok(bytes))
    }

    /// Clears all that is complete in the inbox.
    fn sift(&mut self) -> io::Result<()> {
        loop {
            let waiting = self.inbox.len() - self.cleared;
            if self.passing > 0 {
                let now = usize::try_from(self.passing).map_or(waiting, |left| left.min(waiting));
                self.cleared += now;
                self.passing -= now as u64;
                if self.passing > 0 {
                    return Ok(());
                }
                continue;
            }
            let Some(&[kind, c0, c1, s0, s1, s2, s3]) =
                self.inbox.get(self.cleared..self.cleared + HEAD)
            else {
                return Ok(());
            };
            let channel = u16::from_be_bytes([c0, c1]);
            let size = u32::from_be_bytes([s0, s1, s2, s3]);
            match kind {
                METHOD | HEADER => {
                    if !self.frame(kind, channel, size as usize)? {
                        return Ok(());
                    }
                }
                BODY | HEARTBEAT => self.passing = HEAD as u64 + u64::from(size) + 1,
                // A protocol header, or no AMQP at all: lapin says so better.
                _ => self.passing = u64::MAX,
            }
        }
    }

    /// Screens the frame behind `cleared`; false while it is not complete.
    fn frame(&mut self, kind: u8, channel: u16, size: usize) -> io::Result<bool> {
        if size > MAX_FRAME {
            let text = format!("a frame of {size} bytes is no AMQP");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let start = self.cleared + HEAD;
        let end = start + size;
        if self.inbox.len() <= end {
            return Ok(false);
        }
        let Some(payload) = self.inbox.get_mut(start..end) else {
            return Ok(false);
        };
        let mut size = size;
        if kind == METHOD {
            if self.screen.method(channel, payload) == Told::Opened {
                self.handshake = None;
            }
        } else if !self.screen.header(channel, payload) {
            size = self.empty_properties(start, end);
        }
        self.cleared = start + size + 1;
        Ok(true)
    }

    /// Leaves class, weight and body size of the content header at `start..end` and no property; the
    /// payload's new size.
    fn empty_properties(&mut self, start: usize, end: usize) -> usize {
        const EMPTY: u8 = 12 + 2;
        let behind = self.inbox.split_off(end);
        self.inbox.truncate(start + 12);
        self.inbox.extend_from_slice(&[0, 0]);
        if let Some(size) = self.inbox.get_mut(start - 4..start) {
            size.copy_from_slice(&[0, 0, 0, EMPTY]);
        }
        self.inbox.unsplit(behind);
        usize::from(EMPTY)
    }
}

impl<S: tokio::io::AsyncRead + Unpin> AsyncRead for Screened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            if this.cleared > 0 {
                let count = this.cleared.min(out.len());
                let (Some(to), Some(from)) = (out.get_mut(..count), this.inbox.get(..count)) else {
                    return Poll::Ready(Ok(0));
                };
                to.copy_from_slice(from);
                this.inbox.advance(count);
                this.cleared -= count;
                return Poll::Ready(Ok(count));
            }
            if let Some(patience) = &mut this.handshake
                && patience.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            this.inbox.reserve(READ);
            if ready!(poll_read_buf(
                Pin::new(&mut this.inner),
                cx,
                &mut this.inbox
            ))? == 0
            {
                return Poll::Ready(Ok(0));
            }
            this.sift()?;
        }
    }
}

impl<S: tokio::io::AsyncWrite + Unpin> AsyncWrite for Screened<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.took(bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices))?;
        self.took(bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        if std::mem::take(&mut self.flushes) {
            // TLS keeps some of what it takes until then.
            self.written.note();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// tokio under lapin, with our stream in place of its own.
#[derive(Clone, Debug)]
pub(super) struct Kit {
    tokio: Tokio,
    patience: Duration,
}

impl Kit {
    /// The current runtime; streams opened by it have `patience` for the handshake.
    pub(super) fn current(patience: Duration) -> Runtime<Kit> {
        let tokio = Tokio::current();
        Runtime::new(Kit { tokio, patience })
    }
}

impl RuntimeKit for Kit {}

impl Executor for Kit {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, f: F) -> T {
        self.tokio.block_on(f)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        f: F,
    ) -> Task<Self::Task<T>> {
        self.tokio.spawn(f)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        f: F,
    ) -> Task<Self::Task<T>> {
        self.tokio.spawn_blocking(f)
    }
}

impl Reactor for Kit {
    type TcpStream = Screened<Socket>;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.tokio.register(socket)
    }

    fn sleep(&self, dur: Duration) -> Self::Sleep {
        self.tokio.sleep(dur)
    }

    fn interval(&self, dur: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.tokio.interval(dur)
    }

    fn tcp_connect_addr(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let patience = self.patience;
        async move {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            Ok(Screened::new(Socket::Left(stream), patience))
        }
    }
}

#[cfg(test)]
mod tests;
