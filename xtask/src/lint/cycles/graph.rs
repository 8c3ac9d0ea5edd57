//! Strongly connected components of the graph of imports, and a short cycle in each.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
};

use super::{
    paths::{Imports, Place},
    tree::{ModuleId, Tree},
};

/// Modules (nodes) and imports (edges).
pub(super) struct Graph {
    imports: Imports,
    targets: BTreeMap<ModuleId, Vec<ModuleId>>,
}

/// Modules that import from each other, directly or through one another.
pub(super) struct Cycle {
    /// A shortest cycle, its first module repeated at the end.
    pub(super) modules: Vec<String>,
    /// One import for each arrow of that cycle.
    pub(super) imports: Vec<Import>,
    /// The other imports among the modules of the component.
    pub(super) others: Vec<Import>,
}

/// One place where a module imports from another.
pub(super) struct Import {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) file: PathBuf,
    pub(super) line: usize,
}

impl Graph {
    pub(super) fn new(imports: Imports) -> Self {
        let mut targets: BTreeMap<ModuleId, Vec<ModuleId>> = BTreeMap::new();
        for (from, to) in imports.keys() {
            targets.entry(*from).or_default().push(*to);
        }
        Self { imports, targets }
    }

    /// The same graph between siblings alone, each with everything below it as one node.
    pub(super) fn of_siblings(&self, tree: &Tree) -> Self {
        let mut imports = Imports::new();
        for ((from, to), place) in &self.imports {
            let (from, to) = (tree.lineage(*from), tree.lineage(*to));
            let siblings = from.iter().zip(&to).find(|(from, to)| from != to);
            if let Some((from, to)) = siblings {
                imports.entry((*from, *to)).or_insert(*place);
            }
        }
        Self::new(imports)
    }

    /// One cycle for each component that has any.
    pub(super) fn cycles(&self, tree: &Tree) -> Vec<Cycle> {
        let reached: BTreeMap<ModuleId, BTreeSet<ModuleId>> =
            self.targets.keys().map(|from| (*from, self.reachable(*from))).collect();
        let together = |a: ModuleId, b: ModuleId| {
            let reaches =
                |from: ModuleId, to: ModuleId| reached.get(&from).is_some_and(|reached| reached.contains(&to));
            reaches(a, b) && reaches(b, a)
        };
        let mut done: BTreeSet<ModuleId> = BTreeSet::new();
        let mut cycles = Vec::new();
        for &start in self.targets.keys() {
            if !together(start, start) || done.contains(&start) {
                continue;
            }
            let component: BTreeSet<ModuleId> =
                self.targets.keys().copied().filter(|other| together(start, *other)).collect();
            done.extend(&component);
            cycles.push(self.cycle(&component, tree));
        }
        cycles
    }

    /// What can be reached from `from` by at least one import.
    fn reachable(&self, from: ModuleId) -> BTreeSet<ModuleId> {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(module) = open.pop() {
            open.extend(self.targets_of(module).filter(|target| reached.insert(*target)));
        }
        reached
    }

    fn cycle(&self, component: &BTreeSet<ModuleId>, tree: &Tree) -> Cycle {
        let shortest =
            component.iter().map(|start| self.shortest(*start, component)).min_by_key(Vec::len).unwrap_or_default();
        let import = |from: ModuleId, to: ModuleId| {
            let Place { module, line } = self.imports[&(from, to)];
            let name = |module: ModuleId| tree.modules[module].name.clone();
            Import { from: name(from), to: name(to), file: tree.modules[module].file.clone(), line }
        };
        let arrows: Vec<(ModuleId, ModuleId)> = shortest.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let inside = |(from, to): &&(ModuleId, ModuleId)| component.contains(from) && component.contains(to);
        Cycle {
            modules: shortest.iter().map(|module| tree.modules[*module].name.clone()).collect(),
            imports: arrows.iter().map(|(from, to)| import(*from, *to)).collect(),
            others: self
                .imports
                .keys()
                .filter(inside)
                .filter(|pair| !arrows.contains(pair))
                .map(|(from, to)| import(*from, *to))
                .collect(),
        }
    }

    /// The shortest way from `start` back to `start`, both ends included.
    fn shortest(&self, start: ModuleId, component: &BTreeSet<ModuleId>) -> Vec<ModuleId> {
        let mut before: BTreeMap<ModuleId, ModuleId> = BTreeMap::new();
        let mut open = VecDeque::from([start]);
        while let Some(module) = open.pop_front() {
            for target in self.targets_of(module).filter(|target| component.contains(target)) {
                if target == start {
                    let mut way = vec![start, module];
                    while let Some(previous) =
                        way.last().filter(|last| **last != start).and_then(|last| before.get(last))
                    {
                        way.push(*previous);
                    }
                    way.reverse();
                    return way;
                }
                before.entry(target).or_insert_with(|| {
                    open.push_back(target);
                    module
                });
            }
        }
        Vec::new()
    }

    fn targets_of(&self, module: ModuleId) -> impl Iterator<Item = ModuleId> {
        self.targets.get(&module).into_iter().flatten().copied()
    }
}
