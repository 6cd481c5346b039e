//! Adam, dense and lazy.

use crate::real::Real;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The step that every weight takes in one mini-batch, given its gradient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<T> {
    /// Learning rate with both bias corrections in it.
    rate: T,
    weight_decay: T,
}

/// Counts the steps; bias corrections follow the count of all steps, as in the service's engine, also for rows that
/// most steps do not touch.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    learning_rate: f64,
    weight_decay: f64,
    /// `BETA1` and `BETA2` to the power of the steps taken.
    pub(crate) powers: [f64; 2],
}

impl Schedule {
    pub(crate) fn new(learning_rate: f64, weight_decay: f64) -> Self {
        Self {
            learning_rate,
            weight_decay,
            powers: [1.0; 2],
        }
    }

    /// The next step.
    pub(crate) fn next<T: Real>(&mut self) -> Step<T> {
        self.powers[0] *= BETA1;
        self.powers[1] *= BETA2;
        let correction = (1.0 - self.powers[1]).sqrt() / (1.0 - self.powers[0]);
        Step {
            rate: T::from_f64(self.learning_rate * correction),
            weight_decay: T::from_f64(self.weight_decay),
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

    /// Moves the weights from `start` on. `gradient` is that of the loss without its L2 term, which is added here.
    pub(crate) fn apply(&mut self, step: Step<T>, start: usize, weights: &mut [T], gradient: &[T]) {
        let n = gradient.len();
        update(
            step,
            &mut weights[start..start + n],
            &mut self.first[start..start + n],
            &mut self.second[start..start + n],
            gradient,
        );
    }
}

fn update<T: Real>(step: Step<T>, weights: &mut [T], first: &mut [T], second: &mut [T], gradient: &[T]) {
    let [beta1, beta2, epsilon] = [BETA1, BETA2, EPSILON].map(T::from_f64);
    let (keep1, keep2) = (T::from_f64(1.0 - BETA1), T::from_f64(1.0 - BETA2));
    for (((w, m), v), g) in weights.iter_mut().zip(first).zip(second).zip(gradient) {
        let g = *g + step.weight_decay * *w;
        *m = beta1 * *m + keep1 * g;
        *v = beta2 * *v + keep2 * g * g;
        *w = *w - step.rate * *m / (v.sqrt() + epsilon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_by_hand() {
        let mut schedule = Schedule::new(0.1, 0.5);
        let mut moments = Moments::new(2);
        let mut weights = [1.0_f64, -2.0];
        // g = 2 + 0.5 * 1 = 2.5 and the first step is the learning rate against the sign of g, but for epsilon.
        let step = schedule.next();
        moments.apply(step, 0, &mut weights, &[2.0, 1.0]);
        // The second weight: g = 1 - 0.5 * 2 = 0 does not move it.
        assert!((weights[0] - 0.9).abs() < 1e-7, "{weights:?}");
        assert_eq!(weights[1], -2.0);
        // g = -1 + 0.45 = -0.55; m = .9 * .25 - .055 = .17; v = .999 * .00625 + .001 * .3025 = .00654625;
        // rate = .1 * sqrt(1 - .998001) / (1 - .81) = .0235315...
        let step = schedule.next();
        moments.apply(step, 0, &mut weights, &[-1.0]);
        let rate = 0.1 * 0.001_999_f64.sqrt() / 0.19;
        let want = 0.9 - rate * 0.17 / 0.006_546_25_f64.sqrt();
        assert!((weights[0] - want).abs() < 1e-7, "{weights:?} {want}");
        assert_eq!(weights[1], -2.0, "a weight without a gradient does not move");
    }
}
