//! A run as one HTML file that needs nothing else: a lane for each machine, time downwards, an arrow for each message.

use std::fmt::{self, Display, Write};

use super::{
    report::Report,
    timeline::{Entry, Kind, Timeline},
};

/// The widths and heights of the drawing, in its own units.
const LANE: usize = 190;
const LEFT: usize = 90;
const ROW: usize = 20;
const TOP: usize = 50;
/// As much as a browser draws without delay; the last ones are those that matter.
const ROWS: usize = 4_000;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --line: #c9d1dc; --quiet: #66707f; --fault: #b4540a; --wrong: #c01530; --arrow: #2159b8 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --paper: #14181f; --line: #39424f; --quiet: #97a2b2; --fault: #f0a050; --wrong: #ff6b7f; --arrow: #7aa8f5 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem }
h1 { font-size: 1.4rem } .wrong { color: var(--wrong); font-weight: 600 } .quiet { color: var(--quiet) }
.drawing { overflow-x: auto } svg text { font: 12px system-ui, sans-serif; fill: var(--ink) }
svg .name { font-weight: 600 } svg .time { fill: var(--quiet); font-variant-numeric: tabular-nums } svg .lane { stroke: var(--line) }
svg .arrow { stroke: var(--arrow); fill: none; marker-end: url(#head) } svg #head path { fill: var(--arrow) }
svg .fault { fill: var(--fault) } svg .faultline { stroke: var(--fault); stroke-dasharray: 4 3 } svg .warned { fill: var(--fault) } svg .said { fill: var(--quiet) }
svg .violation { fill: var(--wrong); font-weight: 600 } svg .violationline { stroke: var(--wrong); stroke-width: 2 }
svg .tag { fill: var(--paper); opacity: .85 }
";

/// The page of a run.
pub struct Page<'a> {
    report: &'a Report,
    timeline: Timeline,
    lanes: Vec<String>,
}

impl<'a> Page<'a> {
    /// Draws what `report` found; the last entries of its timeline, if it has more than can be drawn.
    pub fn of(report: &'a Report) -> Self {
        let timeline = report.timeline.clone().unwrap_or_default().last(ROWS);
        let mut lanes: Vec<String> = Vec::new();
        let mut add = |name: &str| {
            if !lanes.iter().any(|lane| lane == name) {
                lanes.push(name.to_owned());
            }
        };
        [super::USERS, super::GATEWAY]
            .into_iter()
            .for_each(&mut add);
        for entry in timeline.entries() {
            if let Some(machine) = &entry.machine {
                add(machine);
            }
            if let Kind::Message(to) = &entry.kind {
                add(to);
            }
        }
        Self {
            report,
            timeline,
            lanes,
        }
    }

    fn x(&self, machine: &str) -> usize {
        let lane = self.lanes.iter().position(|lane| lane == machine);
        LEFT + LANE / 2 + lane.unwrap_or_default() * LANE
    }

    fn width(&self) -> usize {
        LEFT + self.lanes.len() * LANE
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, bottom) = (self.width(), TOP + self.timeline.entries().len() * ROW);
        let height = bottom + ROW;
        writeln!(
            f,
            "<div class=\"drawing\"><svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" role=\"img\">\
             <title>What happened, by time</title><defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" \
             markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0 L8 4 L0 8 z\"/></marker></defs>"
        )?;
        for lane in &self.lanes {
            let (x, name) = (self.x(lane), Escaped(lane));
            writeln!(
                f,
                "<text class=\"name\" x=\"{x}\" y=\"20\" text-anchor=\"middle\">{name}</text>\
                 <line class=\"lane\" x1=\"{x}\" y1=\"30\" x2=\"{x}\" y2=\"{bottom}\"/>"
            )?;
        }
        for (row, entry) in self.timeline.entries().enumerate() {
            self.draw_entry(f, TOP + row * ROW, entry)?;
        }
        writeln!(f, "</svg></div>")
    }

    fn draw_entry(&self, f: &mut fmt::Formatter<'_>, y: usize, entry: &Entry) -> fmt::Result {
        let (text, base) = (Escaped(&entry.text), y + 4);
        let at = entry.at.as_secs_f64();
        writeln!(
            f,
            "<g><title>{}</title><text class=\"time\" x=\"{}\" y=\"{base}\" text-anchor=\"end\">{at:.3} s</text>",
            Escaped(&entry.to_string()),
            LEFT - 12
        )?;
        let x = entry.machine.as_deref().map(|machine| self.x(machine));
        match (&entry.kind, x) {
            (Kind::Message(to), Some(from)) => {
                let to = self.x(to);
                let (middle, label) = (usize::midpoint(from, to), y - 3);
                writeln!(
                    f,
                    "<path class=\"arrow\" d=\"M{from} {y} H{to}\"/>\
                     <text x=\"{middle}\" y=\"{label}\" text-anchor=\"middle\">{text}</text>"
                )?;
            }
            (Kind::Fault | Kind::Violation, _) | (_, None) => {
                let class = if entry.kind == Kind::Violation {
                    "violation"
                } else {
                    "fault"
                };
                let right = self.width();
                writeln!(
                    f,
                    "<line class=\"{class}line\" x1=\"{LEFT}\" y1=\"{y}\" x2=\"{right}\" y2=\"{y}\"/>\
                     <rect class=\"tag\" x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{ROW}\"/>\
                     <text class=\"{class}\" x=\"{}\" y=\"{base}\">{text}</text>",
                    y - ROW / 2,
                    (entry.text.chars().count() * 7).min(right),
                    LEFT + 4
                )?;
            }
            (kind, Some(x)) => {
                let class = if *kind == Kind::Warned {
                    "warned"
                } else {
                    "said"
                };
                writeln!(
                    f,
                    "<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>\
                     <text class=\"{class}\" x=\"{}\" y=\"{base}\">{text}</text>",
                    x + 8
                )?;
            }
        }
        writeln!(f, "</g>")
    }
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.report.seed;
        writeln!(
            f,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>Seed {seed}</title>\
             <style>{STYLE}</style></head><body>\n<h1>Seed {seed}</h1>"
        )?;
        if self.report.violations.is_empty() {
            writeln!(f, "<p>All invariants hold.</p>")?;
        }
        for violation in &self.report.violations {
            let violation = violation.to_string();
            writeln!(f, "<p class=\"wrong\">{}</p>", Escaped(&violation))?;
        }
        let began = self.report.users_began;
        writeln!(
            f,
            "<h2>What went wrong on purpose</h2>\n<p class=\"quiet\">By the time since the users began, which was after {began:?}.</p>\n<ul>"
        )?;
        for fault in &self.report.schedule.faults {
            writeln!(f, "<li>{}</li>", Escaped(&fault.to_string()))?;
        }
        if let Some(struck) = &self.report.struck {
            writeln!(f, "<li>{}</li>", Escaped(struck))?;
        }
        writeln!(f, "</ul>\n<h2>What happened</h2>")?;
        writeln!(
            f,
            "<p class=\"quiet\">Time in seconds since the machines started, downwards. Point at a line for all of it.</p>"
        )?;
        self.draw(f)?;
        writeln!(f, "</body></html>")
    }
}

/// Text that cannot be taken for markup.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                control if control.is_control() => f.write_char('\u{fffd}')?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
