//! What can go wrong with a disk, and how often.

use rand::{Rng, RngExt};

/// What goes wrong with a [`Disk`](super::Disk). By default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// A sync fails, and what was pending is lost for good, for the most part: as on Linux, where the next sync
    /// succeeds and means nothing.
    pub sync_fails: Odds,
    /// A sync succeeds and does nothing, as on a disk whose cache is not protected. What was pending stays so.
    pub sync_lies: Odds,
    /// A write fails and writes nothing.
    pub write_fails: Odds,
    /// A write fails after it has written some of its sectors.
    pub write_tears: Odds,
    /// A read fails.
    pub read_fails: Odds,
    /// The power fails amid a write, a sync or a deletion, as by [`Disk::power_loss`](super::Disk::power_loss).
    pub power_fails: Odds,
    /// A write beyond this many bytes, of all files together, writes what fits and fails: the disk is full.
    pub capacity: Option<u64>,
}

/// Which of the operations that a fault can strike it does strike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Odds {
    /// None.
    #[default]
    Never,
    /// All.
    Always,
    /// On average one in this many, each by chance. 0 is never.
    OneIn(u32),
    /// The one that comes after this many others, and no more after it.
    After(u32),
}

impl Odds {
    /// Whether it strikes this time.
    pub(super) fn strike(&mut self, chance: &mut impl Rng) -> bool {
        match *self {
            Odds::Never | Odds::OneIn(0) => false,
            Odds::Always => true,
            Odds::OneIn(many) => chance.random_range(0..many) == 0,
            Odds::After(0) => {
                *self = Odds::Never;
                true
            }
            Odds::After(others) => {
                *self = Odds::After(others - 1);
                false
            }
        }
    }
}
