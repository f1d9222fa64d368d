//! What stands in the lines of `net!`: options with their defaults, names of activations, shapes.

/// A part of [`net!`](crate::net!).
#[doc(hidden)]
#[macro_export]
macro_rules! __net_option {
    // A number for both axes, or one for each.
    (down [[$down:expr, $across:expr]] $default:tt) => { $down };
    (down [$both:tt] $default:tt) => { $both };
    (down [] [$down:expr, $across:expr]) => { $down };
    (down [] $default:tt) => { $default };
    (across [[$down:expr, $across:expr]] $default:tt) => { $across };
    (across [$both:tt] $default:tt) => { $both };
    (across [] [$down:expr, $across:expr]) => { $across };
    (across [] $default:tt) => { $default };

    (or [] $default:expr) => { $default };
    (or [$given:expr] $default:expr) => { $given };

    (pads []) => { $crate::net::PadBy<0> };
    (pads [valid]) => { $crate::net::PadBy<0> };
    (pads [same]) => { $crate::net::PadSame };
    (pads [ceil]) => { $crate::net::PadCeil<0> };
    (pads [$cells:tt]) => { $crate::net::PadBy<{ $cells }> };

    (padding $padding:tt) => { <$crate::__net_option!(pads $padding) as $crate::net::Pads>::PADDING };

    (shape $a:expr) => { $crate::tensor::D1<{ $a }> };
    (shape $a:expr, $b:expr) => { $crate::tensor::D2<{ $a }, { $b }> };
    (shape $a:expr, $b:expr, $c:expr) => { $crate::tensor::D3<{ $a }, { $b }, { $c }> };
    (shape $a:expr, $b:expr, $c:expr, $d:expr) => { $crate::tensor::D4<{ $a }, { $b }, { $c }, { $d }> };
    (shape $a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => {
        $crate::tensor::D5<{ $a }, { $b }, { $c }, { $d }, { $e }>
    };

    // Filters of a convolution: how many, cells, channels of each.
    (filters conv [$filters:expr] [$channels:expr] $groups:tt [$($cells:expr),+]) => {
        $crate::__net_option!(shape $filters, $($cells),+, $crate::net::per_group($channels, $crate::__net_option!(or $groups 1)))
    };
    (filters depthwise [] [$channels:expr] [] [$($cells:expr),+]) => {
        $crate::__net_option!(shape $channels, $($cells),+, 1)
    };
    (filters transpose [$filters:expr] [$channels:expr] $groups:tt [$($cells:expr),+]) => {
        $crate::__net_option!(shape $channels, $($cells),+, $crate::net::per_group($filters, $crate::__net_option!(or $groups 1)))
    };

    (activation []) => { $crate::net::Identity };
    (activation [identity]) => { $crate::net::Identity };
    (activation [relu]) => { $crate::net::Relu };
    (activation [masked_relu]) => { $crate::net::MaskedRelu };
    (activation [lifted_relu]) => { $crate::net::LiftedRelu };
    (activation [relu6]) => { $crate::net::Relu6 };
    (activation [scaled_relu]) => { $crate::net::ScaledRelu };
    (activation [leaky_relu]) => { $crate::net::LeakyRelu };
    (activation [leaky_relu($thousandths:expr)]) => { $crate::net::LeakyRelu<{ $thousandths }> };
    (activation [sigmoid]) => { $crate::net::Sigmoid };
    (activation [tanh]) => { $crate::net::Tanh };
    (activation [softplus]) => { $crate::net::Softplus };
    (activation [gelu]) => { $crate::net::Gelu };
    (activation [silu]) => { $crate::net::Silu };
    (activation [hard_swish]) => { $crate::net::HardSwish };
    (activation [logits]) => { $crate::net::Logits };
    (activation [$($other:tt)+]) => {
        ::core::compile_error!(::core::concat!(
            "net!: no activation `", ::core::stringify!($($other)+),
            "`; there are identity, relu, masked_relu, lifted_relu, relu6, scaled_relu, leaky_relu, ",
            "leaky_relu(thousandths), sigmoid, tanh, softplus, gelu, silu, hard_swish"
        ))
    };

    (join sum) => { $crate::net::Sum };
    (join addition) => { $crate::net::Addition };
    (join product) => { $crate::net::Product };
    (join difference) => { $crate::net::Difference };
    (join quotient) => { $crate::net::Quotient };
    (join minimum) => { $crate::net::Minimum };
    (join maximum) => { $crate::net::Maximum };
    (join $other:ident) => {
        ::core::compile_error!(::core::concat!(
            "net!: no way `", ::core::stringify!($other), "` to join branches of this shape; there are sum, addition, product, ",
            "difference, quotient, minimum, maximum, and concat for up to three extents"
        ))
    };

    // Layers one after the other: none passes its input on.
    (chain [$($extent:expr),+]) => { $crate::net::Skip<T, $crate::__net_option!(shape $($extent),+)> };
    (chain [$($extent:expr),+] { $layer:ident: $kind:ty }) => { $kind };
    (chain $input:tt { $layer:ident: $kind:ty } $($rest:tt)+) => {
        ($kind, $crate::__net_option!(chain $input $($rest)+))
    };
}
