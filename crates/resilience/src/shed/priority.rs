//! How much of the capacity each priority may fill: a plain function.

pub use env::request::Priority;

/// The share of the capacity up to which requests of a priority are taken. Critical ones are taken up to all of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// From 0 to 1. Default 0.6.
    pub low: f64,
    /// From 0 to 1. Default 0.9.
    pub normal: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            low: 0.6,
            normal: 0.9,
        }
    }
}

impl Shares {
    /// So many requests may be under way for one of `priority` to be taken. One that matters more is never given less
    /// room, whatever the shares say.
    pub fn room(&self, priority: Priority, capacity: u32) -> u32 {
        let share = match priority {
            Priority::Low => self.low.min(self.normal),
            Priority::Normal => self.normal,
            Priority::Critical => 1.0,
        };
        (f64::from(capacity) * share.clamp(0.0, 1.0)).ceil() as u32
    }
}
