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

    /// Time that is moved by hand stands still while this future can go on: see [`VirtualClock::idle`].
    fn watch(&self, future: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        future
    }

    /// Time that is moved by hand stands still until what is returned is dropped: for work that is waited for, and that does
    /// not wait for this clock.
    fn hold(&self) -> Hold {
        Hold { clock: None }
    }
}

/// What keeps time from being moved.
#[derive(Debug)]
#[must_use]
pub struct Hold {
    clock: Option<VirtualClock>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(clock) = &self.clock {
            clock.less_busy();
        }
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        (**self).sleep(duration)
    }

    fn watch(&self, future: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        (**self).watch(future)
    }

    fn hold(&self) -> Hold {
        (**self).hold()
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
    /// How many watched futures can go on, and what else holds the time.
    busy: usize,
    /// Who waits until nothing does.
    idle: Vec<Waker>,
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
                busy: 0,
                idle: Vec::new(),
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

    /// Until no [watched](Clock::watch) future can go on and nothing [holds](Clock::hold) the time: what happens next is that
    /// the clock is moved, or that something comes from outside.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sfn_local::{Clock, VirtualClock};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let clock = VirtualClock::new("2026-01-31T12:00:00Z".parse()?);
    /// let hour = clock.sleep(Duration::from_secs(3600));
    /// let task = tokio::spawn(clock.watch(hour));
    /// while !task.is_finished() {
    ///     clock.idle().await;
    ///     clock.advance_to_next();
    /// }
    /// assert_eq!(clock.now().to_string(), "2026-01-31T13:00:00Z");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn idle(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.lock();
            if state.busy == 0 {
                return Poll::Ready(());
            }
            state.idle.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn more_busy(&self) {
        self.lock().busy += 1;
    }

    fn less_busy(&self) {
        let mut state = self.lock();
        state.busy -= 1;
        let waiting = if state.busy == 0 {
            std::mem::take(&mut state.idle)
        } else {
            Vec::new()
        };
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
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

    fn watch(&self, future: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        self.more_busy();
        let gate = Arc::new(Gate {
            clock: self.clone(),
            inner: Mutex::new((Standing::Woken, None)),
        });
        Box::pin(Watched { future, gate })
    }

    fn hold(&self) -> Hold {
        self.more_busy();
        Hold {
            clock: Some(self.clone()),
        }
    }
}

/// Whether a watched future can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Somebody has woken it, or it was never polled.
    Woken,
    /// It is being polled.
    Polled,
    /// It waits to be woken.
    Waiting,
    /// It is over.
    Over,
}

/// Knows whether a watched future can go on, and counts it as long as it can.
struct Gate {
    clock: VirtualClock,
    /// And who is to be woken with it.
    inner: Mutex<(Standing, Option<Waker>)>,
}

impl Gate {
    /// Moves on, and tells from where.
    fn set(&self, standing: Standing) -> Standing {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut inner.0, standing)
    }
}

impl ArcWake for Gate {
    fn wake_by_ref(gate: &Arc<Self>) {
        let mut inner = gate.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.0 == Standing::Over {
            return;
        }
        if std::mem::replace(&mut inner.0, Standing::Woken) == Standing::Waiting {
            gate.clock.more_busy();
        }
        let waker = inner.1.clone();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Watched {
    future: BoxFuture<'static, ()>,
    gate: Arc<Gate>,
}

impl Future for Watched {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut inner = self.gate.inner.lock().unwrap_or_else(PoisonError::into_inner);
            // It may be polled without having been woken.
            if inner.0 == Standing::Waiting {
                self.gate.clock.more_busy();
            }
            *inner = (Standing::Polled, Some(context.waker().clone()));
        }
        let waker = waker(self.gate.clone());
        let polled = self.future.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_pending() {
            let mut inner = self.gate.inner.lock().unwrap_or_else(PoisonError::into_inner);
            // Otherwise it was woken meanwhile.
            if inner.0 == Standing::Polled {
                inner.0 = Standing::Waiting;
                drop(inner);
                self.gate.clock.less_busy();
            }
        }
        polled
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.gate.set(Standing::Over) != Standing::Waiting {
            self.gate.clock.less_busy();
        }
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
