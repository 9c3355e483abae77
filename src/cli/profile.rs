//! `inferq profile`: how long batches of a package take on this machine.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use plotters::prelude::*;
use serde_json::json;

use super::{
    Failed, config, device,
    output::{self, Progress},
};
use crate::{
    batcher::curve::{Curve, Point},
    predict::Library,
    repository::{Live, profile_package},
};

/// Columns of the longest bar.
const WIDTH: f64 = 40.0;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Loads the package as a worker does, and times batches of its golden examples, for about appetite.measure_ms at most.
The best size is the smallest with 95 % of the highest throughput; workers let no batch grow past it. Where the manifest
has no [sessions], a session a core and one session on all cores are timed as well, on a CPU, and what is taken is shown.
Where appetite.state_dir is set the result is kept there, for workers with the same cores that start later.

Example:
  inferq profile packages/digits/1.0.0 --svg digits.svg")]
pub(super) struct Args {
    /// The package's directory: <repository>/<name>/<version>.
    #[arg(value_name = "PACKAGE_DIR")]
    dir: PathBuf,
    /// Also write throughput over batch size as a picture.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Also write the figures: µs a batch and rows a second.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: &Args, file: Option<&Path>) -> Result<(), Failed> {
    let config = config(file, &[])?;
    if config.appetite.budget().is_none() {
        let told = "appetite.measure_ms: found 0, expected 1 to 600000; set INFERQ__APPETITE__MEASURE_MS=10000";
        return Err(Failed::Usage(anyhow!(told)));
    }
    let library = device::library(&config)?;
    let progress = Progress::of_unknown();
    let watching = progress.clone();
    let loaded = profile_package(&library, &args.dir, &config.appetite, move |runs| {
        watching.step_of(runs);
    });
    progress.finish();
    let live = loaded.map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failed::Data(anyhow!("{}: {}", args.dir.display(), lines.join("\n")))
    })?;
    for warning in &live.warnings {
        output::note(format_args!("warning: {warning}"));
    }
    let Some(curve) = &live.curve else {
        let told = "no batch was timed; see the warning, or allow more time with INFERQ__APPETITE__MEASURE_MS";
        return Err(Failed::Data(anyhow!("{}: {told}", args.dir.display())));
    };
    let (title, best) = (title(&live, &library), live.max_size());
    let table = table(curve, best, live.whole);
    output::line(format_args!("{title}\n{}", table.trim_end()))?;
    let of = match library.devices().all().count() {
        1 => "in all",
        _ => "on each device",
    };
    for (way, throughput) in &live.tried {
        let taken = if *way == live.sessions { ", taken" } else { "" };
        match throughput {
            Ok(all) => {
                let digits = digits(*all);
                output::line(format_args!("{way}: {all:.digits$} rows/s {of}{taken}"))?;
            }
            Err(why) => output::line(format_args!("{way}: {why}"))?,
        }
    }
    if let Some(path) = &args.json {
        let figures = figures(&live, curve, &library);
        written(path, fs::write(path, format!("{figures:#}\n")))?;
    }
    if let Some(path) = &args.svg {
        let picture = picture(&title, curve, best).context("the picture cannot be drawn");
        written(path, fs::write(path, picture.map_err(Failed::Internal)?))?;
    }
    Ok(())
}

fn written(path: &Path, result: std::io::Result<()>) -> Result<(), Failed> {
    let said = || format!("{} cannot be written; name another file", path.display());
    result.with_context(said).map_err(Failed::Usage)
}

fn title(live: &Live, library: &Library) -> String {
    let package = &live.package;
    format!(
        "{}@{}, {}, ONNX Runtime {}",
        package.name(),
        package.version(),
        live.sessions,
        library.version()
    )
}

/// A line a size: t(b), throughput of each session, and a bar as long as that is high.
fn table(curve: &Curve, best: usize, whole: bool) -> String {
    let highest = highest(curve);
    let mut text = format!(
        "\n{:>8} {:>12} {:>12}\n",
        "rows", "µs a batch", "rows/s each"
    );
    for point in curve.points() {
        let throughput = point.throughput();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to WIDTH"
        )]
        let length = (throughput / highest * WIDTH).round() as usize;
        let (bar, mark) = (
            "█".repeat(length),
            match (point.rows == best, whole) {
                (true, true) => " best",
                (true, false) => " taken",
                (false, _) => "",
            },
        );
        let (rows, us) = (point.rows, micros(*point));
        let digits = digits(throughput);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{rows:>8} {us:>12.1} {throughput:>12.digits$}  {bar}{mark}"
        );
    }
    text
}

/// Behind the point, of so many rows a second.
fn digits(throughput: f64) -> usize {
    if throughput < 100.0 { 2 } else { 0 }
}

fn highest(curve: &Curve) -> f64 {
    let each = curve.points().iter();
    each.map(|point| point.throughput()).fold(0.0, f64::max)
}

fn micros(point: Point) -> f64 {
    point.run.as_secs_f64() * 1e6
}

fn figures(live: &Live, curve: &Curve, library: &Library) -> serde_json::Value {
    let points = curve.points().iter().map(|point| {
        json!({
            "rows": point.rows,
            "run_us": micros(*point),
            "rows_per_s": point.throughput(),
        })
    });
    let tried = live.tried.iter().map(|(way, throughput)| {
        let (throughput, why) = (throughput.as_ref().ok(), throughput.as_ref().err());
        json!({"sessions": way.count, "threads": way.threads, "rows_per_s": throughput, "why_not": why})
    });
    json!({
        "package": live.package.name(),
        "version": live.package.version(),
        "digest": live.package.digest().to_string(),
        "onnxruntime": library.version(),
        "device": live.devices.to_string(),
        "cores": std::thread::available_parallelism().map_or(1, Into::into),
        "sessions": live.sessions.count,
        "threads": live.sessions.threads,
        "tried": tried.collect::<Vec<_>>(),
        "best_rows": live.max_size(),
        "whole": live.whole,
        "points": points.collect::<Vec<_>>(),
    })
}

/// Throughput over batch size, as SVG.
fn picture(title: &str, curve: &Curve, best: usize) -> anyhow::Result<String> {
    let mut svg = String::new();
    let points: Vec<(u32, f64)> = curve
        .points()
        .iter()
        .map(|point| {
            (
                u32::try_from(point.rows).unwrap_or(u32::MAX),
                point.throughput(),
            )
        })
        .collect();
    let most = points.last().map_or(1, |(rows, _)| *rows);
    {
        let area = SVGBackend::with_string(&mut svg, (800, 480)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(80)
            .build_cartesian_2d((1..most.max(2)).log_scale(), 0.0..highest(curve) * 1.05)?;
        chart
            .configure_mesh()
            .x_desc("rows in a batch")
            .y_desc("rows a second")
            .draw()?;
        chart.draw_series(LineSeries::new(points.iter().copied(), &BLUE))?;
        chart.draw_series(points.iter().map(|(rows, throughput)| {
            let color = if usize::try_from(*rows) == Ok(best) {
                RED
            } else {
                BLUE
            };
            Circle::new((*rows, *throughput), 4, color.filled())
        }))?;
        area.present()?;
    }
    Ok(svg)
}
