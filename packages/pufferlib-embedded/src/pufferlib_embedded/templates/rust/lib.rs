//! A trained policy, without an operating system, allocation, dependencies or `unsafe`.
//!
//! Layers are read from `weights.rs`, which is written for one policy; everything else is the same in every export.
#![no_std]
#![forbid(unsafe_code)]

mod layers;
mod math;
mod policy;
#[rustfmt::skip]
mod weights;

pub use policy::{Action, NotFinite, Policy};
pub use weights::{Obs, CHOICES, HEADS, NUMBERS, OBS, OPTIONS};
