//! How well the strategies spread calls. `cargo test -p outrigger-discovery --test distribution -- --nocapture` prints the
//! figures, and the example `distribution` draws them.

#![allow(clippy::print_stdout, reason = "the figures are for people")]

#[path = "distribution/model.rs"]
mod model;

use outrigger_discovery::balance::Strategy;

#[test]
fn with_one_slow_of_ten_peak_ewma_keeps_the_tail_short() {
    let strategies = [
        Strategy::RoundRobin,
        Strategy::Random,
        Strategy::LeastConnections,
        Strategy::PeakEwma,
    ];
    let mut tails = Vec::new();
    println!("{:<18} {:>7} {:>7} {:>7} ms", "", "p50", "p99", "p99.9");
    for strategy in strategies {
        let took = model::run(strategy);
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| model::quantile(&took, share));
        println!(
            "{:<18} {p50:>7.1} {p99:>7.1} {p999:>7.1}",
            format!("{strategy:?}")
        );
        tails.push(p99);
        assert_eq!(took, model::run(strategy), "the same in every run");
    }
    let [round_robin, .., peak_ewma] = tails[..] else {
        panic!("four strategies")
    };
    assert!(
        peak_ewma * 3.0 < round_robin,
        "{peak_ewma} ms, {round_robin} ms"
    );
}
