//! Bodies of requests, within limits for each and for all together.

use std::{ops::Deref, pin::pin, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long a body may take from its first byte to its last. The API server gives a webhook no more than 10 s.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a body waits for others to make room. The API server gives our webhooks 3 s.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);

/// What of a body is not counted, in bytes: as much as its connection may buffer anyway. So nobody can keep out small bodies.
const UNCOUNTED: usize = super::connection::BUFFER;

/// What is counted at a time, in bytes.
const UNIT: usize = 1024;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is, or says that it is, larger than allowed: 413.
    #[error("the body is larger than {max} bytes")]
    TooLarge {
        /// The most that is allowed, in bytes.
        max: usize,
    },
    /// It took longer than [`BODY_TIMEOUT`]: 408.
    #[error("the body took longer than {} s", BODY_TIMEOUT.as_secs())]
    TimedOut,
    /// Other large bodies were there first: 429.
    #[error("too many large bodies at one time; try again")]
    NoRoom,
    /// The connection broke, or the framing is wrong: 400, should anybody hear it.
    #[error("the body broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How much the bodies of all requests may hold together. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// For bodies of `bytes` together; of each, what its connection may buffer comes on top.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT)))
    }

    /// The whole body, as [`read_body`] reads it, once there is room for all of it.
    pub async fn read<B>(&self, body: B, max: usize) -> Result<Held, BodyError>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        read(body, max, Some(self)).await
    }

    /// Makes `share` large enough for a body of `length` bytes.
    async fn cover(&self, length: usize, share: &mut Option<OwnedSemaphorePermit>) -> Result<(), BodyError> {
        let needed = length.saturating_sub(UNCOUNTED).div_ceil(UNIT);
        let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if needed <= held {
            return Ok(());
        }
        let units = u32::try_from(needed - held).map_err(|_| BodyError::NoRoom)?;
        let more = timeout(ROOM_TIMEOUT, Arc::clone(&self.0).acquire_many_owned(units)).await;
        let more = more.map_err(|_| BodyError::NoRoom)?.expect("this semaphore is never closed");
        match share {
            Some(share) => share.merge(more),
            None => *share = Some(more),
        }
        Ok(())
    }
}

/// A body that was read, and its share of a [`Budget`] until it is dropped.
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

/// The whole body, if it is of at most `max` bytes and arrives in [`BODY_TIMEOUT`]. One that announces more is refused
/// before any of it is read.
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
        timeout(BODY_TIMEOUT, collect(body, max, budget)).await.unwrap_or(Err(BodyError::TimedOut))
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
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame.map_err(|error| BodyError::Broken(error.into()))?.into_data() else { continue };
        let length = so_far.len() + data.remaining();
        if length > max {
            return Err(BodyError::TooLarge { max });
        }
        if let Some(budget) = budget {
            // By what is there, not by what was announced: who announces much and sends nothing keeps nobody out.
            budget.cover(length, &mut share).await?;
        }
        so_far.push(data.copy_to_bytes(data.remaining()));
    }
    Ok(Held { body: so_far.join(), _share: share })
}

/// A body in the making. Most bodies are one part, which is not copied.
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

    /// A body that does not say how long it will be.
    fn chunked(chunks: &'static [&'static str]) -> impl Body<Error = Infallible> {
        let frame = |chunk: &&'static str| -> Chunk { Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))) };
        StreamBody::new(stream::iter(chunks.iter().map(frame)))
    }

    #[tokio::test]
    async fn a_body_of_just_the_limit_is_read() {
        assert_eq!(read_body(chunked(&["12", "34"]), 4).await.expect("within the limit"), "1234");
    }

    #[tokio::test]
    async fn a_body_that_grows_past_the_limit_is_too_large() {
        let result = read_body(chunked(&["12", "345"]), 4).await;
        assert!(matches!(result, Err(BodyError::TooLarge { max: 4 })), "{result:?}");
    }

    #[tokio::test]
    async fn a_body_that_announces_too_much_is_refused_unread() {
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

    /// Bodies beside those in `budget` of so many bytes that are counted.
    fn large(counted: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b'x'; UNCOUNTED + counted]))
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_waits_for_room_and_is_refused_at_last() {
        let budget = Budget::new(4 * UNIT);
        let held = budget.read(large(3 * UNIT), usize::MAX).await.expect("there is room");
        assert!(matches!(budget.read(large(2 * UNIT), usize::MAX).await, Err(BodyError::NoRoom)));
        let waiting = budget.read(large(2 * UNIT), usize::MAX);
        let making_room = async {
            tokio::time::sleep(ROOM_TIMEOUT / 2).await;
            drop(held);
        };
        let (read, ()) = tokio::join!(waiting, making_room);
        assert_eq!(read.expect("there is room again").len(), UNCOUNTED + 2 * UNIT);
    }

    #[tokio::test]
    async fn a_body_in_many_parts_holds_as_much_as_one_in_one_part() {
        let budget = Budget::new(4 * UNIT);
        let parts = [UNCOUNTED, 1, 1, UNIT, 0, UNIT - 1]
            .map(|length| -> Chunk { Ok(Frame::data(Bytes::from(vec![b'x'; length]))) });
        let held = budget.read(StreamBody::new(stream::iter(parts)), usize::MAX).await.expect("there is room");
        assert_eq!(held.len(), UNCOUNTED + 2 * UNIT + 1);
        assert_eq!(budget.0.available_permits(), 1);
        drop(held);
        assert_eq!(budget.0.available_permits(), 4);
    }

    #[tokio::test]
    async fn a_small_body_needs_no_room() {
        let budget = Budget::new(0);
        assert_eq!(&*budget.read(chunked(&["12", "34", "5"]), 8).await.expect("it is small"), b"12345");
        assert_eq!(budget.read(large(0), usize::MAX).await.expect("it is not counted").len(), UNCOUNTED);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_for_ever_times_out() {
        let endless = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let byte: Chunk = Ok(Frame::data(Bytes::from_static(b"x")));
            Some((byte, ()))
        });
        let body = Box::pin(StreamBody::new(endless));
        assert!(matches!(read_body(body, 1000).await, Err(BodyError::TimedOut)));
    }
}
