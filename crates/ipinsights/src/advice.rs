//! Hyperparameters by the size of the data, with the reasons.

use serde::Serialize;

use crate::hyperparameters::{Draft, Hyperparameters, InvalidHyperparameters};
use crate::instance::{Instance, SERVICE_MODEL_LIMIT, advised_instance, entity_table_bytes};

/// What [`Hyperparameters::advise`] says for some rows, and why.
///
/// ```
/// use ipinsights::Advice;
///
/// let advice = Advice::for_rows(250, 5)?;
/// // The documented defaults put all rows into one mini-batch.
/// assert_eq!(advice.documented_steps, 10);
/// assert!(advice.steps > 10 * advice.documented_steps);
/// # Ok::<(), ipinsights::InvalidHyperparameters>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Advice {
    /// Training rows, repetitions counted.
    pub rows: u64,
    /// Distinct entities.
    pub entities: u64,
    /// All ten values, in the order of the documentation.
    pub values: Vec<AdvisedValue>,
    /// Steps of the optimiser in the whole training: mini-batches times epochs.
    pub steps: u64,
    /// As many with the documented defaults.
    pub documented_steps: u64,
    /// The instance the documentation advises to train a model of this size on, where it advises one.
    pub instance: Option<Instance>,
    /// Whether the entity table alone is larger than the service lets a model be.
    pub beyond_service: bool,
    #[serde(skip)]
    checked: Hyperparameters,
}

/// One hyperparameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AdvisedValue {
    /// The documented name.
    pub name: &'static str,
    /// As SageMaker's map of hyperparameters holds it.
    pub value: String,
    /// The documented default, where there is one.
    pub default: Option<String>,
    /// Why this value; none where it is the default.
    pub reason: Option<String>,
}

impl Advice {
    /// For so many training rows of so many distinct entities.
    ///
    /// # Errors
    ///
    /// None for any data that there is: the advice lies in the valid ranges.
    pub fn for_rows(rows: u64, entities: u64) -> Result<Self, InvalidHyperparameters> {
        let checked = Hyperparameters::advise(rows, entities).check()?;
        let documented = Hyperparameters::draft(checked.num_entity_vectors())
            .vector_dim(128)
            .check()?;
        let steps = steps(&checked, rows);
        let documented_steps = self::steps(&documented, rows);
        let (defaults, map) = (documented.to_map(), checked.to_map());
        let values = Draft::names()
            .map(|name| {
                let value = map.get(name).cloned().unwrap_or_default();
                // The documentation asks for these two.
                let required = matches!(name, "num_entity_vectors" | "vector_dim");
                let default = defaults.get(name).filter(|_| !required).cloned();
                let reason = (default.as_ref() != Some(&value))
                    .then(|| reason(name, &checked, rows, entities, [steps, documented_steps]));
                AdvisedValue {
                    name,
                    value,
                    default,
                    reason,
                }
            })
            .collect();
        let (dim, vectors) = (checked.vector_dim(), checked.num_entity_vectors());
        Ok(Self {
            rows,
            entities,
            values,
            steps,
            documented_steps,
            instance: advised_instance(dim, vectors),
            beyond_service: entity_table_bytes(dim, vectors) > SERVICE_MODEL_LIMIT,
            checked,
        })
    }

    /// The values, for training.
    pub fn hyperparameters(&self) -> &Hyperparameters {
        &self.checked
    }
}

/// Mini-batches in all: observed rows and their negatives fill them.
fn steps(params: &Hyperparameters, rows: u64) -> u64 {
    samples(params, rows)
        .div_ceil(u64::from(params.mini_batch_size()))
        .saturating_mul(u64::from(params.epochs()))
}

fn samples(params: &Hyperparameters, rows: u64) -> u64 {
    let negatives = params.random_negative_sampling_rate() + params.shuffled_negative_sampling_rate();
    rows.saturating_mul(u64::from(1 + negatives))
}

fn reason(
    name: &str,
    params: &Hyperparameters,
    rows: u64,
    entities: u64,
    [steps, documented]: [u64; 2],
) -> String {
    match name {
        "num_entity_vectors" if params.num_entity_vectors() == entities.saturating_mul(2) => {
            "twice the distinct entities, so that few share a vector".to_owned()
        }
        "num_entity_vectors" => format!(
            "more than twice the {entities} distinct entities, so that few share a vector; spare ones cost nothing"
        ),
        "vector_dim" => "what the documentation uses; the optimum is flat around it".to_owned(),
        "epochs" | "mini_batch_size" => format!(
            "{steps} steps of the optimiser in all, where the documented defaults have {documented} on {rows} rows"
        ),
        "learning_rate" => "measured together with mini-batches and epochs of this size".to_owned(),
        "num_ip_encoder_layers" => {
            "few entities and few rows: what a network says goes straight into the vector".to_owned()
        }
        _ => "measured on data of this size".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_advice_with_reasons() {
        for rows in [0, 1, 250, 5_000, 1_000_000, u64::MAX] {
            for entities in [0, 1, 5, 10_000, u64::MAX] {
                let advice = Advice::for_rows(rows, entities).unwrap();
                assert_eq!(advice.values.len(), 10);
                for value in &advice.values {
                    let is_default = value.default.as_ref() == Some(&value.value);
                    assert_eq!(value.reason.is_none(), is_default, "{value:?}");
                }
                assert_eq!(
                    Hyperparameters::advise(rows, entities).check().unwrap(),
                    *advice.hyperparameters()
                );
            }
        }
    }

    /// 250 rows and their two negatives each are 750 samples: one mini-batch of 10,000, ten epochs.
    #[test]
    fn steps_count_negatives() {
        let params = Hyperparameters::draft(10)
            .mini_batch_size(100)
            .epochs(3)
            .check()
            .unwrap();
        assert_eq!(steps(&params, 250), 24);
        assert_eq!(Advice::for_rows(250, 5).unwrap().documented_steps, 10);
    }

    #[test]
    fn models_beyond_the_services_limit_are_told() {
        let advice = Advice::for_rows(1_000_000, 9_000_000).unwrap();
        assert!(advice.beyond_service && advice.instance.is_none(), "{advice:?}");
        assert!(!Advice::for_rows(1_000_000, 10_000).unwrap().beyond_service);
    }
}
