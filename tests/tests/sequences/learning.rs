//! Networks over sequences learn, in floats and in integers: digits row by row, text letter by letter.

use selvedge_core::net::{
    AllSteps, Attention, Causal, Concat, Embedding, Everything, Fork, Gru, LastStep, Lstm, Network,
    Positions, Reversed,
};
use selvedge_core::tensor::D2;
use selvedge_core::train::Trainer;
use selvedge_core::{Element, Rate, Serial, Sgd, net};
use selvedge_digits::{TEST, TRAIN, test, train};
use selvedge_kernels::rng::shuffle;
use selvedge_tests::parameters::tensors;

const BATCH: usize = 8;

net! {
    /// The rows of a digit, from the first to the last.
    struct RowsLstm: [8, 8] {
        cell: layer(Lstm<T, 8, 8, 32, LastStep, R> => [32]),
        head: dense(10),
    }
}

net! {
    struct RowsGru: [8, 8] {
        cell: layer(Gru<T, 8, 8, 32, LastStep, R> => [32]),
        head: dense(10),
    }
}

net! {
    /// Both ways, of which the outputs of all rows count.
    struct BothWays: [8, 8] {
        cells: layer(Fork<
            Gru<T, 8, 8, 12, AllSteps, R>, Gru<T, 8, 8, 12, Reversed<AllSteps>, R>, Concat<D2<8, 24>>,
        > => [8, 24]),
        pool: global_average_pool,
        head: dense(10),
    }
}

net! {
    /// A block of an encoder over the rows of a digit.
    struct Encoder: [8, 8] {
        entry: dense(24),
        places: layer(Positions<T, D2<8, 24>, R> => [8, 24]),
        mixed: residual {
            norm: layer_norm,
            attention: layer(Attention<T, 8, 24, 2, 2, 12, Everything, R> => [8, 24]),
        },
        thought: residual {
            rms: rms_norm,
            both: product {
                gate: dense(32, activation = silu),
            } {
                up: dense(32),
            },
            down: dense(24),
        },
        pool: global_average_pool,
        head: dense(10),
    }
}

/// Trains for three epochs; every parameter tensor must move. Returns how many of the test digits are right.
fn digits<N: Network<In = <N as Network>::Elem>>(rate: i16) -> usize {
    let name = std::any::type_name::<N>();
    let mut trainer = Box::new(Trainer::<N, BATCH>::BLANK);
    trainer.init(3).unwrap();
    let before = tensors(trainer.network());
    let sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: rate,
    });
    let mut order = vec![0; TRAIN];
    for epoch in 0..6 {
        (trainer.epoch(&Serial, &train(), &mut order, epoch, &sgd, |_| ())).unwrap();
    }
    for (number, (was, is)) in before.iter().zip(tensors(trainer.network())).enumerate() {
        assert!(*was != is, "{name}: tensor {number} has not moved");
    }
    let right = trainer.count_right(&Serial, &test()).unwrap();
    println!("{name}: {right} of {TEST}");
    right
}

/// More than nine of ten; chance is one.
fn learns<A, B>(rate: i16)
where
    A: Network<In = <A as Network>::Elem>,
    B: Network<In = <B as Network>::Elem>,
{
    for right in [digits::<A>(rate), digits::<B>(rate)] {
        assert!(10 * right > 9 * TEST, "{right} of {TEST}");
    }
}

#[test]
fn lstm_reads_digits() {
    learns::<RowsLstm<f32>, RowsLstm<i8>>(-4);
}

#[test]
fn gru_reads_digits() {
    learns::<RowsGru<f32>, RowsGru<i8>>(-4);
}

#[test]
fn a_layer_of_both_directions_reads_digits() {
    learns::<BothWays<f32>, BothWays<i8>>(-4);
}

#[test]
fn an_encoder_reads_digits() {
    learns::<Encoder<f32>, Encoder<i8>>(-5);
}

/// Letters that the decoder sees.
const SEEN: usize = 16;
const TEXT: &[u8] =
    b"the quick brown fox jumps over the lazy dog while a wizard mixes five boxing kits. ";
const VOCABULARY: usize = 28;

net! {
    /// A decoder of one block: the next letter at each position.
    struct Writer: [SEEN] {
        letters: layer(Embedding<T, SEEN, VOCABULARY, 32, u8, R> => [SEEN, 32]),
        places: layer(Positions<T, D2<SEEN, 32>, R> => [SEEN, 32]),
        mixed: residual {
            norm: layer_norm,
            attention: layer(Attention<T, SEEN, 32, 4, 2, 8, Causal, R> => [SEEN, 32]),
        },
        thought: residual {
            rms: rms_norm,
            both: product {
                gate: dense(48, activation = silu),
            } {
                up: dense(48),
            },
            down: dense(32),
        },
        last: rms_norm,
        head: dense(VOCABULARY),
    }
}

/// a to z, space, full stop.
fn token(letter: u8) -> u8 {
    match letter {
        b' ' => 26,
        b'.' => 27,
        letter => letter - b'a',
    }
}

fn letter(token: u16) -> char {
    char::from([(b'a'..=b'z').collect(), vec![b' ', b'.']].concat()[usize::from(token)])
}

/// Trains on pieces of the text, and returns what it writes when it is given the beginning.
fn writes<T: Element>() -> String {
    let mut trainer = Box::new(Trainer::<Writer<T>, BATCH>::BLANK);
    trainer.init(5).unwrap();
    let before = tensors(trainer.network());
    let sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: -8,
    });
    let at = |place: usize| token(TEXT[place % TEXT.len()]);
    let mut order = vec![0u16; TEXT.len()];
    for epoch in 0..60 {
        shuffle(1, epoch, &mut order).unwrap();
        for starts in order.chunks_exact(BATCH) {
            let places = starts
                .iter()
                .flat_map(|&start| (0..SEEN).map(move |i| usize::from(start) + i));
            let (x, y): (Vec<_>, Vec<_>) = places.map(|i| (at(i), u16::from(at(i + 1)))).unzip();
            trainer.input_mut().copy_from_slice(&x);
            trainer.step(&Serial, &y, &sgd).unwrap();
        }
    }
    for (number, (was, is)) in before.iter().zip(tensors(trainer.network())).enumerate() {
        assert!(*was != is, "{}: tensor {number} has not moved", T::DTYPE);
    }
    let mut written: Vec<u8> = TEXT[..8].iter().map(|&letter| token(letter)).collect();
    while written.len() < TEXT.len() {
        let seen = &written[written.len().saturating_sub(SEEN)..];
        let place = seen.len() - 1;
        let x = &mut trainer.input_mut()[..SEEN];
        x.fill(0); // behind the last letter, which no position before it sees
        x[..seen.len()].copy_from_slice(seen);
        let mut next = [0; SEEN];
        trainer.classify(&Serial, &mut next).unwrap();
        written.push(next[place] as u8);
    }
    let written = written.iter().map(|&token| letter(token.into())).collect();
    println!("{}: {written}", T::DTYPE);
    written
}

#[test]
fn a_decoder_writes_what_it_has_read() {
    let text = String::from_utf8(TEXT.to_vec()).unwrap();
    assert_eq!(writes::<f32>(), text);
    assert_eq!(writes::<i8>(), text);
}
