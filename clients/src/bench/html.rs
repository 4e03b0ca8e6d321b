//! A benchmark's results as one page with plots, which needs nothing but itself.
//!
//! The plots are SVG without a background; the page's style gives text its colour, so that both
//! are readable on a light and on a dark screen.

use std::fmt::Write as _;

use plotters::prelude::*;

use crate::bench::failure::Failure;
use crate::bench::outcome::{Run, Sample};
use crate::bench::report::Report;

const SIZE: (u32, u32) = (860, 340);
const PUBLISHED: RGBColor = RGBColor(217, 119, 6);
const DELIVERED: RGBColor = RGBColor(37, 130, 235);
const GRID: RGBColor = RGBColor(128, 128, 128);

const STYLE: &str = "\
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;
background:Canvas;color:CanvasText}
svg{max-width:100%;height:auto}svg text{fill:CanvasText}
pre{overflow-x:auto;font:13px/1.4 ui-monospace,monospace}
.published{color:#d97706}.delivered{color:#2582eb}";

/// The page.
///
/// # Errors
/// When a plot cannot be drawn.
pub(crate) fn page(report: &Report) -> Result<String, Failure> {
    let failed = |error: Box<dyn std::error::Error>| {
        Failure::new(format!("the plots cannot be drawn: {error}"))
    };
    let mut out = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n");
    out.push_str("<meta charset=\"utf-8\"/>\n<title>bench-publisher</title>\n");
    // Writing to a string cannot fail, here and below.
    let _ = write!(out, "<style>\n{STYLE}\n</style>\n</head>\n<body>\n<h1>bench-publisher</h1>\n");
    let [published, delivered] = report.plan.words();
    out.push_str("<h2>Throughput over time</h2>\n<p>Million messages a second: ");
    let _ = write!(out, "<span class=\"published\">{published}</span>, ");
    let _ = writeln!(out, "<span class=\"delivered\">{delivered}</span>.</p>");
    out.push_str(&throughput(&report.runs).map_err(failed)?);
    out.push_str("\n<h2>Latency</h2>\n");
    if report.runs.iter().all(|run| run.latency.is_empty()) {
        out.push_str("<p>No message was timed.</p>\n");
    } else {
        out.push_str("<p>Microseconds that no more than so many messages took.</p>\n");
        out.push_str(&latency(&report.runs).map_err(failed)?);
    }
    let _ = write!(out, "\n<h2>Figures</h2>\n<pre>{}</pre>\n", escaped(&report.text()));
    out.push_str("</body>\n</html>\n");
    Ok(out)
}

fn throughput(runs: &[Run]) -> Result<String, Box<dyn std::error::Error>> {
    let published: Vec<_> = runs.iter().map(|run| rates(run, |one| one.published)).collect();
    let delivered: Vec<_> = runs.iter().map(|run| rates(run, |one| one.delivered)).collect();
    let points = || published.iter().chain(&delivered).flatten();
    let longest = points().map(|point| point.0).fold(0.1, f64::max);
    let highest = points().map(|point| point.1).fold(1e-6, f64::max) * 1.08;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..longest, 0.0..highest)?;
        chart
            .configure_mesh()
            .axis_style(GRID)
            .bold_line_style(GRID.mix(0.3))
            .light_line_style(GRID.mix(0.0))
            .x_desc("seconds")
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for (lines, colour) in [(published, PUBLISHED), (delivered, DELIVERED)] {
            for line in lines {
                chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
            }
        }
        area.present()?;
    }
    Ok(svg)
}

/// Millions a second, in the middle of each pair of samples.
fn rates(run: &Run, counter: fn(&Sample) -> u64) -> Vec<(f64, f64)> {
    let between = |pair: &[Sample]| {
        let time = pair[1].seconds - pair[0].seconds;
        let count = counter(&pair[1]).saturating_sub(counter(&pair[0]));
        // The last sample may follow the one before too closely to give a rate.
        (time > 0.05).then(|| (pair[0].seconds + time / 2.0, count as f64 / time / 1e6))
    };
    let points: Vec<_> = run.timeline.windows(2).filter_map(between).collect();
    whole(&points).to_vec()
}

/// Without the pair of samples in which it began, the one in which it ended, and what lies before
/// and after them: it was running for a part of their time only, and the plot would show a dip that
/// there was not.
fn whole(points: &[(f64, f64)]) -> &[(f64, f64)] {
    let went_on = |point: &(f64, f64)| point.1 > 0.0;
    match (points.iter().position(went_on), points.iter().rposition(went_on)) {
        (Some(first), Some(last)) if last > first + 2 => &points[first + 1..last],
        (Some(first), Some(last)) => &points[first..=last],
        _ => points,
    }
}

fn latency(runs: &[Run]) -> Result<String, Box<dyn std::error::Error>> {
    let curves: Vec<Vec<(f64, f64)>> = runs.iter().map(curve).collect();
    let values = || curves.iter().flatten().map(|point| point.1);
    let least = values().fold(f64::MAX, f64::min) * 0.8;
    let most = values().fold(1.0, f64::max) * 1.25;
    let nines = curves.iter().flatten().map(|point| point.0).fold(1.0, f64::max);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..nines, (least..most).log_scale())?;
        chart
            .configure_mesh()
            .axis_style(GRID)
            .bold_line_style(GRID.mix(0.3))
            .light_line_style(GRID.mix(0.0))
            .x_labels(nines.ceil() as usize + 1)
            .x_label_formatter(&|nines| percent(*nines))
            .y_label_formatter(&|value| short(*value))
            .x_desc("percent of messages")
            .draw()?;
        for line in curves {
            chart.draw_series(LineSeries::new(line, DELIVERED.stroke_width(2)))?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// Latency by how rare it is: 1 is nine of ten messages, 2 is 99 of 100, and so on, as far as the
/// number of messages goes.
fn curve(run: &Run) -> Vec<(f64, f64)> {
    const STEPS_TO_A_NINE: u64 = 20;
    let timed = run.latency.len();
    if timed == 0 {
        return Vec::new();
    }
    let nines = (timed as f64).log10().clamp(1.0, 7.0);
    let steps = (nines * STEPS_TO_A_NINE as f64) as u64;
    let point = |step| {
        let nines = step as f64 / STEPS_TO_A_NINE as f64;
        let quantile = 1.0 - 10f64.powf(-nines);
        (nines, run.latency.value_at_quantile(quantile) as f64 / 1e3)
    };
    (0..=steps).map(point).collect()
}

fn percent(nines: f64) -> String {
    let digits = (nines.round() - 2.0).max(0.0) as usize;
    format!("{:.digits$}", 100.0 * (1.0 - 10f64.powf(-nines)))
}

/// A label of an axis: `20`, `5`, `0.25`.
fn short(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { format!("{}", (value * 1e3).round() / 1e3) }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn the_parts_in_which_it_began_and_ended_are_left_out() {
        let points = |rates: &[u32]| -> Vec<(f64, f64)> {
            rates.iter().enumerate().map(|(at, rate)| (at as f64, f64::from(*rate))).collect()
        };
        let kept = |rates: &[u32]| -> Vec<u32> {
            whole(&points(rates)).iter().map(|point| point.1 as u32).collect()
        };
        assert_eq!(kept(&[0, 3, 9, 8, 9, 2, 0]), [9, 8, 9]);
        assert_eq!(kept(&[3, 9, 0, 9, 2]), [9, 0, 9], "a pause in the middle is one");
        assert_eq!(kept(&[0, 7, 8, 0]), [7, 8], "of a short run all is shown");
        assert_eq!(kept(&[0, 0]), [0, 0]);
        assert_eq!(kept(&[]), [0; 0]);
    }
}
