//! Errors on their way down: two buffers that change roles from layer to layer.

use selvedge_kernels::Blank;

/// The error of a layer's output, on its way down, and room for the one below.
#[derive(Debug)]
pub struct Backward<'a, T> {
    /// Holds the error in its first elements.
    pub error: &'a mut [T],
    /// Free; a layer writes the error of its input here and returns the two exchanged.
    pub spare: &'a mut [T],
    /// Exponent of the error: of a gradient `q · 2^exponent` each element is `q`.
    pub exponent: i32,
}

impl<'e, T> Backward<'e, T> {
    /// Takes the error of an output of `dy_len` elements to that of an input of `dx_len`, where that
    /// `is_needed`: `run` is given the first, its exponent, and room for the second, whose exponent it returns.
    pub(crate) fn through<R>(
        self,
        [dy_len, dx_len]: [usize; 2],
        is_needed: bool,
        run: impl FnOnce(&mut [T], i32, Option<&mut [T]>) -> core::result::Result<i32, R>,
    ) -> core::result::Result<Self, R> {
        let Self {
            error,
            spare,
            exponent,
        } = self;
        let dy = part(error, dy_len);
        if !is_needed {
            run(dy, exponent, None)?;
            return Ok(Self {
                error,
                spare,
                exponent,
            });
        }
        let exponent = run(dy, exponent, Some(part(spare, dx_len)))?;
        Ok(Self {
            error: spare,
            spare: error,
            exponent,
        })
    }
}

/// Room for errors: two buffers that they alternate between.
pub trait Room<T> {
    /// All zero bytes.
    const BLANK: Self;

    /// Both.
    fn pair(&mut self) -> [&mut [T]; 2];
}

/// Two buffers for the errors of `B` samples, of `FIRST` and `SECOND` elements each.
pub struct ErrorBuffers<T, const B: usize, const FIRST: usize, const SECOND: usize> {
    first: [[T; FIRST]; B],
    second: [[T; SECOND]; B],
}

impl<T: Blank, const B: usize, const FIRST: usize, const SECOND: usize> Room<T>
    for ErrorBuffers<T, B, FIRST, SECOND>
{
    const BLANK: Self = Self {
        first: [[T::BLANK; FIRST]; B],
        second: [[T::BLANK; SECOND]; B],
    };

    fn pair(&mut self) -> [&mut [T]; 2] {
        [
            self.first.as_flattened_mut(),
            self.second.as_flattened_mut(),
        ]
    }
}

/// The first `len` elements of an error buffer; all of it where it is too short, which a kernel
/// then refuses.
pub(crate) fn part<T>(buffer: &mut [T], len: usize) -> &mut [T] {
    let len = len.min(buffer.len());
    buffer
        .split_at_mut_checked(len)
        .map_or(Default::default(), |(part, _)| part)
}
