//! Consistent hashing by a lookup table (D. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
//! Balancer", NSDI 2016): one step to find the instance of a key, almost equal shares, and few keys that move when an
//! instance comes or goes. Every process that knows the same instances makes the same table.

/// The sizes of a table, primes, as in the paper. Tables of different sizes agree on nothing, so there are but two, and
/// the larger is for more than [`MANY`] instances.
const SIZES: [usize; 2] = [65_537, 655_373];
/// So many have a hundred places each in the smaller table.
const MANY: usize = 655;
/// What stands for nobody.
const NOBODY: u32 = u32::MAX;

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Table {
    places: Box<[u32]>,
    count: usize,
}

impl Table {
    /// The table of instances with these names and weights, in their order; `None` of none. Weights are taken relative
    /// to the largest, and 0 as the least.
    pub fn new<'a>(instances: impl IntoIterator<Item = (&'a str, u32)>) -> Option<Self> {
        struct Turn {
            next: usize,
            skip: usize,
            weight: f64,
            credit: f64,
        }
        let instances: Vec<_> = instances.into_iter().collect();
        let count = instances.len();
        let heaviest = instances.iter().map(|(_, weight)| *weight).max()?.max(1);
        let size = SIZES[usize::from(count > MANY)];
        let turn = |(name, weight): &(&str, u32)| Turn {
            next: (hash(name.as_bytes(), 1) % size as u64) as usize,
            skip: (hash(name.as_bytes(), 2) % (size as u64 - 1)) as usize + 1,
            weight: f64::from((*weight).max(1)) / f64::from(heaviest),
            credit: 0.0,
        };
        let mut turns: Vec<_> = instances.iter().map(turn).collect();
        let mut places = vec![NOBODY; size];
        let mut filled = 0;
        // Each in turn takes its next free place, the lighter ones not every time.
        while filled < size {
            for (index, turn) in turns.iter_mut().enumerate() {
                turn.credit += turn.weight;
                if turn.credit < 1.0 || filled == size {
                    continue;
                }
                turn.credit -= 1.0;
                while places[turn.next] != NOBODY {
                    turn.next = (turn.next + turn.skip) % size;
                }
                places[turn.next] = index as u32;
                filled += 1;
            }
        }
        Some(Self {
            places: places.into(),
            count,
        })
    }

    /// The instance of `key`: the first that `takes` requests, of those that its place and the following ones name.
    /// `None` when none is found among the nearest.
    pub fn find(&self, key: u64, takes: impl Fn(usize) -> bool) -> Option<usize> {
        let start = (key % self.places.len() as u64) as usize;
        (0..8 * self.count)
            .map(|step| self.places[(start + step) % self.places.len()] as usize)
            .find(|index| takes(*index))
    }
}

/// FNV-1a with a finish that spreads neighbours (that of MurmurHash3): stable for ever, and not secret.
pub(crate) fn hash(bytes: &[u8], seed: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut hash = bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
