//! That shaping keeps to the memory it is given, by an allocator that counts.
#![expect(unsafe_code, reason = "an allocator is unsafe by its nature")]
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use access_events::AccessEvent;
use access_events::shape::{Draft, Part, Shape, ShapeError, Shaper};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new are there for a moment.
        grow(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BUDGET: usize = 2 << 20;

/// The peak of shaping so many events of so many entities, in bytes; all of it goes to disk.
fn peak(draft: impl Fn(Draft) -> Draft, events: u32, entities: u32) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let shape = draft(Shape::draft(folder.path()).memory(BUDGET)).check().unwrap();
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let mut given = 0;
    let mut shaper = Shaper::new(&shape, |_: Part, _: &AccessEvent| {
        given += 1;
        Ok::<_, ShapeError>(())
    });
    let mut name = String::new();
    for n in 0..events {
        name.clear();
        std::fmt::Write::write_fmt(&mut name, format_args!("someone_{}", n % entities)).unwrap();
        shaper.push(&name, n.into(), None).unwrap();
    }
    let tally = shaper.finish().unwrap();
    let peak = PEAK.load(Ordering::Relaxed) - before;
    assert_eq!(given, events);
    assert!(tally.spilled as usize > 2 * BUDGET, "{tally:?}");
    peak
}

// One test, since the peak is that of the whole process.
#[test]
fn shaping_keeps_to_its_memory() {
    type Settings = fn(Draft) -> Draft;
    let settings: [(&str, Settings); 2] = [
        ("shuffle", |draft| draft.shuffle(1)),
        ("group and shuffle", |draft| {
            draft.unique(true).min_events(1).shuffle(1)
        }),
    ];
    for (name, draft) in settings {
        for entities in [10, 20_000, 250_000] {
            let peak = peak(draft, 250_000, entities);
            // What is beyond it are small things: heads of runs, names of files.
            assert!(
                peak < BUDGET + BUDGET / 16,
                "{name}, {entities} entities: {peak} bytes"
            );
        }
    }
}
