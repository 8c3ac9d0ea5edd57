//! Request bodies, with limits on each and on all together.

use std::{ops::Deref, pin::pin, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout},
};

use super::limits::{LEAST_SPEED, MAX_BUFFER};

/// Timeout of a whole body. The API server gives a webhook 10 s by default.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a body may take before it has to arrive at [`LEAST_SPEED`] on average.
const GRACE: Duration = Duration::from_secs(5);

/// How long a body waits for memory that other bodies use. The API server gives our webhooks 3 s.
const BUDGET_TIMEOUT: Duration = Duration::from_secs(1);

/// How much of each body does not count, in bytes: as much as its connection may buffer anyway. So large bodies cannot keep out
/// small ones.
const UNCOUNTED: usize = MAX_BUFFER;

/// Granularity of the budget, in bytes.
const UNIT: usize = 1024;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is larger than allowed, or its `Content-Length` is: 413.
    #[error("the body is larger than {max} bytes")]
    TooLarge {
        /// Maximum size, in bytes.
        max: usize,
    },
    /// It took longer than [`BODY_TIMEOUT`], or arrived more slowly than 16 KiB a second after 5 s: 408.
    #[error("the body took longer than {} s, or arrived too slowly", BODY_TIMEOUT.as_secs())]
    TimedOut,
    /// Other large bodies use the memory: 429.
    #[error("too many large request bodies at once; try again")]
    NoRoom,
    /// The connection broke, or the framing is invalid: 400.
    #[error("the body is incomplete")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How much memory the bodies of all requests may use together. Clones share the budget.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// For `bytes` of all bodies together, plus what the connection of each may buffer.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT)))
    }

    /// Reads a whole body as [`read_body`] does, and waits for memory where the budget is used up.
    pub async fn read<B>(&self, body: B, max: usize) -> Result<Held, BodyError>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        read(body, max, Some(self)).await
    }

    /// Extends `share` to a body of `length` bytes.
    async fn cover(&self, length: usize, share: &mut Option<OwnedSemaphorePermit>) -> Result<(), BodyError> {
        let needed = length.saturating_sub(UNCOUNTED).div_ceil(UNIT);
        let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if needed <= held {
            return Ok(());
        }
        let units = u32::try_from(needed - held).map_err(|_| BodyError::NoRoom)?;
        let more = timeout(BUDGET_TIMEOUT, Arc::clone(&self.0).acquire_many_owned(units)).await;
        let more = more.map_err(|_| BodyError::NoRoom)?.expect("this semaphore is never closed");
        match share {
            Some(share) => share.merge(more),
            None => *share = Some(more),
        }
        Ok(())
    }
}

/// A whole body, which occupies its share of a [`Budget`] until it is dropped.
#[derive(Debug)]
pub struct Held {
    body: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.body
    }
}

/// Reads a whole body of at most `max` bytes within [`BODY_TIMEOUT`]. A body with a larger `Content-Length` is rejected before any
/// of it is read.
pub async fn read_body<B>(body: B, max: usize) -> Result<Bytes, BodyError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Ok(read(body, max, None).await?.body)
}

async fn read<B>(body: B, max: usize, budget: Option<&Budget>) -> Result<Held, BodyError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if usize::try_from(body.size_hint().lower()).is_ok_and(|announced| announced <= max) {
        collect(body, max, budget).await
    } else {
        Err(BodyError::TooLarge { max })
    }
}

async fn collect<B>(body: B, max: usize, budget: Option<&Budget>) -> Result<Held, BodyError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = pin!(body);
    let (mut so_far, mut share) = (Parts::One(Bytes::new()), None);
    let start = Instant::now();
    // Set anew with each frame, unless the body ends with its first one.
    let mut deadline = pin!(sleep_until(start + GRACE));
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = deadline.as_mut() => return Err(BodyError::TimedOut),
        };
        let Some(frame) = frame else { break };
        let Ok(mut data) = frame.map_err(|error| BodyError::Broken(error.into()))?.into_data() else { continue };
        let length = so_far.len() + data.remaining();
        if length > max {
            return Err(BodyError::TooLarge { max });
        }
        if let Some(budget) = budget {
            // By what has arrived, not by `Content-Length`: a client that announces much and sends nothing blocks no other.
            budget.cover(length, &mut share).await?;
        }
        so_far.push(data.copy_to_bytes(data.remaining()));
        if body.is_end_stream() {
            break;
        }
        deadline.as_mut().reset(start + time_for(length));
    }
    Ok(Held { body: so_far.join(), _share: share })
}

/// How long after its start a body must have brought more than these bytes.
fn time_for(length: usize) -> Duration {
    let seconds = u64::try_from(length).unwrap_or(u64::MAX) / LEAST_SPEED;
    (GRACE + Duration::from_secs(seconds)).min(BODY_TIMEOUT)
}

/// A body that is being read. Most bodies are one part, which is not copied.
enum Parts {
    One(Bytes),
    More(BytesMut),
}

impl Parts {
    fn len(&self) -> usize {
        match self {
            Self::One(part) => part.len(),
            Self::More(parts) => parts.len(),
        }
    }

    fn push(&mut self, part: Bytes) {
        match self {
            Self::One(first) if first.is_empty() => *first = part,
            Self::One(first) => {
                let mut parts = BytesMut::from(&first[..]);
                parts.extend_from_slice(&part);
                *self = Self::More(parts);
            }
            Self::More(parts) => parts.extend_from_slice(&part),
        }
    }

    fn join(self) -> Bytes {
        match self {
            Self::One(part) => part,
            Self::More(parts) => parts.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, pin::Pin};

    use futures::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    type Chunk = Result<Frame<Bytes>, Infallible>;

    /// A body without a `Content-Length`.
    fn chunked(chunks: &'static [&'static str]) -> impl Body<Error = Infallible> {
        let frame = |chunk: &&'static str| -> Chunk { Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))) };
        StreamBody::new(stream::iter(chunks.iter().map(frame)))
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_is_read() {
        assert_eq!(read_body(chunked(&["12", "34"]), 4).await.expect("within the limit"), "1234");
    }

    #[tokio::test]
    async fn a_body_that_grows_past_the_limit_is_too_large() {
        let result = read_body(chunked(&["12", "345"]), 4).await;
        assert!(matches!(result, Err(BodyError::TooLarge { max: 4 })), "{result:?}");
    }

    #[tokio::test]
    async fn a_body_with_a_content_length_above_the_limit_is_rejected_unread() {
        struct Unread;
        impl Body for Unread {
            type Data = Bytes;
            type Error = Infallible;
            fn poll_frame(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<Chunk>> {
                panic!("read")
            }
            fn size_hint(&self) -> hyper::body::SizeHint {
                Full::new(Bytes::from_static(b"12345")).size_hint()
            }
        }
        assert!(matches!(read_body(Unread, 4).await, Err(BodyError::TooLarge { max: 4 })));
    }

    /// A body of which `counted` bytes count.
    fn large(counted: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b'x'; UNCOUNTED + counted]))
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_waits_for_memory_and_is_rejected_after_the_timeout() {
        let budget = Budget::new(4 * UNIT);
        let held = budget.read(large(3 * UNIT), usize::MAX).await.expect("the budget suffices");
        assert!(matches!(budget.read(large(2 * UNIT), usize::MAX).await, Err(BodyError::NoRoom)));
        let waiting = budget.read(large(2 * UNIT), usize::MAX);
        let releasing = async {
            tokio::time::sleep(BUDGET_TIMEOUT / 2).await;
            drop(held);
        };
        let (read, ()) = tokio::join!(waiting, releasing);
        assert_eq!(read.expect("the budget suffices again").len(), UNCOUNTED + 2 * UNIT);
    }

    #[tokio::test]
    async fn a_body_in_many_parts_uses_as_much_of_the_budget_as_one_in_a_single_part() {
        let budget = Budget::new(4 * UNIT);
        let parts = [UNCOUNTED, 1, 1, UNIT, 0, UNIT - 1]
            .map(|length| -> Chunk { Ok(Frame::data(Bytes::from(vec![b'x'; length]))) });
        let held = budget.read(StreamBody::new(stream::iter(parts)), usize::MAX).await.expect("the budget suffices");
        assert_eq!(held.len(), UNCOUNTED + 2 * UNIT + 1);
        assert_eq!(budget.0.available_permits(), 1);
        drop(held);
        assert_eq!(budget.0.available_permits(), 4);
    }

    #[tokio::test]
    async fn a_small_body_needs_no_budget() {
        let budget = Budget::new(0);
        assert_eq!(&*budget.read(chunked(&["12", "34", "5"]), 8).await.expect("it is small"), b"12345");
        assert_eq!(budget.read(large(0), usize::MAX).await.expect("it is not counted").len(), UNCOUNTED);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_in_times_out() {
        let endless = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let byte: Chunk = Ok(Frame::data(Bytes::from_static(b"x")));
            Some((byte, ()))
        });
        let body = Box::pin(StreamBody::new(endless));
        let start = Instant::now();
        assert!(matches!(read_body(body, 1000).await, Err(BodyError::TimedOut)));
        assert_eq!(start.elapsed(), GRACE, "a byte a second is no speed");
    }

    /// A body of `parts` parts of `size` bytes, one every 500 ms.
    fn steady(parts: usize, size: usize) -> impl Body<Error = Infallible> {
        Box::pin(StreamBody::new(stream::unfold(0, move |sent| async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let part: Chunk = Ok(Frame::data(Bytes::from(vec![b'x'; size])));
            (sent < parts).then_some((part, sent + 1))
        })))
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_over_a_slow_line_is_read_within_the_timeout() {
        let body = read_body(steady(19, 64 * 1024), usize::MAX).await.expect("128 KiB a second, for 9.5 s and its end");
        assert_eq!(body.len(), 19 * 64 * 1024);
        let start = Instant::now();
        assert!(matches!(read_body(steady(100, 64 * 1024), usize::MAX).await, Err(BodyError::TimedOut)));
        assert_eq!(start.elapsed(), BODY_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_slower_than_the_least_speed_times_out_after_what_its_bytes_are_worth() {
        let start = Instant::now();
        // 8 KiB a second: after 8 s it has brought 64 KiB, which are worth 4 s more than the grace.
        assert!(matches!(read_body(steady(100, 4 * 1024), usize::MAX).await, Err(BodyError::TimedOut)));
        assert_eq!(start.elapsed(), GRACE + Duration::from_secs(4));
    }
}
