//! `net!`: layers by name, shapes computed.

/// Declares a network: a type with a layer for each line, whose shapes follow from the input's.
///
/// ```
/// use selvedge_core::{net, net::{Layer, Network}};
///
/// net! {
///     /// 8×8 images of one channel, ten classes.
///     pub struct Digits: [8, 8, 1] {
///         edges: conv2d(8, kernel = 3, padding = same, activation = relu),
///         halve: max_pool(2),
///         flat: flatten,
///         head: dense(10),
///     }
/// }
/// assert_eq!(<Digits<i8> as Network>::Layers::INFO.parameters, 8 * 9 + 8 + 10 * 128 + 10);
/// ```
/// declares `Digits<T, R = Plain>`, generic over the element type and over what the optimizer keeps
/// ([`Plain`](crate::net::Plain) or [`Momentum`](crate::net::Momentum)). It implements
/// [`Network`](crate::net::Network), has a method of each layer's name that returns the layer, and
/// `costs::<BATCH>()`, what each layer costs, both as visible as the network.
///
/// The input is a row of `[features]`, a signal `[columns, channels]`, an image
/// `[rows, columns, channels]` or a volume `[planes, rows, columns, channels]`. Extents are constant
/// expressions. Options stand in this order, and may be left out where they have a default:
///
/// | layer | from | to |
/// |---|---|---|
/// | `conv2d(filters, kernel = k, stride = 1, padding = 0, dilation = 1, groups = 1, activation = …)` | image | image |
/// | `conv1d(…)`, `conv3d(…)`, as `conv2d` | signal, volume | the same |
/// | `conv_transpose2d(…)`, `conv_transpose1d(…)`, `conv_transpose3d(…)`, as `conv2d` | image, signal, volume | the same |
/// | `depthwise(kernel = k, stride = 1, padding = 0, dilation = 1, activation = …)` | signal, image, volume | the same |
/// | `max_pool(k, stride = k, padding = 0)`, `average_pool(k, …)` | signal, image, volume | the same |
/// | `global_max_pool`, `global_average_pool` | signal, image, volume | features |
/// | `flatten` | any | features |
/// | `dense(features, activation = …)` | features, or a row of them at each step | the same |
/// | `batch_norm`, `layer_norm`, `rms_norm` | any | the same |
/// | `activation(…)`, `relu` | any | the same |
/// | `residual { layers }`, `residual { layers } shortcut { layers }` | any | that of its layers |
/// | `sum { layers } { layers }`, `product`, `difference`, `quotient`, `minimum`, `maximum` | any | that of the first |
/// | `concat { layers } { layers } …` | any of up to three extents | with the channels of all |
/// | `concat(axis = a) { layers } { layers } …`, `a` being 0 or 1 | any of two or three extents | with that extent of all |
/// | `total { layers } { layers } ..`, `mean { layers } ..`, of two to six | any | that of the first |
/// | `line { layers } { layers } ..`, of two to six | any of up to three extents | with the channels of all |
/// | `mixture { gate } { expert } { expert } ..`, of two to six experts | any | that of the first expert |
/// | `layer(Type => [extents])` | any | as given |
///
/// A kernel or stride is one token (a number, a constant, an expression in parentheses), or
/// `[rows, columns]`, where planes are counted as rows; a padding is a number of cells, `valid`, `same` or, of a
/// `max_pool`, `ceil` ([`PadCeil`](crate::net::PadCeil)). Activations are `relu`,
/// `masked_relu`, `lifted_relu`, `relu6`, `scaled_relu`, `leaky_relu`, `leaky_relu(thousandths)`,
/// `sigmoid`, `tanh`, `softplus`, `gelu`, `silu`, `hard_swish`. As an option they read the accumulator of
/// their layer, as a layer stored values. Braces hold layers as the whole network does; empty ones pass
/// their input on. `layer` takes any [`Layer`](crate::net::Layer); of `T` and `R` its type may speak.
/// One that is not there for all element types wants a bound: `struct Name<T: Activation<i8>>: [..] { .. }`
/// (see [`MixedDense`](crate::net::MixedDense)), which `i16` must satisfy, or the type that is named behind it:
/// `struct Name<T: Float = f32>` (see [`DeformableAttention`](crate::net::DeformableAttention)).
///
/// A `dense` or convolution in the last line without an activation is the head: its output has at least
/// 16 bits. Layers are numbered in the order of the lines; `costs`, `layers` and `layers_mut` are no names
/// of layers. A line takes up to three steps of the compiler's recursion: a network of more than about 40
/// needs `#![recursion_limit = "512"]`.
#[macro_export]
macro_rules! net {
    ($(#[$attribute:meta])* $vis:vis struct $name:ident: [$($extent:expr),+ $(,)?] { $($layers:tt)+ }) => {
        $crate::net!(@layer [$(#[$attribute])* $vis $name [$crate::Element] i8] [$($extent),+] [] $($layers)+);
    };
    ($(#[$attribute:meta])* $vis:vis struct $name:ident<T: $bound:path>: [$($extent:expr),+ $(,)?] { $($layers:tt)+ }) => {
        $crate::net!(@layer [$(#[$attribute])* $vis $name [$bound] i16] [$($extent),+] [] $($layers)+);
    };
    ($(#[$attribute:meta])* $vis:vis struct $name:ident<T: $bound:path = $any:ident>: [$($extent:expr),+ $(,)?] { $($layers:tt)+ }) => {
        $crate::net!(@layer [$(#[$attribute])* $vis $name [$bound] $any] [$($extent),+] [] $($layers)+);
    };

    // A type is no expression, which options of other layers begin with: this one comes first.
    (@layer $net:tt $shape:tt $done:tt $layer:ident: layer($kind:ty => $out:tt) $(, $($rest:tt)*)?) => {
        $crate::net!(@then $net $done $layer $out { $kind } $($($rest)*)?);
    };

    // The head: the last line of the network itself, whose state stands in brackets.
    (@layer [$($net:tt)*] $shape:tt $done:tt $layer:ident: dense($features:expr) $(,)?) => {
        $crate::net!(@layer [$($net)*] $shape $done $layer: dense($features, activation = logits));
    };
    (@layer [$($net:tt)*] $shape:tt $done:tt $layer:ident: $conv:ident($filters:expr, kernel = $kernel:tt
        $(, stride = $stride:tt)? $(, padding = $padding:tt)? $(, dilation = $dilation:expr)?
        $(, groups = $groups:expr)?) $(,)?) => {
        $crate::net!(@layer [$($net)*] $shape $done $layer: $conv($filters, kernel = $kernel
            $(, stride = $stride)? $(, padding = $padding)? $(, dilation = $dilation)?
            $(, groups = $groups)?, activation = logits));
    };

    // A layer of type `$kind`, with an output of these extents.
    (@then $net:tt [$($done:tt)*] $layer:ident [$($extent:expr),+] { $kind:ty } $($rest:tt)*) => {
        $crate::net!(@layer $net [$($extent),+] [$($done)* { $layer: $kind }] $($rest)*);
    };

    (@layer $net:tt [$inputs:expr] $done:tt
        $layer:ident: dense($features:expr $(, activation = $($activation:tt)+)?) $(, $($rest:tt)*)?) => {
        $crate::net!(@then $net $done $layer [$features] { $crate::net::Dense<
            T, { $inputs }, { $features }, $crate::__net_option!(activation [$($($activation)+)?]), R,
        > } $($($rest)*)?);
    };

    (@layer $net:tt [$steps:expr, $inputs:expr] $done:tt
        $layer:ident: dense($features:expr $(, activation = $($activation:tt)+)?) $(, $($rest:tt)*)?) => {
        $crate::net!(@then $net $done $layer [$steps, $features] { $crate::net::DenseOver<
            T, $crate::tensor::D2<{ $steps }, { $inputs }>, { $features },
            $crate::__net_option!(activation [$($($activation)+)?]), R,
        > } $($($rest)*)?);
    };

    // Windows: options in brackets, empty where they are left out; then the axes, and how each reads its option.
    (@layer $net:tt $shape:tt $done:tt $layer:ident: $conv:ident($filters:expr, kernel = $kernel:tt
            $(, stride = $stride:tt)? $(, padding = $padding:tt)? $(, dilation = $dilation:expr)?
            $(, groups = $groups:expr)? $(, activation = $($activation:tt)+)?)
        $(, $($rest:tt)*)?) => {
        $crate::net!(@conv $conv $shape { $net $done $layer [$filters] [$kernel] [$($stride)?] [$($padding)?]
            [$($dilation)?] [$($groups)?] [$($($activation)+)?] } $($($rest)*)?);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: depthwise(kernel = $kernel:tt $(, stride = $stride:tt)?
            $(, padding = $padding:tt)? $(, dilation = $dilation:expr)? $(, activation = $($activation:tt)+)?)
        $(, $($rest:tt)*)?) => {
        $crate::net!(@conv depthwise $shape { $net $done $layer [] [$kernel] [$($stride)?] [$($padding)?]
            [$($dilation)?] [] [$($($activation)+)?] } $($($rest)*)?);
    };
    (@conv conv1d [$x:expr, $c:expr] { $($options:tt)* } $($rest:tt)*) => {
        $crate::net!(@window windows Conv conv [across $x] [$c] $($options)* $($rest)*);
    };
    (@conv conv2d [$y:expr, $x:expr, $c:expr] { $($options:tt)* } $($rest:tt)*) => {
        $crate::net!(@window windows Conv conv [down $y, across $x] [$c] $($options)* $($rest)*);
    };
    (@conv conv3d [$z:expr, $y:expr, $x:expr, $c:expr] { $($options:tt)* } $($rest:tt)*) => {
        $crate::net!(@window windows Conv conv [down $z, down $y, across $x] [$c] $($options)* $($rest)*);
    };
    (@conv depthwise [$x:expr, $c:expr] { $($options:tt)* } $($rest:tt)*) => {
        $crate::net!(@window windows Conv depthwise [across $x] [$c] $($options)* $($rest)*);
    };
    (@conv depthwise [$y:expr, $x:expr, $c:expr] { $($options:tt)* } $($rest:tt)*) => {
        $crate::net!(@window windows Conv depthwise [down $y, across $x] [$c] $($options)* $($rest)*);
    };
    (@conv depthwise [$z:expr, $y:expr, $x:expr, $c:expr] { $($options:tt)* } $($rest:tt)*) => {
        $crate::net!(@window windows Conv depthwise [down $z, down $y, across $x] [$c] $($options)* $($rest)*);
    };
    (@conv conv_transpose1d [$x:expr, $c:expr] { $($options:tt)* } $($rest:tt)*) => {
        $crate::net!(@window spread ConvTranspose transpose [across $x] [$c] $($options)* $($rest)*);
    };
    (@conv conv_transpose2d [$y:expr, $x:expr, $c:expr] { $($options:tt)* } $($rest:tt)*) => {
        $crate::net!(@window spread ConvTranspose transpose [down $y, across $x] [$c] $($options)* $($rest)*);
    };
    (@conv conv_transpose3d [$z:expr, $y:expr, $x:expr, $c:expr] { $($options:tt)* } $($rest:tt)*) => {
        $crate::net!(@window spread ConvTranspose transpose [down $z, down $y, across $x] [$c] $($options)* $($rest)*);
    };
    (@conv $kind:ident $shape:tt { $net:tt $done:tt $layer:ident $($options:tt)* } $($rest:tt)*) => {
        $crate::__net_refuse!($layer $kind $shape);
    };
    (@window $extents:ident $kind:ident $form:ident [$($axis:ident $extent:expr),+] [$channels:expr]
        $net:tt [$($done:tt)*] $layer:ident $filters:tt [$kernel:tt] $stride:tt $padding:tt $dilation:tt $groups:tt
        $activation:tt $($rest:tt)*) => {
        $crate::net!(@layer $net
            [
                $($crate::net::$extents($extent, $crate::__net_option!($axis [$kernel] 1),
                    $crate::__net_option!($axis $stride 1), $crate::__net_option!(padding $padding),
                    $crate::__net_option!(or $dilation 1)),)+
                $crate::__net_option!(or $filters $channels)
            ]
            [$($done)* { $layer: $crate::net::$kind<
                T,
                $crate::__net_option!(shape $($extent),+, $channels),
                $crate::__net_option!(filters $form $filters [$channels] $groups
                    [$($crate::__net_option!($axis [$kernel] 1)),+]),
                $crate::__net_option!(shape $($crate::net::$extents($extent, $crate::__net_option!($axis [$kernel] 1),
                    $crate::__net_option!($axis $stride 1), $crate::__net_option!(padding $padding),
                    $crate::__net_option!(or $dilation 1))),+, $crate::__net_option!(or $filters $channels)),
                $crate::net::Step<
                    { $crate::__net_option!(down $stride 1) },
                    { $crate::__net_option!(across $stride 1) },
                    $crate::__net_option!(pads $padding),
                    { $crate::__net_option!(or $dilation 1) },
                >,
                $crate::__net_option!(activation $activation),
                R,
            > }]
            $($rest)*);
    };

    (@layer $net:tt $shape:tt $done:tt
        $layer:ident: max_pool($kernel:tt $(, stride = $stride:tt)? $(, padding = $padding:tt)?) $(, $($rest:tt)*)?) => {
        $crate::net!(@pool max_pool MaxPool $shape { $net $done $layer $kernel [$($stride)?] [$($padding)?] }
            $($($rest)*)?);
    };
    (@layer $net:tt $shape:tt $done:tt
        $layer:ident: average_pool($kernel:tt $(, stride = $stride:tt)? $(, padding = $padding:tt)?) $(, $($rest:tt)*)?) => {
        $crate::net!(@pool average_pool AveragePool $shape { $net $done $layer $kernel [$($stride)?] [$($padding)?] }
            $($($rest)*)?);
    };
    (@pool $name:ident $kind:ident [$x:expr, $c:expr] { $($options:tt)* } $($rest:tt)*) => {
        $crate::net!(@pooled $kind [across $x] [$c] $($options)* $($rest)*);
    };
    (@pool $name:ident $kind:ident [$y:expr, $x:expr, $c:expr] { $($options:tt)* } $($rest:tt)*) => {
        $crate::net!(@pooled $kind [down $y, across $x] [$c] $($options)* $($rest)*);
    };
    (@pool $name:ident $kind:ident [$z:expr, $y:expr, $x:expr, $c:expr] { $($options:tt)* } $($rest:tt)*) => {
        $crate::net!(@pooled $kind [down $z, down $y, across $x] [$c] $($options)* $($rest)*);
    };
    (@pool $name:ident $kind:ident $shape:tt { $net:tt $done:tt $layer:ident $($options:tt)* } $($rest:tt)*) => {
        $crate::__net_refuse!($layer $name $shape);
    };
    (@pooled $kind:ident [$($axis:ident $extent:expr),+] [$channels:expr]
        $net:tt [$($done:tt)*] $layer:ident $kernel:tt $stride:tt $padding:tt $($rest:tt)*) => {
        $crate::net!(@layer $net
            [
                $($crate::net::windows($extent, $crate::__net_option!($axis [$kernel] 1),
                    $crate::__net_option!($axis $stride $kernel), $crate::__net_option!(padding $padding), 1),)+
                $channels
            ]
            [$($done)* { $layer: $crate::net::$kind<
                T,
                $crate::__net_option!(shape $($extent),+, $channels),
                $crate::__net_option!(shape $($crate::net::windows($extent, $crate::__net_option!($axis [$kernel] 1),
                    $crate::__net_option!($axis $stride $kernel), $crate::__net_option!(padding $padding), 1)),+, $channels),
                $crate::__net_option!(shape $($crate::__net_option!($axis [$kernel] 1)),+),
                $crate::net::Step<
                    { $crate::__net_option!(down $stride $kernel) },
                    { $crate::__net_option!(across $stride $kernel) },
                    $crate::__net_option!(pads $padding),
                >,
            > }]
            $($rest)*);
    };
    (@layer $net:tt [$first:expr, $($others:expr),+] $done:tt $layer:ident: global_max_pool $(, $($rest:tt)*)?) => {
        $crate::net!(@global GlobalMaxPool $net [$first, $($others),+] [$first, $($others),+] $done $layer $($($rest)*)?);
    };
    (@layer $net:tt [$first:expr, $($others:expr),+] $done:tt $layer:ident: global_average_pool $(, $($rest:tt)*)?) => {
        $crate::net!(@global GlobalAveragePool $net [$first, $($others),+] [$first, $($others),+] $done $layer $($($rest)*)?);
    };
    (@global $kind:ident $net:tt $input:tt [$channels:expr] $done:tt $layer:ident $($rest:tt)*) => {
        $crate::net!(@then $net $done $layer [$channels] { $crate::net::$kind<T, $crate::net!(@shape $input)> } $($rest)*);
    };
    (@global $kind:ident $net:tt $input:tt [$axis:expr, $($others:expr),+] $done:tt $layer:ident $($rest:tt)*) => {
        $crate::net!(@global $kind $net $input [$($others),+] $done $layer $($rest)*);
    };
    (@shape [$($extent:expr),+]) => { $crate::__net_option!(shape $($extent),+) };

    (@layer $net:tt [$($extent:expr),+] $done:tt $layer:ident: flatten $(, $($rest:tt)*)?) => {
        $crate::net!(@then $net $done $layer [1 $(* $extent)+] { $crate::net::Flatten<
            T, $crate::__net_option!(shape $($extent),+), $crate::tensor::D1<{ 1 $(* $extent)+ }>,
        > } $($($rest)*)?);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: batch_norm $(, $($rest:tt)*)?) => {
        $crate::net!(@then $net $done $layer $shape { $crate::net::BatchNorm<T, $crate::net!(@shape $shape), R> } $($($rest)*)?);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: layer_norm $(, $($rest:tt)*)?) => {
        $crate::net!(@then $net $done $layer $shape { $crate::net::LayerNorm<T, $crate::net!(@shape $shape), R> } $($($rest)*)?);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: rms_norm $(, $($rest:tt)*)?) => {
        $crate::net!(@then $net $done $layer $shape { $crate::net::RmsNorm<T, $crate::net!(@shape $shape), R> } $($($rest)*)?);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: relu $(, $($rest:tt)*)?) => {
        $crate::net!(@layer $net $shape $done $layer: activation(relu) $(, $($rest)*)?);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: activation($($activation:tt)+) $(, $($rest:tt)*)?) => {
        $crate::net!(@then $net $done $layer $shape { $crate::net::Activate<
            T, $crate::net!(@shape $shape), $crate::__net_option!(activation [$($activation)+]),
        > } $($($rest)*)?);
    };

    // Any number of branches, or a gate and its experts: the layers of each, then what brings them together.
    (@layer $net:tt $shape:tt $done:tt $layer:ident: mixture { $($gate:tt)* } $({ $($expert:tt)* })+ $(, $($rest:tt)*)?) => {
        $crate::net!(@branches mixture { $net $shape $done $layer { $($($rest)*)? } } [] { $($gate)* } $({ $($expert)* })+);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: total $({ $($branch:tt)* })+ $(, $($rest:tt)*)?) => {
        $crate::net!(@branches total { $net $shape $done $layer { $($($rest)*)? } } [] $({ $($branch)* })+);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: mean $({ $($branch:tt)* })+ $(, $($rest:tt)*)?) => {
        $crate::net!(@branches mean { $net $shape $done $layer { $($($rest)*)? } } [] $({ $($branch)* })+);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: line $({ $($branch:tt)* })+ $(, $($rest:tt)*)?) => {
        $crate::net!(@branches line { $net $shape $done $layer { $($($rest)*)? } } [] $({ $($branch)* })+);
    };
    (@branches $kind:ident { $net:tt $shape:tt $($state:tt)* } $branches:tt { $($first:tt)* } $($others:tt)*) => {
        $crate::net!(@layer { branch $kind { $net $shape $($state)* } $branches { $($others)* } } $shape [] $($first)*);
    };
    (@layer { branch $kind:ident $state:tt [$($branches:tt)*] { $($others:tt)* } } $out:tt $chain:tt) => {
        $crate::net!(@branches $kind $state [$($branches)* { $out $chain }] $($others)*);
    };
    (@branches mixture { $net:tt $shape:tt $done:tt $layer:ident { $($rest:tt)* } }
        [{ $weights:tt [$($gate:tt)*] } { $out:tt [$($first:tt)*] } $({ $other:tt [$($chain:tt)*] })+]) => {
        $crate::net!(@then $net $done $layer $out { $crate::net::Mixture<
            $crate::__net_option!(chain $shape $($gate)*),
            ($crate::__net_option!(chain $shape $($first)*), $($crate::__net_option!(chain $shape $($chain)*)),+),
        > } $($rest)*);
    };
    (@branches total $state:tt [{ $out:tt $first:tt } $({ $other:tt $chain:tt })+]) => {
        $crate::net!(@parallel $state $out { $crate::net::Total } $first $($chain)+);
    };
    (@branches mean $state:tt [{ $out:tt $first:tt } $({ $other:tt $chain:tt })+]) => {
        $crate::net!(@parallel $state $out { $crate::net::Mean } $first $($chain)+);
    };
    (@branches line $state:tt [{ [$a:expr] $first:tt } $({ [$b:expr] $chain:tt })+]) => {
        $crate::net!(@line $state [$a $(+ $b)+] $first $($chain)+);
    };
    (@branches line $state:tt [{ [$x:expr, $a:expr] $first:tt } $({ [$x2:expr, $b:expr] $chain:tt })+]) => {
        $crate::net!(@line $state [$x, $a $(+ $b)+] $first $($chain)+);
    };
    (@branches line $state:tt [{ [$y:expr, $x:expr, $a:expr] $first:tt } $({ [$y2:expr, $x2:expr, $b:expr] $chain:tt })+]) => {
        $crate::net!(@line $state [$y, $x, $a $(+ $b)+] $first $($chain)+);
    };
    (@branches $kind:ident { $net:tt $shape:tt $done:tt $layer:ident $rest:tt } $branches:tt) => {
        $crate::__net_refuse!(options $layer $kind);
    };
    (@line $state:tt $out:tt $($chains:tt)+) => {
        $crate::net!(@parallel $state $out { $crate::net::Line<$crate::net!(@shape $out)> } $($chains)+);
    };
    (@parallel { $net:tt $shape:tt $done:tt $layer:ident { $($rest:tt)* } } $out:tt { $combine:ty } $([$($chain:tt)*])+) => {
        $crate::net!(@then $net $done $layer $out { $crate::net::Parallel<
            ($($crate::__net_option!(chain $shape $($chain)*)),+), $combine,
        > } $($rest)*);
    };

    // Branches: the first one's layers, then the second's, then what joins them.
    (@layer $net:tt $shape:tt $done:tt $layer:ident: residual { $($first:tt)* } shortcut { $($second:tt)* } $(, $($rest:tt)*)?) => {
        $crate::net!(@layer { first sum $net $shape $done $layer { $($second)* } { $($($rest)*)? } } $shape [] $($first)*);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: residual { $($first:tt)* } $(, $($rest:tt)*)?) => {
        $crate::net!(@layer { first sum $net $shape $done $layer {} { $($($rest)*)? } } $shape [] $($first)*);
    };
    // More than two are joined from behind.
    (@layer $net:tt $shape:tt $done:tt $layer:ident: concat $((axis = $axis:tt))? { $($first:tt)* } { $($second:tt)* }
        $({ $($others:tt)* })+ $(, $($rest:tt)*)?) => {
        $crate::net!(@layer $net $shape $done $layer: concat $((axis = $axis))? { $($first)* } {
            rest: concat $((axis = $axis))? { $($second)* } $({ $($others)* })+
        } $(, $($rest)*)?);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: concat(axis = 0) { $($first:tt)* } { $($second:tt)* } $(, $($rest:tt)*)?) => {
        $crate::net!(@layer { first concat_0 $net $shape $done $layer { $($second)* } { $($($rest)*)? } } $shape [] $($first)*);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: concat(axis = 1) { $($first:tt)* } { $($second:tt)* } $(, $($rest:tt)*)?) => {
        $crate::net!(@layer { first concat_1 $net $shape $done $layer { $($second)* } { $($($rest)*)? } } $shape [] $($first)*);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: $join:ident { $($first:tt)* } { $($second:tt)* } $(, $($rest:tt)*)?) => {
        $crate::net!(@layer { first $join $net $shape $done $layer { $($second)* } { $($($rest)*)? } } $shape [] $($first)*);
    };
    (@layer { first $join:ident $net:tt $input:tt $done:tt $layer:ident { $($second:tt)* } $rest:tt } $out:tt $first:tt) => {
        $crate::net!(@layer { second $join $net $input $done $layer $first $out $rest } $input [] $($second)*);
    };
    (@layer { second concat $net:tt $input:tt $done:tt $layer:ident [$($first:tt)*] [$a:expr] { $($rest:tt)* } } [$b:expr] [$($second:tt)*]) => {
        $crate::net!(@concat $net $input $done $layer [$($first)*] [$($second)*] [$a + $b] [LastAxis] $($rest)*);
    };
    (@layer { second concat $net:tt $input:tt $done:tt $layer:ident [$($first:tt)*] [$x:expr, $a:expr] { $($rest:tt)* } }
        [$x2:expr, $b:expr] [$($second:tt)*]) => {
        $crate::net!(@concat $net $input $done $layer [$($first)*] [$($second)*] [$x, $a + $b] [LastAxis] $($rest)*);
    };
    (@layer { second concat $net:tt $input:tt $done:tt $layer:ident [$($first:tt)*] [$y:expr, $x:expr, $a:expr] { $($rest:tt)* } }
        [$y2:expr, $x2:expr, $b:expr] [$($second:tt)*]) => {
        $crate::net!(@concat $net $input $done $layer [$($first)*] [$($second)*] [$y, $x, $a + $b] [LastAxis] $($rest)*);
    };
    (@layer { second concat_0 $net:tt $input:tt $done:tt $layer:ident [$($first:tt)*] [$x:expr $(, $others:expr)+] { $($rest:tt)* } }
        [$x2:expr $(, $others2:expr)+] [$($second:tt)*]) => {
        $crate::net!(@concat $net $input $done $layer [$($first)*] [$($second)*] [$x + $x2 $(, $others)+] [Axis<0>] $($rest)*);
    };
    (@layer { second concat_1 $net:tt $input:tt $done:tt $layer:ident [$($first:tt)*] [$y:expr, $x:expr $(, $others:expr)*] { $($rest:tt)* } }
        [$y2:expr, $x2:expr $(, $others2:expr)*] [$($second:tt)*]) => {
        $crate::net!(@concat $net $input $done $layer [$($first)*] [$($second)*] [$y, $x + $x2 $(, $others)*] [Axis<1>] $($rest)*);
    };
    (@layer { second $join:ident $net:tt $input:tt $done:tt $layer:ident [$($first:tt)*] $out:tt { $($rest:tt)* } } $other:tt [$($second:tt)*]) => {
        $crate::net!(@then $net $done $layer $out { $crate::net::Fork<
            $crate::__net_option!(chain $input $($first)*), $crate::__net_option!(chain $input $($second)*),
            $crate::__net_option!(join $join),
        > } $($rest)*);
    };
    (@concat $net:tt $input:tt $done:tt $layer:ident [$($first:tt)*] [$($second:tt)*] $out:tt [$($axis:tt)+] $($rest:tt)*) => {
        $crate::net!(@then $net $done $layer $out { $crate::net::Fork<
            $crate::__net_option!(chain $input $($first)*), $crate::__net_option!(chain $input $($second)*),
            $crate::net::Concat<$crate::net!(@shape $out), $crate::net::$($axis)+>,
        > } $($rest)*);
    };

    (@layer [$($net:tt)*] $shape:tt [$($done:tt)+]) => {
        $crate::net!(@network [$($net)*] $($done)+);
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: $kind:ident $($rest:tt)*) => {
        $crate::__net_refuse!($layer $kind $shape);
    };
    (@layer $net:tt $shape:tt $done:tt $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "net!: expected `name: layer(options)`, with the options in the documented order, found `",
            ::core::stringify!($($rest)*), "`"
        ));
    };

    (@network [$(#[$attribute:meta])* $vis:vis $name:ident [$bound:path] $any:ty] $({ $layer:ident: $kind:ty })+) => {
        $(#[$attribute])*
        $vis struct $name<T: $bound, R: $crate::net::Optimizer = $crate::net::Plain> {
            layers: $crate::__net_option!(chain [0] $({ $layer: $kind })+),
        }

        #[allow(dead_code)] // a program need not look at each layer
        impl<T: $bound, R: $crate::net::Optimizer> $name<T, R> {
            $crate::net!(@accessors [$vis] [layers] $({ $layer: $kind })+);

            /// What each layer costs, for training with up to `BATCH` samples.
            $vis const fn costs<const BATCH: usize>()
            -> [$crate::net::LayerCost; [$(::core::stringify!($layer)),+].len()] {
                [$($crate::net::LayerCost::of::<$kind, BATCH>(::core::stringify!($layer))),+]
            }
        }

        impl<T: $bound, R: $crate::net::Optimizer> $crate::net::Network for $name<T, R> {
            type Elem = T;
            type In = <Self::Layers as $crate::net::Layer>::In;
            type Layers = $crate::__net_option!(chain [0] $({ $layer: $kind })+);
            // The lengths are the same for all element types.
            type Errors<const BATCH: usize> = $crate::net::ErrorBuffers<
                T,
                BATCH,
                { <<$name<$any> as $crate::net::Network>::Layers as $crate::net::Layer>::INFO.errors_first.error },
                { <<$name<$any> as $crate::net::Network>::Layers as $crate::net::Layer>::INFO.errors_first.spare },
            >;

            const BLANK: Self = Self { layers: $crate::net::Layer::BLANK };

            fn layers(&self) -> &Self::Layers {
                &self.layers
            }

            fn layers_mut(&mut self) -> &mut Self::Layers {
                &mut self.layers
            }

            fn costs<const BATCH: usize>() -> impl ::core::iter::Iterator<Item = $crate::net::LayerCost> {
                ::core::iter::IntoIterator::into_iter(Self::costs::<BATCH>())
            }
        }
    };

    (@accessors $vis:tt $path:tt { costs: $kind:ty } $($rest:tt)*) => { $crate::__net_refuse!(name costs); };
    (@accessors $vis:tt $path:tt { layers: $kind:ty } $($rest:tt)*) => { $crate::__net_refuse!(name layers); };
    (@accessors $vis:tt $path:tt { layers_mut: $kind:ty } $($rest:tt)*) => { $crate::__net_refuse!(name layers_mut); };
    (@accessors [$vis:vis] [$($path:tt)+] { $layer:ident: $kind:ty }) => {
        #[doc = ::core::concat!("The layer `", ::core::stringify!($layer), "`, the last.")]
        $vis const fn $layer(&self) -> &$kind {
            &self.$($path)+
        }
    };
    (@accessors [$vis:vis] [$($path:tt)+] { $layer:ident: $kind:ty } $($rest:tt)+) => {
        #[doc = ::core::concat!("The layer `", ::core::stringify!($layer), "`.")]
        $vis const fn $layer(&self) -> &$kind {
            &self.$($path)+.0
        }
        $crate::net!(@accessors [$vis] [$($path)+.1] $($rest)+);
    };
}
