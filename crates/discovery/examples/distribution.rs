//! Draws what calls take by each strategy with one slow instance of ten, from the model that the test `distribution` asserts
//! on: `cargo run -p outrigger-discovery --example distribution -- docs/guide/balancing.svg`.

#[path = "../tests/distribution/model.rs"]
mod model;

use std::error::Error;

use outrigger_discovery::balance::Strategy;
use plotters::prelude::*;

/// From the median to the slowest of a thousand.
const NINES: (f64, f64) = (0.3, 3.0);

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args()
        .nth(1)
        .ok_or("usage: distribution FILE.svg")?;
    let area = SVGBackend::new(&file, (760, 440)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "one instance of ten is ten times slower: what calls take",
            ("sans-serif", 16),
        )
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(NINES.0..NINES.1, (5.0..5000.0).log_scale())?;
    let share = |nines: &f64| format!("{:.4}", 1.0 - 10_f64.powf(-nines));
    chart
        .configure_mesh()
        .x_desc("share of the calls")
        .x_label_formatter(&share)
        .y_desc("ms")
        .draw()?;
    for (strategy, name, colour) in [
        (Strategy::RoundRobin, "round robin", RED),
        (Strategy::Random, "random", MAGENTA),
        (Strategy::LeastConnections, "least connections", GREEN),
        (Strategy::PeakEwma, "peak EWMA of two", BLUE),
    ] {
        let took = model::run(strategy);
        let points = (0..=54).map(|step| {
            let nines = NINES.0 + f64::from(step) * (NINES.1 - NINES.0) / 54.0;
            let share = 1.0 - 10_f64.powf(-nines);
            (nines, model::quantile(&took, share))
        });
        let p99 = model::quantile(&took, 0.99);
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(format!("{name}: p99 {p99:.0} ms"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}
