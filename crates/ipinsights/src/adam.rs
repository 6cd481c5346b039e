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

/// First and second moments of the weights of a table or of the dense layers, beside the weights themselves.
#[derive(Debug, Clone)]
pub(crate) struct Moments<T> {
    pub(crate) first: Vec<T>,
    /// By weight; or one number, which all weights of the table share.
    pub(crate) second: Vec<T>,
    is_shared: bool,
}

impl<T: Real> Moments<T> {
    pub(crate) fn new(weights: usize) -> Self {
        Self {
            first: vec![T::ZERO; weights],
            second: vec![T::ZERO; weights],
            is_shared: false,
        }
    }

    /// All weights of the table share their second moment (one for each block of weights, as in Zhang et al., "Adam-mini: Use
    /// Fewer Learning Rates To Gain More"). A row then moves in proportion to its gradient, so the more data speak for it the
    /// farther. With second moments of their own all rows move as far, and one that a single training row meets becomes as sure of
    /// itself as one that a hundred meet.
    pub(crate) fn shared(weights: usize) -> Self {
        Self {
            first: vec![T::ZERO; weights],
            second: vec![T::ZERO],
            is_shared: true,
        }
    }

    /// Moves all weights by these gradients.
    #[inline(always)]
    pub(crate) fn apply(&mut self, step: Step<T>, weights: &mut [T], gradient: &[T]) {
        step.apply(weights, &mut self.first, &mut self.second, gradient);
    }

    /// Moves rows of a table, of `width` weights each, by their gradients, which stand one after the other.
    #[inline(always)]
    pub(crate) fn move_rows(
        &mut self,
        step: Step<T>,
        width: usize,
        table: &mut [T],
        slots: &[u32],
        gradients: &[T],
    ) {
        let divisor = self.shared_divisor(gradients);
        for (i, (slot, gradient)) in slots.iter().zip(gradients.chunks_exact(width)).enumerate() {
            // The rows lie anywhere in memory, where they are waited for longer than they are computed with.
            if let Some(ahead) = slots.get(i + AHEAD) {
                self.prefetch(*ahead as usize * width, width, table);
            }
            let row = *slot as usize * width..(*slot as usize + 1) * width;
            let (weights, first) = (&mut table[row.clone()], &mut self.first[row.clone()]);
            match divisor {
                Some(divisor) => step.apply_scaled(weights, first, gradient, divisor),
                None => step.apply(weights, first, &mut self.second[row], gradient),
            }
        }
    }

    /// Where the second moment is shared: counts the mean square of these gradients, and returns what a step is divided by.
    #[inline(always)]
    fn shared_divisor(&mut self, gradients: &[T]) -> Option<T> {
        if !self.is_shared || gradients.is_empty() {
            return None;
        }
        let squares: f64 = gradients.iter().map(|g| g.to_f64() * g.to_f64()).sum();
        let mean = T::from_f64(squares / gradients.len() as f64);
        let [beta2, keep2, epsilon] = [BETA2, 1.0 - BETA2, EPSILON].map(T::from_f64);
        self.second[0] = beta2.mul_add(self.second[0], keep2 * mean);
        Some(self.second[0].sqrt() + epsilon)
    }

    /// Says that the weights from `start` on are to be moved soon.
    #[inline(always)]
    fn prefetch(&self, start: usize, count: usize, weights: &[T]) {
        let range = start..start + count;
        vector::prefetch(&weights[range.clone()]);
        vector::prefetch(&self.first[range.clone()]);
        if !self.is_shared {
            vector::prefetch(&self.second[range]);
        }
    }
}

/// How many rows ahead they are asked for.
const AHEAD: usize = 3;

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

    /// Moves weights that have these first moments and share their second.
    #[inline(always)]
    fn apply_scaled(self, weights: &mut [T], first: &mut [T], gradient: &[T], divisor: T) {
        let (beta1, keep1) = (T::from_f64(BETA1), T::from_f64(1.0 - BETA1));
        let rate = self.rate / divisor;
        for ((w, m), g) in weights.iter_mut().zip(first).zip(gradient) {
            *m = beta1.mul_add(*m, keep1 * *g);
            *w = self.keep * *w - rate * *m;
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
        moments.apply(step, &mut weights, &[2.0, 0.0]);
        assert!((weights[0] - 0.85).abs() < 1e-7, "{weights:?}");
        assert_eq!(weights[1], -1.9);
        // g = -1; m = .9 * .2 - .1 = .08; v = .999 * .004 + .001 = .004996; half the rate is left for the last of two steps:
        // .05 * sqrt(1 - .998001) / (1 - .81) = .0117657...
        let step = schedule.next();
        moments.move_rows(step, 1, &mut weights, &[0], &[-1.0]);
        let rate = 0.05 * 0.001_999_f64.sqrt() / 0.19;
        let want = 0.85 * 0.975 - rate * 0.08 / 0.004_996_f64.sqrt();
        assert!((weights[0] - want).abs() < 1e-7, "{weights:?} {want}");
        assert_eq!(weights[1], -1.9, "a weight without a gradient does not move");
    }

    #[test]
    fn rows_that_share_a_second_moment_move_by_their_gradients() {
        let mut schedule = Schedule::new(0.1, 0.0, 2);
        let mut moments = Moments::shared(6);
        let mut weights = [0.0_f64; 6];
        // The mean square of 3, 0, 1, 0 is 2.5, and a first step is the learning rate times g over its root.
        let step = schedule.next();
        moments.move_rows(step, 2, &mut weights, &[2, 0], &[3.0, 0.0, 1.0, 0.0]);
        let unit = 0.1 / 2.5_f64.sqrt();
        for (weight, want) in weights.iter().zip([-unit, 0.0, 0.0, 0.0, -3.0 * unit, 0.0]) {
            assert!((weight - want).abs() < 1e-7, "{weights:?}");
        }
        // Nothing met, nothing learned.
        let before = moments.second.clone();
        moments.move_rows(step, 2, &mut weights, &[], &[]);
        assert_eq!(moments.second, before);
    }
}
