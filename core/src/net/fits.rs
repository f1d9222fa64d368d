//! `assert_fits!`: a network that is too large does not compile.

use super::LayerCost;

/// Fails the build, `cargo check` included, unless training the network fits the memory:
/// `assert_fits!(Net<i8>, batch = 8, ram = 24 * 1024, flash = 8 * 1024);`.
///
/// `ram` is held against [`Trainer::RAM_BYTES`](crate::train::Trainer::RAM_BYTES) for `batch`
/// samples (1 where it is left out): parameters, tape, errors, optimizer state and the input, not
/// the stack. `flash` is held against
/// [`Trainer::FLASH_BYTES`](crate::train::Trainer::FLASH_BYTES): stored weights and constants; code
/// is measured by `cargo xtask size`. The message names the largest layer and the bytes over budget.
///
/// # Example
/// ```
/// use selvedge_core::{assert_fits, net};
/// net! { struct Mlp: [64] { hidden: dense(32, activation = relu), head: dense(10) } }
/// assert_fits!(Mlp<i8>, batch = 8, ram = 8 * 1024, flash = 3 * 1024);
/// ```
/// The same network in f32 is too large:
/// ```compile_fail
/// # use selvedge_core::{assert_fits, net};
/// # net! { struct Mlp: [64] { hidden: dense(32, activation = relu), head: dense(10) } }
/// assert_fits!(Mlp<f32>, batch = 8, ram = 8 * 1024, flash = 3 * 1024);
/// ```
#[macro_export]
macro_rules! assert_fits {
    ($net:ty, ram = $ram:expr, flash = $flash:expr $(,)?) => {
        $crate::assert_fits!($net, batch = 1, ram = $ram, flash = $flash);
    };
    ($net:ty, batch = $batch:expr, ram = $ram:expr, flash = $flash:expr $(,)?) => {
        const _: () = {
            const COSTS: &[$crate::net::LayerCost] = &<$net>::costs::<{ $batch }>();
            const NEEDS: [usize; 2] = [
                $crate::train::Trainer::<$net, { $batch }>::RAM_BYTES,
                $crate::train::Trainer::<$net, { $batch }>::FLASH_BYTES,
            ];
            const OVER: Option<$crate::net::Message> =
                $crate::net::over_budget(::core::stringify!($net), COSTS, NEEDS, [$ram, $flash]);
            if let Some(message) = &OVER {
                ::core::panic!("{}", message.as_str());
            }
        };
    };
}

/// A sentence put together when the program is compiled.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    bytes: [u8; 320],
    len: usize,
}

impl Message {
    const EMPTY: Self = Self {
        bytes: [0; 320],
        len: 0,
    };

    /// The sentence.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        match core::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => "the name of a network or layer is too long to be shown",
        }
    }

    const fn text(mut self, text: &str) -> Self {
        let mut rest = text.as_bytes();
        while let [byte, after @ ..] = rest {
            if self.len < self.bytes.len() {
                self.bytes[self.len] = *byte;
                self.len += 1;
            }
            rest = after;
        }
        self
    }

    const fn number(mut self, number: usize) -> Self {
        if number >= 10 {
            self = self.number(number / 10);
        }
        let digit = [b'0' + (number % 10) as u8];
        match core::str::from_utf8(&digit) {
            Ok(digit) => self.text(digit),
            Err(_) => self,
        }
    }
}

/// What [`assert_fits!`](crate::assert_fits!) says of a network that needs more than its budget;
/// both are bytes of RAM and of flash.
#[must_use]
pub const fn over_budget(
    network: &str,
    costs: &[LayerCost],
    needs: [usize; 2],
    budget: [usize; 2],
) -> Option<Message> {
    let is_ram = needs[0] > budget[0];
    if !is_ram && needs[1] <= budget[1] {
        return None;
    }
    let (need, budget, what) = if is_ram {
        (needs[0], budget[0], "RAM")
    } else {
        (needs[1], budget[1], "flash")
    };
    let message = Message::EMPTY
        .text(network)
        .text(" does not fit: ")
        .number(need)
        .text(" bytes of ")
        .text(what)
        .text(" are ")
        .number(need - budget)
        .text(" over the budget of ")
        .number(budget);
    let (mut rest, mut largest, mut bytes) = (costs, None, 0);
    while let [cost, after @ ..] = rest {
        let of_this = if is_ram {
            cost.ram_bytes
        } else {
            cost.info.flash_bytes
        };
        if largest.is_none() || of_this > bytes {
            (largest, bytes) = (Some(*cost), of_this);
        }
        rest = after;
    }
    Some(match largest {
        None => message,
        Some(cost) => message
            .text("; the largest layer is `")
            .text(cost.name)
            .text("` (")
            .text(cost.info.kind)
            .text(") with ")
            .number(bytes),
    })
}
