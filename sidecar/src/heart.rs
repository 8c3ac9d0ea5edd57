//! The loop: beat, wait, beat.

use std::{
    error::Error,
    future::Future,
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use jobwarden_common::beat::{Beat, BeatReply, Command, Phase};
use tokio::time::{self, timeout_at};

use crate::{complaints::Complaints, config::Config, pace::Pace, post::Post, report};

/// How long the last beat may take, all included, once the kubelet has asked us to end: the pod waits for it.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Beats until `end` comes true, then says `ending` if the reaper ever answered.
pub(crate) async fn beat(config: Config, end: impl Future<Output = ()>) {
    let mut end = pin!(end);
    let mut pace = Pace::new(config.interval);
    let mut complaints = Complaints::default();
    let mut post = Post::new(config);
    let mut heard = false;

    for seq in 0.. {
        let start = time::Instant::now();
        // A reaper that never answered does not know this pod: nothing is lost if it is not told of its end.
        let grace = if heard { LAST_WORD } else { Duration::ZERO };
        let attempt = post.send(Beat { seq, phase: Phase::Running });
        let answer = match unless_ended(attempt, end.as_mut(), grace).await {
            Outcome::Done(answer) => answer,
            Outcome::Ended { deadline } => return last_word(&mut post, seq + 1, heard, deadline).await,
        };
        match answer {
            Ok(BeatReply { command: Command::Stop, .. }) => {
                post.hang_up();
                report("the reaper has given this pod up and wants no more beats of it; going silent");
                return end.await;
            }
            Ok(BeatReply { next_in_ms, command: Command::Continue, ca }) => {
                heard = true;
                pace.answered(Duration::from_millis(next_in_ms));
                if let Some(Err(error)) = ca.map(|pem| post.trust(pem)) {
                    complain(&mut complaints, "the reaper sent a CA bundle that is none", &error);
                }
            }
            Err(error) => {
                pace.failed();
                complain(&mut complaints, "no beat reached the reaper", &error);
            }
        }
        tokio::select! {
            () = time::sleep_until(start + pace.wait(fastrand::f64())) => {}
            () = end.as_mut() => {
                return last_word(&mut post, seq + 1, heard, time::Instant::now() + LAST_WORD).await;
            }
        }
    }
}

/// What became of an attempt.
enum Outcome<T> {
    /// It came to its end.
    Done(T),
    /// We were asked to end meanwhile; everything left to do must be done by then.
    Ended { deadline: time::Instant },
}

/// Runs `attempt`; once `end` comes, for no longer than `grace`. An attempt under way is let finish rather than dropped,
/// since its beat could else overtake the last one and revoke it.
async fn unless_ended<T>(
    attempt: impl Future<Output = T>,
    end: Pin<&mut impl Future<Output = ()>>,
    grace: Duration,
) -> Outcome<T> {
    let mut attempt = pin!(attempt);
    tokio::select! {
        biased;
        () = end => {}
        answer = attempt.as_mut() => return Outcome::Done(answer),
    }
    let deadline = time::Instant::now() + grace;
    let _ = timeout_at(deadline, attempt).await;
    Outcome::Ended { deadline }
}

/// Tells the reaper that this pod is ending, if it ever answered; nobody is left to hear of a failure.
async fn last_word(post: &mut Post, seq: u64, heard: bool, deadline: time::Instant) {
    if heard {
        let _ = timeout_at(deadline, post.send(Beat { seq, phase: Phase::Ending })).await;
    }
}

/// Says what went wrong, unless something was said a short while ago.
fn complain(complaints: &mut Complaints, what: &str, error: &dyn Error) {
    if let Some(count) = complaints.due(Instant::now()) {
        let mut text = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        report(&format!("{text} (failures since the last such line: {count}; trying on, the job is not affected)"));
    }
}
