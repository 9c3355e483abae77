//! Bars: the median of each row, and a line from the least to the most.

use crate::results::Row;
use crate::shown;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use std::path::Path;

/// A picture of all rows whose figure is one of these.
struct Picture {
    file: &'static str,
    title: &'static str,
    figures: &'static [&'static str],
    /// Values of many sizes.
    logarithmic: bool,
}

const PICTURES: [Picture; 4] = [
    Picture {
        file: "throughput.svg",
        title: "Items a second",
        figures: &["items/s"],
        logarithmic: true,
    },
    Picture {
        file: "latency.svg",
        title: "From when a request was due to its reply, ms",
        figures: &["p50 ms", "p99 ms", "p99.9 ms"],
        logarithmic: true,
    },
    Picture {
        file: "ratios.svg",
        title: "Of what the limit does in the same run",
        figures: &[
            "÷ echo",
            "÷ bare loop",
            "tokens/s ÷ bare loop, sorted",
            "in time ÷ offered",
            "in time ÷ ideal",
            "goodput ÷ capacity",
            "goodput ÷ bare loop",
        ],
        logarithmic: false,
    },
    Picture {
        file: "cpu.svg",
        title: "CPU time of the worker for each item, µs",
        figures: &["worker µs/item"],
        logarithmic: true,
    },
];

const WIDTH: u32 = 960;
const LINE: i32 = 20;
/// Where bars begin and end.
const FROM: i32 = 430;
const TO: i32 = 870;

pub fn draw(folder: &Path, rows: &[&Row]) -> Result<()> {
    for picture in &PICTURES {
        let these: Vec<&Row> = rows
            .iter()
            .copied()
            .filter(|row| picture.figures.contains(&row.figure.as_str()))
            .collect();
        if these.is_empty() {
            continue;
        }
        let file = folder.join(picture.file);
        picture
            .draw(&file, &these)
            .map_err(|error| anyhow!("{}: {error}", file.display()))?;
        println!("drawn: {}", file.display());
    }
    Ok(())
}

impl Picture {
    fn draw(&self, file: &Path, rows: &[&Row]) -> Result<(), Box<dyn std::error::Error + '_>> {
        let height = (rows.len() as u32 + 3) * LINE as u32;
        let file = file.to_owned();
        let area = SVGBackend::new(&file, (WIDTH, height)).into_drawing_area();
        let fault = |error: DrawingAreaErrorKind<_>| error.to_string();
        area.fill(&WHITE).map_err(fault)?;
        let text = |text: &str, at: (i32, i32), size: i32| {
            area.draw(&Text::new(text.to_owned(), at, ("sans-serif", size)))
                .map_err(fault)
        };
        text(self.title, (10, 8), 18)?;
        let least = rows
            .iter()
            .map(|row| row.spread.min)
            .fold(f64::INFINITY, f64::min);
        let most = rows.iter().map(|row| row.spread.max).fold(0.0, f64::max);
        let place = |value: f64| {
            let part = if self.logarithmic {
                let least = (least / 2.0).max(1e-3);
                (value.max(least) / least).ln() / (most / least).ln()
            } else {
                value / most
            };
            FROM + (f64::from(TO - FROM) * part) as i32
        };
        for (line, row) in (2..).zip(rows) {
            let top = line * LINE;
            let label = [&row.model, &row.load, &row.subject]
                .map(String::as_str)
                .join(", ");
            let label = if self.figures.len() > 1 {
                format!("{label}: {}", row.figure)
            } else {
                label
            };
            text(&label, (10, top + 2), 12)?;
            let end = place(row.spread.median);
            let bar = Rectangle::new(
                [(FROM, top + 2), (end, top + LINE - 4)],
                BLUE.mix(0.5).filled(),
            );
            area.draw(&bar).map_err(fault)?;
            let middle = top + LINE / 2 - 1;
            let spread = [
                (place(row.spread.min), middle),
                (place(row.spread.max), middle),
            ];
            area.draw(&PathElement::new(spread, BLACK)).map_err(fault)?;
            text(
                &shown(row.spread.median),
                (spread[1].0.max(end) + 6, top + 2),
                12,
            )?;
        }
        area.present().map_err(fault)?;
        Ok(())
    }
}
