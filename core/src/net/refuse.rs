//! What `net!` says of lines that it does not understand.

/// A part of [`net!`](crate::net!): why it refuses the layer `$layer` of kind `$kind` behind `$shape`.
#[doc(hidden)]
#[macro_export]
macro_rules! __net_refuse {
    (name $layer:ident) => {
        ::core::compile_error!(::core::concat!(
            "net!: a layer cannot be called `", ::core::stringify!($layer), "`: the network has a method of this name"
        ));
    };

    (options $layer:ident $kind:ident) => {
        ::core::compile_error!(::core::concat!(
            "net!: expected `name: layer(options)`, with the options in the documented order, at `",
            ::core::stringify!($layer), ": ", ::core::stringify!($kind), "`"
        ));
    };
    (takes $layer:ident $kind:ident $what:literal) => {
        ::core::compile_error!(::core::concat!(
            "net!: `", ::core::stringify!($layer), ": ", ::core::stringify!($kind), "` takes ", $what
        ));
    };

    // An input of the right kind: so it is the options.
    ($layer:ident dense [$features:expr]) => { $crate::__net_refuse!(options $layer dense); };
    ($layer:ident dense [$steps:expr, $features:expr]) => { $crate::__net_refuse!(options $layer dense); };
    ($layer:ident conv1d [$x:expr, $c:expr]) => { $crate::__net_refuse!(options $layer conv1d); };
    ($layer:ident conv2d [$y:expr, $x:expr, $c:expr]) => { $crate::__net_refuse!(options $layer conv2d); };
    ($layer:ident conv3d [$z:expr, $y:expr, $x:expr, $c:expr]) => { $crate::__net_refuse!(options $layer conv3d); };
    ($layer:ident conv_transpose1d [$x:expr, $c:expr]) => { $crate::__net_refuse!(options $layer conv_transpose1d); };
    ($layer:ident conv_transpose2d [$y:expr, $x:expr, $c:expr]) => {
        $crate::__net_refuse!(options $layer conv_transpose2d);
    };
    ($layer:ident conv_transpose3d [$z:expr, $y:expr, $x:expr, $c:expr]) => {
        $crate::__net_refuse!(options $layer conv_transpose3d);
    };

    ($layer:ident dense $shape:tt) => {
        $crate::__net_refuse!(takes $layer dense "features, not an image: put `flat: flatten` before it");
    };
    ($layer:ident conv1d $shape:tt) => { $crate::__net_refuse!(takes $layer conv1d "a signal `[columns, channels]`"); };
    ($layer:ident conv_transpose1d $shape:tt) => { $crate::__net_refuse!(takes $layer conv_transpose1d "a signal `[columns, channels]`"); };
    ($layer:ident conv2d $shape:tt) => { $crate::__net_refuse!(takes $layer conv2d "an image `[rows, columns, channels]`, not features, a signal or a volume"); };
    ($layer:ident conv_transpose2d $shape:tt) => { $crate::__net_refuse!(takes $layer conv_transpose2d "an image `[rows, columns, channels]`, not features, a signal or a volume"); };
    ($layer:ident conv3d $shape:tt) => { $crate::__net_refuse!(takes $layer conv3d "a volume `[planes, rows, columns, channels]`"); };
    ($layer:ident conv_transpose3d $shape:tt) => { $crate::__net_refuse!(takes $layer conv_transpose3d "a volume `[planes, rows, columns, channels]`"); };
    ($layer:ident depthwise [$features:expr]) => { $crate::__net_refuse!(takes $layer depthwise "a signal, an image or a volume, not features"); };
    ($layer:ident max_pool [$features:expr]) => { $crate::__net_refuse!(takes $layer max_pool "a signal, an image or a volume, not features"); };
    ($layer:ident average_pool [$features:expr]) => { $crate::__net_refuse!(takes $layer average_pool "a signal, an image or a volume, not features"); };
    ($layer:ident global_max_pool [$features:expr]) => { $crate::__net_refuse!(takes $layer global_max_pool "a signal, an image or a volume, not features"); };
    ($layer:ident global_average_pool [$features:expr]) => {
        $crate::__net_refuse!(takes $layer global_average_pool "a signal, an image or a volume, not features");
    };

    // Those that take any input.
    ($layer:ident depthwise $shape:tt) => { $crate::__net_refuse!(options $layer depthwise); };
    ($layer:ident max_pool $shape:tt) => { $crate::__net_refuse!(options $layer max_pool); };
    ($layer:ident average_pool $shape:tt) => { $crate::__net_refuse!(options $layer average_pool); };
    ($layer:ident global_max_pool $shape:tt) => { $crate::__net_refuse!(options $layer global_max_pool); };
    ($layer:ident global_average_pool $shape:tt) => { $crate::__net_refuse!(options $layer global_average_pool); };
    ($layer:ident flatten $shape:tt) => { $crate::__net_refuse!(options $layer flatten); };
    ($layer:ident batch_norm $shape:tt) => { $crate::__net_refuse!(options $layer batch_norm); };
    ($layer:ident layer_norm $shape:tt) => { $crate::__net_refuse!(options $layer layer_norm); };
    ($layer:ident rms_norm $shape:tt) => { $crate::__net_refuse!(options $layer rms_norm); };
    ($layer:ident relu $shape:tt) => { $crate::__net_refuse!(options $layer relu); };
    ($layer:ident activation $shape:tt) => { $crate::__net_refuse!(options $layer activation); };
    ($layer:ident residual $shape:tt) => { $crate::__net_refuse!(options $layer residual); };
    ($layer:ident sum $shape:tt) => { $crate::__net_refuse!(options $layer sum); };
    ($layer:ident product $shape:tt) => { $crate::__net_refuse!(options $layer product); };
    ($layer:ident difference $shape:tt) => { $crate::__net_refuse!(options $layer difference); };
    ($layer:ident quotient $shape:tt) => { $crate::__net_refuse!(options $layer quotient); };
    ($layer:ident minimum $shape:tt) => { $crate::__net_refuse!(options $layer minimum); };
    ($layer:ident maximum $shape:tt) => { $crate::__net_refuse!(options $layer maximum); };
    ($layer:ident concat $shape:tt) => { $crate::__net_refuse!(options $layer concat); };
    ($layer:ident total $shape:tt) => { $crate::__net_refuse!(options $layer total); };
    ($layer:ident mean $shape:tt) => { $crate::__net_refuse!(options $layer mean); };
    ($layer:ident line $shape:tt) => { $crate::__net_refuse!(options $layer line); };
    ($layer:ident mixture $shape:tt) => { $crate::__net_refuse!(options $layer mixture); };
    ($layer:ident layer $shape:tt) => { $crate::__net_refuse!(options $layer layer); };
    ($layer:ident $kind:ident $shape:tt) => {
        ::core::compile_error!(::core::concat!(
            "net!: `", ::core::stringify!($layer), ": ", ::core::stringify!($kind), "` is no layer of `net!`; there are ",
            "dense, conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, depthwise, ",
            "max_pool, average_pool, global_max_pool, global_average_pool, flatten, batch_norm, layer_norm, rms_norm, ",
            "relu, activation, residual, sum, addition, product, difference, quotient, minimum, maximum, concat, ",
            "total, mean, line, mixture, and layer(Type => [extents]) for any other"
        ));
    };
}
