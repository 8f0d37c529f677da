//! A pick allocates nothing, whatever the strategy: counted by the allocator of this test.

#![allow(unsafe_code, reason = "an allocator cannot be made without it")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
};

use outrigger_discovery::{
    Clients, Instance, Settings, StaticList,
    balance::{Key, Strategy},
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: it is the system's allocator; the count beside it does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: what the caller promises is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: what the caller promises is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::test]
async fn a_pick_allocates_nothing() {
    for strategy in [
        Strategy::PeakEwma,
        Strategy::LeastConnections,
        Strategy::RoundRobin,
        Strategy::Random,
        Strategy::Weighted,
        Strategy::ConsistentHash,
    ] {
        let instances = (0..100).map(|port| {
            let zone = if port % 2 == 0 { "a" } else { "b" };
            let instance = Instance::new("users", ([127, 0, 0, 1], 9_000 + port).into());
            instance.zone(zone).weight(1 + u32::from(port % 3))
        });
        let settings = Settings {
            strategy,
            zone: Some("a".to_owned()),
            ..Settings::default()
        };
        let registry = Arc::new(StaticList::new(instances));
        let upstream = Clients::with_settings(registry, None, settings).upstream("users");
        // The first one looks at the pool; and the generator of the thread is made.
        upstream.pick(Some(Key(7))).expect("there are some");
        let before = ALLOCATIONS.get();
        for key in 0..10_000 {
            assert!(upstream.pick(Some(Key(key))).is_some());
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{strategy:?}");
    }
    let before = ALLOCATIONS.get();
    drop(Box::new(1));
    assert_eq!(ALLOCATIONS.get() - before, 1, "it counts");
}
