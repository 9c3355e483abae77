use proptest::prelude::*;
use serde_json::{Value, json};

use super::{compile, floats, outcome, outcome_of, plan, port, rows};
use crate::{
    decision::source::shortest,
    tensor::{Dtype, Values},
};

fn finite() -> impl Strategy<Value = f32> {
    prop_oneof![
        any::<f32>().prop_filter("finite", |x| x.is_finite()),
        0_f32..1.0
    ]
}

fn any_values() -> impl Strategy<Value = Values> {
    let n = 0..9_usize;
    prop_oneof![
        prop::collection::vec(any::<f32>(), n.clone()).prop_map(Values::Float),
        prop::collection::vec(any::<f64>(), n.clone()).prop_map(Values::Double),
        prop::collection::vec(any::<i64>(), n.clone()).prop_map(Values::Int),
        prop::collection::vec(".{0,3}", n).prop_map(Values::Text),
    ]
}

const EVERYTHING: &str = "
    [outcome.a.class]
    output = 'p'
    labels = ['a', 'b', 'c']
    uncertain = { label = 'u', below = 0.5 }
    [outcome.b.class]
    output = 'p'
    thresholds = [{ label = 'x' }, { from = { pointer = '/t', default = 1 }, label = 'y' }]
    [outcome.c.number]
    output = 'p'
    index = 2
    scale = 1e300
    offset = -1e308
    exp = true
    round = 15
    [outcome.d.vector]
    output = 'p'
    [outcome.e.top_k]
    output = 'p'
    k = 2
    labels = [1, 2, 3]
    [[reject]]
    output = 'p'
    index = 'min'
    below = -1e30
    code = 'odd'
    [rejection.odd]
    title = 'Odd'
    ";

proptest! {
    #[test]
    fn deciding_never_panics(values in any_values(), elements in 0..5_usize, dtype in 0..3_usize, each in any::<bool>(), t in any::<f64>()) {
        let dtype = [Dtype::Float32, Dtype::Float64, Dtype::Int64][dtype];
        let manifest = format!("each = {each}\n{EVERYTHING}");
        let plan = compile(&manifest, &[port("p", dtype, &[None])]).unwrap();
        let _ = outcome_of(&plan, json!({ "t": t }), &rows(elements, values));
    }

    #[test]
    fn the_winner_is_the_naive_one(scores in prop::collection::vec(finite(), 1..20)) {
        let labels: Vec<_> = (0..scores.len()).map(|i| i.to_string()).collect();
        let manifest = format!("[outcome.v.class]\noutput = 'p'\nlabels = [{}]", labels.join(","));
        let plan = compile(&manifest, &[port("p", Dtype::Float32, &[Some(scores.len())])]).unwrap();
        let mut naive = 0;
        for (i, score) in scores.iter().enumerate() {
            if *score > scores[naive] {
                naive = i;
            }
        }
        prop_assert_eq!(&outcome(&plan, &floats(&scores))["v"], &json!(naive));
    }

    #[test]
    fn top_k_is_sorted_and_stable(
        scores in prop::collection::vec(prop_oneof![finite(), Just(0.5), Just(-0.0), Just(0.0)], 5..12),
        k in 1..4_usize,
        skip in 0..2_usize,
    ) {
        let labels: Vec<_> = (0..scores.len()).map(|i| i.to_string()).collect();
        let manifest = format!("[outcome.v.top_k]\noutput = 'p'\nk = {k}\nskip = {skip}\nlabels = [{}]", labels.join(","));
        let plan = compile(&manifest, &[port("p", Dtype::Float32, &[Some(scores.len())])]).unwrap();
        let found = outcome(&plan, &floats(&scores));
        let mut naive: Vec<usize> = (0..scores.len()).collect();
        naive.sort_by(|a, b| scores[*b].partial_cmp(&scores[*a]).unwrap());
        let expected: Vec<Value> = naive[skip..skip + k].iter().map(|i| json!(i)).collect();
        let found: Vec<_> = found["v"].as_array().unwrap().iter().map(|e| e["label"].clone()).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn thresholds_share_out_the_line(
        score in finite(),
        mut limits in prop::collection::btree_set(-1000_i32..1000, 1..6),
        moved in prop::option::of(-1.0..1.0),
    ) {
        limits.insert(500);
        let limits: Vec<f64> = limits.into_iter().map(|l| f64::from(l) / 1000.0).collect();
        let intervals: Vec<_> = limits.iter().zip(1..).map(|(from, i)| format!("{{ from = {from:?}, label = {i} }}")).collect();
        let intervals = intervals.join(", ");
        let last = limits.len() + 1;
        let manifest = format!(
            "[outcome.v.class]\noutput = 'p'\nthresholds = [{{ label = 0 }}, {intervals}, {{ from = {{ pointer = '/m', default = 2 }}, label = {last} }}]"
        );
        let found = outcome_of(&plan(&manifest), json!({ "m": moved }), &floats(&[score, 0.0, 0.0])).unwrap();
        let score = shortest(score);
        let expected = if score >= moved.unwrap_or(2.0) { last } else { limits.iter().filter(|from| score >= **from).count() };
        prop_assert_eq!(&found["v"], &json!(expected));
    }

    #[test]
    fn the_shortest_decimal_names_the_same_float_and_keeps_order(a in finite(), b in finite()) {
        #[expect(clippy::cast_possible_truncation, reason = "that it comes back is the claim")]
        let back = shortest(a) as f32;
        prop_assert!((back - a).abs() <= 0.0);
        prop_assert_eq!(format!("{}", shortest(a)), format!("{a}"));
        prop_assert_eq!(a.partial_cmp(&b), shortest(a).partial_cmp(&shortest(b)));
    }
}
