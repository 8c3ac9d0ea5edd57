//! The corpus of pod templates without an API server: what holds for every shape. `tests/webhook/corpus.rs` asks the API server.

use jobwarden_inject::patch::{Denial, Effect, Mutation};
use serde_json::{Value, json};

use crate::{
    admit_job, admit_pod,
    law::{keeps, valid},
    patched,
    shapes::{Base, Shape},
};

const BASES: [Base; 3] = [
    Base { hardened: false, sized: false },
    Base { hardened: true, sized: false },
    Base { hardened: false, sized: true },
];

fn laws(shape: &Shape, object: &Value, admit: impl Fn(&Value) -> Result<Mutation, Denial>) -> Effect {
    let mutation = admit(object).map_err(|denial| format!("{shape}: {denial}")).expect("admitted");
    let after = patched(object, &mutation);
    assert!(keeps(object, &after), "{shape}: {object:#} became {after:#}");
    assert!(valid(&after), "{shape}: {after:#}");
    let second = admit(&after).map_err(|denial| format!("{shape}: {denial}")).expect("admitted a second time");
    assert!(second.operations.is_empty(), "{shape} is patched twice: {:?}", second.operations.to_patch());
    mutation.effect
}

#[test]
fn no_shape_of_the_corpus_is_denied_or_loses_anything() {
    let mut injected = 0;
    for shape in Shape::corpus(400, 7) {
        for base in BASES {
            laws(&shape, &shape.job(base), admit_job);
            let effect = laws(&shape, &shape.pod(base), admit_pod);
            injected += usize::from(effect == Effect::Injected);
        }
    }
    assert!(injected > 600, "only {injected} of 1,200 pods got a sidecar");
}

#[test]
fn the_corpus_has_two_hundred_shapes_and_the_same_for_a_seed() {
    let corpus = Shape::corpus(260, 1);
    assert_eq!((corpus.len(), &corpus), (260, &Shape::corpus(260, 1)));
    assert_ne!(corpus, Shape::corpus(260, 2));
    let smaller: Vec<String> = corpus[259].smaller().map(|shape| shape.to_string()).collect();
    assert!(smaller.iter().all(|it| it.len() < corpus[259].to_string().len()), "{} became {smaller:?}", corpus[259]);
    assert_eq!(Shape::plain().template(Base::default())["spec"]["restartPolicy"], json!("Never"));
}
