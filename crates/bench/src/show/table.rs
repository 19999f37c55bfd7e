//! The table: a block for each case, a line for each contender, a column for each figure.

use std::fmt::Write;

use super::series::Series;
use crate::contender::Name;
use crate::driver::{Case, Sample};
use crate::stats::{interval, median};

/// Beside a time stand its ratios: to the floor, and to `tokio::process`.
pub(super) fn of(case: Case, samples: &[Sample]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = block(&mut text, samples, case);
    text
}

fn block(text: &mut String, samples: &[Sample], case: Case) -> std::fmt::Result {
    let series = Series::new(samples, case);
    let kernel = if case.pidfd { "" } else { ", without pidfd" };
    writeln!(text, "\n{} × {}{kernel}", case.work, case.n)?;
    let figures = series.figures();
    write!(text, "{:<20}", "")?;
    for figure in &figures {
        write!(text, "{figure:>width$}", width = width(figure))?;
    }
    writeln!(text)?;
    // Without pidfd there is no floor: it is the one with.
    let floor = Series::new(samples, Case { pidfd: true, ..case });
    for name in series.names() {
        write!(text, "{name:<20}")?;
        for figure in &figures {
            let value = series.median(name, figure).unwrap_or(f64::NAN);
            let cell = if is_time(figure) {
                let to_floor = if case.pidfd {
                    median(series.ratios(name, figure, Name::Floor))
                } else {
                    floor.median(Name::Floor, figure).map(|floor| value / floor)
                };
                let to_tokio = median(series.ratios(name, figure, Name::TokioProcess));
                format!("{} {}/{}", number(value), ratio(to_floor), ratio(to_tokio))
            } else {
                number(value)
            };
            write!(text, "{cell:>width$}", width = width(figure))?;
        }
        writeln!(text)?;
    }
    for name in series.names().into_iter().filter(|name| name.is_ours()) {
        for other in [Some(Name::Floor), name.rival()].into_iter().flatten() {
            certainty(text, series, name, other)?;
        }
    }
    Ok(())
}

/// How certain the ratios are, where there were rounds enough to tell: a line.
fn certainty(text: &mut String, series: Series<'_>, name: Name, other: Name) -> std::fmt::Result {
    let mut ratios = String::new();
    for figure in series.figures().into_iter().filter(|figure| is_time(figure)) {
        let values = series.ratios(name, figure, other);
        if let (Some(middle), Some((low, high))) = (median(values.clone()), interval(values)) {
            write!(ratios, "   {figure} {middle:.2} ({low:.2} to {high:.2})")?;
        }
    }
    if !ratios.is_empty() {
        writeln!(text, "{name} to {other}, with 95 % certainty:{ratios}")?;
    }
    Ok(())
}

fn is_time(figure: &str) -> bool {
    figure.contains("µs") || figure.contains("ms")
}

fn width(figure: &str) -> usize {
    let least = if is_time(figure) { 22 } else { 8 };
    least.max(figure.chars().count() + 2)
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        "never".into()
    } else if value.abs() < 10.0 {
        format!("{value:.2}")
    } else if value.abs() < 1000.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

fn ratio(value: Option<f64>) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value:.2}"),
        _ => "-".into(),
    }
}
