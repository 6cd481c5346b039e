//! An evaluation as a page.

use ipinsights::evaluation::PictureError;
use maud::{Markup, html};

use super::{document, figure, folded_rows, pairs, per_cent, pictures_section, program};
use crate::evaluation::EvaluationReport;

impl EvaluationReport {
    /// The report as an HTML document of its own, like that of a run.
    ///
    /// # Errors
    ///
    /// None in practice: its pictures can be drawn.
    pub fn to_html(&self) -> Result<String, PictureError> {
        let pictures = self.figures.pictures()?;
        let figures = &self.figures;
        Ok(document(
            &format!("{}: evaluation", self.record.model.path),
            &html! {
                header {
                    p.kind { "IP Insights, an evaluation" }
                    h1 { (self.record.model.path) }
                    p.when { (figures.normal) " normal rows, " (figures.anomalous) " anomalous" }
                }
                main {
                    (self.worth_section())
                    (self.lines_section())
                    (pictures_section(&pictures, "Normal rows against anomalous ones."))
                    (self.rows_section())
                    (self.record_section())
                }
            },
        ))
    }

    fn worth_section(&self) -> Markup {
        let figures = &self.figures;
        let broken = figures.at_threshold.filter(|at| !at.keeps_promise);
        let interval = figures.auc_interval;
        html! {
            section aria-labelledby="worth" {
                h2 #worth { "What it is worth" }
                p.verdict { (self.verdict) }
                @if let Some(at) = broken {
                    p { "The normal rows here are flagged more often than the calibrated " (per_cent(at.stated_false_positive_rate))
                        " explains: they are not like the held-out ones." }
                }
                dl.figures {
                    (figure("AUC", &format!("{:.4}", figures.auc), &format!("{:.4} to {:.4} with 95 % confidence", interval.low, interval.high)))
                    (figure("average precision", &format!("{:.4}", figures.average_precision), "area under precision and recall"))
                    (figure("calibration error", &format!("{:.4}", figures.reliability.expected_calibration_error), "of the scores as log-odds; 0 is best"))
                }
            }
        }
    }

    fn lines_section(&self) -> Markup {
        let figures = &self.figures;
        let lines = [("score 0".to_owned(), &figures.at_zero)]
            .into_iter()
            .chain(figures.at_threshold.iter().map(|at| {
                let name = format!("calibrated, {}", per_cent(at.stated_false_positive_rate));
                (name, &at.operation)
            }))
            .chain(figures.recall_at.iter().map(|at| {
                let name = format!("best at {}", per_cent(at.false_positive_rate));
                (name, &at.operation)
            }));
        html! {
            section aria-labelledby="lines" {
                h2 #lines { "Where to draw the line" }
                div.wide { table {
                    thead { tr {
                        th scope="col" { "line" }
                        th.number scope="col" { "threshold" }
                        th.number scope="col" { "false positives" }
                        th.number scope="col" { "recall" }
                        th.number scope="col" { "precision" }
                    } }
                    tbody { @for (name, line) in lines { tr {
                        th scope="row" { (name) }
                        td.number { (format!("{:.3}", line.threshold.dot_product())) }
                        td.number { (per_cent(line.false_positive_rate)) }
                        td.number { (per_cent(line.recall)) " (" (per_cent(line.recall_interval.low)) " to " (per_cent(line.recall_interval.high)) ")" }
                        td.number { (line.precision.map_or("–".to_owned(), |p| format!("{p:.4}"))) }
                    } } }
                } }
            }
        }
    }

    fn rows_section(&self) -> Markup {
        let line = match self.figures.at_threshold {
            Some(_) => "the calibrated threshold",
            None => "the best line at 1 % false positives, since the model has no threshold",
        };
        html! {
            section aria-labelledby="rows" {
                h2 #rows { "Scored rows" }
                p { "Judged by " (line) ": scores below " (format!("{:.3}", self.line)) " are anomalous." }
                (folded_rows("Anomalous rows", self.figures.anomalous, &self.lowest.anomalous, "entity"))
                (folded_rows("Normal rows", self.figures.normal, &self.lowest.normal, "entity"))
            }
        }
    }

    fn record_section(&self) -> Markup {
        let record = &self.record;
        let rows = [("normal", &record.normal), ("anomalous", &record.anomalous)];
        let seed = ("seed of the training".to_owned(), record.seed.to_string());
        let digests = std::iter::once((record.model.path.clone(), record.model.sha256.clone()))
            .chain(rows.map(|(_, file)| (file.path.clone(), file.sha256.clone())))
            .chain(
                record
                    .history
                    .iter()
                    .map(|file| (file.path.clone(), file.sha256.clone())),
            );
        html! {
            section aria-labelledby="record" {
                h2 #record { "To do it again" }
                p { span.code { "ipinsights verify report.json" } " evaluates the same files again and compares." }
                div.wide { table {
                    thead { tr {
                        th scope="col" { "rows" }
                        th scope="col" { "file" }
                        th.number scope="col" { "rows" }
                        th.number scope="col" { "of unknown entities" }
                    } }
                    tbody { @for (kind, file) in rows { tr {
                        th scope="row" { (kind) }
                        td.code { (file.path) }
                        td.number { (file.rows) }
                        td.number { (file.unknown_entities) }
                    } } }
                } }
                div.pair {
                    (pairs("Versions", program(&record.build).into_iter().chain([seed])))
                    (pairs("Hyperparameters", record.hyperparameters.iter().map(|(name, value)| (name.clone(), value.clone()))))
                }
                (pairs("SHA-256", digests))
            }
        }
    }
}
