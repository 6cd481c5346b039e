//! A run as a page.

use maud::{Markup, html};
use sfn_builder::StateMachine;

use super::{
    MOST_SHOWN, Words, attribution, data_section, digests, document, figure, folded_rows, image,
    machine_section, moment, pairs, per_cent, pictures_section, place, program, rows_table, shown,
};
use crate::Report;
use crate::report::MOST_LISTED;

impl Report {
    /// The report as an HTML document of its own. `machine` is the definition that the execution ran.
    ///
    /// Every value is escaped, and pictures are images, which run nothing; so a hostile name in the data does no harm.
    #[must_use]
    pub fn to_html(&self, machine: &StateMachine) -> String {
        let when = moment(&self.started);
        let words = Words::of(&self.manifest);
        let sides = format!(
            "{}, \"normal\", against {}, \"anomalous\".",
            words.normal,
            // A sample without further outliers is measured with the few.
            if self.evaluation.rows > 0 {
                words.anomalous
            } else {
                "the outliers"
            }
        );
        document(
            &format!("{}: {when}", self.endpoint.name),
            &html! {
                header {
                    p.kind { "IP Insights, a run of the pipeline" }
                    h1 { (self.endpoint.name) }
                    p.when { (when) ", " (place(&self.target, &self.region)) }
                }
                main {
                    (self.summary(&words))
                    (self.scored_section(&words))
                    (machine_section(machine, Some(&self.execution)))
                    (pictures_section(&self.pictures, &sides))
                    (self.held_out_section(&words))
                    (data_section(&self.manifest))
                    (self.training_section())
                    (self.record_section())
                }
                footer { (attribution(&self.manifest)) }
            },
        )
    }

    fn is_own(&self) -> bool {
        self.manifest["kind"] == "rows"
    }

    fn summary(&self, words: &Words) -> Markup {
        let auc = self.evaluation.auc.or(self.held_out.auc_vs_outliers);
        let judged = if self.is_own() {
            "rows to judge flagged"
        } else {
            "outliers flagged"
        };
        let measured = if self.is_own() {
            "rows to measure with flagged"
        } else {
            "further outliers flagged"
        };
        let whence = if self.is_own() {
            words.anomalous
        } else {
            "from the same country"
        };
        html! {
            section aria-labelledby="verdict" {
                h2 #verdict { "What it is worth" }
                p.verdict { (self.verdict) }
                dl.figures {
                    @if let Some(auc) = auc {
                        (figure("AUC", &format!("{auc:.3}"), "0.5 is a coin, 1 is perfect"))
                    }
                    @if self.outliers > 0 {
                        (figure(judged, &format!("{} of {}", self.outliers_flagged, self.outliers), "scores below the threshold"))
                    }
                    @if self.evaluation.rows > 0 {
                        (figure(measured, &format!("{} of {}", self.evaluation.flagged, self.evaluation.rows), whence))
                    }
                    (figure(
                        "held-out rows flagged",
                        &format!("{} of {}", self.held_out.flagged, self.held_out.rows),
                        &format!("false alarms, at most {} by the threshold's making", per_cent(self.threshold.false_positive_rate)),
                    ))
                    @if let Some(control) = &self.control {
                        (figure(
                            "control rows flagged",
                            &format!("{} of {}", control.flagged, control.rows),
                            &format!(
                                "false alarms on rows that set nothing: {} to {} with 95 % confidence",
                                per_cent(control.false_positive_rate.low),
                                per_cent(control.false_positive_rate.high)
                            ),
                        ))
                    }
                    (figure("threshold", &format!("{:.3}", self.threshold.value), "a larger score is more normal"))
                }
            }
        }
    }

    fn scored_section(&self, words: &Words) -> Markup {
        let measured = match words.anomalous.split_at_checked(1) {
            Some((first, rest)) => format!("{}{rest}", first.to_uppercase()),
            None => String::new(),
        };
        html! {
            section aria-labelledby="rows" {
                h2 #rows { "Scored rows" }
                @if self.rows.is_empty() { p { "No rows to judge were given." } }
                @else { (rows_table(if self.is_own() { "Rows to judge" } else { "Outliers" }, &self.rows, MOST_LISTED, words.entity)) }
                (folded_rows(&measured, self.evaluation.rows, &self.evaluation.lowest, words.entity))
                (folded_rows("Held-out rows", self.held_out.rows, &self.held_out.lowest, "entity"))
                @if let Some(control) = &self.control {
                    (folded_rows("Control rows", control.rows, &control.lowest, "entity"))
                }
            }
        }
    }

    fn held_out_section(&self, words: &Words) -> Markup {
        let ends = ["lowest", "5 %", "25 %", "median", "75 %", "95 %", "highest"];
        let entities = &self.held_out.entities;
        let count = self.held_out.entity_count.max(entities.len());
        let more = count - entities.len().min(MOST_SHOWN);
        html! {
            section aria-labelledby="held-out" {
                h2 #held-out { "Held-out rows" }
                p {
                    (words.normal) " that the model was not trained on: " (self.held_out.rows) ". "
                    (self.held_out.negative) " of them score below zero."
                }
                div.wide {
                    table {
                        thead { tr {
                            th scope="col" { "entity" }
                            th.number scope="col" { "rows" }
                            th.number scope="col" { "median score" }
                            th.number scope="col" { "flagged" }
                        } }
                        tbody {
                            @for entity in entities.iter().take(MOST_SHOWN) {
                                tr {
                                    td { (entity.entity) }
                                    td.number { (entity.rows) }
                                    td.number { (format!("{:.3}", entity.median)) }
                                    td.number { (entity.flagged) }
                                }
                            }
                        }
                    }
                    @if more > 0 {
                        p {
                            "And " (more) " more entities"
                            @if self.held_out.entity_count > entities.len() { "; these have the most flagged rows" }
                            "."
                        }
                    }
                    table {
                        thead { tr { @for end in ends { th.number scope="col" { (end) } } } }
                        tbody { tr {
                            @for score in &self.held_out.quantiles { td.number { (format!("{score:.2}")) } }
                        } }
                    }
                }
            }
        }
    }

    fn training_section(&self) -> Markup {
        html! {
            section aria-labelledby="training" {
                h2 #training { "Training" }
                p { "Job " span.code { (self.training.job) } "." }
                @if let Some(picture) = &self.training_picture {
                    div.pictures { figure { (image(&picture.svg, &self.curve_in_words())) } }
                }
                div.pair {
                    (pairs("Hyperparameters", self.training.hyperparameters.iter().map(|(name, value)| (name.clone(), value.clone()))))
                    (pairs("Metrics", self.training.metrics.iter().map(|(name, value)| (name.clone(), value.to_string()))))
                }
            }
        }
    }

    fn curve_in_words(&self) -> String {
        let last = |of: fn(&crate::report::Epoch) -> Option<f64>| {
            let value = self.training.curve.iter().rev().find_map(of);
            value.map_or("not known".to_owned(), |value| format!("{value:.3}"))
        };
        format!(
            "Loss, accuracy and AUC of validation rows over {} epochs; at the end {}, {} and {}.",
            self.training.curve.len(),
            last(|epoch| epoch.loss),
            last(|epoch| epoch.accuracy),
            last(|epoch| epoch.discriminator_auc),
        )
    }

    fn record_section(&self) -> Markup {
        let record = self.record.clone().unwrap_or_default();
        let names = [
            ("rows written by".to_owned(), shown(&self.manifest["written_by"])),
            ("seed".to_owned(), shown(&self.manifest["seed"])),
            ("model".to_owned(), self.training.model_data.clone()),
            ("endpoint configuration".to_owned(), self.endpoint.config.clone()),
            ("state machine".to_owned(), self.execution.state_machine.clone()),
        ];
        let model = record.model_sha256.unwrap_or_else(|| "not known".to_owned());
        let digests = digests(&self.manifest).into_iter();
        html! {
            section aria-labelledby="record" {
                h2 #record { "To do it again" }
                p {
                    @if self.is_own() { "The same rows and hyperparameters give the same model: " }
                    @else { "The same database, seed and hyperparameters give the same rows and the same model: " }
                    span.code { "ipinsights verify report.json" } " runs it again and compares."
                }
                (pairs("Versions and names", program(&record.build).into_iter().chain(names)))
                (pairs("SHA-256", digests.chain([("model.tar.gz".to_owned(), model)])))
            }
        }
    }
}
