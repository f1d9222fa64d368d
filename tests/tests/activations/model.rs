//! The rules of `docs/numerics.md` §5 and §7 in 128 bits, with the tables as they were recorded.

use selvedge_kernels::Element;
use selvedge_tests::curve::Curve;
use selvedge_tests::golden;

/// The tables as they were recorded, not as the kernels have them.
pub(crate) struct Tables {
    pub(crate) sigmoid: Vec<i128>,
    pub(crate) softplus: Vec<i128>,
    pub(crate) normal: Vec<i128>,
    pub(crate) density: Vec<i128>,
}

impl Tables {
    pub(crate) fn recorded() -> Self {
        let all = golden::read("primitives.json");
        let table = |name: &str| {
            let numbers = all["tables"][name].as_array().unwrap();
            numbers.iter().map(|n| n.as_i64().unwrap().into()).collect()
        };
        Self {
            sigmoid: table("sigmoid_q15"),
            softplus: table("softplus_q15"),
            normal: table("phi_q15"),
            density: table("pdf_q15"),
        }
    }

    pub(crate) fn sigmoid(&self, z: i128) -> i128 {
        let y = interpolate(&self.sigmoid, z.abs().min(32_767), 7);
        if z < 0 { 32_768 - y } else { y }
    }

    pub(crate) fn normal(&self, z: i128) -> i128 {
        let y = interpolate(&self.normal, z.abs().min(16_383), 6);
        if z < 0 { 32_768 - y } else { y }
    }
}

pub(crate) fn interpolate(table: &[i128], a: i128, k: u32) -> i128 {
    let (i, r) = ((a >> k) as usize, a & ((1 << k) - 1));
    table[i] + (((table[i + 1] - table[i]) * r + (1 << (k - 1))) >> k)
}

pub(crate) fn sat(x: i128, bits: u32) -> i128 {
    x.clamp(1 - (1 << bits), (1 << bits) - 1)
}

/// The rules of `docs/numerics.md` for one type, in 128 bits.
pub(crate) struct Model {
    tables: Tables,
    /// Magnitude bits.
    m: u32,
    /// Places that a shift has: 62, and 126 where accumulators have 128 bits.
    places: u32,
}

impl Model {
    pub(crate) fn of<T: Element>() -> Self {
        Self {
            tables: Tables::recorded(),
            m: T::MAGNITUDE_BITS,
            places: if T::MAGNITUDE_BITS == 53 { 126 } else { 62 },
        }
    }

    pub(crate) fn shift_rne(&self, x: i128, s: i32) -> i128 {
        if s <= 0 {
            let k = s.unsigned_abs();
            if k >= self.places {
                return 0;
            }
            let limit = ((1 << self.places) - 1) >> k;
            return x.clamp(-limit, limit) << k;
        }
        if s > self.places as i32 {
            return 0;
        }
        let floor = x >> s;
        let (rest, half) = (x - (floor << s), 1 << (s - 1));
        floor + i128::from(rest > half || (rest == half && floor & 1 == 1))
    }

    /// `x · parts / 256`, as scaled and leaky ReLU have it.
    pub(crate) fn scaled(&self, x: i128, parts: i128) -> i128 {
        self.shift_rne(sat(x, self.places - 8) * parts, 8)
    }

    /// What becomes of an accumulator at exponent `e`, and what is kept of it.
    pub(crate) fn forward(&self, curve: Curve, acc: i128, e: i32) -> (i128, Option<i128>) {
        let tables = &self.tables;
        let z = sat(self.shift_rne(acc, (-11i32).saturating_sub(e)), 15);
        let kept = |slope| Some(sat(self.shift_rne(slope, 16 - self.m as i32), self.m));
        let gated = |s: i128, ds: i128| (z * s, kept(s + self.shift_rne(z * ds, 11)));
        match curve {
            Curve::Identity => (acc, None),
            Curve::Relu | Curve::LiftedRelu => (acc.max(0), None),
            Curve::MaskedRelu => (acc.max(0), Some((acc > 0).into())),
            Curve::ScaledRelu => (self.scaled(acc.max(0), 282), None),
            Curve::LeakyRelu if acc < 0 => (self.scaled(acc, 26), Some(1)),
            Curve::LeakyRelu => (acc, Some(0)),
            Curve::Relu6 => {
                let six = match e {
                    ..-123 => i128::MAX,
                    -123..0 => 6 << -e,
                    0.. => self.shift_rne(6, e),
                };
                (acc.clamp(0, six), Some((0 < acc && acc < six).into()))
            }
            Curve::Sigmoid => (tables.sigmoid(z), None),
            Curve::Tanh => (
                2 * tables.sigmoid((2 * z).clamp(-32_767, 32_767)) - 32_768,
                None,
            ),
            Curve::Softplus => {
                let log = interpolate(&tables.softplus, z.abs().min(32_767), 7);
                ((z.max(0) << 4) + log, kept(tables.sigmoid(z)))
            }
            Curve::Gelu => {
                let density = interpolate(&tables.density, z.abs().min(16_383), 6);
                gated(tables.normal(z), density)
            }
            Curve::Silu => {
                let s = tables.sigmoid(z);
                gated(s, self.shift_rne(s * (32_768 - s), 15))
            }
            Curve::HardSwish => {
                let sixth = |x: i128| self.shift_rne(x * 43_691, 14);
                let s = sixth((z + 6144).clamp(0, 12_288));
                let slope = if z.abs() < 6144 { s + sixth(z) } else { s };
                (z * s, kept(slope))
            }
        }
    }

    /// What is stored of an activated accumulator.
    pub(crate) fn stored(&self, curve: Curve, value: i128, shift: i32) -> i128 {
        let q = sat(self.shift_rne(value, shift), self.m);
        match curve {
            Curve::LiftedRelu => q.max((value > 0).into()),
            _ => q,
        }
    }

    /// What becomes of an error.
    pub(crate) fn backward(&self, curve: Curve, d: i128, y: i128, kept: i128) -> i128 {
        let m = self.m as i32;
        let times = |slope: i128, s: i32| sat(self.shift_rne(d * slope, s), self.m);
        match curve {
            Curve::Identity => d,
            Curve::Relu | Curve::LiftedRelu => d * i128::from(y > 0),
            Curve::MaskedRelu | Curve::Relu6 => d * i128::from(kept != 0),
            Curve::ScaledRelu => sat(self.scaled(d, 282), self.m) * i128::from(y > 0),
            Curve::LeakyRelu if kept != 0 => self.scaled(d, 26),
            Curve::LeakyRelu => d,
            Curve::Sigmoid => times(self.shift_rne(y * ((1 << m) - y), m), m),
            Curve::Tanh => times((1 << m) - self.shift_rne(y * y, m), m),
            Curve::Softplus | Curve::Gelu | Curve::Silu | Curve::HardSwish => times(kept, m - 1),
        }
    }
}
