//! Networks of the field, in the shapes that their papers and benchmarks give.

use selvedge_core::net;

net! {
    /// Features to classes.
    pub(crate) struct Mlp: [64] {
        first: dense(48, activation = relu),
        second: dense(32, activation = relu),
        head: dense(10),
    }
}

net! {
    /// After LeCun et al. 1998, for 8×8 images: convolution, average pooling, tanh, three dense layers.
    pub(crate) struct LeNet: [8, 8, 1] {
        c1: conv2d(6, kernel = 5, padding = same, activation = tanh),
        s2: average_pool(2),
        c3: conv2d(16, kernel = 3, activation = tanh),
        flat: flatten,
        c5: dense(48, activation = tanh),
        f6: dense(32, activation = tanh),
        head: dense(10),
    }
}

net! {
    /// DS-CNN for keyword spotting (Zhang et al. 2017), as in MLPerf Tiny: 49 frames of 10 cepstra, 12 words.
    pub(crate) struct DsCnn: [49, 10, 1] {
        entry: conv2d(64, kernel = [10, 4], stride = 2, padding = same),
        n0: batch_norm, a0: relu,
        d1: depthwise(kernel = 3, padding = same), m1: batch_norm, r1: relu,
        p1: conv2d(64, kernel = 1), n1: batch_norm, a1: relu,
        d2: depthwise(kernel = 3, padding = same), m2: batch_norm, r2: relu,
        p2: conv2d(64, kernel = 1), n2: batch_norm, a2: relu,
        d3: depthwise(kernel = 3, padding = same), m3: batch_norm, r3: relu,
        p3: conv2d(64, kernel = 1), n3: batch_norm, a3: relu,
        d4: depthwise(kernel = 3, padding = same), m4: batch_norm, r4: relu,
        p4: conv2d(64, kernel = 1), n4: batch_norm, a4: relu,
        pool: global_average_pool,
        head: dense(12),
    }
}

net! {
    /// ResNet-8 (He et al. 2015), as in MLPerf Tiny: 32×32 images of three channels, ten classes.
    pub(crate) struct ResNet8: [32, 32, 3] {
        entry: conv2d(16, kernel = 3, padding = same), n0: batch_norm, a0: relu,
        block1: residual {
            c1: conv2d(16, kernel = 3, padding = same), n1: batch_norm, a1: relu,
            c2: conv2d(16, kernel = 3, padding = same), n2: batch_norm,
        },
        a1: relu,
        block2: residual {
            c1: conv2d(32, kernel = 3, stride = 2, padding = same), n1: batch_norm, a1: relu,
            c2: conv2d(32, kernel = 3, padding = same), n2: batch_norm,
        } shortcut {
            c3: conv2d(32, kernel = 1, stride = 2),
        },
        a2: relu,
        block3: residual {
            c1: conv2d(64, kernel = 3, stride = 2, padding = same), n1: batch_norm, a1: relu,
            c2: conv2d(64, kernel = 3, padding = same), n2: batch_norm,
        } shortcut {
            c3: conv2d(64, kernel = 1, stride = 2),
        },
        a3: relu,
        pool: global_average_pool,
        head: dense(10),
    }
}

net! {
    /// MobileNetV1 of a quarter of the channels (Howard et al. 2017), as in MLPerf Tiny: 96×96 images of
    /// three channels, whether there is a person.
    pub(crate) struct MobileNet: [96, 96, 3] {
        entry: conv2d(8, kernel = 3, stride = 2, padding = same), n0: batch_norm, a0: relu,
        d1: depthwise(kernel = 3, padding = same), m1: batch_norm, r1: relu,
        p1: conv2d(16, kernel = 1), n1: batch_norm, a1: relu,
        d2: depthwise(kernel = 3, stride = 2, padding = same), m2: batch_norm, r2: relu,
        p2: conv2d(32, kernel = 1), n2: batch_norm, a2: relu,
        d3: depthwise(kernel = 3, padding = same), m3: batch_norm, r3: relu,
        p3: conv2d(32, kernel = 1), n3: batch_norm, a3: relu,
        d4: depthwise(kernel = 3, stride = 2, padding = same), m4: batch_norm, r4: relu,
        p4: conv2d(64, kernel = 1), n4: batch_norm, a4: relu,
        d5: depthwise(kernel = 3, padding = same), m5: batch_norm, r5: relu,
        p5: conv2d(64, kernel = 1), n5: batch_norm, a5: relu,
        d6: depthwise(kernel = 3, stride = 2, padding = same), m6: batch_norm, r6: relu,
        p6: conv2d(128, kernel = 1), n6: batch_norm, a6: relu,
        d7: depthwise(kernel = 3, padding = same), m7: batch_norm, r7: relu,
        p7: conv2d(128, kernel = 1), n7: batch_norm, a7: relu,
        d8: depthwise(kernel = 3, padding = same), m8: batch_norm, r8: relu,
        p8: conv2d(128, kernel = 1), n8: batch_norm, a8: relu,
        d9: depthwise(kernel = 3, padding = same), m9: batch_norm, r9: relu,
        p9: conv2d(128, kernel = 1), n9: batch_norm, a9: relu,
        d10: depthwise(kernel = 3, padding = same), m10: batch_norm, r10: relu,
        p10: conv2d(128, kernel = 1), n10: batch_norm, a10: relu,
        d11: depthwise(kernel = 3, padding = same), m11: batch_norm, r11: relu,
        p11: conv2d(128, kernel = 1), n11: batch_norm, a11: relu,
        d12: depthwise(kernel = 3, stride = 2, padding = same), m12: batch_norm, r12: relu,
        p12: conv2d(256, kernel = 1), n12: batch_norm, a12: relu,
        d13: depthwise(kernel = 3, padding = same), m13: batch_norm, r13: relu,
        p13: conv2d(256, kernel = 1), n13: batch_norm, a13: relu,
        pool: global_average_pool,
        head: dense(2),
    }
}

net! {
    /// The deep autoencoder of MLPerf Tiny's anomaly detection (Koizumi et al. 2020): 640 features through 8.
    pub(crate) struct Autoencoder: [640] {
        e1: dense(128), m1: batch_norm, a1: relu,
        e2: dense(128), m2: batch_norm, a2: relu,
        e3: dense(128), m3: batch_norm, a3: relu,
        e4: dense(128), m4: batch_norm, a4: relu,
        code: dense(8), m5: batch_norm, a5: relu,
        d1: dense(128), m6: batch_norm, a6: relu,
        d2: dense(128), m7: batch_norm, a7: relu,
        d3: dense(128), m8: batch_norm, a8: relu,
        d4: dense(128), m9: batch_norm, a9: relu,
        head: dense(640),
    }
}

net! {
    /// A convolutional autoencoder: pooled and spread again.
    pub(crate) struct Hourglass: [8, 8, 1] {
        down: conv2d(8, kernel = 3, stride = 2, padding = same, activation = gelu),
        code: conv2d(4, kernel = 3, stride = 2, padding = same, activation = gelu),
        up: conv_transpose2d(8, kernel = 2, stride = 2, activation = gelu),
        wide: conv_transpose2d(8, kernel = 2, stride = 2, activation = gelu),
        head: conv2d(1, kernel = 3, padding = same),
    }
}

net! {
    /// A signal through one-dimensional convolutions with branches: concatenated, gated, added.
    pub(crate) struct Signal: [64, 2] {
        entry: conv1d(8, kernel = 5, stride = 2, padding = same, activation = silu),
        norm: layer_norm,
        both: concat {
            short: conv1d(4, kernel = 3, padding = same, activation = hard_swish),
        } {
            long: conv1d(4, kernel = 3, padding = same, dilation = 4, activation = leaky_relu(200)),
        },
        gate: product {} {
            pool: global_average_pool,
            squeeze: dense(4, activation = relu),
            open: dense(8, activation = sigmoid),
        },
        rms: rms_norm,
        again: residual {
            c1: conv1d(8, kernel = 3, padding = same, activation = softplus),
            c2: conv1d(8, kernel = 3, padding = same),
        },
        pool: global_max_pool,
        head: dense(4),
    }
}
