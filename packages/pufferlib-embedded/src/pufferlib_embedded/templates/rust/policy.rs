//! The interface: observations in, actions out, at once or in slices.
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::layers::{Cursor, Net};
use super::math::{clamp, squashed};
use super::weights::{
    Obs, AFTER, CARRY, CHOICES, HEADS, HIGH, LAYERS, LOGITS, LOW, NORMALISER, NUMBERS, OBS,
    OPTIONS, PARAMS, SCRATCH, SQUASH,
};

static NET: Net = Net {
    params: &PARAMS,
    layers: &LAYERS,
};

/// The most likely action.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Action {
    /// Counted from 0.
    pub choice: [i32; CHOICES],
    /// After the clip or the squash to their bounds.
    pub number: [f32; NUMBERS],
}

/// An observation is NaN or infinite; the policy is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinite;

/// One body that acts: what it remembers between steps, and the memory that a step works in.
#[derive(Clone, Debug)]
pub struct Policy {
    carry: [f32; CARRY],
    heads: [f32; HEADS],
    scratch: [f32; SCRATCH],
}

impl Policy {
    /// As where an episode begins.
    pub const fn new() -> Self {
        Self {
            carry: [0.0; CARRY],
            heads: [0.0; HEADS],
            scratch: [0.0; SCRATCH],
        }
    }

    /// An episode begins.
    pub fn reset(&mut self) {
        self.carry = [0.0; CARRY];
        self.heads = [0.0; HEADS];
    }

    /// Of the last step: logits of the choices, then means of the numbers.
    pub fn heads(&self) -> &[f32; HEADS] {
        &self.heads
    }

    /// `obs` as the environment writes them: the normaliser is inside.
    pub fn step(&mut self, obs: &[Obs; OBS]) -> Result<Action, NotFinite> {
        self.read(obs)?;
        NET.advance(
            &mut Cursor::default(),
            &self.carry,
            &mut self.scratch,
            usize::MAX,
        );
        Ok(self.finish())
    }

    /// The same in slices: other tasks of the executor get their turn after each, which takes at most `macs` multiplications, or
    /// those of one number of a layer where it needs more. Dropped before its end, it leaves the policy as it was.
    pub async fn step_in_slices(
        &mut self,
        obs: &[Obs; OBS],
        macs: usize,
    ) -> Result<Action, NotFinite> {
        self.read(obs)?;
        let mut cursor = Cursor::default();
        while !NET.advance(&mut cursor, &self.carry, &mut self.scratch, macs) {
            Turn { given: false }.await;
        }
        Ok(self.finish())
    }

    fn read(&mut self, obs: &[Obs; OBS]) -> Result<(), NotFinite> {
        for (i, (to, x)) in self.scratch.iter_mut().zip(obs).enumerate() {
            #[allow(clippy::useless_conversion)] // of bytes, where the policy sees images
            let x = f32::from(*x);
            if !x.is_finite() {
                return Err(NotFinite);
            }
            *to = match &NORMALISER {
                Some(read) => clamp((x - read.mean[i]) * read.scale[i], -read.clip, read.clip),
                None => x,
            };
        }
        Ok(())
    }

    /// Takes over what the step has computed.
    fn finish(&mut self) -> Action {
        self.carry
            .copy_from_slice(&self.scratch[AFTER..AFTER + CARRY]);
        self.heads
            .copy_from_slice(&self.scratch[LOGITS..LOGITS + HEADS]);
        let (mut action, mut heads) = (
            Action {
                choice: [0; CHOICES],
                number: [0.0; NUMBERS],
            },
            self.heads.as_slice(),
        );
        for (choice, options) in action.choice.iter_mut().zip(OPTIONS) {
            let (logits, rest) = heads.split_at(options);
            *choice = most_likely(logits) as i32;
            heads = rest;
        }
        for (k, (number, mean)) in action.number.iter_mut().zip(heads).enumerate() {
            *number = if SQUASH {
                squashed(*mean, LOW[k], HIGH[k])
            } else {
                clamp(*mean, LOW[k], HIGH[k])
            };
        }
        action
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

/// The first of the largest.
fn most_likely(logits: &[f32]) -> usize {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    best
}

/// Lets the executor run others once.
struct Turn {
    given: bool,
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.given {
            return Poll::Ready(());
        }
        self.given = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
