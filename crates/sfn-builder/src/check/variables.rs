//! Variables: whether something assigns them before they are read, in the same scope or one around it.
//!
//! Developer guide, "Variable scope": a branch or an inline item processor sees the variables around it and has its own;
//! the processor of a distributed Map state sees none but its own.

use foldhash::{HashMap, HashMapExt};

use super::Checker;
use super::at::At;
use crate::checked::{
    Assign, Condition, Data, Dynamic, Items, Machine, Map, Mode, Operand, Selection, State, StateKind, Test,
    Until,
};
use crate::finding::{Code, Finding, nearest};
use crate::path::{Path, Root};
use crate::template::{Expression, Template};

/// The variables of a definition, by name: their numbers, and the state that assigns each first.
type Names<'m> = HashMap<&'m str, (usize, &'m str)>;

/// Some of the variables: a bit for each, by their numbers.
type Set = [u64];

fn words(names: &Names<'_>) -> usize {
    names.len().div_ceil(64)
}

fn has(set: &Set, number: usize) -> bool {
    set[number / 64] & (1 << (number % 64)) != 0
}

fn insert(set: &mut Set, number: usize) {
    set[number / 64] |= 1 << (number % 64);
}

/// Adds those of another set; whether there were new ones.
fn extend(set: &mut Set, other: &Set) -> bool {
    let mut new = false;
    for (mine, theirs) in set.iter_mut().zip(other) {
        new |= theirs & !*mine != 0;
        *mine |= theirs;
    }
    new
}

impl Checker<'_> {
    pub(super) fn variables(&mut self, machine: &Machine) {
        let mut names = Names::new();
        for state in machine.all_states() {
            each_assign(state, At::Pointer(""), &mut |_, assign| {
                for name in assign.names() {
                    let number = names.len();
                    names.entry(name).or_insert((number, state.pointer.as_str()));
                }
            });
        }
        self.scope(machine, &vec![0; words(&names)], &names);
    }

    fn scope(&mut self, machine: &Machine, outer: &Set, names: &Names<'_>) {
        let before = assigned_before(machine, outer, names);
        for (at, state) in machine.states().iter().enumerate() {
            let seen = before.of(at);
            each_assign(state, At::Pointer(&state.pointer), &mut |at, assign| {
                let shadows = |name: &&str| names.get(name).is_some_and(|(number, _)| has(outer, *number));
                for name in assign.names().filter(shadows) {
                    let message = format!("the variable `${name}` of an outer scope is assigned here");
                    let finding = Finding::new(Code::ShadowedVariable, At::Key(&at, name), message);
                    self.findings
                        .push(finding.hint("give it another name: what is assigned here does not get out"));
                }
            });
            let mut reads = Reads {
                found: Vec::new(),
                names,
                seen,
                here: At::Pointer(&state.pointer),
            };
            reads.state(state);
            for (pointer, name) in reads.found {
                let message = format!("no way to `{}` assigns the variable `${name}`", state.name);
                let finding = Finding::new(Code::UnassignedVariable, pointer, message);
                let finding = match names.get(name.as_str()) {
                    Some((_, place)) => finding.hint(format!("it is assigned at `{place}`")),
                    None => finding.near(self.nearest_variable(&name, seen, names)),
                };
                self.findings.push(finding);
            }
            for inner in state.machines() {
                let distributed = matches!(
                    &state.kind,
                    StateKind::Map(map) if matches!(map.mode, Mode::Distributed(_))
                );
                if distributed {
                    self.scope(inner, &vec![0; words(names)], names);
                } else {
                    self.scope(inner, seen, names);
                }
            }
        }
    }

    fn nearest_variable(&mut self, name: &str, seen: &Set, names: &Names<'_>) -> Option<String> {
        self.comparisons = self.comparisons.checked_sub(names.len())?;
        let there = names.iter().filter(|(_, (number, _))| has(seen, *number));
        let mut there: Vec<&str> = there.map(|(name, _)| *name).collect();
        there.sort_unstable();
        nearest(name, there).map(|near| format!("${near}"))
    }
}

/// A set for each state of a machine, one after the other.
struct Sets {
    words: usize,
    bits: Vec<u64>,
}

impl Sets {
    fn of(&self, state: usize) -> &Set {
        &self.bits[state * self.words..][..self.words]
    }

    fn of_mut(&mut self, state: usize) -> &mut Set {
        &mut self.bits[state * self.words..][..self.words]
    }
}

/// What some way to each state assigns, the scopes around it included.
fn assigned_before(machine: &Machine, outer: &Set, names: &Names<'_>) -> Sets {
    let states = machine.states();
    let mut before = Sets {
        words: words(names),
        bits: outer.repeat(states.len()),
    };
    let mut own = Sets {
        words: words(names),
        bits: vec![0; before.bits.len()],
    };
    let mut any = false;
    for (at, state) in states.iter().enumerate() {
        each_assign(state, At::Pointer(""), &mut |_, assign| {
            for (number, _) in assign.names().filter_map(|name| names.get(name)) {
                insert(own.of_mut(at), *number);
                any = true;
            }
        });
    }
    if !any {
        return before;
    }
    let mut reached = vec![false; states.len()];
    let mut open: Vec<usize> = machine.position(&machine.start().name).into_iter().collect();
    let mut after = Vec::with_capacity(before.words);
    while let Some(at) = open.pop() {
        reached[at] = true;
        after.clear();
        after.extend_from_slice(before.of(at));
        extend(&mut after, own.of(at));
        states[at].each_successor(&mut |next| {
            let Some(next) = machine.position(next) else {
                return;
            };
            let new = extend(before.of_mut(next), &after);
            if new || !reached[next] {
                reached[next] = true;
                open.push(next);
            }
        });
    }
    before
}

/// Visits every `Assign` of a state, with its place. That one rule or catcher assigns is taken for all: what is warned of
/// must be wrong on every way.
fn each_assign<'m>(state: &'m State, here: At<'_>, visit: &mut impl FnMut(At<'_>, &'m Assign)) {
    let mut entry = |here: At<'_>, assign: &'m Assign| {
        if !assign.is_empty() {
            visit(At::Key(&here, "Assign"), assign);
        }
    };
    entry(here, &state.assign);
    let list = At::Key(&here, "Catch");
    for (index, catcher) in state.catch().iter().enumerate() {
        entry(At::Item(&list, index), &catcher.assign);
    }
    if let StateKind::Choice(choice) = &state.kind {
        let list = At::Key(&here, "Choices");
        for (index, rule) in choice.rules.iter().enumerate() {
            entry(At::Item(&list, index), &rule.assign);
        }
    }
}

/// Collects the variables that a state reads and that nothing has assigned, with the pointer of the field.
struct Reads<'m> {
    found: Vec<(String, String)>,
    names: &'m Names<'m>,
    seen: &'m Set,
    here: At<'m>,
}

impl Reads<'_> {
    fn add(&mut self, at: At<'_>, name: &str) {
        let known = self
            .names
            .get(name)
            .is_some_and(|(number, _)| has(self.seen, *number));
        if known {
            return;
        }
        let pointer = at.pointer();
        if !self
            .found
            .iter()
            .any(|(at, found)| *at == pointer && found == name)
        {
            self.found.push((pointer, name.to_owned()));
        }
    }

    fn expression(&mut self, at: At<'_>, expression: &Expression) {
        expression.each_variable(&mut |name| self.add(at, name));
    }

    fn template(&mut self, at: At<'_>, template: Option<&Template>) {
        if let Some(template) = template {
            template.each(&mut |expression| self.expression(at, expression));
        }
    }

    fn path(&mut self, at: At<'_>, path: &Path) {
        if let Root::Variable(name) = path.root() {
            self.add(at, name);
        }
    }

    fn selection(&mut self, at: At<'_>, selection: &Selection) {
        if let Selection::Path(path) = selection {
            self.path(at, path);
        }
    }

    fn dynamic<T>(&mut self, here: At<'_>, field: &str, path: &str, dynamic: Option<&Dynamic<T>>) {
        match dynamic {
            Some(Dynamic::Computed(expression @ Expression::Jsonata(_))) => {
                self.expression(At::Key(&here, field), expression);
            }
            Some(Dynamic::Computed(expression)) => self.expression(At::Key(&here, path), expression),
            Some(Dynamic::Fixed(_)) | None => {}
        }
    }

    fn assign(&mut self, here: At<'_>, assign: &Assign) {
        let at = At::Key(&here, "Assign");
        for (_, template) in assign.iter() {
            self.template(at, Some(template));
        }
    }

    fn state(&mut self, state: &State) {
        let here = self.here;
        let field = |name: &'static str| At::Key(&here, name);
        match &state.data {
            Data::JsonPath(data) => {
                self.selection(field("InputPath"), &data.input_path);
                self.template(field("Parameters"), data.parameters.as_ref());
                self.template(field("ResultSelector"), data.result_selector.as_ref());
                self.selection(field("OutputPath"), &data.output_path);
            }
            Data::Jsonata(data) => {
                self.template(field("Arguments"), data.arguments.as_ref());
                self.template(field("Output"), data.output.as_ref());
            }
        }
        self.assign(here, &state.assign);
        for (index, catcher) in state.catch().iter().enumerate() {
            let list = field("Catch");
            let entry = At::Item(&list, index);
            self.template(At::Key(&entry, "Output"), catcher.output.as_ref());
            self.assign(entry, &catcher.assign);
        }
        match &state.kind {
            StateKind::Task(task) => {
                self.dynamic(
                    here,
                    "TimeoutSeconds",
                    "TimeoutSecondsPath",
                    task.timeout.as_ref(),
                );
                self.dynamic(
                    here,
                    "HeartbeatSeconds",
                    "HeartbeatSecondsPath",
                    task.heartbeat.as_ref(),
                );
                self.dynamic(here, "Credentials", "Credentials", task.role_arn.as_ref());
            }
            StateKind::Map(map) => self.map(here, map),
            StateKind::Choice(choice) => {
                for (index, rule) in choice.rules.iter().enumerate() {
                    let list = field("Choices");
                    let entry = At::Item(&list, index);
                    self.condition(entry, &rule.condition);
                    self.template(At::Key(&entry, "Output"), rule.output.as_ref());
                    self.assign(entry, &rule.assign);
                }
            }
            StateKind::Wait(wait) => match &wait.until {
                Until::Seconds(seconds) => self.dynamic(here, "Seconds", "SecondsPath", Some(seconds)),
                Until::Timestamp(time) => self.dynamic(here, "Timestamp", "TimestampPath", Some(time)),
            },
            StateKind::Fail(fail) => {
                self.dynamic(here, "Error", "ErrorPath", fail.error.as_ref());
                self.dynamic(here, "Cause", "CausePath", fail.cause.as_ref());
            }
            StateKind::Parallel(_) | StateKind::Pass(_) | StateKind::Succeed => {}
        }
    }

    fn map(&mut self, here: At<'_>, map: &Map) {
        let field = |name: &'static str| At::Key(&here, name);
        match &map.items {
            Items::Input => {}
            Items::Path(path) => self.path(field("ItemsPath"), path),
            Items::Template(template) => self.template(field("Items"), Some(template)),
        }
        self.template(field("ItemSelector"), map.item_selector.as_ref());
        self.dynamic(
            here,
            "MaxConcurrency",
            "MaxConcurrencyPath",
            Some(&map.max_concurrency),
        );
        self.dynamic(
            here,
            "ToleratedFailurePercentage",
            "ToleratedFailurePercentagePath",
            map.tolerated_failure_percentage.as_ref(),
        );
        self.dynamic(
            here,
            "ToleratedFailureCount",
            "ToleratedFailureCountPath",
            map.tolerated_failure_count.as_ref(),
        );
        if let Some(reader) = &map.item_reader {
            self.template(field("ItemReader"), reader.parameters.as_ref());
            self.dynamic(here, "ItemReader", "ItemReader", reader.config.max_items.as_ref());
        }
        if let Some(batcher) = &map.item_batcher {
            self.template(field("ItemBatcher"), batcher.batch_input.as_ref());
            self.dynamic(here, "ItemBatcher", "ItemBatcher", batcher.max_items.as_ref());
            self.dynamic(
                here,
                "ItemBatcher",
                "ItemBatcher",
                batcher.max_input_bytes.as_ref(),
            );
        }
        if let Some(writer) = &map.result_writer {
            self.template(field("ResultWriter"), writer.parameters.as_ref());
        }
    }

    fn condition(&mut self, at: At<'_>, condition: &Condition) {
        match condition {
            Condition::And(all) | Condition::Or(all) => {
                all.iter().for_each(|inner| self.condition(at, inner));
            }
            Condition::Not(inner) => self.condition(at, inner),
            Condition::Test { variable, test } => {
                self.path(at, variable);
                match test {
                    Test::String(_, Operand::Path(path))
                    | Test::Numeric(_, Operand::Path(path))
                    | Test::Timestamp(_, Operand::Path(path))
                    | Test::Boolean(Operand::Path(path)) => self.path(at, path),
                    _ => {}
                }
            }
            Condition::Fixed(_) => {}
            Condition::Jsonata(jsonata) => {
                for name in &jsonata.references().variables {
                    self.add(at, name);
                }
            }
        }
    }
}
