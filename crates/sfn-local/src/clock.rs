//! Time as an argument.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::task::{ArcWake, waker};
use jiff::{SignedDuration, Timestamp};

/// Tells the time and waits.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Ends after this long. Dropping the future stops the waiting.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        (**self).sleep(duration)
    }
}

/// A clock that stands still until it is moved: an hour of waiting takes no time.
///
/// [`block_on`](Self::block_on) runs a future and moves the clock to the next moment that something waits for,
/// whenever nothing else can happen. Inside another executor, [`advance`](Self::advance) moves it by hand.
///
/// ```
/// use std::time::Duration;
/// use sfn_local::{Clock, VirtualClock};
///
/// let clock = VirtualClock::new("2026-01-31T12:00:00Z".parse()?);
/// clock.block_on(clock.sleep(Duration::from_secs(3600)));
/// assert_eq!(clock.now().to_string(), "2026-01-31T13:00:00Z");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct VirtualClock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    now: Timestamp,
    // Who waits until when; the second number tells those apart that wait for the same moment.
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
    next: u64,
}

impl VirtualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                now: start,
                sleepers: BTreeMap::new(),
                next: 0,
            })),
        }
    }

    /// Moves it on, and wakes whoever waited for a moment until then.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.lock();
        let now = later(state.now, duration);
        let due = state.move_to(now);
        drop(state);
        due.into_iter().for_each(Waker::wake);
    }

    /// Moves it to the next moment that something waits for. `false` when nothing waits.
    pub fn advance_to_next(&self) -> bool {
        let mut state = self.lock();
        let Some(&(deadline, _)) = state.sleepers.keys().next() else {
            return false;
        };
        let now = deadline.max(state.now);
        let due = state.move_to(now);
        drop(state);
        due.into_iter().for_each(Waker::wake);
        true
    }

    /// Runs a future to its end on this thread, and moves the clock whenever nothing else can happen.
    ///
    /// When nothing waits for the clock either, it waits until another thread wakes the future.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let signal = Arc::new(Signal {
            thread: std::thread::current(),
            woken: AtomicBool::new(false),
        });
        let waker = waker(Arc::clone(&signal));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            while !signal.woken.swap(false, Ordering::AcqRel) {
                if !self.advance_to_next() {
                    std::thread::park();
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut state = self.lock();
        let key = (later(state.now, duration), state.next);
        state.next += 1;
        drop(state);
        Box::pin(Sleep {
            clock: self.clone(),
            key,
        })
    }
}

impl State {
    /// Moves on and returns who is to be woken. The caller unlocks first: a waker may drop what sleeps.
    fn move_to(&mut self, now: Timestamp) -> Vec<Waker> {
        self.now = now;
        let later = self.sleepers.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.sleepers, later)
            .into_values()
            .collect()
    }
}

struct Sleep {
    clock: VirtualClock,
    key: (Timestamp, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.lock();
        if state.now >= self.key.0 {
            return Poll::Ready(());
        }
        let before = state.sleepers.insert(self.key, context.waker().clone());
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // In two steps: the lock is free again before the waker is dropped.
        let waker = self.clock.lock().sleepers.remove(&self.key);
        drop(waker);
    }
}

struct Signal {
    thread: Thread,
    woken: AtomicBool,
}

impl ArcWake for Signal {
    fn wake_by_ref(signal: &Arc<Self>) {
        signal.woken.store(true, Ordering::Release);
        signal.thread.unpark();
    }
}

/// `start + duration`, or the end of time.
fn later(start: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| start.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}
