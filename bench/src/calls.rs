//! What a call costs beyond the call itself: a closed breaker, a pick among instances, and the whole client stack; each
//! beside what others offer for the same.
//!
//! Each side has its own defaults. The breakers are compared twice: bare, where a crate offers that, and around a future
//! or a service, as calls are made. With two threads both use the same breaker or the same instances, which is when what
//! they share shows.

mod breaker;
mod pick;
mod stack;
mod timing;

use std::collections::BTreeMap;

use self::timing::Work;
use crate::{Result, report::Case, rounds::median};

/// So many threads do it at the same time.
const THREADS: [usize; 2] = [1, 2];

/// Sides that do the same.
struct Contest {
    case: String,
    ours: Work,
    peers: Vec<(&'static str, Work)>,
    settings: &'static str,
}

pub async fn run(quick: bool) -> Result<Vec<Case>> {
    let rounds = if quick { 3 } else { 21 };
    let mut cases = Vec::new();
    for contest in breaker::contests().into_iter().chain(pick::contests()) {
        for threads in THREADS {
            cases.extend(hold(&contest, threads, rounds)?);
        }
    }
    cases.extend(stack::run(quick).await?);
    Ok(cases)
}

/// Medians of so many rounds, in each of which every side has its turn.
fn hold(contest: &Contest, threads: usize, rounds: usize) -> Result<Vec<Case>> {
    let sides: Vec<_> = std::iter::once(&contest.ours)
        .chain(contest.peers.iter().map(|(_, work)| work))
        .map(|work| Ok((work, timing::enough(work)?)))
        .collect::<Result<_>>()?;
    let mut found: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        for (side, (work, times)) in sides.iter().enumerate() {
            let nanos = timing::nanos(work, *times, threads)?;
            found.entry(side).or_default().push(nanos);
        }
    }
    let mut medians = found.into_values().map(median);
    let ours = medians.next().unwrap_or(f64::NAN);
    let case = format!("{}, {threads} thread(s)", contest.case);
    let compared = contest.peers.iter().zip(medians);
    Ok(compared
        .map(|((name, _), peer)| Case::cost(&case, "ns", ours, name, peer, contest.settings))
        .collect())
}
