//! Turns: one user has one review at a time, however many connections he opens.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{cache::Digest, question::TIMEOUT};

/// A semaphore for each user who asks at the moment.
#[derive(Debug, Default)]
pub(super) struct UserSlots(Mutex<HashMap<Digest, Weak<Semaphore>>>);

/// The turn of a user, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl UserSlots {
    /// Waits for the turn of this user; `None` if it does not come in time.
    pub(super) async fn turn(&self, user: &Digest) -> Option<Turn> {
        let slot = self.slot(user);
        let permit = timeout(TIMEOUT, slot.acquire_owned()).await.ok()?.ok()?;
        Some(Turn { _permit: permit })
    }

    fn slot(&self, user: &Digest) -> Arc<Semaphore> {
        let mut slots = self.lock();
        if let Some(slot) = slots.get(user).and_then(Weak::upgrade) {
            return slot;
        }
        // As many entries as requests in flight, which the connections bound.
        slots.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::new(Semaphore::new(1));
        slots.insert(*user, Arc::downgrade(&slot));
        slot
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Weak<Semaphore>>> {
        // No method panics while the map is inconsistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_user_waits_for_himself_and_for_nobody_else() {
        let slots = UserSlots::default();
        let held = slots.turn(&[1; 32]).await.expect("free");
        assert!(slots.turn(&[1; 32]).await.is_none(), "his turn is taken");
        assert!(slots.turn(&[2; 32]).await.is_some());
        drop(held);
        assert!(slots.turn(&[1; 32]).await.is_some());
        slots.slot(&[3; 32]);
        assert!(slots.lock().len() <= 2, "the users who do not ask any more are forgotten");
    }
}
