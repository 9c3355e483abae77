//! What the product is held to, as a Markdown table for the README.

use crate::Section;
use crate::results::Row;
use crate::shown;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

/// A figure of one section, and what it is to be.
struct Bar {
    section: &'static str,
    /// How the row's model, load, figure and subject begin.
    model: &'static str,
    load: &'static str,
    figure: &'static str,
    subject: &'static str,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// To be known only.
    None,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::AtLeast(bound) => write!(f, "≥ {bound}"),
            Bound::AtMost(bound) => write!(f, "≤ {bound}"),
            Bound::None => Ok(()),
        }
    }
}

const fn bar(
    section: &'static str,
    (model, load, figure): (&'static str, &'static str, &'static str),
    bound: Bound,
) -> Bar {
    Bar {
        section,
        model,
        load,
        figure,
        subject: "",
        bound,
    }
}

/// Of inferq beside what people write without it.
const fn beside(subject: &'static str, bound: f64) -> Bar {
    let of = ("no-op", "backlog, beside peers", "inferq ÷ it");
    Bar {
        subject,
        ..bar("peers", of, Bound::AtLeast(bound))
    }
}

const BARS: [Bar; 20] = [
    bar(
        "round_trips",
        ("no-op", "backlog", "÷ echo"),
        Bound::AtLeast(0.9),
    ),
    bar(
        "round_trips",
        ("no-op", "backlog", "worker µs ÷ echo's"),
        Bound::AtMost(1.5),
    ),
    bar("apart", ("no-op", "backlog", "÷ echo"), Bound::None),
    beside("pika", 2.5),
    beside("aio_pika", 2.5),
    beside("faststream", 10.0),
    beside("celery", 10.0),
    bar(
        "device",
        ("conv", "backlog", "÷ bare loop"),
        Bound::AtLeast(0.95),
    ),
    bar(
        "device",
        ("forest", "backlog", "÷ bare loop"),
        Bound::AtLeast(0.9),
    ),
    bar("device", ("", "backlog", "tokens/s ÷"), Bound::AtLeast(0.9)),
    bar("device", ("", "backlog", "padded ÷"), Bound::AtMost(1.15)),
    bar(
        "device",
        ("", "backlog", "most batches"),
        Bound::AtMost(2.0),
    ),
    bar(
        "device",
        ("", "poisson-90", "in time ÷ ideal"),
        Bound::AtLeast(0.95),
    ),
    bar(
        "device",
        ("", "poisson-90", "in time ÷ accepted"),
        Bound::AtLeast(0.99),
    ),
    bar("device", ("", "overload", "goodput ÷"), Bound::AtLeast(0.9)),
    bar(
        "device",
        ("", "100/s beside", "p99 ÷ (heavy batch +"),
        Bound::AtMost(1.0),
    ),
    bar(
        "light_load",
        ("", "poisson-10", "p50 ms, in the worker"),
        Bound::AtMost(0.3),
    ),
    bar(
        "light_load",
        ("", "poisson-10", "p99 ms, in the worker"),
        Bound::AtMost(2.0),
    ),
    bar(
        "served",
        ("", "backlog, a second worker joins", "the second's share"),
        Bound::AtLeast(0.4),
    ),
    bar("backlog", ("", "", "peak MiB"), Bound::None),
];

impl Bar {
    fn is_of(&self, row: &Row) -> bool {
        row.model.starts_with(self.model)
            && row.load.starts_with(self.load)
            && row.figure.starts_with(self.figure)
            && row.subject.starts_with(self.subject)
    }
}

/// Prints the table, and writes it to figures.md.
pub fn write(folder: &Path, sections: &BTreeMap<String, Section>) -> Result<()> {
    let mut table = "| figure | of | bar | median | least to most | measured | commit | machine |\n| --- | --- | --- | ---: | ---: | --- | --- | --- |\n".to_owned();
    for bar in &BARS {
        let section = sections.get(bar.section);
        let rows = section.iter().flat_map(|section| &section.rows);
        let rows: Vec<&Row> = rows.filter(|row| bar.is_of(row)).collect();
        let (Some(Section { machine, .. }), false) = (section, rows.is_empty()) else {
            let Bar {
                figure,
                load,
                bound,
                ..
            } = bar;
            writeln!(
                table,
                "| {figure} … | {load} | {bound} | not measured | | | | |"
            )?;
            continue;
        };
        let told = |key: &str| {
            let told = machine[key].as_str().map(str::to_owned);
            told.unwrap_or_else(|| machine[key].to_string())
        };
        for row in rows {
            let Row {
                model,
                load,
                subject,
                figure,
                spread,
            } = row;
            writeln!(
                table,
                "| {figure} | {model}, {load}: {subject} | {} | {} | {} to {} | {} | {} | {}, {} cores |",
                bar.bound,
                shown(spread.median),
                shown(spread.min),
                shown(spread.max),
                told("at"),
                told("commit"),
                told("cpu"),
                told("cores"),
            )?;
        }
    }
    println!("{table}");
    let file = folder.join("figures.md");
    fs::write(&file, table).with_context(|| file.display().to_string())?;
    println!("written to {}", file.display());
    Ok(())
}
