//! How the time of an installation grows with its size, as a picture.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::measured::{Case, Measured};

const SIZE: (u32, u32) = (760, 440);
const LINES: [(Case, &str, RGBColor); 5] = [
    (Case::Floor, "floor", RGBColor(120, 120, 120)),
    (Case::Stream, "stillboot --stream", RGBColor(0, 90, 180)),
    (Case::File, "stillboot FILE", RGBColor(90, 170, 230)),
    (Case::Rauc, "RAUC plain", RGBColor(200, 80, 0)),
    (Case::SwUpdate, "SWUpdate", RGBColor(130, 60, 150)),
];

/// Writes the picture.
pub(super) fn write(all: &[Measured], path: &Path) -> Result<()> {
    draw(all, path).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

fn draw(all: &[Measured], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let points = |case: Case| -> Vec<(f64, f64)> {
        let point = |one: &Measured| Some((one.mib as f64, one.of(case)?.seconds));
        let mut points: Vec<_> = all.iter().filter_map(point).collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        points
    };
    let shown = || LINES.iter().flat_map(|(case, _, _)| points(*case));
    let most = |of: fn((f64, f64)) -> f64| shown().map(of).fold(0.0, f64::max) * 1.05;
    let (mib, seconds) = (most(|point| point.0), most(|point| point.1));
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..mib, 0.0..seconds)?;
    chart.configure_mesh().x_desc("MiB").y_desc("seconds").draw()?;
    for (case, name, color) in LINES {
        let points = points(case);
        chart
            .draw_series(LineSeries::new(points.clone(), color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        chart.draw_series(points.into_iter().map(|point| Circle::new(point, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(RGBColor(160, 160, 160))
        .draw()?;
    Ok(area.present()?)
}
