//! What networks cost, and the arenas of the planner.

use super::{CNN, MLP, compile, with_image};
use selvedge_core::DType;
use selvedge_core::image::{Image, Role};
use selvedge_core::network::{
    Activate, Activation, Branch, Conv, ConvTranspose, Depthwise, GlobalAveragePool, Layer,
    Padding, Parallel, Sequential,
};
use selvedge_core::network::{Combine, Dense, Description, Loss, Network, Options};
use selvedge_digits::{BATCH, DigitsCnn};

fn network(name: &str) -> Network {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../digits/networks/mlperf-tiny"
    );
    let json = std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap();
    Network::from_json(&json).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_demo_costs_what_its_typed_twin_does() {
    let network = Network::from_json(CNN).unwrap();
    let found = network.summary(DType::I8, &Options::default()).unwrap();
    let expected = DigitsCnn::<i8>::costs::<1>();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.path, expected.name);
        let costs = (expected.info.parameters, expected.info.macs as u64);
        assert_eq!((found.parameters, found.macs), costs, "{}", found.path);
        assert_eq!(found.trainable, found.parameters > 0);
    }
    let kinds: Vec<&str> = found.iter().map(|layer| &*layer.kind).collect();
    assert_eq!(
        kinds,
        ["conv", "max_pool", "conv", "max_pool", "flatten", "dense"]
    );
    // Weights are bytes, biases two.
    assert_eq!(
        (found[0].bytes, &*found[0].input, &*found[0].output),
        (72 + 16, &[8, 8, 1][..], &[8, 8, 8][..])
    );
}

#[test]
fn containers_are_left_out_and_groups_divide() {
    let mut frozen = Layer::new("frozen", Dense::new(3));
    frozen.frozen = true;
    let mut inside = Sequential::default().layer("up", ConvTranspose::new(2, 2).stride(2));
    inside.layers.push(frozen);
    let network = Network::new([6, 6, 4])
        .layer("depth", Depthwise::new(3))
        .layer("groups", Conv::new(6, 1).groups(2))
        .layer("inside", inside)
        .layer(
            "both",
            Parallel::new(Combine::Concat)
                .branch(Branch::new("a").layer("x", Dense::new(2)))
                .branch(Branch::new("b")),
        )
        .layer("head", Dense::new(1));
    let options = Options {
        train: true,
        ..Options::default()
    };
    let found = network.summary(DType::F32, &options).unwrap();
    let costs: Vec<_> = found
        .iter()
        .map(|layer| (&*layer.path, layer.macs, layer.trainable))
        .collect();
    let expected = [
        ("depth", 4 * 4 * 4 * 9, true),
        ("groups", 4 * 4 * 6 * 2, true),
        ("inside.up", 4 * 4 * 6 * 4 * 2, true),
        ("inside.frozen", 8 * 8 * 3 * 2, false),
        ("both.a.x", 8 * 8 * 2 * 3, true),
        ("head", 8 * 8 * 5, true),
    ];
    assert_eq!(costs, expected);
    // The names are those of JSON.
    let json = network.to_json().unwrap();
    for layer in &found {
        assert!(
            json.contains(&format!("\"type\": \"{}\"", layer.kind)),
            "{}",
            layer.kind
        );
    }
}

#[test]
fn a_map_is_the_arena_of_the_image() {
    let network = Network::from_json(CNN).unwrap();
    let options = Options {
        samples: BATCH,
        train: true,
        ..Options::default()
    };
    let graph = network.graph(DType::I8, &options).unwrap();
    let bytes = network.compile(DType::I8, &options).unwrap();
    for role in graph.roles() {
        let map = graph.memory_map(role, BATCH).unwrap();
        with_image(&bytes, |image| {
            assert_eq!(image.extent(role), Some([BATCH, map.peak]));
            let kinds: Vec<_> = image.kinds(role).flatten().collect();
            let steps: Vec<_> = map.operators.iter().map(|step| step.kind).collect();
            assert_eq!(kinds, steps);
            assert_eq!(image.persistent_bytes(), map.persistent);
        });
        assert_eq!(map.alive()[map.busiest], map.lower_bound);
        for (i, one) in map.values.iter().enumerate() {
            assert!(one.offset + one.bytes <= map.peak);
            assert!(one.first <= one.last && one.last < map.operators.len());
            for other in &map.values[..i] {
                let meet = one.first <= other.last && other.first <= one.last;
                let apart = one.offset + one.bytes <= other.offset
                    || other.offset + other.bytes <= one.offset;
                assert!(apart || !meet, "{} and {}", map.name(one), map.name(other));
            }
        }
    }
    assert_eq!(graph.roles(), [Role::Infer, Role::Train]);
}

#[test]
fn an_image_keeps_its_description_apart() {
    let network = Network::from_json(MLP).unwrap();
    let options = Options {
        loss: Loss::Huber(0.5),
        samples: 3,
        train: true,
        ..Options::default()
    };
    let plain = network.compile(DType::U16, &options).unwrap();
    let described = network.compile_described(DType::U16, &options).unwrap();
    assert!(described.len() > plain.len());
    let arena = with_image(&plain, |image| image.arena_bytes());
    assert_eq!(with_image(&described, |image| image.arena_bytes()), arena);
    let mut room = vec![0u8; described.len() + 16];
    let at = room.as_ptr().align_offset(16);
    room[at..at + described.len()].copy_from_slice(&described);
    let text = Image::description(&room[at..]).unwrap().unwrap();
    let found = Description::from_json(text).unwrap();
    assert_eq!(found, Description::new(network, DType::U16, options));
    assert_eq!(found.dtype(), Some(DType::U16));
    let bytes = compile::<i8>(MLP);
    let mut room = vec![0u8; bytes.len() + 16];
    let at = room.as_ptr().align_offset(16);
    room[at..at + bytes.len()].copy_from_slice(&bytes);
    assert_eq!(Image::description(&room[at..]).unwrap(), None);
}

/// Bytes of the arena are within a twentieth of what no plan goes below. `--nocapture` prints the table of
/// `benches/RESULTS.md`.
#[test]
fn plans_are_near_their_lower_bounds() {
    println!("| network | parameters | MACs | program | operators | peak | lower bound | above |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut worst = 0.0f64;
    // Parameters as these descriptions have them, without the statistics of norms.
    for (name, expected) in [
        ("ds-cnn", 23_756),
        ("mobilenet-v1", 216_322),
        ("resnet-8", 78_186),
        ("autoencoder", 267_928),
    ] {
        let network = network(name);
        let loss = if name == "autoencoder" {
            Loss::Squared
        } else {
            Loss::CrossEntropy
        };
        let options = Options {
            train: true,
            loss,
            ..Options::default()
        };
        let layers = network.summary(DType::I8, &options).unwrap();
        let parameters: usize = layers.iter().map(|layer| layer.parameters).sum();
        assert_eq!(parameters, expected, "{name}");
        let macs: u64 = layers.iter().map(|layer| layer.macs).sum();
        let graph = network.graph(DType::I8, &options).unwrap();
        for role in [Role::Infer, Role::Train] {
            let map = graph.memory_map(role, 1).unwrap();
            let above = map.peak as f64 / map.lower_bound as f64 - 1.0;
            worst = worst.max(above);
            println!(
                "| {name} | {parameters} | {macs} | {} | {} | {} | {} | {:.1} % |",
                role.name(),
                map.operators.len(),
                map.peak,
                map.lower_bound,
                100.0 * above
            );
        }
    }
    // A step of six blocks of a decoder.
    let options = Options {
        train: true,
        ..Options::default()
    };
    let graph = super::budgets::transformer()
        .graph(DType::I8, &options)
        .unwrap();
    let map = graph.memory_map(Role::Train, 1).unwrap();
    let above = map.peak as f64 / map.lower_bound as f64 - 1.0;
    println!(
        "| transformer | | | train | {} | {} | {} | {:.1} % |",
        map.operators.len(),
        map.peak,
        map.lower_bound,
        100.0 * above
    );
    assert!(worst.max(above) <= 0.05, "{worst}, {above}");
}

/// What describes ten operators is no more than a kilobyte beside the weights.
#[test]
fn metadata_is_small() {
    let mut network = Network::new([8, 8, 1]);
    for (i, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        network = network
            .layer(name, Conv::new(8, 3).padding(Padding::Same))
            .layer(format!("{name}s"), Activate::new(Activation::Tanh));
        if i == 3 {
            network = network
                .layer("pool", GlobalAveragePool::default())
                .layer("head", Dense::new(10));
        }
    }
    let bytes = network.compile(DType::I8, &Options::default()).unwrap();
    with_image(&bytes, |image| {
        assert_eq!(image.kinds(Role::Infer).count(), 10);
    });
    let mut room = vec![0u8; bytes.len() + 16];
    let at = room.as_ptr().align_offset(16);
    room[at..at + bytes.len()].copy_from_slice(&bytes);
    let sections = Image::sections(&room[at..]).unwrap();
    let weights = sections.flatten().find(|(name, _)| *name == "weights");
    let metadata = bytes.len() - weights.unwrap().1.len();
    println!("{metadata} bytes");
    assert!(metadata <= 1024, "{metadata}");
}
