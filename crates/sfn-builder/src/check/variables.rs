//! Variables: whether something assigns them before they are read, in the same scope or one around it.
//!
//! Developer guide, "Variable scope": a branch or an inline item processor sees the variables around it and has its own;
//! the processor of a distributed Map state sees none but its own.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, successors};
use crate::checked::{
    Assign, Condition, Data, Dynamic, Items, Machine, Mode, Operand, Selection, State, StateKind, Test, Until,
};
use crate::finding::{Code, Finding, push};
use crate::path::{Path, Root};
use crate::template::{Expression, Template};

type Names<'m> = BTreeSet<&'m str>;

impl Checker<'_> {
    pub(super) fn variables(&mut self, machine: &Machine) {
        let mut everywhere = BTreeMap::new();
        for state in machine.all_states() {
            for name in assigns(state).into_iter().flat_map(|(_, assign)| assign.names()) {
                everywhere.entry(name).or_insert(state.pointer.as_str());
            }
        }
        self.scope(machine, &Names::new(), &everywhere);
    }

    fn scope<'m>(
        &mut self,
        machine: &'m Machine,
        outer: &Names<'m>,
        everywhere: &BTreeMap<&'m str, &'m str>,
    ) {
        let before = assigned_before(machine, outer);
        for (state, seen) in machine.states().iter().zip(&before) {
            for (pointer, assign) in assigns(state) {
                for name in assign.names().filter(|name| outer.contains(name)) {
                    let message = format!("the variable `${name}` of an outer scope is assigned here");
                    let at = push(&format!("{}{pointer}", state.pointer), name);
                    let finding = Finding::new(Code::ShadowedVariable, at, message);
                    self.findings
                        .push(finding.hint("give it another name: what is assigned here does not get out"));
                }
            }
            let mut reads = Reads {
                found: Vec::new(),
                pointer: &state.pointer,
            };
            reads.state(state);
            for (pointer, name) in reads.found {
                if seen.contains(name.as_str()) {
                    continue;
                }
                let message = format!("no way to `{}` assigns the variable `${name}`", state.name);
                let finding = Finding::new(Code::UnassignedVariable, pointer, message);
                let near = crate::finding::nearest(&name, seen.iter().copied());
                self.findings.push(match everywhere.get(name.as_str()) {
                    Some(place) => finding.hint(format!("it is assigned at `{place}`")),
                    None => finding.near(near.map(|near| format!("${near}"))),
                });
            }
            for inner in state.machines() {
                let distributed = matches!(
                    &state.kind,
                    StateKind::Map(map) if matches!(map.mode, Mode::Distributed(_))
                );
                let none = Names::new();
                self.scope(inner, if distributed { &none } else { seen }, everywhere);
            }
        }
    }
}

/// What some way to each state assigns, the scopes around it included.
fn assigned_before<'m>(machine: &'m Machine, outer: &Names<'m>) -> Vec<Names<'m>> {
    let states = machine.states();
    let mut before = vec![outer.clone(); states.len()];
    let start = machine.position(&machine.start().name);
    let mut reached = vec![false; states.len()];
    let mut open: Vec<usize> = start.into_iter().collect();
    while let Some(at) = open.pop() {
        reached[at] = true;
        let mut after = before[at].clone();
        for (_, assign) in assigns(&states[at]) {
            after.extend(assign.names());
        }
        for next in successors(machine, &states[at]) {
            let known = before[next].len();
            before[next].extend(after.iter().copied());
            if !reached[next] || before[next].len() > known {
                reached[next] = true;
                open.push(next);
            }
        }
    }
    before
}

/// Every `Assign` of a state, with its pointer below the state. That one rule or catcher assigns is taken for all: what
/// is warned of must be wrong on every way.
fn assigns(state: &State) -> Vec<(String, &Assign)> {
    let mut all = Vec::new();
    if !state.assign.is_empty() {
        all.push(("/Assign".to_owned(), &state.assign));
    }
    for (index, catcher) in state.catch().iter().enumerate() {
        all.push((format!("/Catch/{index}/Assign"), &catcher.assign));
    }
    if let StateKind::Choice(choice) = &state.kind {
        for (index, rule) in choice.rules.iter().enumerate() {
            all.push((format!("/Choices/{index}/Assign"), &rule.assign));
        }
    }
    all
}

/// Collects the variables that a state reads, with the pointer of the field.
struct Reads<'m> {
    found: Vec<(String, String)>,
    pointer: &'m str,
}

impl Reads<'_> {
    fn add(&mut self, field: &str, name: &str) {
        let pointer = format!("{}/{field}", self.pointer);
        if !self
            .found
            .iter()
            .any(|(at, found)| *at == pointer && found == name)
        {
            self.found.push((pointer, name.to_owned()));
        }
    }

    fn expression(&mut self, field: &str, expression: &Expression) {
        for name in expression.variables() {
            self.add(field, name);
        }
    }

    fn template(&mut self, field: &str, template: Option<&Template>) {
        for expression in template.into_iter().flat_map(Template::expressions) {
            self.expression(field, expression);
        }
    }

    fn path(&mut self, field: &str, path: &Path) {
        if let Root::Variable(name) = path.root() {
            self.add(field, name);
        }
    }

    fn selection(&mut self, field: &str, selection: &Selection) {
        if let Selection::Path(path) = selection {
            self.path(field, path);
        }
    }

    fn dynamic<T>(&mut self, field: &str, path: &str, dynamic: Option<&Dynamic<T>>) {
        match dynamic {
            Some(Dynamic::Computed(expression @ Expression::Jsonata(_))) => {
                self.expression(field, expression)
            }
            Some(Dynamic::Computed(expression)) => self.expression(path, expression),
            Some(Dynamic::Fixed(_)) | None => {}
        }
    }

    fn assign(&mut self, field: &str, assign: &Assign) {
        for (_, template) in assign.iter() {
            self.template(field, Some(template));
        }
    }

    fn state(&mut self, state: &State) {
        match &state.data {
            Data::JsonPath(data) => {
                self.selection("InputPath", &data.input_path);
                self.template("Parameters", data.parameters.as_ref());
                self.template("ResultSelector", data.result_selector.as_ref());
                self.selection("OutputPath", &data.output_path);
            }
            Data::Jsonata(data) => {
                self.template("Arguments", data.arguments.as_ref());
                self.template("Output", data.output.as_ref());
            }
        }
        self.assign("Assign", &state.assign);
        for (index, catcher) in state.catch().iter().enumerate() {
            self.template(&format!("Catch/{index}/Output"), catcher.output.as_ref());
            self.assign(&format!("Catch/{index}/Assign"), &catcher.assign);
        }
        match &state.kind {
            StateKind::Task(task) => {
                self.dynamic("TimeoutSeconds", "TimeoutSecondsPath", task.timeout.as_ref());
                self.dynamic(
                    "HeartbeatSeconds",
                    "HeartbeatSecondsPath",
                    task.heartbeat.as_ref(),
                );
                self.dynamic("Credentials", "Credentials", task.role_arn.as_ref());
            }
            StateKind::Map(map) => {
                match &map.items {
                    Items::Input => {}
                    Items::Path(path) => self.path("ItemsPath", path),
                    Items::Template(template) => self.template("Items", Some(template)),
                }
                self.template("ItemSelector", map.item_selector.as_ref());
                self.dynamic("MaxConcurrency", "MaxConcurrencyPath", Some(&map.max_concurrency));
                self.dynamic(
                    "ToleratedFailurePercentage",
                    "ToleratedFailurePercentagePath",
                    map.tolerated_failure_percentage.as_ref(),
                );
                self.dynamic(
                    "ToleratedFailureCount",
                    "ToleratedFailureCountPath",
                    map.tolerated_failure_count.as_ref(),
                );
                if let Some(reader) = &map.item_reader {
                    self.template("ItemReader", reader.parameters.as_ref());
                    self.dynamic("ItemReader", "ItemReader", reader.config.max_items.as_ref());
                }
                if let Some(batcher) = &map.item_batcher {
                    self.template("ItemBatcher", batcher.batch_input.as_ref());
                    self.dynamic("ItemBatcher", "ItemBatcher", batcher.max_items.as_ref());
                    self.dynamic("ItemBatcher", "ItemBatcher", batcher.max_input_bytes.as_ref());
                }
                if let Some(writer) = &map.result_writer {
                    self.template("ResultWriter", writer.parameters.as_ref());
                }
            }
            StateKind::Choice(choice) => {
                for (index, rule) in choice.rules.iter().enumerate() {
                    let field = format!("Choices/{index}");
                    self.condition(&field, &rule.condition);
                    self.template(&format!("{field}/Output"), rule.output.as_ref());
                    self.assign(&format!("{field}/Assign"), &rule.assign);
                }
            }
            StateKind::Wait(wait) => match &wait.until {
                Until::Seconds(seconds) => self.dynamic("Seconds", "SecondsPath", Some(seconds)),
                Until::Timestamp(time) => self.dynamic("Timestamp", "TimestampPath", Some(time)),
            },
            StateKind::Fail(fail) => {
                self.dynamic("Error", "ErrorPath", fail.error.as_ref());
                self.dynamic("Cause", "CausePath", fail.cause.as_ref());
            }
            StateKind::Parallel(_) | StateKind::Pass(_) | StateKind::Succeed => {}
        }
    }

    fn condition(&mut self, field: &str, condition: &Condition) {
        match condition {
            Condition::And(all) | Condition::Or(all) => {
                all.iter().for_each(|inner| self.condition(field, inner))
            }
            Condition::Not(inner) => self.condition(field, inner),
            Condition::Test { variable, test } => {
                self.path(field, variable);
                match test {
                    Test::String(_, Operand::Path(path))
                    | Test::Numeric(_, Operand::Path(path))
                    | Test::Timestamp(_, Operand::Path(path))
                    | Test::Boolean(Operand::Path(path)) => self.path(field, path),
                    _ => {}
                }
            }
            Condition::Fixed(_) => {}
            Condition::Jsonata(jsonata) => {
                for name in &jsonata.references().variables {
                    self.add(field, name);
                }
            }
        }
    }
}
