//! The models: random weights, real architectures. What they say is of no interest, what they cost is.

use crate::onnx::{Attr, FLOAT, Graph, N};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Features of a row of the forest and of the MLP.
pub const FEATURES: usize = 32;
/// Width and height of the convolutional network's pictures.
pub const SIDE: usize = 224;

const TREES: usize = 100;
const DEPTH: u32 = 12;

/// Standard weights for a layer of so many inputs (He et al. 2015, "Delving deep into rectifiers").
fn weights(rng: &mut StdRng, count: usize, inputs: usize) -> Vec<f32> {
    let reach = (6.0 / inputs as f32).sqrt();
    (0..count)
        .map(|_| rng.random_range(-reach..reach))
        .collect()
}

/// `x[n, 32]` → 256 → 256 → `y[n, 1]`.
pub fn mlp() -> Graph {
    let mut rng = StdRng::seed_from_u64(1);
    let mut graph = Graph::new()
        .input("x", FLOAT, &[N, FEATURES as i64])
        .output("y", FLOAT, &[N, 1]);
    let mut before = "x".to_owned();
    for (layer, (from, to)) in [(FEATURES, 256), (256, 256), (256, 1)]
        .into_iter()
        .enumerate()
    {
        let name = |what: &str| format!("{what}{layer}");
        graph = graph
            .weights(
                &name("w"),
                &[from as i64, to as i64],
                &weights(&mut rng, from * to, from),
            )
            .node("MatMul", &[&before, &name("w")], &[&name("product")]);
        before = name("relu");
        graph = graph.node("Relu", &[&name("product")], &[&before]);
    }
    graph.node("Sigmoid", &[&before], &["y"])
}

/// 100 trees of depth 12 over `x[n, 32]`.
pub fn forest() -> Graph {
    let mut rng = StdRng::seed_from_u64(2);
    let inner = 2_usize.pow(DEPTH) - 1;
    let all = 2 * inner + 1;
    let count = TREES * all;
    let ids = |of: &dyn Fn(usize, usize) -> usize| -> Vec<i64> {
        let each = (0..TREES).flat_map(|tree| (0..all).map(move |node| (tree, node)));
        each.map(|(tree, node)| of(tree, node) as i64).collect()
    };
    let is_leaf = |node: usize| node >= inner;
    let child = |node: usize, which: usize| if is_leaf(node) { 0 } else { 2 * node + which };
    let modes: Vec<&str> = (0..count)
        .map(|node| {
            if is_leaf(node % all) {
                "LEAF"
            } else {
                "BRANCH_LEQ"
            }
        })
        .collect();
    let features: Vec<i64> = (0..count)
        .map(|_| rng.random_range(0..FEATURES as i64))
        .collect();
    let values: Vec<f32> = (0..count).map(|_| rng.random_range(0.1..0.9)).collect();
    let leaves = TREES * (all - inner);
    let leaf_trees: Vec<i64> = (0..leaves)
        .map(|leaf| (leaf / (all - inner)) as i64)
        .collect();
    let leaf_nodes: Vec<i64> = (0..leaves)
        .map(|leaf| (inner + leaf % (all - inner)) as i64)
        .collect();
    let leaf_values: Vec<f32> = (0..leaves).map(|_| rng.random_range(-0.02..0.02)).collect();
    Graph::new()
        .input("x", FLOAT, &[N, FEATURES as i64])
        .output("y", FLOAT, &[N, 1])
        .node_attrs(
            ("ai.onnx.ml", "TreeEnsembleRegressor"),
            &["x"],
            "y",
            &[
                ("nodes_treeids", Attr::Ints(&ids(&|tree, _| tree))),
                ("nodes_nodeids", Attr::Ints(&ids(&|_, node| node))),
                ("nodes_featureids", Attr::Ints(&features)),
                ("nodes_modes", Attr::Texts(&modes)),
                ("nodes_values", Attr::Floats(&values)),
                (
                    "nodes_truenodeids",
                    Attr::Ints(&ids(&|_, node| child(node, 1))),
                ),
                (
                    "nodes_falsenodeids",
                    Attr::Ints(&ids(&|_, node| child(node, 2))),
                ),
                ("target_treeids", Attr::Ints(&leaf_trees)),
                ("target_nodeids", Attr::Ints(&leaf_nodes)),
                ("target_ids", Attr::Ints(&vec![0; leaves])),
                ("target_weights", Attr::Floats(&leaf_values)),
                ("n_targets", Attr::Int(1)),
                ("aggregate_function", Attr::Text("SUM")),
                ("post_transform", Attr::Text("NONE")),
            ],
        )
}

/// `x[n, 3, 224, 224]` → 112² × 32 → 56² × 64, 28 layers of these → `y[n, 1]`.
pub fn conv() -> Graph {
    let mut rng = StdRng::seed_from_u64(3);
    let side = SIDE as i64;
    let mut graph = Graph::new()
        .input("x", FLOAT, &[N, 3, side, side])
        .output("y", FLOAT, &[N, 1]);
    let mut before = "x".to_owned();
    let narrow = [(3, 32, 2), (32, 64, 2)].into_iter();
    for (layer, (from, to, stride)) in narrow.chain([(64, 64, 1); 28]).enumerate() {
        let name = |what: &str| format!("{what}{layer}");
        let values = weights(&mut rng, from * to * 9, from * 9);
        graph = graph
            .weights(&name("w"), &[to as i64, from as i64, 3, 3], &values)
            .node_attrs(
                ("", "Conv"),
                &[&before, &name("w")],
                &name("conv"),
                &[
                    ("kernel_shape", Attr::Ints(&[3, 3])),
                    ("strides", Attr::Ints(&[stride, stride])),
                    ("pads", Attr::Ints(&[1, 1, 1, 1])),
                ],
            );
        before = name("relu");
        graph = graph.node("Relu", &[&name("conv")], &[&before]);
    }
    graph
        .node("GlobalAveragePool", &[&before], &["pooled"])
        .node_ints("Flatten", &["pooled"], "flat", &[("axis", 1)])
        .weights("last", &[64, 1], &weights(&mut rng, 64, 64))
        .node("MatMul", &["flat", "last"], &["sum"])
        .node("Sigmoid", &["sum"], &["y"])
}
