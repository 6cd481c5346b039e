//! Adam, dense and lazy.

use crate::real::Real;
use crate::vector;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The step that every weight takes in one mini-batch, given its gradient.
///
/// Weight decay is decoupled (Loshchilov and Hutter, "Decoupled Weight Decay Regularization"): each step takes the share
/// `learning rate * weight_decay` off a weight. As a term of the loss, Adam would divide it by the size of the gradient,
/// which for the rows of entities and ranges is tiny, and even the default of 0.00001 would outweigh what the data say
/// (NOTES.md has figures).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<T> {
    /// Learning rate with both bias corrections in it.
    rate: T,
    /// What a weight is multiplied by.
    keep: T,
}

/// Counts the steps; bias corrections follow the count of all steps, as in the service's engine, also for rows that
/// most steps do not touch.
///
/// The rate falls in a straight line from `learning_rate` at the first step to almost nothing at the last: what the last
/// steps do is settle, not wander.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    learning_rate: f64,
    weight_decay: f64,
    /// Steps of the whole training.
    steps: u64,
    /// Where it stands: the steps taken, and `BETA1` and `BETA2` to the power of them.
    pub(crate) standing: [f64; 3],
}

impl Schedule {
    /// For a training of `steps` mini-batches.
    pub(crate) fn new(learning_rate: f64, weight_decay: f64, steps: u64) -> Self {
        Self {
            learning_rate,
            weight_decay,
            steps,
            standing: [0.0, 1.0, 1.0],
        }
    }

    /// The next step.
    pub(crate) fn next<T: Real>(&mut self) -> Step<T> {
        let [taken, power1, power2] = &mut self.standing;
        let steps = self.steps.max(1) as f64;
        let rate = self.learning_rate * (steps - *taken).max(1.0) / steps;
        *taken += 1.0;
        *power1 *= BETA1;
        *power2 *= BETA2;
        let correction = (1.0 - *power2).sqrt() / (1.0 - *power1);
        Step {
            rate: T::from_f64(rate * correction),
            // A rate of 10 and a decay of 10 are both allowed; a weight never changes its sign by decay.
            keep: T::from_f64((1.0 - rate * self.weight_decay).max(0.0)),
        }
    }
}

/// First and second moment of every weight of a table or of the dense layers, beside the weights themselves.
#[derive(Debug, Clone)]
pub(crate) struct Moments<T> {
    pub(crate) first: Vec<T>,
    pub(crate) second: Vec<T>,
}

impl<T: Real> Moments<T> {
    pub(crate) fn new(weights: usize) -> Self {
        Self {
            first: vec![T::ZERO; weights],
            second: vec![T::ZERO; weights],
        }
    }

    /// Says that the weights from `start` on are to be moved soon.
    #[inline(always)]
    pub(crate) fn prefetch(&self, start: usize, count: usize, weights: &[T]) {
        for values in [weights, &self.first, &self.second] {
            vector::prefetch(&values[start..start + count]);
        }
    }

    /// Moves the weights from `start` on. `gradient` is that of the loss.
    #[inline(always)]
    pub(crate) fn apply(&mut self, step: Step<T>, start: usize, weights: &mut [T], gradient: &[T]) {
        let range = start..start + gradient.len();
        let [first, second] = [&mut self.first, &mut self.second].map(|all| &mut all[range.clone()]);
        step.apply(&mut weights[range], first, second, gradient);
    }
}

impl<T: Real> Step<T> {
    /// Moves weights that have these moments.
    #[inline(always)]
    pub(crate) fn apply(self, weights: &mut [T], first: &mut [T], second: &mut [T], gradient: &[T]) {
        let [beta1, beta2, epsilon] = [BETA1, BETA2, EPSILON].map(T::from_f64);
        let (keep1, keep2) = (T::from_f64(1.0 - BETA1), T::from_f64(1.0 - BETA2));
        for (((w, m), v), g) in weights.iter_mut().zip(first).zip(second).zip(gradient) {
            *m = beta1.mul_add(*m, keep1 * *g);
            *v = beta2.mul_add(*v, keep2 * *g * *g);
            *w = self.keep * *w - self.rate * *m / (v.sqrt() + epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_by_hand() {
        let mut schedule = Schedule::new(0.1, 0.5, 2);
        let mut moments = Moments::new(2);
        let mut weights = [1.0_f64, -2.0];
        // The first step is the learning rate against the sign of g, but for epsilon; and a share of 0.1 * 0.5 is taken off.
        let step = schedule.next();
        moments.apply(step, 0, &mut weights, &[2.0, 0.0]);
        assert!((weights[0] - 0.85).abs() < 1e-7, "{weights:?}");
        assert_eq!(weights[1], -1.9);
        // g = -1; m = .9 * .2 - .1 = .08; v = .999 * .004 + .001 = .004996; half the rate is left for the last of two steps:
        // .05 * sqrt(1 - .998001) / (1 - .81) = .0117657...
        let step = schedule.next();
        moments.apply(step, 0, &mut weights, &[-1.0]);
        let rate = 0.05 * 0.001_999_f64.sqrt() / 0.19;
        let want = 0.85 * 0.975 - rate * 0.08 / 0.004_996_f64.sqrt();
        assert!((weights[0] - want).abs() < 1e-7, "{weights:?} {want}");
        assert_eq!(weights[1], -1.9, "a weight without a gradient does not move");
    }
}
