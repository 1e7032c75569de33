//! Plot: rows of a sweep to a picture: one figure over the number of cameras or viewers, a line per server.
//!
//! Belongs here: SVG text. Does not: choosing what is worth showing.
//! The median of the rounds is drawn, least and greatest as a bar. Limits: [`COLOURS`] servers; more share one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::stats::{Spread, number};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 28.0;
const RIGHT: f64 = 120.0;
/// Lines across, without the axis.
const STEPS: u32 = 4;
/// Told apart by readers who do not see colours well (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// What to draw.
#[derive(Debug, clap::Args)]
pub(crate) struct PlotArgs {
    /// Rows, as `--json` wrote them; of several files together.
    #[arg(required = true)]
    rows: Vec<PathBuf>,
    /// The picture to write.
    #[arg(long, value_name = "FILE.svg")]
    out: PathBuf,
    /// The figure, by its name in the rows.
    #[arg(long, default_value = "cpu_s_per_s")]
    figure: String,
    /// What it is drawn over: `cameras` or `viewers`.
    #[arg(long, default_value = "cameras")]
    over: String,
}

/// Draws.
///
/// # Errors
/// When a file is not rows, or none has the figure.
pub(crate) fn run(args: &PlotArgs) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for file in &args.rows {
        let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        rows.extend(serde_json::from_slice::<Vec<Value>>(&text)?);
    }
    let lines = lines(&rows, &args.figure, &args.over);
    ensure!(!lines.is_empty(), "no row has {}", args.figure);
    std::fs::write(&args.out, svg(&lines, &args.figure, &args.over))?;
    Ok(())
}

/// By server, by size.
type Lines = BTreeMap<String, Vec<(f64, Spread)>>;

fn lines(rows: &[Value], figure: &str, over: &str) -> Lines {
    let mut values: BTreeMap<(String, u64), Vec<f64>> = BTreeMap::new();
    for row in rows {
        let (server, size) =
            (row.get("server").and_then(Value::as_str), row.get(over).and_then(Value::as_u64));
        let value = row.get(figure).and_then(Value::as_f64);
        if let (Some(server), Some(size), Some(value)) = (server, size, value) {
            values.entry((server.to_owned(), size)).or_default().push(value);
        }
    }
    let mut lines = Lines::new();
    for ((server, size), values) in values {
        if let Some(spread) = Spread::of(values) {
            let size = number(usize::try_from(size).unwrap_or(usize::MAX));
            lines.entry(server).or_default().push((size, spread));
        }
    }
    lines
}

/// Where values lie in the picture.
#[derive(Debug, Clone, Copy)]
struct Scale {
    x_max: f64,
    y_max: f64,
}

impl Scale {
    fn x(self, value: f64) -> f64 {
        LEFT + value / self.x_max * (WIDTH - LEFT - RIGHT)
    }

    fn y(self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value / self.y_max * (HEIGHT - BOTTOM - TOP)
    }
}

fn svg(lines: &Lines, figure: &str, over: &str) -> String {
    let points = || lines.values().flatten();
    let x_max = points().map(|(size, _)| *size).fold(f64::MIN_POSITIVE, f64::max);
    let y_max = round_up(points().map(|(_, spread)| spread.max).fold(f64::MIN_POSITIVE, f64::max));
    let scale = Scale { x_max, y_max };
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    text += &axes(scale, figure, over);
    for (index, (server, line)) in lines.iter().enumerate() {
        text += &drawn(scale, server, line, COLOURS[index % COLOURS.len()]);
    }
    text + "</svg>\n"
}

/// The least of 1, 2 and 5 times a power of ten that is not below `value`.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= value).unwrap_or(value)
}

fn axes(scale: Scale, figure: &str, over: &str) -> String {
    let mut text = String::new();
    for step in 0..=STEPS {
        let part = f64::from(step) / f64::from(STEPS);
        let (value, size) = (scale.y_max * part, scale.x_max * part);
        let (x, y) = (scale.x(size), scale.y(value));
        text += &format!(
            "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{size:.0}</text>\n",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            HEIGHT - BOTTOM + 16.0,
        );
    }
    text += &format!("<text x=\"{LEFT}\" y=\"16\">{figure}</text>\n");
    text + &format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{over}</text>\n",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 6.0
    )
}

fn drawn(scale: Scale, server: &str, line: &[(f64, Spread)], colour: &str) -> String {
    let corners: Vec<String> = line
        .iter()
        .map(|(size, spread)| format!("{:.1},{:.1}", scale.x(*size), scale.y(spread.median)))
        .collect();
    let mut text = format!(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n",
        corners.join(" ")
    );
    for (size, spread) in line {
        let (x, top, bottom) = (scale.x(*size), scale.y(spread.max), scale.y(spread.min));
        text += &format!("<path d=\"M{x:.1} {top:.1}V{bottom:.1}\" stroke=\"{colour}\"/>\n");
        text += &format!(
            "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>\n",
            scale.y(spread.median)
        );
    }
    if let Some((size, spread)) = line.last() {
        let (x, y) = (scale.x(*size) + 8.0, scale.y(spread.median) + 4.0);
        text += &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{server}</text>\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_server_is_a_line_through_the_medians_of_its_rounds() {
        let row = |server: &str, cameras: u32, cpu: f64| json!({"server": server, "cameras": cameras, "cpu_s_per_s": cpu});
        let rows = [row("a", 10, 1.0), row("a", 10, 3.0), row("a", 20, 4.0), row("b", 10, 0.5), json!({})];
        let lines = lines(&rows, "cpu_s_per_s", "cameras");
        let medians: Vec<_> = lines["a"].iter().map(|(size, spread)| (*size, spread.median)).collect();
        assert_eq!(medians, [(10.0, 2.0), (20.0, 4.0)]);
        let text = svg(&lines, "cpu_s_per_s", "cameras");
        assert_eq!(text.matches("<polyline").count(), 2);
        assert_eq!((round_up(4.0), round_up(0.03), round_up(1.0)), (5.0, 0.05, 1.0));
    }
}
