//! What layers cost.

use alloc::string::String;
use alloc::vec::Vec;
use selvedge_kernels::DType;

/// What a layer is and costs, which [`Network::summary`](super::Network::summary) tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerSummary {
    /// The names of the containers around it, and its own: `blocks.3.attention`.
    pub path: String,
    /// Its type, as JSON names it.
    pub kind: String,
    /// Type of the elements that it computes with.
    pub dtype: DType,
    /// Extents of an input sample.
    pub input: Vec<usize>,
    /// Extents of an output sample.
    pub output: Vec<usize>,
    /// Elements of its parameters. One that shares those of another layer has none.
    pub parameters: usize,
    /// Multiplications with an addition of the forward pass, for one sample; those of convolutions and dense layers.
    pub macs: u64,
    /// Bytes of its parameters, and of other states such as running statistics, without what training keeps beside them.
    pub bytes: usize,
    /// Whether it has parameters that training changes.
    pub trainable: bool,
}
