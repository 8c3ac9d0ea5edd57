//! Answers requests.

use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Body;
use jiff::Timestamp;
use jobwarden_serve::{
    accept::{BodyError, Budget, Limits},
    logs::with_causes,
    shutdown::Shutdown,
    signature::{ID_HEADER, SIGNATURE_HEADER, Secrets, TIMESTAMP_HEADER, VerifyError},
};

use super::{
    notification::{InvalidEvent, Notification},
    report::{Delivery, Output, Signature},
    seen::{Occurrence, Seen},
};
use crate::output::{self, printable};

/// Verifies and prints what it receives.
pub(super) struct Receiver {
    secrets: Option<Secrets>,
    respond: StatusCode,
    output: Output,
    max_body: usize,
    bodies: Budget,
    log: Mutex<Log>,
    shutdown: Shutdown,
}

/// What was received so far, and where it is printed.
struct Log {
    out: Box<dyn Write + Send>,
    failure: Option<io::Error>,
    seen: Seen,
    received: u64,
    again: u64,
    refused: u64,
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("notifications are sent with POST, not {0}")]
    Method(Method),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the header {0} is missing or not ASCII; a sink with a secret sets it")]
    Header(&'static str),
    #[error(transparent)]
    Signature(#[from] VerifyError),
    #[error(transparent)]
    Event(#[from] InvalidEvent),
    #[error("the notification cannot be printed")]
    Output,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::TimedOut) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyError::NoRoom) => StatusCode::TOO_MANY_REQUESTS,
            Self::Header(_) | Self::Signature(_) => StatusCode::UNAUTHORIZED,
            Self::Event(InvalidEvent::Format(_)) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(BodyError::Broken(_)) | Self::Event(_) => StatusCode::BAD_REQUEST,
            Self::Output => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Receiver {
    /// Prints to `out`, and requests the shutdown once that fails.
    pub(super) fn new(
        secrets: Option<Secrets>,
        respond: StatusCode,
        output: Output,
        limits: Limits,
        out: Box<dyn Write + Send>,
        shutdown: Shutdown,
    ) -> Self {
        let log = Log { out, failure: None, seen: Seen::default(), received: 0, again: 0, refused: 0 };
        let (max_body, bodies) = (limits.max_body, Budget::new(limits.max_bodies));
        Self { secrets, respond, output, max_body, bodies, log: Mutex::new(log), shutdown }
    }

    /// The response to a request. What is refused is reported on standard error.
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let received = if head.method == Method::POST {
            let body = self.bodies.read(body, self.max_body).await.map_err(Refusal::Body);
            body.and_then(|body| self.receive(&head.headers, &body, Timestamp::now()))
        } else {
            Err(Refusal::Method(head.method))
        };
        match received {
            Ok(()) => respond(self.respond, String::new()),
            Err(refusal) => {
                self.log().refused += 1;
                let (status, reason) = (refusal.status(), with_causes(&refusal));
                output::message(&format!("refused with {status}: {}", printable(&reason)));
                let mut response = respond(status, reason + "\n");
                if status == StatusCode::METHOD_NOT_ALLOWED {
                    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
                }
                response
            }
        }
    }

    /// Verifies and prints one notification.
    fn receive(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let signature = self.verify(headers, body, now)?;
        let notification = Notification::read(headers, body)?;
        let id = header(headers, ID_HEADER).ok().or(notification.id()).map(ToOwned::to_owned);
        let mut log = self.log();
        // Without an ID nothing can be deduplicated.
        let occurrence = id.as_ref().map_or(Occurrence::First, |id| log.seen.note(id, body));
        let delivery = Delivery { at: now, id, signature, occurrence, notification };
        let text = delivery.report(self.output);
        if let Err(error) = log.out.write_all(text.as_bytes()).and_then(|()| log.out.flush()) {
            log.failure = Some(error);
            self.shutdown.trigger();
            return Err(Refusal::Output);
        }
        log.received += 1;
        log.again += u64::from(occurrence != Occurrence::First);
        Ok(())
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Signature, Refusal> {
        let Some(secrets) = &self.secrets else {
            let is_signed = headers.contains_key(SIGNATURE_HEADER);
            return Ok(if is_signed { Signature::NotVerified } else { Signature::None });
        };
        let (id, at) = (header(headers, ID_HEADER)?, header(headers, TIMESTAMP_HEADER)?);
        secrets.verify(id, at, header(headers, SIGNATURE_HEADER)?, body, now)?;
        Ok(Signature::Verified)
    }

    /// What was received, in a sentence.
    pub(super) fn summary(&self) -> String {
        let Log { received, again, refused, .. } = &*self.log();
        format!("received {received} notifications, {again} of them again; refused {refused} requests")
    }

    /// Why nothing can be printed any more.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.log().failure.take()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Refusal> {
    headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Refusal::Header(name))
}

fn respond(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
