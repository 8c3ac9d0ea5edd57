//! The one connection of a sink, which its sends share.

use std::{sync::Arc, time::Instant};

use tokio::sync::Mutex;

/// A connection that is opened when it is needed, and replaced after a failure.
pub(in crate::deliver) struct Shared<C, E> {
    // Locked while a connection is opened, so that the sends that need one wait for it.
    state: Mutex<State<C, E>>,
}

struct State<C, E> {
    current: Option<Arc<C>>,
    /// When and why the last connection could not be opened.
    failed: Option<(Instant, E)>,
}

impl<C, E: Clone> Shared<C, E> {
    pub(in crate::deliver) fn new() -> Self {
        Self { state: Mutex::new(State { current: None, failed: None }) }
    }

    /// The connection in use if it is open, or a new one. Of several callers one opens it, and if that fails, all fail with its error:
    /// one after another they would wait for as many timeouts.
    pub(in crate::deliver) async fn get(
        &self,
        is_open: impl Fn(&C) -> bool,
        open: impl Future<Output = Result<C, E>>,
    ) -> Result<Arc<C>, E> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(current) = state.current.as_ref().filter(|current| is_open(current)) {
            return Ok(Arc::clone(current));
        }
        state.current = None;
        if let Some((_, error)) = state.failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        match open.await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                state.current = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Uses `failed` for no further message. Those that are being sent over it may still be acknowledged.
    pub(in crate::deliver) async fn give_up(&self, failed: &Arc<C>) {
        let mut state = self.state.lock().await;
        if state.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, failed)) {
            state.current = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::{pending, ready},
    };

    use super::*;

    #[tokio::test]
    async fn a_connection_serves_until_it_is_given_up_or_ends() {
        let (shared, open) = (Shared::<i32, &str>::new(), Cell::new(true));
        let get = |new: i32| shared.get(|_| open.get(), ready(Ok(new)));
        let first = get(1).await.expect("opened");
        assert_eq!(*get(2).await.expect("the same"), 1);
        shared.give_up(&first).await;
        let second = get(3).await.expect("opened");
        assert_eq!(*second, 3);
        shared.give_up(&first).await;
        assert_eq!(*get(4).await.expect("an old failure changes nothing"), 3);
        open.set(false);
        assert_eq!(*get(5).await.expect("the old one has ended"), 5);
    }

    #[tokio::test]
    async fn callers_that_wait_fail_together_and_later_ones_try_again() {
        let shared = Shared::<i32, &str>::new();
        let slow = async {
            tokio::task::yield_now().await;
            Err("refused")
        };
        let (first, second) = tokio::join!(shared.get(|_| true, slow), shared.get(|_| true, pending()));
        assert_eq!((first, second), (Err("refused"), Err("refused")));
        assert_eq!(shared.get(|_| true, ready(Ok(1))).await.as_deref(), Ok(&1));
    }
}
