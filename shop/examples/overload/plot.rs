//! What happened, second by second, as a picture.

use std::{path::Path, time::Duration};

use outrigger::env::BoxError;
use plotters::prelude::*;

use crate::load::{Sent, p99};

/// A point for each second: what `figure` makes of the orders that were sent in it.
fn by_second(phases: &[(&[Sent], Duration)], figure: impl Fn(&[&Sent]) -> f64) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for (sent, start) in phases {
        let last = sent.last().map_or(0, |sent| sent.at.as_secs());
        for second in 0..=last {
            let of: Vec<_> = sent
                .iter()
                .filter(|sent| sent.at.as_secs() == second)
                .collect();
            points.push((start.as_secs_f64() + second as f64, figure(&of)));
        }
    }
    points
}

/// Good orders a second above, the p99 of accepted ones below.
pub(crate) fn draw(
    file: &Path,
    peak: f64,
    overload: &[Sent],
    length: Duration,
    after: &[Sent],
) -> Result<(), BoxError> {
    let phases = [(overload, Duration::ZERO), (after, length)];
    let good = by_second(&phases, |of| {
        of.iter().filter(|sent| sent.is_good()).count() as f64
    });
    let slowest = by_second(&phases, |of| {
        let accepted = of.iter().filter(|sent| sent.is_accepted());
        p99(accepted.map(|sent| sent.took)).as_secs_f64() * 1e3
    });
    let end = good.last().map_or(1.0, |(second, _)| *second);
    let offered = overload.len() as f64 / length.as_secs_f64();
    let area = SVGBackend::new(file, (760, 520)).into_drawing_area();
    area.fill(&WHITE)?;
    let (above, below) = area.split_vertically(300);
    let title = format!(
        "{offered:.0} orders a second offered until second {}, then {:.0}; peak {peak:.0}",
        length.as_secs(),
        peak / 2.0
    );
    for (area, title, name, points, most) in [
        (
            above,
            title.as_str(),
            "good orders a second",
            &good,
            peak * 1.5,
        ),
        (below, "", "p99 of accepted orders, ms", &slowest, 1000.0),
    ] {
        let most = points.iter().fold(most, |most, (_, y)| most.max(*y));
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..end, 0.0..most)?;
        chart
            .configure_mesh()
            .x_desc("second")
            .y_desc(name)
            .draw()?;
        chart.draw_series(LineSeries::new(
            points.iter().copied(),
            BLUE.stroke_width(2),
        ))?;
        if name.starts_with("good") {
            chart.draw_series(LineSeries::new([(0.0, peak), (end, peak)], &BLACK))?;
        }
    }
    area.present()?;
    Ok(())
}
