//! The layers, number by number, each rounded and added in the order of the C core's lean.c: the same bits.
use super::math::{logistic, tanh};

/// What follows the sum of a number.
#[allow(dead_code)] // a policy uses some of them
pub enum Activation {
    Nothing,
    Tanh,
    Relu,
}

#[allow(dead_code)]
pub enum Kind {
    Dense,
    Conv(Image),
    Lstm,
    Gru,
}

/// What a convolution reads: an image whose rows are `run` numbers, at places of which `across` lie beside each other.
pub struct Image {
    pub channels: usize,
    pub kernel: usize,
    pub stride: usize,
    pub run: usize,
    pub across: usize,
    pub filters: usize,
}

/// Reads `inputs` numbers at `from` in the scratch and writes `outputs` at `to`; an LSTM writes its cells after them. Its first
/// parameter is `params`.
pub struct Layer {
    pub kind: Kind,
    pub activation: Activation,
    pub params: usize,
    pub from: usize,
    pub inputs: usize,
    pub to: usize,
    pub outputs: usize,
}

/// (obs - mean) * scale, clipped to [-clip, clip].
pub struct Normaliser {
    pub mean: &'static [f32],
    pub scale: &'static [f32],
    pub clip: f32,
}

/// Layers in the order in which they are worked on.
pub struct Net {
    pub params: &'static [f32],
    pub layers: &'static [Layer],
}

/// The next number to compute: of which layer, and which one of it.
#[derive(Default)]
pub struct Cursor {
    layer: usize,
    unit: usize,
}

impl Net {
    /// Computes numbers until the next one would pass `macs` multiplications, at least one. True: it was the last one of all.
    pub fn advance(
        &self,
        cursor: &mut Cursor,
        carry: &[f32],
        scratch: &mut [f32],
        macs: usize,
    ) -> bool {
        let mut spent: usize = 0;
        while let Some(layer) = self.layers.get(cursor.layer) {
            while cursor.unit < layer.outputs {
                if spent > 0 && spent.saturating_add(layer.macs()) > macs {
                    return false;
                }
                spent = spent.saturating_add(layer.macs());
                layer.compute(cursor.unit, self.params, carry, scratch);
                cursor.unit += 1;
            }
            *cursor = Cursor {
                layer: cursor.layer + 1,
                unit: 0,
            };
        }
        true
    }
}

impl Layer {
    /// Multiplications for one number.
    fn macs(&self) -> usize {
        match &self.kind {
            Kind::Dense => self.inputs,
            Kind::Conv(image) => image.weights(),
            Kind::Lstm => 4 * (self.inputs + self.outputs),
            Kind::Gru => 3 * (self.inputs + self.outputs),
        }
    }

    fn compute(&self, unit: usize, params: &[f32], carry: &[f32], scratch: &mut [f32]) {
        match &self.kind {
            Kind::Lstm => {
                let [i, f, g, o] = self.gates(unit, params, carry, scratch);
                let (i, f, g, o) = (
                    logistic(i.0 + i.1),
                    logistic(f.0 + f.1),
                    tanh(g.0 + g.1),
                    logistic(o.0 + o.1),
                );
                let cell = f * carry[self.outputs + unit] + i * g;
                scratch[self.to + self.outputs + unit] = cell;
                scratch[self.to + unit] = o * tanh(cell);
            }
            Kind::Gru => {
                let [r, z, n] = self.gates(unit, params, carry, scratch);
                let (r, z) = (logistic(r.0 + r.1), logistic(z.0 + z.1));
                let n = tanh(n.0 + r * n.1);
                scratch[self.to + unit] = n + z * (carry[unit] - n);
            }
            Kind::Dense | Kind::Conv(_) => {
                let x = self.sum(unit, params, scratch);
                scratch[self.to + unit] = match self.activation {
                    Activation::Nothing => x,
                    Activation::Tanh => tanh(x),
                    Activation::Relu if x > 0.0 => x,
                    Activation::Relu => 0.0,
                };
            }
        }
    }

    /// A number of a dense layer or of a convolution, before its activation.
    fn sum(&self, unit: usize, params: &[f32], scratch: &[f32]) -> f32 {
        if let Kind::Conv(image) = &self.kind {
            return image.filtered(unit, &params[self.params..], &scratch[self.from..]);
        }
        let bias = params[self.params + self.outputs * self.inputs + unit];
        let x = &scratch[self.from..self.from + self.inputs];
        dot(params, self.params + unit * self.inputs, x, bias)
    }

    /// Of each gate what it makes of the input, with its bias, and of what is remembered.
    fn gates<const GATES: usize>(
        &self,
        unit: usize,
        params: &[f32],
        carry: &[f32],
        scratch: &[f32],
    ) -> [(f32, f32); GATES] {
        let (x, size) = (&scratch[self.from..self.from + self.inputs], self.outputs);
        let state = self.params + GATES * size * self.inputs;
        let bias = state + GATES * size * size;
        let mut sums = [(0.0, 0.0); GATES];
        for (gate, sum) in sums.iter_mut().enumerate() {
            let row = gate * size + unit;
            sum.0 = dot(
                params,
                self.params + row * self.inputs,
                x,
                params[bias + row],
            );
            sum.1 = dot(params, state + row * size, &carry[..size], 0.0);
        }
        sums
    }
}

impl Image {
    /// Of a filter (channels, kernel, kernel).
    fn weights(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    /// What the filter of this number makes of its place. `params` begin with the layer's, `x` with the image.
    fn filtered(&self, unit: usize, params: &[f32], x: &[f32]) -> f32 {
        let (place, filter) = (unit / self.filters, unit % self.filters);
        let (top, left) = (
            place / self.across * self.stride,
            place % self.across * self.stride,
        );
        let mut sum = params[self.filters * self.weights() + filter];
        let mut weights = params[filter * self.weights()..].iter();
        for channel in 0..self.channels {
            for row in top..top + self.kernel {
                let numbers = x[row * self.run + left * self.channels + channel..].iter();
                // The numbers first: zip takes from its left side before it finds that the right one has no more.
                for (x, w) in numbers
                    .step_by(self.channels)
                    .take(self.kernel)
                    .zip(&mut weights)
                {
                    sum += w * x;
                }
            }
        }
        sum
    }
}

/// `start`, and the products of x with the parameters from `first` on, one after the other.
fn dot(params: &[f32], first: usize, x: &[f32], start: f32) -> f32 {
    params[first..first + x.len()]
        .iter()
        .zip(x)
        .fold(start, |sum, (w, x)| sum + w * x)
}
