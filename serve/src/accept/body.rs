//! Bodies of requests, within limits.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body;
use tokio::time::timeout;

/// How long a body may take from its first byte to its last. The API server gives a webhook no more than 10 s.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// The connection broke, or the framing is wrong: 400, should anybody hear it.
    #[error("the body broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The whole body, if it is of at most `max` bytes and arrives in [`BODY_TIMEOUT`]. One that announces more is refused
/// before any of it is read.
pub async fn read_body<B>(body: B, max: usize) -> Result<Bytes, BodyError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let announced = body.size_hint().lower();
    if usize::try_from(announced).is_ok_and(|announced| announced <= max) {
        match timeout(BODY_TIMEOUT, Limited::new(body, max).collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge { max }),
            Ok(Err(error)) => Err(BodyError::Broken(error)),
            Err(_) => Err(BodyError::TimedOut),
        }
    } else {
        Err(BodyError::TooLarge { max })
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
