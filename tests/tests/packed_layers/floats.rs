//! Floats give the bits of decoded weights.

use super::{Packed, bits, exponents, halves};
use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::packed::dense::{Input, Output};
use selvedge_kernels::packed::{self, Format, Scale};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::{Element, bf16, conv, element, f16};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::windows::{filter_len, lens, random_shape};

fn cast<T: Element, W: Element>(x: &[T]) -> Vec<W> {
    x.iter().map(|x| W::from_f64(x.to_f64())).collect()
}

fn random<T: Element>(noise: &mut Noise, n: usize) -> Vec<T> {
    noise.vector(n, 2.0).into_iter().map(T::from_f64).collect()
}

/// Activations of type `T` are computed in `W`: results are those of the decoded weights in `W`, bit by
/// bit, then rounded once.
fn floats<T, W, S>(scale: fn(&mut Noise) -> S)
where
    T: Input<S> + Output<T, S>,
    T: element::Output<T> + Element<Bias = T>,
    W: Element<Bias = W> + element::Output<W>,
    S: Scale,
{
    let mut noise = Noise::new(21);
    let wide_epilogue = Epilogue::<W>::EXACT.with(Activation::Relu);
    let epilogue = Epilogue::<T>::EXACT.with(Activation::Relu);
    for format in Format::ALL {
        for (batch, inputs, outputs) in [(1, 1, 1), (3, 31, 2), (5, 33, 7), (9, 70, 3), (4, 128, 5)]
        {
            let shape = dense::Shape {
                batch,
                inputs,
                outputs,
            };
            let name = format!("{} {format:?} {shape:?}", T::DTYPE.name());
            let packed = Packed::new(&mut noise, format, outputs, inputs, scale);
            let weight: Vec<W> = packed
                .decoded()
                .iter()
                .map(|&w| W::from_f64(w.into()))
                .collect();
            let x = random::<T>(&mut noise, batch * inputs);
            let bias = random::<T>(&mut noise, outputs);
            let dy = random::<T>(&mut noise, batch * outputs);
            let (mut out, mut want) = (vec![T::ZERO; dy.len()], vec![W::ZERO; dy.len()]);
            let (x_wide, dy_wide, bias_wide) = (cast::<T, W>(&x), cast(&dy), cast(&bias));
            let wide_bias = Bias {
                values: &bias_wide,
                shift: 0,
            };
            dense::forward(
                &Serial,
                shape,
                &x_wide,
                &weight,
                wide_bias,
                wide_epilogue,
                &mut want,
                &mut [],
            )
            .unwrap();
            let bias = Bias {
                values: &bias,
                shift: 0,
            };
            packed::dense::forward(
                &Threads(3),
                shape,
                &x,
                packed.weights(),
                bias,
                epilogue,
                &mut out,
                &mut [],
            )
            .unwrap();
            assert_eq!(bits(&out), bits(&cast::<W, T>(&want)), "{name}: forward");
            let (mut dx, mut want) = (vec![T::ZERO; x.len()], vec![W::ZERO; x.len()]);
            dense::backward_input(&Serial, shape, &dy_wide, &weight, Store::EXACT, &mut want)
                .unwrap();
            packed::dense::backward_input(
                &Threads(2),
                shape,
                &dy,
                packed.weights(),
                Store::EXACT,
                &mut dx,
            )
            .unwrap();
            assert_eq!(
                bits(&dx),
                bits(&cast::<W, T>(&want)),
                "{name}: input gradient"
            );
        }
        convolutions::<T, W, S, 2>(&mut noise, format, scale, 40);
        convolutions::<T, W, S, 1>(&mut noise, format, scale, 10);
        convolutions::<T, W, S, 3>(&mut noise, format, scale, 10);
    }
}

/// The same of `cases` convolutions over `N` axes.
fn convolutions<T, W, S, const N: usize>(
    noise: &mut Noise,
    format: Format,
    scale: fn(&mut Noise) -> S,
    cases: usize,
) where
    T: Input<S> + Output<T, S>,
    T: element::Output<T> + Element<Bias = T>,
    W: Element<Bias = W> + element::Output<W>,
    S: Scale,
{
    let wide_epilogue = Epilogue::<W>::EXACT.with(Activation::Relu);
    let epilogue = Epilogue::<T>::EXACT.with(Activation::Relu);
    for _ in 0..cases {
        let shape = random_shape::<N>(noise);
        let name = format!("{} {format:?} {shape:?}", T::DTYPE.name());
        let packed = Packed::new(noise, format, shape.filters, filter_len(&shape), scale);
        let weight: Vec<W> = packed
            .decoded()
            .iter()
            .map(|&w| W::from_f64(w.into()))
            .collect();
        let [x_len, y_len] = lens(&shape);
        let x = random::<T>(noise, x_len);
        let bias = random::<T>(noise, shape.filters);
        let dy = random::<T>(noise, y_len);
        let (mut out, mut want) = (vec![T::ZERO; y_len], vec![W::ZERO; y_len]);
        let (x_wide, dy_wide, bias_wide) = (cast::<T, W>(&x), cast(&dy), cast(&bias));
        let wide_bias = Bias {
            values: &bias_wide,
            shift: 0,
        };
        conv::forward(
            &Serial,
            shape,
            &x_wide,
            &weight,
            wide_bias,
            wide_epilogue,
            &mut want,
            &mut [],
        )
        .unwrap();
        let bias = Bias {
            values: &bias,
            shift: 0,
        };
        packed::conv::forward(
            &Threads(3),
            shape,
            &x,
            packed.weights(),
            bias,
            epilogue,
            &mut out,
            &mut [],
        )
        .unwrap();
        assert_eq!(bits(&out), bits(&cast::<W, T>(&want)), "{name}: forward");
        let (mut dx, mut want) = (vec![T::ZERO; x_len], vec![W::ZERO; x_len]);
        conv::backward_input(&Serial, shape, &dy_wide, &weight, Store::EXACT, &mut want).unwrap();
        packed::conv::backward_input(
            &Threads(2),
            shape,
            &dy,
            packed.weights(),
            Store::EXACT,
            &mut dx,
        )
        .unwrap();
        assert_eq!(
            bits(&dx),
            bits(&cast::<W, T>(&want)),
            "{name}: input gradient"
        );
    }
}

#[test]
fn floats_give_the_bits_of_decoded_weights() {
    floats::<f32, f32, i8>(exponents);
    floats::<f32, f32, f16>(halves);
    floats::<f64, f64, i8>(exponents);
    floats::<f64, f64, f16>(halves);
    floats::<f16, f32, i8>(exponents);
    floats::<f16, f32, f16>(halves);
    floats::<bf16, f32, i8>(exponents);
    floats::<bf16, f32, f16>(halves);
}
