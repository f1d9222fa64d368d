//! Register tiles: the sums of products of a few rows of `x` with a few rows of the weights,
//! computed together, so that each load is used several times.
//!
//! A reduction is a number of [`Segments`] that lie at equal distances in memory: one for a dense
//! layer, one per kernel row (or cell) for a convolution. A tile reads the operands where they lie;
//! nothing is packed or copied.

/// Rows of `x` in a tile.
pub const ROWS: usize = if cfg!(target_arch = "x86_64") { 12 } else { 1 };
/// Rows of the weights in a tile: consecutive outputs.
pub const COLUMNS: usize = 8;

/// The sums of a tile: `[ROWS, COLUMNS]`.
pub type Tile<A> = [[A; COLUMNS]; ROWS];

/// The rows of one operand, at equal distances: the windows of neighbouring pixels, say, which
/// overlap.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a, T> {
    /// From the first element of the first row on.
    pub values: &'a [T],
    /// Elements from the start of a row to that of the next.
    pub step: usize,
    /// Rows in use, at most [`ROWS`] or [`COLUMNS`].
    pub rows: usize,
}

impl<'a, T> Operand<'a, T> {
    /// The same bytes as elements of another type.
    ///
    /// # Safety
    /// `U` has the size and alignment of `T`, and the bits of any `T` are valid in it.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn cast<U>(self) -> Operand<'a, U> {
        let Self { values, step, rows } = self;
        // SAFETY: the promise of the caller.
        let values = unsafe { core::slice::from_raw_parts(values.as_ptr().cast(), values.len()) };
        Operand { values, step, rows }
    }
}

/// The parts of a reduction that are contiguous in both operands, at equal distances along up to
/// three axes.
#[derive(Clone, Copy, Debug)]
pub struct Segments {
    len: usize,
    /// How many along each axis, the outermost first.
    counts: [usize; 3],
    x_steps: [usize; 3],
    weight_steps: [usize; 3],
    /// Elements of the weights before the first segment.
    first_weight: usize,
    /// Elements up to the end of the last segment in `x` and in the weights; more than any slice
    /// has if that overflows.
    spans: [usize; 2],
}

impl Segments {
    /// `counts[0] · counts[1] · counts[2]` segments of `len` elements, the outermost axis first;
    /// `x_steps` and `weight_steps` lead from one to the next along each axis.
    #[must_use]
    #[inline]
    pub fn new(
        len: usize,
        counts: [usize; 3],
        x_steps: [usize; 3],
        weight_steps: [usize; 3],
    ) -> Self {
        let span = |steps: [usize; 3]| {
            let mut span = len;
            for (&count, step) in counts.iter().zip(steps) {
                span = span.saturating_add(step.saturating_mul(count.saturating_sub(1)));
            }
            span
        };
        Self {
            len,
            counts,
            x_steps,
            weight_steps,
            first_weight: 0,
            spans: [span(x_steps), span(weight_steps)],
        }
    }

    /// A reduction that is contiguous as a whole.
    #[must_use]
    #[inline]
    pub fn one(len: usize) -> Self {
        Self::new(len, [1; 3], [0; 3], [0; 3])
    }

    /// The same, `weights` elements further on in the weights.
    #[must_use]
    #[inline]
    pub fn after(self, weights: usize) -> Self {
        let [x_span, weight_span] = self.spans;
        Self {
            first_weight: self.first_weight.saturating_add(weights),
            spans: [x_span, weight_span.saturating_add(weights)],
            ..self
        }
    }

    /// Elements of a segment.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Elements of the segment, if it is the only one.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn only(&self) -> Option<usize> {
        (self.counts == [1; 3]).then_some(self.len)
    }

    /// The start of each segment in `x` and in the weights.
    #[inline(always)]
    pub(crate) fn starts(&self) -> Starts<'_> {
        Starts {
            segments: self,
            left: self.counts,
            next: (!self.counts.contains(&0)).then_some((0, self.first_weight)),
            row: (0, self.first_weight),
            plane: (0, self.first_weight),
        }
    }

    /// Whether all segments of all rows lie within the operands, neither of which is empty.
    #[must_use]
    #[inline(always)]
    pub(super) fn fit<T>(&self, x: Operand<'_, T>, weight: Operand<'_, T>) -> bool {
        let fits = |operand: Operand<'_, T>, span: usize| -> Option<bool> {
            let last = operand.step.checked_mul(operand.rows.checked_sub(1)?)?;
            Some(last.checked_add(span)? <= operand.values.len())
        };
        let [x_span, weight_span] = self.spans;
        fits(x, x_span) == Some(true) && fits(weight, weight_span) == Some(true)
    }

    /// The same for a panel of `len` weights of each output.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn fit_panel<T>(&self, x: Operand<'_, T>, len: usize) -> bool {
        let last = x
            .rows
            .checked_sub(1)
            .and_then(|last| x.step.checked_mul(last));
        let [x_span, weight_span] = self.spans;
        let end = last.and_then(|last| last.checked_add(x_span));
        end.is_some_and(|end| end <= x.values.len()) && weight_span <= len
    }
}

/// The starts of segments in two operands, one after the other.
pub(crate) struct Starts<'a> {
    segments: &'a Segments,
    /// Along each axis, this one included.
    left: [usize; 3],
    next: Option<(usize, usize)>,
    /// Where the row and the plane of `next` start.
    row: (usize, usize),
    plane: (usize, usize),
}

impl Iterator for Starts<'_> {
    type Item = (usize, usize);

    #[inline(always)]
    fn next(&mut self) -> Option<(usize, usize)> {
        let now = self.next?;
        let Segments {
            counts,
            x_steps,
            weight_steps,
            ..
        } = self.segments;
        let step = |(x, w): (usize, usize), axis: usize| {
            let (x_step, w_step) = (x_steps.get(axis), weight_steps.get(axis));
            (
                x.wrapping_add(x_step.copied().unwrap_or(0)),
                w.wrapping_add(w_step.copied().unwrap_or(0)),
            )
        };
        let [planes, rows, cells] = &mut self.left;
        *cells -= 1;
        if *cells > 0 {
            self.next = Some(step(now, 2));
            return Some(now);
        }
        *cells = counts[2];
        *rows -= 1;
        if *rows > 0 {
            self.row = step(self.row, 1);
        } else {
            *rows = counts[1];
            *planes -= 1;
            if *planes == 0 {
                self.next = None;
                return Some(now);
            }
            self.plane = step(self.plane, 0);
            self.row = self.plane;
        }
        self.next = Some(self.row);
        Some(now)
    }
}
