//! Clients that are too slow: whoever neither sends nor takes anything for a while makes room for others.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long is waited for [`FEW`] bytes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How many bytes are some: who sends one now and then is not waited for either.
const FEW: usize = 1024;

/// Waits for the other side, but not for ever. The server's own pauses do not count.
struct Waiting {
    patience: Duration,
    since: Option<Pin<Box<Sleep>>>,
    bytes: usize,
}

impl Waiting {
    fn new(patience: Duration) -> Self {
        Self {
            patience,
            since: None,
            bytes: 0,
        }
    }

    /// Some bytes went.
    fn went(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= FEW {
            self.over();
        }
    }

    /// There is nothing to wait for any more.
    fn over(&mut self) {
        self.since = None;
        self.bytes = 0;
    }

    /// Nothing goes now; ready when that has been so for too long.
    fn poll_too_long(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience;
        let since = self.since.get_or_insert_with(|| Box::pin(sleep(patience)));
        since.as_mut().poll(context)
    }
}

/// A body that has to come.
pub(crate) struct Patient<S> {
    inner: S,
    waiting: Waiting,
}

/// Why a body did not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotCome<E> {
    #[error("the body took too long to arrive")]
    TooSlow,
    #[error("the body could not be read")]
    Body(#[source] E),
}

impl<S> Patient<S> {
    pub(crate) fn new(inner: S, patience: Duration) -> Self {
        Self {
            inner,
            waiting: Waiting::new(patience),
        }
    }
}

impl<S, B, E> Stream for Patient<S>
where
    S: Stream<Item = Result<B, E>> + Unpin,
    B: AsRef<[u8]>,
{
    type Item = Result<B, NotCome<E>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Poll::Ready(piece) = Pin::new(&mut self.inner).poll_next(context) else {
            ready!(self.waiting.poll_too_long(context));
            return Poll::Ready(Some(Err(NotCome::TooSlow)));
        };
        if let Some(Ok(piece)) = &piece {
            self.waiting.went(piece.as_ref().len());
        }
        Poll::Ready(piece.map(|piece| piece.map_err(NotCome::Body)))
    }
}

/// A connection whose client has to take what it is sent. Reading is left alone: between two requests, and while one is
/// answered, there is nothing to read.
pub(crate) struct Taken<S> {
    inner: S,
    waiting: Waiting,
}

impl<S> Taken<S> {
    pub(crate) fn new(inner: S, patience: Duration) -> Self {
        Self {
            inner,
            waiting: Waiting::new(patience),
        }
    }

    /// What came of trying to send, of which so many bytes went.
    fn settle<T>(
        &mut self,
        tried: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> Option<usize>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match &tried {
            Poll::Pending => {
                ready!(self.waiting.poll_too_long(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Poll::Ready(Ok(done)) => match bytes(done) {
                Some(bytes) => self.waiting.went(bytes),
                None => self.waiting.over(),
            },
            Poll::Ready(Err(_)) => {}
        }
        tried
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.settle(tried, |n| Some(*n), context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.settle(tried, |n| Some(*n), context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.inner).poll_flush(context);
        self.settle(tried, |()| None, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.inner).poll_shutdown(context);
        self.settle(tried, |()| None, context)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt, stream};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SHORT: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let come = stream::iter([Ok::<_, Infallible>(vec![0; 10]), Ok(vec![0; 5000])]);
        let mut body = Patient::new(come.chain(stream::pending()), SHORT);
        assert_eq!(body.next().await.unwrap().unwrap().len(), 10);
        assert_eq!(body.next().await.unwrap().unwrap().len(), 5000);
        assert!(matches!(body.next().await, Some(Err(NotCome::TooSlow))));
    }

    /// A byte now and then is no progress.
    #[tokio::test]
    async fn a_body_that_trickles_is_given_up() {
        let trickle = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some((Ok::<_, Infallible>(vec![0]), ()))
        });
        let mut body = Patient::new(Box::pin(trickle), SHORT);
        let mut came = 0;
        while let Some(Ok(_)) = body.next().await {
            came += 1;
        }
        assert!(came < FEW, "{came}");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (near, mut far) = tokio::io::duplex(4096);
        let mut near = Taken::new(near, SHORT);
        // Whoever takes it gets it all, however long it is.
        let reads = tokio::spawn(async move {
            let mut taken = vec![0; 100_000];
            far.read_exact(&mut taken).await.unwrap();
            far
        });
        near.write_all(&[1; 100_000]).await.unwrap();
        let _far = reads.await.unwrap();
        let refused = near.write_all(&[1; 100_000]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
    }
}
