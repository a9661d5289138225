//! Repeats the golden vectors, at once and in slices. Differences are relative to the largest number of a row, or to 1; what a
//! choice differs by is what its logit lacks to the wanted one's.
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use policy::{Action, Policy, HEADS, OPTIONS};

#[rustfmt::skip]
mod vectors;

const TOLERANCE: f32 = 1e-6;

/// NaN counts as 1.
fn away(x: f32, wanted: f32, scale: f32) -> f32 {
    let difference = (x - wanted).abs() / scale;
    if difference < 1.0 {
        difference
    } else {
        1.0
    }
}

fn compare(row: usize, heads: &[f32; HEADS], action: &Action) -> f32 {
    let wanted = &vectors::HEADS[row];
    let scale = wanted.iter().fold(1.0, |most: f32, x| most.max(x.abs()));
    let mut worst = heads
        .iter()
        .zip(wanted)
        .fold(0.0, |worst: f32, (x, w)| worst.max(away(*x, *w, scale)));
    let mut first = 0;
    for (k, options) in OPTIONS.iter().enumerate() {
        let (logits, chosen) = (&heads[first..first + options], vectors::CHOICES[row][k]);
        worst = worst.max(away(
            logits[action.choice[k] as usize],
            logits[chosen as usize],
            scale,
        ));
        first += options;
    }
    let numbers = action.number.iter().zip(&vectors::NUMBERS[row]);
    numbers.fold(worst, |worst, (x, w)| worst.max(away(*x, *w, scale)))
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The smallest executor: polls again as often as the task asks for it. Returns the result and how often it was polled.
fn run<T>(task: impl Future<Output = T>) -> (T, usize) {
    let (mut task, bell) = (Box::pin(task), Arc::new(Bell::default()));
    let waker = Waker::from(bell.clone());
    for polled in 1.. {
        if let Poll::Ready(result) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
            return (result, polled);
        }
        assert_eq!(
            bell.0.load(Ordering::Relaxed),
            polled,
            "a task that waits has to ask for its next turn"
        );
    }
    unreachable!()
}

#[test]
fn golden() {
    let (mut policy, mut worst) = (Policy::new(), 0.0f32);
    for (row, obs) in vectors::OBS.iter().enumerate() {
        if vectors::BEGINS[row] {
            policy.reset();
        }
        let action = policy.step(obs).unwrap();
        worst = worst.max(compare(row, policy.heads(), &action));
    }
    println!("worst {worst:e}");
    assert!(worst <= TOLERANCE, "the largest difference is {worst:e}");
}

#[test]
fn slices_change_nothing() {
    for macs in [1, 50, usize::MAX] {
        let (mut whole, mut sliced) = (Policy::new(), Policy::new());
        for obs in vectors::OBS.iter().take(20) {
            let (action, polled) = run(sliced.step_in_slices(obs, macs));
            assert_eq!(action, whole.step(obs));
            assert_eq!(
                sliced.heads().map(f32::to_bits),
                whole.heads().map(f32::to_bits)
            );
            assert!(if macs == 1 {
                polled >= HEADS
            } else {
                macs < usize::MAX || polled == 1
            });
        }
    }
}

#[test]
fn a_dropped_step_has_not_happened() {
    let (mut whole, mut sliced) = (Policy::new(), Policy::new());
    for obs in vectors::OBS.iter().take(4) {
        let bell = Waker::from(Arc::new(Bell::default()));
        let mut context = Context::from_waker(&bell);
        let mut dropped = Box::pin(sliced.step_in_slices(&vectors::OBS[0], 1));
        assert!(dropped.as_mut().poll(&mut context).is_pending());
        drop(dropped);
        assert_eq!(run(sliced.step_in_slices(obs, 1)).0, whole.step(obs));
        assert_eq!(sliced.heads(), whole.heads());
    }
}
