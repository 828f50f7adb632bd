//! Who is at work in the store, so that closing it can wait for them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Counts the work in flight; once closed, lets none begin.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Default)]
struct State {
    working: usize,
    closed: bool,
}

/// Work in flight, with what it holds of the store: let go of before the work counts as ended.
pub(super) struct Working<T> {
    held: Option<Arc<T>>,
    gate: Arc<Gate>,
}

impl Gate {
    /// Begins work on `held`; `None` once the gate is closed.
    pub(super) fn enter<T>(self: &Arc<Self>, held: Arc<T>) -> Option<Working<T>> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.working += 1;
        Some(Working { held: Some(held), gate: Arc::clone(self) })
    }

    /// Lets no work begin any more and waits for what is in flight.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        drop(self.idle.wait_while(state, |state| state.working > 0).unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Working<T> {
    /// What the work is on.
    pub(super) fn held(&self) -> Option<&T> {
        self.held.as_deref()
    }
}

impl<T> Drop for Working<T> {
    fn drop(&mut self) {
        self.held = None;
        self.gate.lock().working -= 1;
        self.gate.idle.notify_all();
    }
}
