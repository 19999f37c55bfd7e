//! Pictures: the cost of one exit against how many wait, each axis logarithmic.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::series::Series;
use crate::contender::Name;
use crate::driver::Sample;
use crate::work::Work;

const FIGURE: &str = "one at a time µs/exit";

const WIDTH: i32 = 860;
const HEIGHT: i32 = 480;
/// The width of the key, right of the curves.
const KEY: i32 = 180;

pub(super) fn draw(directory: &Path, samples: &[Sample]) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    let pictures = [
        ("waiting.svg", "One exit among N waiting", Work::Waiting, true),
        ("abandoned.svg", "One exit among N abandoned", Work::Abandoned, true),
        ("waiting-without-pidfd.svg", "One exit among N waiting, no pidfd", Work::Waiting, false),
        (
            "abandoned-without-pidfd.svg",
            "One exit among N abandoned, no pidfd",
            Work::Abandoned,
            false,
        ),
    ];
    for (file, title, work, pidfd) in pictures {
        let curves = curves(samples, work, pidfd);
        if curves.iter().any(|(_, points)| points.len() > 1) {
            let path = directory.join(file);
            let area = SVGBackend::new(&path, (WIDTH.unsigned_abs(), HEIGHT.unsigned_abs()))
                .into_drawing_area();
            picture(&area, title, &curves)?;
            area.present()?;
        }
    }
    Ok(())
}

type Curve = (Name, Vec<(f64, f64)>);

fn curves(samples: &[Sample], work: Work, pidfd: bool) -> Vec<Curve> {
    let mut curves = Vec::<Curve>::new();
    for (_, case) in Series::cases(samples) {
        if (case.work, case.pidfd) != (work, pidfd) {
            continue;
        }
        let series = Series::new(samples, case);
        for name in series.names() {
            let Some(cost) = series.median(name, FIGURE).filter(|cost| *cost > 0.0) else {
                continue;
            };
            let point = (case.n as f64, cost);
            match curves.iter_mut().find(|(known, _)| *known == name) {
                Some((_, points)) => points.push(point),
                None => curves.push((name, vec![point])),
            }
        }
    }
    curves
}

fn picture<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    curves: &[Curve],
) -> Result<(), Box<dyn Error>>
where
    B::ErrorType: 'static,
{
    let points = || curves.iter().flat_map(|(_, points)| points);
    let most = points().map(|point| point.0).fold(10.0, f64::max);
    let low = points().map(|point| point.1).fold(f64::MAX, f64::min);
    let high = points().map(|point| point.1).fold(0.0, f64::max);
    area.fill(&WHITE)?;
    let whole = |number: &f64| format!("{number:.0}");
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .margin_right(KEY)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(
            (10.0..most).log_scale(),
            (low.min(12.5) * 0.8..high * 1.3).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(WHITE.mix(0.0))
        .x_label_formatter(&whole)
        .y_label_formatter(&whole)
        .x_desc("N")
        .y_desc("parent's CPU per exit, µs")
        .draw()?;
    for (name, points) in curves {
        chart.draw_series(LineSeries::new(points.iter().copied(), style(*name)))?;
    }
    // The key, in the order in which the curves end.
    let mut by_end: Vec<_> = curves.iter().collect();
    let end = |curve: &Curve| curve.1.last().map_or(0.0, |point| point.1);
    by_end.sort_by(|one, other| end(other).total_cmp(&end(one)));
    for (row, (name, _)) in (0..).zip(by_end) {
        let (x, y) = (WIDTH - KEY + 12, 60 + 20 * row);
        area.draw(&PathElement::new([(x, y), (x + 20, y)], style(*name)))?;
        area.draw(&Text::new(name.text(), (x + 28, y - 6), ("sans-serif", 12)))?;
    }
    Ok(())
}

/// Ours are thick; the others have the colour of their runtime, darker where that has many threads.
fn style(name: Name) -> ShapeStyle {
    let colour = match name {
        Name::Floor | Name::Engine => BLACK,
        Name::Blocking => RGBColor(140, 140, 140),
        Name::BareAsyncFd => RGBColor(240, 190, 120),
        Name::OursTokio | Name::OursTokioStd => RGBColor(220, 40, 40),
        Name::OursTokioMulti => RGBColor(120, 0, 0),
        Name::TokioProcess => RGBColor(235, 140, 20),
        Name::TokioProcessMulti => RGBColor(150, 90, 0),
        Name::BareAsync => RGBColor(150, 190, 240),
        Name::OursSmol => RGBColor(30, 60, 200),
        Name::AsyncProcess => RGBColor(70, 150, 220),
        Name::AsyncPidfd => RGBColor(120, 90, 180),
        Name::OursByHand => RGBColor(30, 140, 60),
    };
    colour.stroke_width(if name.is_ours() { 3 } else { 1 })
}
