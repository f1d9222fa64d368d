//! `net!`: layers by name, shapes computed.

/// Declares a network: a type with a layer for each line, whose shapes follow from the input's.
///
/// ```
/// use selvedge_core::{net, net::{Layer, Network}};
///
/// net! {
///     /// 8×8 images of one channel, ten classes.
///     pub struct Digits: [8, 8, 1] {
///         edges: conv2d(8, kernel = 3, padding = 1, activation = relu),
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
/// `costs::<BATCH>()`, what each layer costs.
///
/// The input is an image `[rows, columns, channels]` or a row of `[features]`. Extents are constant
/// expressions. Options stand in this order, and may be left out where they have a default:
///
/// | layer | options | from | to |
/// |---|---|---|---|
/// | `conv2d(filters` | `, kernel = k, stride = 1, padding = 0, groups = 1, activation = …)` | image | image |
/// | `max_pool(k` | `, stride = k, padding = 0)` | image | image |
/// | `flatten` | | image | features |
/// | `dense(features` | `, activation = …)` | features | features |
/// | `relu` | | any | the same |
///
/// `activation = relu` reads the accumulator of its layer, the layer `relu` reads stored values. A
/// `dense` or `conv2d` in the last line without an activation is the head: its output has at least
/// 16 bits. Layers are numbered in the order of the lines.
#[macro_export]
macro_rules! net {
    ($(#[$attribute:meta])* $vis:vis struct $name:ident: [$($extent:expr),+ $(,)?] { $($layers:tt)+ }) => {
        $crate::net!(@layer [$(#[$attribute])* $vis $name] [$($extent),+] [] $($layers)+);
    };

    // The head.
    (@layer $net:tt $shape:tt $done:tt $layer:ident: dense($features:expr) $(,)?) => {
        $crate::net!(@layer $net $shape $done $layer: dense($features, activation = logits));
    };
    (@layer $net:tt $shape:tt $done:tt $layer:ident: conv2d($filters:expr, kernel = $kernel:expr
        $(, stride = $stride:expr)? $(, padding = $padding:expr)? $(, groups = $groups:expr)?) $(,)?) => {
        $crate::net!(@layer $net $shape $done $layer: conv2d($filters, kernel = $kernel
            $(, stride = $stride)? $(, padding = $padding)? $(, groups = $groups)?, activation = logits));
    };

    (@layer $net:tt [$inputs:expr] [$($done:tt)*]
        $layer:ident: dense($features:expr $(, activation = $activation:ident)?) $(, $($rest:tt)*)?) => {
        $crate::net!(@layer $net [$features] [$($done)* { $layer: $crate::net::Dense<
            T, { $inputs }, { $features }, $crate::net!(@activation $($activation)?), R,
        > }] $($($rest)*)?);
    };
    (@layer $net:tt [$rows:expr, $columns:expr, $channels:expr] [$($done:tt)*]
        $layer:ident: conv2d($filters:expr, kernel = $kernel:expr $(, stride = $stride:expr)?
            $(, padding = $padding:expr)? $(, groups = $groups:expr)? $(, activation = $activation:ident)?)
        $(, $($rest:tt)*)?) => {
        $crate::net!(@layer $net
            [
                $crate::net::windows($rows, $kernel, $crate::net!(@or $($stride)?; 1), $crate::net!(@or $($padding)?; 0)),
                $crate::net::windows($columns, $kernel, $crate::net!(@or $($stride)?; 1), $crate::net!(@or $($padding)?; 0)),
                $filters
            ]
            [$($done)* { $layer: $crate::net::Conv<
                T,
                $crate::tensor::D3<{ $rows }, { $columns }, { $channels }>,
                $crate::tensor::D4<{ $filters }, { $kernel }, { $kernel }, { $channels / $crate::net!(@or $($groups)?; 1) }>,
                $crate::tensor::D3<
                    { $crate::net::windows($rows, $kernel, $crate::net!(@or $($stride)?; 1), $crate::net!(@or $($padding)?; 0)) },
                    { $crate::net::windows($columns, $kernel, $crate::net!(@or $($stride)?; 1), $crate::net!(@or $($padding)?; 0)) },
                    { $filters },
                >,
                $crate::net::Slide<{ $crate::net!(@or $($stride)?; 1) }, { $crate::net!(@or $($padding)?; 0) }>,
                $crate::net!(@activation $($activation)?),
                R,
            > }]
            $($($rest)*)?);
    };
    (@layer $net:tt [$rows:expr, $columns:expr, $channels:expr] [$($done:tt)*]
        $layer:ident: max_pool($kernel:expr $(, stride = $stride:expr)? $(, padding = $padding:expr)?)
        $(, $($rest:tt)*)?) => {
        $crate::net!(@layer $net
            [
                $crate::net::windows($rows, $kernel, $crate::net!(@or $($stride)?; $kernel), $crate::net!(@or $($padding)?; 0)),
                $crate::net::windows($columns, $kernel, $crate::net!(@or $($stride)?; $kernel), $crate::net!(@or $($padding)?; 0)),
                $channels
            ]
            [$($done)* { $layer: $crate::net::MaxPool<
                T,
                $crate::tensor::D3<{ $rows }, { $columns }, { $channels }>,
                $crate::tensor::D3<
                    { $crate::net::windows($rows, $kernel, $crate::net!(@or $($stride)?; $kernel), $crate::net!(@or $($padding)?; 0)) },
                    { $crate::net::windows($columns, $kernel, $crate::net!(@or $($stride)?; $kernel), $crate::net!(@or $($padding)?; 0)) },
                    { $channels },
                >,
                $crate::tensor::D2<{ $kernel }, { $kernel }>,
                $crate::net::Slide<{ $crate::net!(@or $($stride)?; $kernel) }, { $crate::net!(@or $($padding)?; 0) }>,
            > }]
            $($($rest)*)?);
    };
    (@layer $net:tt [$($extent:expr),+] [$($done:tt)*] $layer:ident: flatten $(, $($rest:tt)*)?) => {
        $crate::net!(@layer $net [1 $(* $extent)+] [$($done)* { $layer: $crate::net::Flatten<
            T, $crate::net!(@shape $($extent),+), $crate::tensor::D1<{ 1 $(* $extent)+ }>,
        > }] $($($rest)*)?);
    };
    (@layer $net:tt [$($extent:expr),+] [$($done:tt)*] $layer:ident: relu $(, $($rest:tt)*)?) => {
        $crate::net!(@layer $net [$($extent),+] [$($done)* {
            $layer: $crate::net::Activate<T, $crate::net!(@shape $($extent),+), $crate::net::Relu>
        }] $($($rest)*)?);
    };
    (@layer $net:tt [$rows:expr, $columns:expr, $channels:expr] $done:tt $layer:ident: dense $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "net!: `", ::core::stringify!($layer), ": dense` takes features, not an image: put `flat: flatten` before it"
        ));
    };
    (@layer $net:tt [$features:expr] $done:tt $layer:ident: $kind:ident $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "net!: `", ::core::stringify!($layer), ": ", ::core::stringify!($kind),
            "` takes an image `[rows, columns, channels]`, not features, or is no layer of `net!`"
        ));
    };
    (@layer $net:tt $shape:tt [$($done:tt)*]) => {
        $crate::net!(@network $net $($done)*);
    };
    (@layer $net:tt $shape:tt $done:tt $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "net!: expected `name: layer(options)`, with the options in the documented order, found `",
            ::core::stringify!($($rest)*), "`"
        ));
    };

    (@network [$(#[$attribute:meta])* $vis:vis $name:ident] $({ $layer:ident: $kind:ty })+) => {
        $(#[$attribute])*
        $vis struct $name<T: $crate::Element, R: $crate::net::Optimizer = $crate::net::Plain> {
            layers: $crate::net!(@pairs $({ $kind })+),
        }

        #[allow(dead_code)] // a program need not look at each layer
        impl<T: $crate::Element, R: $crate::net::Optimizer> $name<T, R> {
            $crate::net!(@accessors [layers] $({ $layer: $kind })+);

            /// What each layer costs, for training with up to `BATCH` samples.
            $vis const fn costs<const BATCH: usize>()
            -> [$crate::net::LayerCost; [$(::core::stringify!($layer)),+].len()] {
                [$($crate::net::LayerCost::of::<$kind, BATCH>(::core::stringify!($layer))),+]
            }
        }

        impl<T: $crate::Element, R: $crate::net::Optimizer> $crate::net::Network for $name<T, R> {
            type Elem = T;
            type Layers = $crate::net!(@pairs $({ $kind })+);
            // The lengths are the same for all element types.
            type Errors<const BATCH: usize> = $crate::net::ErrorBuffers<
                T,
                BATCH,
                { <<$name<i8> as $crate::net::Network>::Layers as $crate::net::Layer>::INFO.errors_first.error },
                { <<$name<i8> as $crate::net::Network>::Layers as $crate::net::Layer>::INFO.errors_first.spare },
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

    (@pairs { $last:ty }) => { $last };
    (@pairs { $first:ty } $($rest:tt)+) => { ($first, $crate::net!(@pairs $($rest)+)) };

    (@accessors [$($path:tt)+] { $layer:ident: $kind:ty }) => {
        /// The last layer.
        pub const fn $layer(&self) -> &$kind {
            &self.$($path)+
        }
    };
    (@accessors [$($path:tt)+] { $layer:ident: $kind:ty } $($rest:tt)+) => {
        #[doc = ::core::concat!("The layer `", ::core::stringify!($layer), "`.")]
        pub const fn $layer(&self) -> &$kind {
            &self.$($path)+.0
        }
        $crate::net!(@accessors [$($path)+.1] $($rest)+);
    };

    (@activation) => { $crate::net::Identity };
    (@activation relu) => { $crate::net::Relu };
    (@activation logits) => { $crate::net::Logits };
    (@activation $other:ident) => {
        ::core::compile_error!(::core::concat!("net!: no activation `", ::core::stringify!($other), "`; there is `relu`"))
    };
    (@or $given:expr; $default:expr) => { $given };
    (@or; $default:expr) => { $default };
    (@shape $a:expr) => { $crate::tensor::D1<{ $a }> };
    (@shape $a:expr, $b:expr, $c:expr) => { $crate::tensor::D3<{ $a }, { $b }, { $c }> };
}

/// How many windows of `kernel` cells stand on an axis of `extent` cells with `padding` on both
/// sides, `stride` apart. Source: [`selvedge_kernels::window`].
///
/// # Panics
/// If none does; in a constant, that fails the build.
#[must_use]
pub const fn windows(extent: usize, kernel: usize, stride: usize, padding: usize) -> usize {
    assert!(stride > 0, "net!: a stride is zero");
    assert!(
        kernel > 0 && kernel <= extent + 2 * padding,
        "net!: a window does not fit into its padded input"
    );
    (extent + 2 * padding - kernel) / stride + 1
}
