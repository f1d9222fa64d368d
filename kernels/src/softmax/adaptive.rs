//! Adaptive softmax: frequent items in a head, the others in tails that are entered through it, so
//! that a training step touches the head and one tail.

use super::number::Number;
use super::rows::cut_exponent;
use super::{Errors, Kernels, Logits, Shape, Sink, Temperature};
use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::loss::Outcome;
use crate::requantize::Store;
use crate::split::{rows_of, rows_of_mut};

/// A tail's items, and the place of one among them.
type Place<'a> = (&'a [u32], usize);

/// The items 0 to N - 1 in a head and tails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clusters<'a> {
    ids: &'a [u32],
    head: usize,
    tails: &'a [usize],
}

impl<'a> Clusters<'a> {
    /// The clusters of `ids`: first the `sizes[0]` items of the head, then those of each tail. `seen`
    /// has an element for each item, to see that each occurs once.
    ///
    /// # Errors
    /// [`Error::Cluster`] for an item that is named twice or does not exist, [`Error::Length`] if the
    /// sizes do not sum to the number of items or `seen` is not as long, [`Error::Zero`] for an empty
    /// cluster.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::softmax::adaptive::Clusters;
    /// let clusters = Clusters::new(&[4, 0, 1, 2, 3], &[1, 2, 2], &mut [false; 5])?;
    /// assert_eq!((clusters.items(), clusters.logits()), (5, 5 + 2));
    /// # Ok::<(), selvedge_kernels::Error>(())
    /// ```
    pub fn new(ids: &'a [u32], sizes: &'a [usize], seen: &mut [bool]) -> Result<Self> {
        let arg = Arg::Clusters;
        let Some((&head, tails)) = sizes.split_first() else {
            return Err(Error::Zero { arg });
        };
        let mut items = 0usize;
        for &size in sizes {
            items = arg
                .product(&[size])?
                .checked_add(items)
                .ok_or(arg.overflow())?;
        }
        arg.check_len(ids.len(), &[items])?;
        Arg::Scratch.check_len(seen.len(), &[items])?;
        seen.fill(false);
        for &id in ids {
            match seen.get_mut(id as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => {
                    return Err(Error::Cluster {
                        item: id as usize,
                        items,
                    });
                }
            }
        }
        Ok(Self { ids, head, tails })
    }

    /// Refuses more classes that share a softmax than integers sum.
    fn check<T: Element>(&self) -> Result<()> {
        let head = self.head.saturating_add(self.tails.len());
        Shape::limit::<T>(self.tails.iter().copied().fold(head, usize::max))
    }

    /// Items, which are the probabilities of a row.
    #[must_use]
    pub const fn items(&self) -> usize {
        self.ids.len()
    }

    /// Logits of a row: one for each item, by its number, then one for each tail.
    #[must_use]
    pub const fn logits(&self) -> usize {
        self.ids.len() + self.tails.len()
    }

    /// Where the logits lie that share a softmax with the entries: the head's items, the entries.
    fn head(self) -> impl Iterator<Item = usize> + Clone + use<'a> {
        let items = self.ids.len();
        let head = self.ids.iter().take(self.head).map(|&id| id as usize);
        head.chain(items..items + self.tails.len())
    }

    /// Each tail's items.
    fn tails(self) -> impl Iterator<Item = &'a [u32]> {
        let mut rest = self.ids.get(self.head..).unwrap_or_default();
        self.tails.iter().map_while(move |&size| {
            let (tail, after) = rest.split_at_checked(size)?;
            rest = after;
            Some(tail)
        })
    }

    /// Where item `target` is: its place in the softmax of the head (that of its tail's entry), and
    /// its tail with its place in it.
    fn find(self, target: u32) -> Option<(usize, Option<Place<'a>>)> {
        let place = |ids: &[u32]| ids.iter().position(|&id| id == target);
        if let Some(place) = place(self.ids.get(..self.head)?) {
            return Some((place, None));
        }
        self.tails()
            .enumerate()
            .find_map(|(c, tail)| Some((self.head + c, Some((tail, place(tail)?)))))
    }

    /// Refuses what a loss cannot take.
    fn check_loss<T: Element, L>(
        self,
        logits: Logits<'_, L>,
        targets: &[u32],
        dx: &[T],
        scratch: usize,
    ) -> Result<()> {
        self.check::<T>()?;
        Arg::X.check_len(logits.x.len(), &[targets.len(), self.logits()])?;
        Arg::Dx.check_len(dx.len(), &[targets.len(), self.logits()])?;
        Arg::Scratch.check_len(scratch, &[2, self.logits()])?;
        self.check_targets(targets)
    }

    fn check_targets(self, targets: &[u32]) -> Result<()> {
        for (row, &target) in targets.iter().enumerate() {
            if target as usize >= self.items() {
                return Err(Error::Label {
                    row,
                    label: target as usize,
                    classes: self.items(),
                });
            }
        }
        Ok(())
    }
}

/// Elements of scratch for all functions of this module.
///
/// # Errors
/// [`Error::Overflow`].
pub fn scratch_len(clusters: Clusters<'_>) -> Result<usize> {
    Arg::Scratch.product(&[2, clusters.logits()])
}

/// A checked forward call.
pub struct Forward<'a, T: Kernels> {
    clusters: Clusters<'a>,
    logits: Logits<'a, T>,
    out: &'a mut [T],
    scratch: &'a mut [T::Number],
}

/// A checked backward call.
pub struct Backward<'a, T: Kernels> {
    clusters: Clusters<'a>,
    logits: Logits<'a, T>,
    dy: &'a [T],
    store: Store,
    dx: &'a mut [T],
    scratch: &'a mut [T::Number],
}

/// A checked call of [`log_prob`].
pub struct LogProb<'a, T: Kernels> {
    clusters: Clusters<'a>,
    logits: Logits<'a, T>,
    targets: &'a [u32],
    out: &'a mut [<T::Number as Number>::Sum],
    scratch: &'a mut [T::Number],
}

/// A checked call of [`cross_entropy`], with logits of type `L`.
pub struct CrossEntropy<'a, T: Kernels, L = T> {
    clusters: Clusters<'a>,
    logits: Logits<'a, L>,
    targets: &'a [u32],
    store: Store,
    dx: &'a mut [T],
    scratch: &'a mut [T::Number],
}

/// Adaptive softmax, forward: `out[i] = p(i)` for items of the head and `p(tail) · p(i | tail)` for
/// the others; the head's softmax runs over its items and the tails' entries.
///
/// | argument | shape | |
/// |---|---|---|
/// | `logits.x` | `[R, N + tails]` | by number of the item, then the entries |
/// | `out` | `[R, N]` | overwritten; integers at the exponent `-M` |
/// | `scratch` | [`scratch_len`] | |
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`] for no rows, [`Error::Overflow`]; `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::softmax::{Logits, adaptive::{self, Clusters}};
/// let clusters = Clusters::new(&[0, 1, 2], &[1, 2], &mut [false; 3])?;
/// let logits = Logits::new(&[0.0f64, 3.0, 3.0, 0.0], 0);
/// let (mut p, mut scratch) = ([0.0; 3], [0.0; 8]);
/// adaptive::forward(1, clusters, logits, &mut p, &mut scratch)?;
/// assert_eq!(p, [0.5, 0.25, 0.25]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: Grave et al. 2017.
pub fn forward<T: Element>(
    rows: usize,
    clusters: Clusters<'_>,
    logits: Logits<'_, T>,
    out: &mut [T],
    scratch: &mut [T::Number],
) -> Result<()> {
    clusters.check::<T>()?;
    Arg::X.check_len(logits.x.len(), &[rows, clusters.logits()])?;
    Arg::Out.check_len(out.len(), &[rows, clusters.items()])?;
    Arg::Scratch.check_len(scratch.len(), &[2, clusters.logits()])?;
    T::softmax_adaptive_forward(Forward {
        clusters,
        logits,
        out,
        scratch,
    });
    Ok(())
}

/// Adaptive softmax, backward: in the head `p (S - mean S) / T`, `S` being the error of an item and the
/// mean error under the conditionals of a tail's entry; in a tail `p(i) (g - S(tail)) / T`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `logits.x` | `[R, N + tails]` | as in the forward pass |
/// | `errors.dy` | `[R, N]` | |
/// | `dx` | `[R, N + tails]` | overwritten, or untouched by [`Store::Measure`] |
/// | `scratch` | [`scratch_len`] | |
///
/// Returns the bit length of the largest accumulator; their exponent is
/// [`gradient_exponent`](super::gradient_exponent).
///
/// # Errors
/// As [`forward`]; `dx` is then untouched.
pub fn backward<T: Element>(
    rows: usize,
    clusters: Clusters<'_>,
    logits: Logits<'_, T>,
    errors: Errors<'_, T>,
    dx: &mut [T],
    scratch: &mut [T::Number],
) -> Result<u32> {
    let Errors { dy, store } = errors;
    clusters.check::<T>()?;
    Arg::X.check_len(logits.x.len(), &[rows, clusters.logits()])?;
    Arg::Dy.check_len(dy.len(), &[rows, clusters.items()])?;
    Arg::Dx.check_len(dx.len(), &[rows, clusters.logits()])?;
    Arg::Scratch.check_len(scratch.len(), &[2, clusters.logits()])?;
    Ok(T::softmax_adaptive_backward(Backward {
        clusters,
        logits,
        dy,
        store,
        dx,
        scratch,
    }))
}

/// The logarithm of one item's probability a row, `out[r] = ln p(targets[r])`: reads the head's logits,
/// the entries and those of one tail. Where a target is found by comparing the clusters' numbers.
///
/// | argument | shape | |
/// |---|---|---|
/// | `logits.x` | `[R, N + tails]` | |
/// | `targets` | `[R]` | items |
/// | `out` | `[R]` | overwritten; Q16 for integers, within `(N + 8) · 2^-15` for each softmax of `N` logits |
/// | `scratch` | [`scratch_len`] | |
///
/// # Errors
/// [`Error::Label`] for an item that does not exist, and as [`forward`].
pub fn log_prob<T: Element>(
    clusters: Clusters<'_>,
    logits: Logits<'_, T>,
    targets: &[u32],
    out: &mut [<T::Number as Number>::Sum],
    scratch: &mut [T::Number],
) -> Result<()> {
    clusters.check::<T>()?;
    Arg::X.check_len(logits.x.len(), &[targets.len(), clusters.logits()])?;
    Arg::Out.check_len(out.len(), &[targets.len()])?;
    Arg::Scratch.check_len(scratch.len(), &[2, clusters.logits()])?;
    clusters.check_targets(targets)?;
    T::softmax_adaptive_log_prob(LogProb {
        clusters,
        logits,
        targets,
        out,
        scratch,
    });
    Ok(())
}

/// Cross-entropy `-Σ ln p(targets[r])` and its gradient, `(p - (i == target)) / T` in the head and in
/// the target's tail. Reads and writes these alone: elsewhere `dx` stays what it was, zero if the
/// caller zeroed it.
///
/// | argument | shape | |
/// |---|---|---|
/// | `logits.x` | `[R, N + tails]` | |
/// | `targets` | `[R]` | items |
/// | `dx` | `[R, N + tails]` | head, entries and one tail overwritten |
/// | `scratch` | [`scratch_len`] | |
///
/// The accumulators have the exponent [`loss_exponent`]. The mean over the batch belongs to the learning rate.
///
/// # Errors
/// As [`log_prob`]; `dx` is then untouched.
pub fn cross_entropy<T: Element>(
    clusters: Clusters<'_>,
    logits: Logits<'_, T>,
    targets: &[u32],
    store: Store,
    dx: &mut [T],
    scratch: &mut [T::Number],
) -> Result<Outcome<<T::Number as Number>::Sum>> {
    clusters.check_loss(logits, targets, dx, scratch.len())?;
    Ok(T::softmax_adaptive_cross_entropy(CrossEntropy {
        clusters,
        logits,
        targets,
        store,
        dx,
        scratch,
    }))
}

/// [`cross_entropy`] of a network's head: logits of type [`Element::Head`], 16 bits of the types of 8 bits, and the
/// gradient in `T`. The same function where the head has the type of the network.
///
/// # Errors
/// As [`cross_entropy`].
///
/// # Example
/// ```
/// use selvedge_kernels::fixed::Rounding;
/// use selvedge_kernels::requantize::Store;
/// use selvedge_kernels::softmax::{Logits, Temperature, adaptive::{self, Clusters}};
/// // Two items in the head and two in a tail; all logits are equal.
/// let clusters = Clusters::new(&[0, 1, 2, 3], &[2, 2], &mut [false; 4])?;
/// let logits = Logits::new(&[0i16; 5], -9);
/// // From Q30 to Q7.
/// let store = Store::Shift { shift: -7 - adaptive::loss_exponent::<i8>(Temperature::ONE), rounding: Rounding::NearestEven };
/// let mut dx = [0i8; 5];
/// adaptive::cross_entropy_of_head(clusters, logits, &[2], store, &mut dx, &mut [0; 10])?;
/// assert_eq!(dx, [43, 43, -64, 64, -85]); // 1/3, 1/3; -1/2, 1/2; 1/3 - 1
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn cross_entropy_of_head<T: Element>(
    clusters: Clusters<'_>,
    logits: Logits<'_, T::Head>,
    targets: &[u32],
    store: Store,
    dx: &mut [T],
    scratch: &mut [T::Number],
) -> Result<Outcome<<T::Number as Number>::Sum>> {
    clusters.check_loss(logits, targets, dx, scratch.len())?;
    Ok(T::softmax_adaptive_cross_entropy_of_head(CrossEntropy {
        clusters,
        logits,
        targets,
        store,
        dx,
        scratch,
    }))
}

/// The exponent of the accumulators of [`cross_entropy`]: `-30` and the places of `1 / T` for integers,
/// [`Element::LOSS_EXPONENT`] for floats.
#[must_use]
pub fn loss_exponent<T: Element>(temperature: Temperature) -> i32 {
    if T::DTYPE.is_integer() {
        -30 - i32::from(temperature.inverse().shift)
    } else {
        T::LOSS_EXPONENT
    }
}

/// The logits of `places`, gathered and normalised; returns `-ln` of the probability of the element
/// `target` of them.
fn gathered<T: Element>(
    logits: Logits<'_, T>,
    x: &[T],
    places: impl Iterator<Item = usize>,
    p: &mut [T::Number],
    target: usize,
) -> <T::Number as Number>::Sum {
    for (p, place) in p.iter_mut().zip(places) {
        *p = x
            .get(place)
            .map_or(T::Number::default(), |x| x.softmax_number());
    }
    T::Number::softmax(p, cut_exponent(logits), logits.temperature, target)
}

fn places(ids: &[u32]) -> impl Iterator<Item = usize> + Clone {
    ids.iter().map(|&id| id as usize)
}

/// The row's probabilities: the head's items and entries, then each tail's conditionals.
fn normalise<T: Element>(
    clusters: Clusters<'_>,
    logits: Logits<'_, T>,
    x: &[T],
    p: &mut [T::Number],
) {
    let Some((head, mut rest)) = p.split_at_mut_checked(clusters.head + clusters.tails.len())
    else {
        return;
    };
    gathered(logits, x, clusters.head(), head, 0);
    for ids in clusters.tails() {
        let Some((tail, after)) = rest.split_at_mut_checked(ids.len()) else {
            return;
        };
        rest = after;
        gathered(logits, x, places(ids), tail, 0);
    }
}

impl<T: Element> Forward<'_, T> {
    #[inline(always)]
    pub(super) fn run(self) {
        let Self {
            clusters,
            logits,
            out,
            scratch,
        } = self;
        let Some(p) = scratch.get_mut(..clusters.logits()) else {
            return;
        };
        let rows = rows_of(logits.x, clusters.logits()).zip(rows_of_mut(out, clusters.items()));
        for (x, out) in rows {
            normalise(clusters, logits, x, p);
            let mut put = |id: usize, p: T::Number| {
                if let Some(out) = out.get_mut(id) {
                    *out = T::softmax_probability(p);
                }
            };
            let (head, rest) = (clusters.head().take(clusters.head), &*p);
            head.zip(rest).for_each(|(id, &p)| put(id, p));
            let entries = rest.get(clusters.head..).unwrap_or_default();
            let mut conditionals = entries.iter().skip(clusters.tails.len());
            for (ids, &entry) in clusters.tails().zip(entries) {
                for (id, conditional) in places(ids).zip(&mut conditionals) {
                    put(id, conditional.times(entry));
                }
            }
        }
    }
}

impl<T: Element> Backward<'_, T> {
    #[inline(always)]
    pub(super) fn run(self) -> u32 {
        let Self {
            clusters,
            logits,
            dy,
            store,
            dx,
            scratch,
        } = self;
        let width = clusters.logits();
        let mut sink = Sink::new(store);
        let Some((p, s)) = scratch.split_at_mut_checked(width) else {
            return 0;
        };
        let heads = clusters.head + clusters.tails.len();
        let rows = rows_of(logits.x, width).zip(rows_of(dy, clusters.items()));
        for (row, ((x, dy), dx)) in rows.zip(rows_of_mut(dx, width)).enumerate() {
            normalise(clusters, logits, x, p);
            let error = |id: usize| {
                dy.get(id)
                    .map_or(T::Number::default(), |g| g.softmax_error())
            };
            let first = row.saturating_mul(width) as u32; // elements are counted in 32 bits
            let mut put = |place: usize, weight, difference| {
                let product = T::Number::gradient(weight, difference, logits.temperature);
                if let Some(dx) = dx.get_mut(place) {
                    T::softmax_gradient(product, &mut sink, first.wrapping_add(place as u32), dx);
                }
            };
            let (Some((head, mut rest)), Some(errors)) =
                (p.split_at_checked(heads), s.get_mut(..heads))
            else {
                continue;
            };
            // The errors of the head's items, and of each entry the mean of its tail's.
            for (s, place) in errors.iter_mut().zip(clusters.head().take(clusters.head)) {
                *s = error(place);
            }
            for (c, ids) in clusters.tails().enumerate() {
                let Some((tail, after)) = rest.split_at_checked(ids.len()) else {
                    continue;
                };
                rest = after;
                let mean = T::Number::mean(tail.iter().copied().zip(places(ids).map(error)));
                if let Some(s) = errors.get_mut(clusters.head + c) {
                    *s = mean;
                }
                let entry = head.get(clusters.head + c).copied().unwrap_or_default();
                for (place, &conditional) in places(ids).zip(tail) {
                    put(place, conditional.times(entry), error(place) - mean);
                }
            }
            let mean = T::Number::mean(head.iter().copied().zip(errors.iter().copied()));
            for ((place, &p), &s) in clusters.head().zip(head).zip(&*errors) {
                put(place, p, s - mean);
            }
        }
        sink.bits()
    }
}

impl<T: Element> LogProb<'_, T> {
    #[inline(always)]
    pub(super) fn run(self) {
        let Self {
            clusters,
            logits,
            targets,
            out,
            scratch,
        } = self;
        let rows = rows_of(logits.x, clusters.logits()).zip(targets).zip(out);
        for ((x, &target), out) in rows {
            let mut total = <T::Number as Number>::Sum::default();
            visit(clusters, logits, x, target, scratch, |surprise, _, _, _| {
                total += surprise
            });
            *out = -total;
        }
    }
}

impl<T: Element, L: Element<Number = T::Number>> CrossEntropy<'_, T, L> {
    #[inline(always)]
    pub(super) fn run(self) -> Outcome<<T::Number as Number>::Sum> {
        let Self {
            clusters,
            logits,
            targets,
            store,
            dx,
            scratch,
        } = self;
        let width = clusters.logits();
        let mut sink = Sink::new(store);
        let mut loss = <T::Number as Number>::Sum::default();
        let rows = rows_of(logits.x, width)
            .zip(targets)
            .zip(rows_of_mut(dx, width));
        for (row, ((x, &target), dx)) in rows.enumerate() {
            let first = row.saturating_mul(width) as u32;
            visit(
                clusters,
                logits,
                x,
                target,
                scratch,
                |surprise, places, p, target| {
                    loss += surprise;
                    for (i, (place, &p)) in places.zip(p).enumerate() {
                        let wanted = if i == target {
                            T::Number::ONE
                        } else {
                            T::Number::default()
                        };
                        let product =
                            T::Number::gradient(T::LOSS_WEIGHT, p - wanted, logits.temperature);
                        if let Some(dx) = dx.get_mut(place) {
                            T::softmax_gradient(
                                product,
                                &mut sink,
                                first.wrapping_add(place as u32),
                                dx,
                            );
                        }
                    }
                },
            );
        }
        Outcome {
            range: sink.bits(),
            loss,
        }
    }
}

/// Calls `see` with the softmax of the head, and of the tail that `target` is in: `-ln` of the
/// target's probability there, the places of its logits, the probabilities, the target's number.
#[inline(always)]
fn visit<T: Element>(
    clusters: Clusters<'_>,
    logits: Logits<'_, T>,
    x: &[T],
    target: u32,
    scratch: &mut [T::Number],
    mut see: impl FnMut(
        <T::Number as Number>::Sum,
        &mut dyn Iterator<Item = usize>,
        &[T::Number],
        usize,
    ),
) {
    let Some((place, tail)) = clusters.find(target) else {
        return;
    };
    if let Some(p) = scratch.get_mut(..clusters.head + clusters.tails.len()) {
        let surprise = gathered(logits, x, clusters.head(), p, place);
        see(surprise, &mut clusters.head(), p, place);
    }
    if let Some((ids, place)) = tail
        && let Some(p) = scratch.get_mut(..ids.len())
    {
        let surprise = gathered(logits, x, places(ids), p, place);
        see(surprise, &mut places(ids), p, place);
    }
}
