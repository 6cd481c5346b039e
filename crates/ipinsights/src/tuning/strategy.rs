//! Which point of the space the next trial takes.

use std::f64::consts::{PI, SQRT_2};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::space::Space;

/// The random numbers of one trial: they depend on the seed and its number alone.
fn stream(seed: u64, trial: u32) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(b"tuning\0\0");
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(u64::from(trial));
    rng
}

/// From 0 to below 1, with all 53 bits.
fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Uniform, each range by its scale.
pub(super) fn random(space: &Space, seed: u64, trial: u32) -> Vec<f64> {
    let mut rng = stream(seed, trial);
    (0..space.len()).map(|_| unit(&mut rng)).collect()
}

/// The number of points of a grid; `None` where a range is no list, or the number is beyond 32 bits.
pub(super) fn grid_size(space: &Space) -> Option<u32> {
    (0..space.len()).try_fold(1_u32, |size, dimension| {
        size.checked_mul(u32::try_from(space.choices(dimension)?).ok()?)
    })
}

/// The point of a grid with this number; the last range changes fastest.
pub(super) fn grid(space: &Space, trial: u32) -> Vec<f64> {
    let mut rest = trial as usize;
    let mut point: Vec<f64> = (0..space.len())
        .rev()
        .map(|dimension| {
            let choices = space.choices(dimension).unwrap_or(1).max(1);
            let choice = rest % choices;
            rest /= choices;
            (choice as f64 + 0.5) / choices as f64
        })
        .collect();
    point.reverse();
    point
}

/// What is known of a trial: its point, and its objective; none when it failed or is still running.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation<'a> {
    pub(super) point: &'a [f64],
    pub(super) objective: Option<f64>,
}

/// The tree-structured Parzen estimator: of some points drawn from the density of the good trials, that which is likeliest
/// under it compared with the density of all others.
///
/// Bergstra, Bardenet, Bengio, Kégl: Algorithms for Hyper-Parameter Optimization, 2011, section 4. The dimensions are
/// estimated apart, as there; a quarter of the trials are good. A trial that failed or is running counts among the others,
/// so that no two running ones are alike.
pub(super) fn parzen(space: &Space, seed: u64, trial: u32, known: &[Observation<'_>]) -> Vec<f64> {
    /// As in the authors' own experiments.
    const CANDIDATES: usize = 24;

    let mut known = known.to_vec();
    // Stable: what is equal stays in the order of the trials.
    known.sort_by(|a, b| {
        let [a, b] = [a, b].map(|o| o.objective.unwrap_or(f64::NEG_INFINITY));
        b.total_cmp(&a)
    });
    let scored = known.iter().filter(|o| o.objective.is_some()).count();
    let (good, others) = known.split_at(scored.div_ceil(4));
    let mut rng = stream(seed, trial);
    (0..space.len())
        .map(|dimension| {
            let of = |observations: &[Observation<'_>]| {
                let points = observations
                    .iter()
                    .filter_map(|o| o.point.get(dimension).copied());
                Density::of(points.collect(), space.choices(dimension))
            };
            let (good, others) = (of(good), of(others));
            let mut best = (f64::NEG_INFINITY, 0.0);
            for _ in 0..CANDIDATES {
                let at = good.draw(&mut rng);
                let gain = libm::log(good.at(at)) - libm::log(others.at(at));
                if gain > best.0 {
                    best = (gain, at);
                }
            }
            best.1
        })
        .collect()
}

/// A density over 0 to 1, estimated from points in it, with one uniform point more as the prior.
enum Density {
    /// Weights of the values of a list; they sum to 1.
    Values(Vec<f64>),
    /// Normal distributions cut off at 0 and 1, by centre and width.
    Kernels(Vec<(f64, f64)>),
}

impl Density {
    fn of(mut points: Vec<f64>, choices: Option<usize>) -> Self {
        if let Some(choices) = choices {
            let mut weights = vec![1.0; choices];
            for at in &points {
                weights[((at * choices as f64) as usize).min(choices - 1)] += 1.0;
            }
            let total = (points.len() + choices) as f64;
            return Self::Values(weights.into_iter().map(|weight| weight / total).collect());
        }
        points.sort_by(f64::total_cmp);
        // As wide as it is to the farther neighbour, but neither narrower than the points can tell nor wider than all.
        let narrowest = 1.0 / (points.len() as f64 + 2.0).min(100.0);
        let kernels = (0..points.len()).map(|i| {
            let below = if i > 0 { points[i - 1] } else { 0.0 };
            let above = points.get(i + 1).copied().unwrap_or(1.0);
            let width = (points[i] - below).max(above - points[i]);
            (points[i], width.clamp(narrowest, 1.0))
        });
        Self::Kernels(kernels.collect())
    }

    fn draw(&self, rng: &mut impl Rng) -> f64 {
        match self {
            Self::Values(weights) => {
                let mut rest = unit(rng);
                let mut choice = 0;
                for (i, weight) in weights.iter().enumerate() {
                    choice = i;
                    rest -= weight;
                    if rest < 0.0 {
                        break;
                    }
                }
                (choice as f64 + 0.5) / weights.len() as f64
            }
            Self::Kernels(kernels) => {
                let which = (unit(rng) * (kernels.len() + 1) as f64) as usize;
                let Some((centre, width)) = kernels.get(which) else {
                    return unit(rng);
                };
                // At least a third of such a distribution lies between 0 and 1, so this ends soon; the bound is for form.
                for _ in 0..1_000 {
                    let radius = libm::sqrt(-2.0 * libm::log(1.0 - unit(rng)));
                    let at = centre + width * radius * libm::cos(2.0 * PI * unit(rng));
                    if (0.0..1.0).contains(&at) {
                        return at;
                    }
                }
                *centre
            }
        }
    }

    /// Above 0 everywhere, by the prior.
    fn at(&self, at: f64) -> f64 {
        match self {
            Self::Values(weights) => weights[((at * weights.len() as f64) as usize).min(weights.len() - 1)],
            Self::Kernels(kernels) => {
                let sum: f64 = kernels
                    .iter()
                    .map(|(centre, width)| {
                        let up_to = |x: f64| 0.5 * (1.0 + libm::erf((x - centre) / (width * SQRT_2)));
                        let distance = (at - centre) / width;
                        let height = libm::exp(-0.5 * distance * distance) / (width * libm::sqrt(2.0 * PI));
                        height / (up_to(1.0) - up_to(0.0))
                    })
                    .sum();
                (1.0 + sum) / (kernels.len() + 1) as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hyperparameters;
    use crate::tuning::{Range, SpaceDraft};

    fn space(ranges: &[(&str, &str)]) -> Space {
        let base = Hyperparameters::draft(100).check().unwrap();
        let draft = ranges.iter().fold(SpaceDraft::new(), |d, (name, range)| {
            d.range(name, range.parse().unwrap())
        });
        draft.check(&base).unwrap()
    }

    #[test]
    fn a_grid_has_every_combination_once() {
        let space = space(&[("vector_dim", "8|16|32"), ("epochs", "1|2")]);
        assert_eq!(grid_size(&space), Some(6));
        let points: Vec<(u32, u32)> = (0..6)
            .map(|trial| space.at(&grid(&space, trial)))
            .map(|at| (at.vector_dim(), at.epochs()))
            .collect();
        assert_eq!(points, [(8, 1), (8, 2), (16, 1), (16, 2), (32, 1), (32, 2)]);
    }

    #[test]
    fn a_range_of_numbers_is_no_grid() {
        let base = Hyperparameters::draft(100).check().unwrap();
        let space = SpaceDraft::new()
            .range("vector_dim", Range::between(8.0, 16.0))
            .check(&base)
            .unwrap();
        assert_eq!(grid_size(&space), None);
    }

    #[test]
    fn random_points_are_uniform_and_depend_on_seed_and_trial() {
        let space = space(&[("vector_dim", "8..256"), ("learning_rate", "0.001..0.1")]);
        let points: Vec<Vec<f64>> = (0..10_000).map(|trial| random(&space, 3, trial)).collect();
        for dimension in 0..2 {
            let mean = points.iter().map(|p| p[dimension]).sum::<f64>() / 1e4;
            let low = points.iter().filter(|p| p[dimension] < 0.1).count();
            assert!(
                (mean - 0.5).abs() < 0.015 && (900..1_100).contains(&low),
                "{mean} {low}"
            );
        }
        assert_eq!(random(&space, 3, 7), points[7]);
        assert_ne!(random(&space, 4, 7), points[7]);
        assert_ne!(points[8], points[7]);
    }

    /// The density integrates to 1, and drawing follows it.
    #[test]
    fn densities_are_densities() {
        for (points, choices) in [
            (vec![], None),
            (vec![0.5], None),
            (vec![0.0, 0.01, 0.02, 0.9], None),
            (vec![0.1, 0.1, 0.7], Some(4)),
        ] {
            let density = Density::of(points.clone(), choices);
            let steps = 10_000;
            let sum: f64 = (0..steps)
                .map(|i| density.at((f64::from(i) + 0.5) / f64::from(steps)))
                .sum();
            let mean = match choices {
                None => sum / f64::from(steps),
                // A weight for each value in place of a height.
                Some(choices) => sum / f64::from(steps) * choices as f64,
            };
            assert!((mean - 1.0).abs() < 1e-6, "{points:?}: {mean}");

            let mut rng = stream(1, 2);
            let below = (0..20_000).filter(|_| density.draw(&mut rng) < 0.25).count() as f64 / 20_000.0;
            let steps = 10_000;
            let want: f64 = (0..steps / 4)
                .map(|i| density.at((f64::from(i) + 0.5) / f64::from(steps)) / f64::from(steps))
                .sum::<f64>()
                * choices.unwrap_or(1) as f64;
            assert!((below - want).abs() < 0.015, "{points:?}: {below} {want}");
        }
    }

    /// On a hill, the estimator comes nearer to the top than chance does with as many trials.
    #[test]
    fn the_estimator_climbs() {
        let space = space(&[
            ("learning_rate", "0.0001..0.1"),
            ("vector_dim", "8..256"),
            ("epochs", "1|2|3|4"),
        ]);
        let objective = |point: &[f64]| {
            let list = if (0.5..0.75).contains(&point[2]) { 0.0 } else { 0.3 };
            -(point[0] - 0.8).abs() - (point[1] - 0.3).abs() - list
        };
        let best = |estimated: bool, seed: u64| {
            let mut trials: Vec<(Vec<f64>, f64)> = Vec::new();
            for trial in 0..40 {
                let point = if estimated && trial >= 10 {
                    let known: Vec<Observation<'_>> = trials
                        .iter()
                        .map(|(point, objective)| Observation {
                            point,
                            objective: Some(*objective),
                        })
                        .collect();
                    parzen(&space, seed, trial, &known)
                } else {
                    random(&space, seed, trial)
                };
                assert!(point.iter().all(|at| (0.0..1.0).contains(at)), "{point:?}");
                let value = objective(&point);
                trials.push((point, value));
            }
            trials
                .iter()
                .map(|(_, value)| *value)
                .fold(f64::NEG_INFINITY, f64::max)
        };
        let mean = |estimated| (0..20).map(|seed| best(estimated, seed)).sum::<f64>() / 20.0;
        let (estimated, chance) = (mean(true), mean(false));
        assert!(estimated > 0.6 * chance, "{estimated} against {chance} by chance");
    }
}
