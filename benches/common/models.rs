//! The models: random weights, real architectures. What they say is of no interest, what they cost is.

use crate::onnx::{Attr, FLOAT, Graph, INT64, N, STEPS};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Features of a row of the forest and of the MLP.
pub const FEATURES: usize = 32;
/// Width and height of the convolutional network's pictures.
pub const SIDE: usize = 224;

/// Words that the transformer knows.
pub const WORDS: usize = 1_000;
/// The most words of a text.
pub const LONGEST: usize = 128;

const TREES: usize = 100;
const DEPTH: u32 = 12;

/// Standard weights for a layer of so many inputs (He et al. 2015, "Delving deep into rectifiers").
fn weights(rng: &mut StdRng, count: usize, inputs: usize) -> Vec<f32> {
    let reach = (6.0 / inputs as f32).sqrt();
    (0..count)
        .map(|_| rng.random_range(-reach..reach))
        .collect()
}

/// `x[n, 32]` → `y[n, 32]`, unchanged.
pub fn noop() -> Graph {
    let dims = [N, FEATURES as i64];
    let graph = Graph::new().input("x", FLOAT, &dims);
    graph
        .output("y", FLOAT, &dims)
        .node("Identity", &["x"], &["y"])
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

/// `ids[n, l]`, `mask[n, l]` → 128 wide, 4 heads, 2 layers of attention (Vaswani et al. 2017) → sum → `y[n, 1]`.
pub fn transformer() -> Graph {
    const WIDTH: usize = 128;
    const HEADS: usize = 4;
    let mut rng = StdRng::seed_from_u64(6);
    let wide = WIDTH as i64;
    let heads = HEADS as i64;
    let mut graph = Graph::new()
        .input("ids", INT64, &[N, STEPS])
        .input("mask", INT64, &[N, STEPS])
        .output("y", FLOAT, &[N, 1])
        .weights(
            "words",
            &[WORDS as i64, wide],
            &weights(&mut rng, WORDS * WIDTH, WIDTH),
        )
        .weights("one", &[1], &[1.0])
        .weights("never", &[1], &[-1e9])
        .weights("scale", &[1], &[1.0 / (WIDTH as f32 / HEADS as f32).sqrt()])
        .integers("apart", &[0, 0, heads, wide / heads])
        .integers("whole", &[0, 0, wide])
        .integers("heads_and_steps", &[1, 2])
        .integers("last", &[2])
        .integers("steps", &[1])
        .node("Gather", &["words", "ids"], &["x0"])
        .node_ints("Cast", &["mask"], "there", &[("to", FLOAT)])
        .node("Sub", &["one", "there"], &["absent"])
        .node("Mul", &["absent", "never"], &["unseen"])
        .node("Unsqueeze", &["unseen", "heads_and_steps"], &["bias"]);
    let mut before = "x0".to_owned();
    for layer in 0..2 {
        let name = |what: &str| format!("{what}{layer}");
        for (what, order) in [
            ("q", [0, 2, 1, 3]),
            ("k", [0, 2, 3, 1]),
            ("v", [0, 2, 1, 3]),
        ] {
            let [w, product, split, turned] =
                ["w", "product", "split", ""].map(|part| name(&format!("{what}{part}")));
            graph = graph
                .weights(&w, &[wide, wide], &weights(&mut rng, WIDTH * WIDTH, WIDTH))
                .node("MatMul", &[&before, &w], &[&product])
                .node("Reshape", &[&product, "apart"], &[&split])
                .node_attrs(
                    ("", "Transpose"),
                    &[&split],
                    &turned,
                    &[("perm", Attr::Ints(&order))],
                );
        }
        graph = graph
            .node("MatMul", &[&name("q"), &name("k")], &[&name("scores")])
            .node("Mul", &[&name("scores"), "scale"], &[&name("scaled")])
            .node("Add", &[&name("scaled"), "bias"], &[&name("seen")])
            .node_ints(
                "Softmax",
                &[&name("seen")],
                &name("attention"),
                &[("axis", -1)],
            )
            .node(
                "MatMul",
                &[&name("attention"), &name("v")],
                &[&name("mixed")],
            )
            .node_attrs(
                ("", "Transpose"),
                &[&name("mixed")],
                &name("back"),
                &[("perm", Attr::Ints(&[0, 2, 1, 3]))],
            )
            .node("Reshape", &[&name("back"), "whole"], &[&name("joined")])
            .weights(
                &name("wo"),
                &[wide, wide],
                &weights(&mut rng, WIDTH * WIDTH, WIDTH),
            )
            .node("MatMul", &[&name("joined"), &name("wo")], &[&name("told")]);
        (graph, before) = normed(graph, [&before, &name("told")], &name("attended"), WIDTH);
        graph = graph
            .weights(
                &name("up"),
                &[wide, 4 * wide],
                &weights(&mut rng, 4 * WIDTH * WIDTH, WIDTH),
            )
            .weights(
                &name("down"),
                &[4 * wide, wide],
                &weights(&mut rng, 4 * WIDTH * WIDTH, 4 * WIDTH),
            )
            .node("MatMul", &[&before, &name("up")], &[&name("risen")])
            .node("Relu", &[&name("risen")], &[&name("relu")])
            .node("MatMul", &[&name("relu"), &name("down")], &[&name("fed")]);
        (graph, before) = normed(graph, [&before, &name("fed")], &name("out"), WIDTH);
    }
    graph
        .node("Unsqueeze", &["there", "last"], &["each"])
        .node("Mul", &[&before, "each"], &["kept"])
        .node_ints("ReduceSum", &["kept", "steps"], "sum", &[("keepdims", 0)])
        .weights("head", &[wide, 1], &weights(&mut rng, WIDTH, WIDTH))
        .node("MatMul", &["sum", "head"], &["logit"])
        .node("Sigmoid", &["logit"], &["y"])
}

/// The sum of two, normalised.
fn normed(graph: Graph, [a, b]: [&str; 2], name: &str, width: usize) -> (Graph, String) {
    let part = |what: &str| format!("{name}_{what}");
    let graph = graph
        .node("Add", &[a, b], &[&part("sum")])
        .weights(&part("scale"), &[width as i64], &vec![1.0; width])
        .weights(&part("shift"), &[width as i64], &vec![0.0; width])
        .node_ints(
            "LayerNormalization",
            &[&part("sum"), &part("scale"), &part("shift")],
            name,
            &[("axis", -1)],
        );
    (graph, name.to_owned())
}
