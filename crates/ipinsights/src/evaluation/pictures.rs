//! A report's curves as SVG pictures: readable in light and dark, by themselves and in a page, and with a text for those who
//! do not see them.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::Report;
use crate::curve::{CurvePoint, TrainingCurve};

/// Width and height, in pixels where nobody scales them.
const SIZE: (u32, u32) = (720, 480);

const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
const INK: RGBColor = RGBColor(0x1b, 0x1f, 0x24);
const GRID: RGBColor = RGBColor(0xd8, 0xde, 0xe4);
const MUTED: RGBColor = RGBColor(0x6e, 0x77, 0x81);
/// Blue and orange stay apart for all common kinds of colour blindness.
const NORMAL: RGBColor = RGBColor(0x0b, 0x62, 0xb8);
const ANOMALOUS: RGBColor = RGBColor(0xb5, 0x47, 0x08);

/// What each colour becomes where the reader prefers dark. Viewers without style sheets show the light form.
const DARK: [(RGBColor, &str); 6] = [
    (PAPER, "#14171c"),
    (INK, "#e6edf3"),
    (GRID, "#30363d"),
    (MUTED, "#9198a1"),
    (NORMAL, "#6cb6ff"),
    (ANOMALOUS, "#ffa657"),
];

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// A name for its file, such as `roc.svg`.
    pub name: &'static str,
    /// What it shows, in words, for those who do not see it.
    pub description: String,
    /// An SVG document.
    pub svg: String,
}

/// A picture could not be drawn: a defect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be drawn: {problem}")]
pub struct PictureError {
    /// The picture's file.
    pub name: &'static str,
    /// What the drawing library says.
    pub problem: String,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b, X, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

impl Report {
    /// The report as pictures: ROC curve, recall at small rates of false alarms, precision and recall, scores, reliability
    /// and, where activity is known, recall by activity. The same report gives the same bytes.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn pictures(&self) -> Result<Vec<Picture>, PictureError> {
        let rows = format!("{} normal and {} anomalous rows", self.normal, self.anomalous);
        let recall_1 = self.recall_at.iter().find(|r| r.false_positive_rate == 0.01);
        let recall_1 = recall_1.map_or(String::new(), |r| {
            format!(
                " At 1 % false alarms it finds {:.1} %.",
                r.operation.recall * 100.0
            )
        });
        let mut pictures = vec![
            draw(
                "roc.svg",
                &format!("ROC curve, area {:.4}", self.auc),
                &format!(
                    "Share of anomalous rows found against share of normal rows flagged, over {rows}. The area under the curve is \
                     {:.4} ({:.4} to {:.4} with 95 % confidence); guessing is 0.5.{recall_1}",
                    self.auc, self.auc_interval.low, self.auc_interval.high
                ),
                |area, title| self.draw_roc(area, title),
            )?,
            draw(
                "recall.svg",
                "Recall at small rates of false alarms",
                &format!(
                    "Share of anomalous rows found against share of normal rows flagged, on a logarithmic scale, over {rows}.{recall_1}"
                ),
                |area, title| self.draw_recall(area, title),
            )?,
            draw(
                "precision-recall.svg",
                &format!(
                    "Precision and recall, average precision {:.4}",
                    self.average_precision
                ),
                &format!(
                    "Share of flagged rows that are anomalous against share of anomalous rows found, over {rows}. Average precision \
                     is {:.4}; guessing is {:.4}.",
                    self.average_precision,
                    self.base_rate()
                ),
                |area, title| self.draw_precision(area, title),
            )?,
            draw(
                "scores.svg",
                "Scores of normal and anomalous rows",
                &format!(
                    "Two histograms of scores between {:.1} and {:.1}, over {rows}; a larger score is more normal.",
                    self.normal_scores.low, self.normal_scores.high
                ),
                |area, title| self.draw_scores(area, title),
            )?,
            draw(
                "reliability.svg",
                &format!(
                    "Reliability, expected calibration error {:.4}",
                    self.reliability.expected_calibration_error
                ),
                "Share of rows that are normal against the probability that their scores give, in bins of a tenth; on the diagonal \
                 both are the same.",
                |area, title| self.draw_reliability(area, title),
            )?,
        ];
        if !self.activity.is_empty() {
            let list: Vec<String> = self
                .activity
                .iter()
                .filter_map(|g| {
                    Some(format!(
                        "{:.1} % at {} to {} rows",
                        g.recall? * 100.0,
                        g.from,
                        g.to
                    ))
                })
                .collect();
            pictures.push(draw(
                "activity.svg",
                "Recall and false alarms by activity of the entity",
                &format!(
                    "Shares flagged by number of training rows of the entity. Recall: {}.",
                    list.join(", ")
                ),
                |area, title| self.draw_activity(area, title),
            )?);
        }
        Ok(pictures)
    }

    fn base_rate(&self) -> f64 {
        self.anomalous as f64 / (self.normal + self.anomalous) as f64
    }

    fn draw_roc(&self, area: &Area<'_>, title: &str) -> Drawn {
        let mut chart = chart(area, title, 0.0..1.0, 0.0..1.0)?;
        axes(&mut chart, "false-positive rate", "recall", &percent, &percent)?;
        chart.draw_series(DashedLineSeries::new(
            [(0.0, 0.0), (1.0, 1.0)],
            4,
            4,
            MUTED.stroke_width(1),
        ))?;
        let points = self.roc.iter().map(|p| (p.false_positive_rate, p.recall));
        chart.draw_series(LineSeries::new(points, NORMAL.stroke_width(2)))?;
        self.mark_threshold(&mut chart, 0.0)
    }

    fn draw_recall(&self, area: &Area<'_>, title: &str) -> Drawn {
        const LEAST: f64 = 0.0005;
        let mut chart = chart(area, title, (LEAST..1.0).log_scale(), 0.0..1.0)?;
        axes(
            &mut chart,
            "false-positive rate, logarithmic",
            "recall",
            &percent,
            &percent,
        )?;
        let guessing = (0..=60).map(|i| 10_f64.powf(f64::from(i) / 60.0 * LEAST.log10()));
        chart.draw_series(LineSeries::new(guessing.map(|x| (x, x)), MUTED.stroke_width(1)))?;
        // The curve begins at the left edge with what is found there.
        let start = self
            .roc
            .iter()
            .take_while(|p| p.false_positive_rate <= LEAST)
            .last();
        let start = start.map(|p| (LEAST, p.recall));
        let rest = self
            .roc
            .iter()
            .map(|p| (p.false_positive_rate, p.recall))
            .filter(|p| p.0 > LEAST);
        chart.draw_series(LineSeries::new(
            start.into_iter().chain(rest),
            NORMAL.stroke_width(2),
        ))?;
        self.mark_threshold(&mut chart, LEAST)
    }

    /// A dot where the calibrated threshold is, with its name.
    fn mark_threshold<'a, X>(
        &self,
        chart: &mut ChartContext<'_, SVGBackend<'a>, Cartesian2d<X, plotters::coord::types::RangedCoordf64>>,
        least: f64,
    ) -> Drawn
    where
        X: Ranged<ValueType = f64>,
    {
        let Some(at) = &self.at_threshold else {
            return Ok(());
        };
        let place = (at.operation.false_positive_rate.max(least), at.operation.recall);
        chart.draw_series([Circle::new(place, 5, ANOMALOUS.filled())])?;
        let text = format!("threshold {:.2}", at.operation.threshold.dot_product());
        // Below the curve, where there is room.
        let style = ("sans-serif", 14).into_font().color(&ANOMALOUS);
        chart.draw_series([EmptyElement::at(place) + Text::new(text, (9, 6), style)])?;
        Ok(())
    }

    fn draw_precision(&self, area: &Area<'_>, title: &str) -> Drawn {
        let mut chart = chart(area, title, 0.0..1.0, 0.0..1.0)?;
        axes(&mut chart, "recall", "precision", &percent, &percent)?;
        let base = self.base_rate();
        chart.draw_series(DashedLineSeries::new(
            [(0.0, base), (1.0, base)],
            4,
            4,
            MUTED.stroke_width(1),
        ))?;
        let points = self.precision_recall.iter().map(|p| (p.recall, p.precision));
        chart.draw_series(LineSeries::new(points, NORMAL.stroke_width(2)))?;
        Ok(())
    }

    fn draw_scores(&self, area: &Area<'_>, title: &str) -> Drawn {
        let (low, high) = (
            f64::from(self.normal_scores.low),
            f64::from(self.normal_scores.high),
        );
        // All scores the same: some room on both sides.
        let (low, high) = if low < high {
            (low, high)
        } else {
            (low - 1.0, high + 1.0)
        };
        let sides = [
            ("normal", &self.normal_scores, self.normal, NORMAL),
            ("anomalous", &self.anomalous_scores, self.anomalous, ANOMALOUS),
        ];
        let share = |count: usize, rows: usize| count as f64 / rows as f64;
        let top = sides
            .iter()
            .flat_map(|(_, histogram, rows, _)| histogram.counts.iter().map(|c| share(*c, *rows)))
            .fold(0.0, f64::max);
        let mut chart = chart(area, title, low..high, 0.0..(top * 1.08).max(1e-9))?;
        axes(
            &mut chart,
            "score (larger is more normal)",
            "share of rows",
            &plain,
            &percent,
        )?;
        for (name, histogram, rows, colour) in sides {
            let width = (high - low) / histogram.counts.len() as f64;
            let steps: Vec<(f64, f64)> = histogram
                .counts
                .iter()
                .enumerate()
                .flat_map(|(bin, count)| {
                    let y = share(*count, rows);
                    [(low + bin as f64 * width, y), (low + (bin + 1) as f64 * width, y)]
                })
                .collect();
            let area = AreaSeries::new(steps, 0.0, colour.mix(0.25)).border_style(colour.stroke_width(2));
            chart.draw_series(area)?.label(name).legend(key(colour));
        }
        if let Some(at) = &self.at_threshold {
            let x = f64::from(at.operation.threshold.dot_product());
            let line = [(x, 0.0), (x, top * 1.08)];
            chart
                .draw_series(DashedLineSeries::new(line, 6, 4, INK.stroke_width(1)))?
                .label("threshold")
                .legend(key(INK));
        }
        legend(&mut chart, SeriesLabelPosition::UpperLeft)
    }

    fn draw_reliability(&self, area: &Area<'_>, title: &str) -> Drawn {
        let mut chart = chart(area, title, 0.0..1.0, 0.0..1.0)?;
        axes(
            &mut chart,
            "probability of \"normal\" by the score",
            "share",
            &percent,
            &percent,
        )?;
        let bins = &self.reliability.bins;
        let weights = bins
            .iter()
            .map(|bin| Rectangle::new([(bin.from, 0.0), (bin.to, bin.weight)], GRID.filled()));
        chart
            .draw_series(weights)?
            .label("rows in the bin")
            .legend(key(GRID));
        chart
            .draw_series(DashedLineSeries::new(
                [(0.0, 0.0), (1.0, 1.0)],
                4,
                4,
                MUTED.stroke_width(1),
            ))?
            .label("as it should be")
            .legend(key(MUTED));
        let points: Vec<(f64, f64)> = bins.iter().map(|bin| (bin.probability, bin.share)).collect();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), NORMAL.stroke_width(2)))?
            .label("share that is normal")
            .legend(key(NORMAL));
        chart.draw_series(points.into_iter().map(|p| Circle::new(p, 4, NORMAL.filled())))?;
        legend(&mut chart, SeriesLabelPosition::LowerRight)
    }

    fn draw_activity(&self, area: &Area<'_>, title: &str) -> Drawn {
        let groups = &self.activity;
        let mut chart = chart(area, title, 0.0..groups.len() as f64, 0.0..1.0)?;
        // Labels come at the middle of each group.
        let name = |x: &f64| {
            let middle = (x.fract() - 0.5).abs() < 1e-6;
            match groups.get(*x as usize) {
                Some(group) if middle && group.from == group.to => group.from.to_string(),
                Some(group) if middle => format!("{}–{}", group.from, group.to),
                _ => String::new(),
            }
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .x_labels(2 * groups.len() + 1)
            .x_label_formatter(&name)
            .y_label_formatter(&percent)
            .label_style(("sans-serif", 14).into_font().color(&INK))
            .x_desc("training rows of the entity")
            .y_desc("share flagged")
            .draw()?;
        for (label, colour, left, share) in [
            (
                "recall",
                ANOMALOUS,
                0.15,
                groups.iter().map(|g| g.recall).collect::<Vec<_>>(),
            ),
            (
                "false positives",
                NORMAL,
                0.5,
                groups.iter().map(|g| g.false_positive_rate).collect(),
            ),
        ] {
            let bars = (0..).zip(share).filter_map(|(place, share)| {
                let x = f64::from(place) + left;
                Some(Rectangle::new([(x, 0.0), (x + 0.35, share?)], colour.filled()))
            });
            chart.draw_series(bars)?.label(label).legend(key(colour));
        }
        legend(&mut chart, SeriesLabelPosition::UpperLeft)
    }
}

impl TrainingCurve {
    /// Loss, accuracy and the AUC of validation rows by epoch, as a picture; `None` without an epoch.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn picture(&self) -> Result<Option<Picture>, PictureError> {
        let points = self.points();
        let Some(last) = points.last() else {
            return Ok(None);
        };
        let said = |name: &str, value: Option<f64>| value.map(|value| format!("{name} {value:.3}"));
        let figures: Vec<String> = [
            said("loss", last.loss),
            said("accuracy", last.accuracy),
            said("AUC of validation rows", last.discriminator_auc),
        ]
        .into_iter()
        .flatten()
        .collect();
        let description = format!(
            "Loss, accuracy and the AUC of validation rows, by epoch. After epoch {}: {}.",
            last.epoch + 1,
            figures.join(", ")
        );
        draw("training.svg", "Training", &description, |area, title| {
            draw_training(&points, area, title)
        })
        .map(Some)
    }
}

fn draw_training(points: &[CurvePoint], area: &Area<'_>, title: &str) -> Drawn {
    let series = [
        (
            "AUC of validation rows",
            NORMAL,
            points.iter().map(|p| p.discriminator_auc).collect::<Vec<_>>(),
        ),
        ("accuracy", MUTED, points.iter().map(|p| p.accuracy).collect()),
        ("loss", ANOMALOUS, points.iter().map(|p| p.loss).collect()),
    ];
    let values = series.iter().flat_map(|(_, _, values)| values.iter().flatten());
    let top = values
        .copied()
        .filter(|value| value.is_finite())
        .fold(1.0, f64::max);
    let epochs = points.iter().map(|p| f64::from(p.epoch) + 1.0);
    let last = epochs.clone().fold(1.0, f64::max);
    let mut chart = chart(area, title, 0.0..last, 0.0..top)?;
    axes(&mut chart, "epochs", "", &plain, &plain)?;
    for (name, colour, values) in series {
        let line: Vec<(f64, f64)> = epochs
            .clone()
            .zip(values)
            .filter_map(|(epoch, value)| Some((epoch, value.filter(|value| value.is_finite())?)))
            .collect();
        if line.is_empty() {
            continue;
        }
        chart
            .draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(2)))?
            .label(name)
            .legend(key(colour));
        // One epoch is no line.
        let dots = line.into_iter().filter(|_| points.len() <= 30);
        chart.draw_series(dots.map(|p| Circle::new(p, 3, colour.filled())))?;
    }
    legend(&mut chart, SeriesLabelPosition::LowerLeft)
}

const TRANSPARENT: RGBAColor = RGBAColor(0, 0, 0, 0.0);

fn percent(share: &f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn plain(number: &f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn chart<'a, 'b, X, Y>(
    area: &'b Area<'a>,
    title: &str,
    x: X,
    y: Y,
) -> Result<Chart<'b, 'a, X::CoordDescType, Y::CoordDescType>, Box<dyn std::error::Error>>
where
    X: AsRangedCoord,
    Y: AsRangedCoord,
    'a: 'b,
{
    let chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20).into_font().color(&INK))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(x, y);
    chart.map_err(|error| error.to_string().into())
}

fn axes<X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    x: &str,
    y: &str,
    x_label: &dyn Fn(&f64) -> String,
    y_label: &dyn Fn(&f64) -> String,
) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let drawn = chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(("sans-serif", 14).into_font().color(&INK))
        .x_label_formatter(x_label)
        .y_label_formatter(y_label)
        .x_desc(x)
        .y_desc(y)
        .draw();
    drawn.map_err(|error| error.to_string().into())
}

fn key<'a>(colour: RGBColor) -> impl Fn((i32, i32)) -> Rectangle<(i32, i32)> + 'a {
    move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled())
}

fn legend<'a, 'b: 'a, X: Ranged<ValueType = f64>, Y: Ranged<ValueType = f64>>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>,
    position: SeriesLabelPosition,
) -> Drawn {
    let drawn = chart
        .configure_series_labels()
        .position(position)
        .margin(10)
        .background_style(PAPER.mix(0.85))
        .border_style(GRID)
        .label_font(("sans-serif", 14).into_font().color(&INK))
        .draw();
    drawn.map_err(|error| error.to_string().into())
}

/// Draws, and adds what the library cannot write: a title, a description, and the colours of the dark form.
fn draw(
    name: &'static str,
    title: &str,
    description: &str,
    content: impl FnOnce(&Area<'_>, &str) -> Drawn,
) -> Result<Picture, PictureError> {
    let mut svg = String::new();
    let drawn = (|| -> Drawn {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&PAPER).map_err(|error| error.to_string())?;
        content(&area, title)?;
        area.present().map_err(|error| error.to_string())?;
        Ok(())
    })();
    drawn.map_err(|error| PictureError {
        name,
        problem: error.to_string(),
    })?;
    let Some((head, body)) = svg.split_once('>') else {
        return Err(PictureError {
            name,
            problem: "it has no element".to_owned(),
        });
    };
    let mut dark = String::new();
    for (light, colour) in DARK {
        let RGBColor(r, g, b) = light;
        let hex = format!("#{r:02X}{g:02X}{b:02X}");
        for property in ["fill", "stroke"] {
            dark += &format!("[{property}=\"{hex}\"]{{{property}:{colour}}}");
        }
    }
    let id = name.trim_end_matches(".svg");
    let svg = format!(
        "{head} role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n<title id=\"{id}-title\">{}</title>\n<desc \
         id=\"{id}-desc\">{}</desc>\n<style>@media (prefers-color-scheme:dark){{{dark}}}</style>{body}",
        escaped(title),
        escaped(description)
    );
    Ok(Picture {
        name,
        description: description.to_owned(),
        svg,
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use crate::curve::TrainingCurve;
    use crate::evaluation::Evaluation;
    use crate::{Score, Threshold};

    #[test]
    fn pictures_have_titles_descriptions_and_a_dark_form() {
        let spread = |from: f32| -> Vec<Score> {
            (0..200_u8)
                .map(|i| Score::new(from + f32::from(i) / 20.0))
                .collect()
        };
        let (normal, anomalous) = (spread(-2.0), spread(-8.0));
        let threshold = Threshold::calibrate(&normal, 0.05).unwrap();
        let activity: Vec<u64> = (0..200).collect();
        let report = Evaluation::new(&normal, &anomalous)
            .threshold(&threshold)
            .activity(&activity, &activity)
            .report()
            .unwrap();
        let pictures = report.pictures().unwrap();
        let names: Vec<&str> = pictures.iter().map(|p| p.name).collect();
        let want = [
            "roc.svg",
            "recall.svg",
            "precision-recall.svg",
            "scores.svg",
            "reliability.svg",
            "activity.svg",
        ];
        assert_eq!(names, want);
        for picture in &pictures {
            let svg = &picture.svg;
            for part in [
                "role=\"img\"",
                "<title id=",
                "<desc id=",
                "prefers-color-scheme:dark",
                "<polyline",
                "viewBox",
            ] {
                // Bars alone have no line.
                assert!(
                    svg.contains(part) || part == "<polyline" && svg.contains("<rect"),
                    "{part} in {}",
                    picture.name
                );
            }
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", picture.name);
            // Every colour there is has its dark form.
            for colour in svg.split("fill=\"#").skip(1).map(|rest| &rest[..6]) {
                assert!(
                    svg.contains(&format!("[fill=\"#{colour}\"]{{")),
                    "{colour} in {}",
                    picture.name
                );
            }
        }
        assert_eq!(report.pictures().unwrap(), pictures);
    }

    #[test]
    fn scores_that_are_all_the_same_can_be_drawn() {
        let same = [Score::new(1.0); 3];
        let report = Evaluation::new(&same, &same).report().unwrap();
        assert_eq!(report.pictures().unwrap().len(), 5);
    }

    #[test]
    fn a_training_is_drawn_from_what_its_log_says() {
        let mut curve = TrainingCurve::default();
        assert_eq!(curve.picture(), Ok(None));
        for (epoch, loss) in [(0, 1.5), (1, 0.25), (2, f64::NAN)] {
            let host = format!("#quality_metric: host=algo-1, epoch={epoch}");
            curve.read_line(&format!(
                "{host}, train binary_classification_cross_entropy <loss>={loss}"
            ));
            curve.read_line(&format!("{host}, validation discriminator_auc <score>=0.9"));
        }
        let picture = curve.picture().unwrap().unwrap();
        assert_eq!(picture.name, "training.svg");
        assert!(
            picture
                .svg
                .contains("After epoch 3: loss NaN, AUC of validation rows 0.900.")
        );
        assert!(picture.svg.contains("prefers-color-scheme:dark"));
        assert!(!picture.svg.contains(">accuracy<"), "nothing is known of it");
    }
}
