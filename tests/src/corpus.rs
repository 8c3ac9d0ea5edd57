//! Pod templates of many shapes, made of the fields of a `PodSpec` in combination.
//!
//! A [`Shape`] takes one variant in each dimension, such as "two containers" or "a projected token of mode 0400". The first variant of
//! each is plain, so a shape that fails can be made smaller by taking plain variants for as long as it fails.

#[path = "corpus/dimensions.rs"]
mod dimensions;

use std::fmt;

use fastrand::Rng;
use serde_json::{Value, json};

use dimensions::{DIMENSIONS, Dimension};

/// How often a dimension of a random shape is not plain: often enough for combinations, and rarely enough for the API server to
/// accept most shapes.
const CHANCE: f64 = 0.25;

/// What every shape has because its namespace requires it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// Every container satisfies Pod Security `restricted`.
    pub hardened: bool,
    /// Every container has requests and limits.
    pub sized: bool,
}

/// One variant in each dimension.
#[derive(Clone, PartialEq, Eq)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The shape that is plain in each dimension.
    pub fn plain() -> Self {
        Self(vec![0; DIMENSIONS.len()])
    }

    /// Every variant on its own, and then random combinations until there are `count` shapes. The same seed gives the same.
    pub fn corpus(count: usize, seed: u64) -> Vec<Self> {
        let mut rng = Rng::with_seed(seed);
        let mut shapes = vec![Self::plain()];
        for (dimension, Dimension { variants, .. }) in DIMENSIONS.iter().enumerate() {
            shapes.extend((1..variants.len()).map(|variant| Self::plain().with(dimension, variant)));
        }
        while shapes.len() < count {
            let variants = DIMENSIONS.iter().map(|dimension| dimension.variants.len());
            let choices = variants.map(|all| if rng.f64() < CHANCE { rng.usize(..all) } else { 0 });
            let shape = Self(choices.collect());
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
        shapes
    }

    /// Shapes that are plain in one more dimension than this one.
    pub fn smaller(&self) -> impl Iterator<Item = Self> {
        let changed = (0..self.0.len()).filter(|dimension| self.0[*dimension] != 0);
        changed.map(|dimension| self.clone().with(dimension, 0))
    }

    fn with(mut self, dimension: usize, variant: usize) -> Self {
        self.0[dimension] = variant;
        self
    }

    /// The template.
    pub fn template(&self, base: Base) -> Value {
        let mut template = json!({
            "metadata": {},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "registry.example.com/work:1"}]},
        });
        for (Dimension { variants, .. }, choice) in DIMENSIONS.iter().zip(&self.0).rev() {
            (variants[*choice].1)(&mut template);
        }
        let Base { hardened, sized } = base;
        let spec = &mut template["spec"];
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                if hardened {
                    harden(container);
                }
                if sized && container["resources"].is_null() {
                    let size = json!({"cpu": "500m", "memory": "512Mi"});
                    container["resources"] = json!({"requests": size, "limits": size});
                }
            }
        }
        template
    }

    /// A Job with this template.
    pub fn job(&self, base: Base) -> Value {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "shape"},
            "spec": {"backoffLimit": 6, "template": self.template(base)},
        })
    }

    /// A pod of this shape that opts in, unless its shape says otherwise.
    pub fn pod(&self, base: Base) -> Value {
        let mut pod = self.template(base);
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("shape");
        let label = &mut pod["metadata"]["labels"]["jobwarden.io/inject"];
        if label.is_null() {
            *label = json!("true");
        }
        pod
    }
}

/// The variants that are not plain.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = DIMENSIONS.iter().zip(&self.0).filter(|(_, choice)| **choice != 0);
        let chosen: Vec<String> =
            chosen.map(|(Dimension { name, variants }, choice)| format!("{name}: {}", variants[*choice].0)).collect();
        f.write_str(if chosen.is_empty() { "plain" } else { "" })?;
        f.write_str(&chosen.join(", "))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Sets what Pod Security `restricted` requires and the shape does not set.
fn harden(container: &mut Value) {
    let context = &mut container["securityContext"];
    for (key, value) in [
        ("allowPrivilegeEscalation", json!(false)),
        ("capabilities", json!({"drop": ["ALL"]})),
        ("runAsNonRoot", json!(true)),
        ("seccompProfile", json!({"type": "RuntimeDefault"})),
    ] {
        if context[key].is_null() {
            context[key] = value;
        }
    }
}
