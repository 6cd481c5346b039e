//! A run that failed, as a page.

use maud::{Markup, html};
use sfn_builder::StateMachine;

use super::{
    attribution, data_section, digests, document, figure, machine_section, moment, pairs, place, program,
    shown,
};
use crate::report::FailedRun;

impl FailedRun {
    /// The report as an HTML document of its own. `machine` is the definition that the execution ran, or was to run.
    ///
    /// Every value is escaped, and pictures are images, which run nothing; so a hostile name in the data does no harm.
    #[must_use]
    pub fn to_html(&self, machine: &StateMachine) -> String {
        let when = moment(&self.started);
        document(
            &format!("{}: failed, {when}", self.name),
            &html! {
                header {
                    p.kind { "IP Insights, a run of the pipeline that failed" }
                    h1 { (self.name) }
                    p.when { (when) ", " (place(&self.target, &self.region)) }
                }
                main {
                    (self.failure_section())
                    (machine_section(machine, self.execution.as_ref()))
                    (data_section(&self.manifest))
                    (self.plan_section())
                    (self.record_section())
                }
                footer { (attribution(&self.manifest)) }
            },
        )
    }

    fn failure_section(&self) -> Markup {
        let failure = &self.failure;
        html! {
            section aria-labelledby="failure" {
                h2 #failure { "What went wrong" }
                p.verdict { (failure.message) }
                @for cause in &failure.because { p { "Because: " (cause) } }
                dl.figures {
                    @if let Some(state) = &failure.state { (figure("state", state, "where it failed, or was given up")) }
                    @if let Some(error) = &failure.error { (figure("error", error, "with which the execution ended")) }
                    (figure("after", &format!("{:.1} s", self.seconds), "since the run began"))
                }
                @if let Some(cause) = &failure.cause {
                    h3 { "Cause" }
                    pre.code { (cause) }
                }
            }
        }
    }

    fn plan_section(&self) -> Markup {
        let hyperparameters = self.hyperparameters.iter();
        html! {
            section aria-labelledby="training" {
                h2 #training { "Training" }
                p { "Job " span.code { (self.job) } ", with what it was to get:" }
                (pairs("Hyperparameters", hyperparameters.map(|(name, value)| (name.clone(), value.clone()))))
            }
        }
    }

    fn record_section(&self) -> Markup {
        let names = [
            ("rows written by".to_owned(), shown(&self.manifest["written_by"])),
            ("seed".to_owned(), self.record.seed.to_string()),
        ];
        html! {
            section aria-labelledby="record" {
                h2 #record { "What it was made of" }
                (pairs("Versions", program(&self.record.build).into_iter().chain(names)))
                (pairs("SHA-256", digests(&self.manifest).into_iter()))
            }
        }
    }
}
