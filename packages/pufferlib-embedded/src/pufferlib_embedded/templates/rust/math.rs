//! Elementary functions of the C core's math.h: elementwise IEEE single operations in the same order, so that results have the
//! same bits on every target. There the errors are stated.
#![allow(clippy::excessive_precision)] // digits as they stand in math.h

/// NaN passes through.
pub fn clamp(mut x: f32, low: f32, high: f32) -> f32 {
    if x < low {
        x = low;
    }
    if x > high {
        x = high;
    }
    x
}

pub fn logistic(x: f32) -> f32 {
    0.5 * tanh(0.5 * x) + 0.5
}

/// x squashed into [low, high].
#[allow(dead_code)] // where a policy squashes
pub fn squashed(x: f32, low: f32, high: f32) -> f32 {
    let (middle, reach) = (0.5 * low + 0.5 * high, 0.5 * high - 0.5 * low);
    clamp(middle + reach * tanh(x), low, high)
}

/// An odd polynomial below 0.625, 1 - 2 / (e^{2|x|} + 1) above.
#[inline(never)] // inlined at every place it would be most of the code
pub fn tanh(x: f32) -> f32 {
    let a = abs(x);
    if a < 0.625 {
        let x2 = x * x;
        let mut p = -5.70498872745e-3;
        p = p * x2 + 2.06390887954e-2;
        p = p * x2 + -5.37397155531e-2;
        p = p * x2 + 1.33314422036e-1;
        p = p * x2 + -3.33332819422e-1;
        return x + x * (x2 * p);
    }
    if x.is_nan() {
        return x;
    }
    let twice = 2.0 * a;
    let large = 1.0 - 2.0 / (exp(if twice < 40.0 { twice } else { 40.0 }) + 1.0);
    f32::from_bits(large.to_bits() | (x.to_bits() & 0x8000_0000))
}

fn abs(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & 0x7FFF_FFFF)
}

/// e^x for 0 <= x <= 40: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2].
fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12582912.0; // 1.5 * 2^23: adding it drops the fraction
    let n = (x * core::f32::consts::LOG2_E + MAGIC) - MAGIC;
    let mut r = x - n * 0.693359375;
    r -= n * -2.12194440e-4;
    let mut p = 1.9875691500e-4;
    p = p * r + 1.3981999507e-3;
    p = p * r + 8.3334519073e-3;
    p = p * r + 4.1665795894e-2;
    p = p * r + 1.6666665459e-1;
    p = p * r + 5.0000001201e-1;
    p = (p * (r * r) + r) + 1.0;
    p * f32::from_bits(((n as i32 + 127) as u32) << 23)
}
