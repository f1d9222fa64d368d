//! Multiplication by a power of two: the operator that `docs/engine.md` adds.

use super::with_image;
use super::zoo::bits;
use selvedge_core::image::Role;
use selvedge_core::network::{Activation, Dense, Network, Options, Scale};
use selvedge_core::ops;
use selvedge_core::session::Session;
use selvedge_core::{Element, Rate, Serial, Sgd};
use selvedge_kernels::DType;

/// A power of two is exact, there and back.
fn scales<T: Element>() {
    let hidden = || Dense::new(6).activation(Activation::Tanh);
    let network = |scale: bool| {
        let mut network = Network::new([4]).layer("hidden", hidden());
        if scale {
            network = network
                .layer("down", Scale::new(-3))
                .layer("up", Scale::new(3));
        }
        network
            .layer("other", Dense::new(6))
            .layer("head", Dense::new(2))
    };
    let run = |network: &Network| {
        let options = Options {
            train: true,
            ..Options::default()
        };
        with_image(&network.compile(T::DTYPE, &options).unwrap(), |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
            let sgd = Sgd::new(Rate {
                mantissa: 1,
                exponent: -3,
            });
            let x = [30.0, -90.0, 11.0, 60.0].map(T::from_f64);
            for _ in 0..3 {
                session
                    .input_mut(Role::Train, 0)
                    .unwrap()
                    .copy_from_slice(&x);
                session.input_mut::<u16>(Role::Train, 1).unwrap()[0] = 1;
                session.train_step(&Serial, 1, &sgd).unwrap();
            }
            session
                .input_mut(Role::Infer, 0)
                .unwrap()
                .copy_from_slice(&x);
            session.run(&Serial, 1).unwrap();
            let y = session.output::<T::Head>(0).unwrap();
            (0..session.parameters())
                .map(|i| session.parameter::<T>(i).map(|p| bits(p.data)))
                .filter_map(Result::ok)
                .chain([bits(y.data)])
                .collect::<Vec<_>>()
        })
    };
    let plain = network(false);
    // The layers behind it keep their weights: those of the same number.
    let mut between = network(true);
    assert_eq!(between.layers.len(), plain.layers.len() + 2);
    let once = run(&between);
    for (layer, power) in between.layers.iter_mut().skip(1).zip([5, -5]) {
        layer.layer = Scale::new(power).into();
    }
    assert_eq!(run(&between), once, "{}", T::DTYPE);
}

#[test]
fn powers_of_two_are_exact() {
    scales::<i8>();
    scales::<u16>();
    scales::<i32>();
    scales::<i64>();
    scales::<f32>();
    scales::<f64>();
    let network = Network::new([3]).layer("scale", Scale::new(-2));
    let bytes = network.compile(DType::I16, &Options::default()).unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let x = session.input_mut::<i16>(Role::Infer, 0).unwrap();
        x.copy_from_slice(&[5, -7, 32_767]);
        session.run(&Serial, 1).unwrap();
        let y = session.output::<i16>(0).unwrap();
        assert_eq!((y.data, y.exponent), (&[5, -7, 32_767][..], -17));
    });
    let bytes = network.compile(DType::F32, &Options::default()).unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let x = session.input_mut::<f32>(Role::Infer, 0).unwrap();
        x.copy_from_slice(&[5.0, -7.0, f32::INFINITY]);
        session.run(&Serial, 1).unwrap();
        let y = session.output::<f32>(0).unwrap().data;
        assert_eq!(y, [1.25, -1.75, f32::INFINITY]);
    });
    let network = Network::new([4]).layer("far", Scale::new(127));
    let error = network
        .compile(DType::F32, &Options::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "far: expected a power of -126 to 126, found 127"
    );
}
