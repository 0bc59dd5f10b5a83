//! What stands behind the names of a statement: functions, triggers, rules, foreign keys, views, row security.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use super::super::body::{self, Reading};
use super::super::catalog::{Access, Body, Catalog, Function, Oid, Reference, Relation, Rule, Summary, Use};
use super::super::effect::{Bound, Effect, Reach};
use super::super::verdict::Predicted;
use super::{Located, Names, session};

/// Adds the effects of the code behind some names, each with what has it.
pub(super) fn expand(
    catalog: &Catalog,
    references: Vec<(Reference, Option<usize>)>,
    effects: &mut Vec<Located>,
) {
    let mut behind = Behind { catalog, effects, seen: HashSet::new(), todo: VecDeque::new(), offset: None };
    for (reference, offset) in references {
        behind.offset = offset;
        behind.todo.push_back(Step { reference, via: None, is_attached: false });
        while let Some(step) = behind.todo.pop_front() {
            behind.take(&step);
        }
    }
}

/// A name to look behind.
struct Step {
    reference: Reference,
    /// The code that names it; none where the statement itself does.
    via: Option<Rc<str>>,
    /// Whether the owner of an object attached it, rather than the statement called it.
    is_attached: bool,
}

struct Behind<'c, 'e> {
    catalog: &'c Catalog,
    effects: &'e mut Vec<Located>,
    /// So that code that runs itself ends. What was called is not looked at again where it is attached.
    seen: HashSet<(Reference, bool)>,
    /// First come, first served: so what is nearest to the statement explains an effect that several have.
    todo: VecDeque<Step>,
    offset: Option<usize>,
}

impl<'c> Behind<'c, '_> {
    fn take(&mut self, step: &Step) {
        if self.seen.contains(&(step.reference, false))
            || !self.seen.insert((step.reference, step.is_attached))
        {
            return;
        }
        match step.reference {
            Reference::Function(oid) => {
                if let Some(function) = self.catalog.function(oid) {
                    self.function(function, step);
                }
            }
            Reference::Makes(oid) => {
                if let Some(made) = self.catalog.type_of(oid) {
                    let via = step.via.clone().unwrap_or_else(|| format!("type {}", made.title).into());
                    self.uses(&made.makes, &via, step.is_attached);
                }
            }
            Reference::Relation(oid, access) => self.relation(oid, access),
        }
    }

    /// A function; where the statement calls it, its effects are the statement's.
    fn function(&mut self, function: &'c Function, step: &Step) {
        let via = step.via.clone().unwrap_or_else(|| {
            let kind = if function.is_security_definer { "security definer function" } else { "function" };
            format!("{kind} {}({})", function.title, function.signature).into()
        });
        for setting in &function.settings {
            let Some((name, value)) = setting.split_once('=') else { continue };
            let reach = session::reach(name, Some(value));
            if reach == Reach::Escape {
                self.add(Effect::Setting { name: name.to_owned(), reach }, &via, step.is_attached);
            }
        }
        match function.summary.get_or_init(|| read(self.catalog, function)) {
            Some(summary) => self.summary(summary, &via, step.is_attached),
            None if step.is_attached => self.add(Effect::HiddenCode { code: via.to_string() }, &via, true),
            None => {
                let via = step.via.clone();
                self.push(Effect::Call { function: function.title.clone() }, via.as_deref());
            }
        }
        self.uses(&function.uses, &via, step.is_attached);
    }

    fn summary(&mut self, summary: &Summary, via: &Rc<str>, is_attached: bool) {
        for effect in &summary.effects {
            self.add(effect.clone(), via, is_attached);
        }
        for reference in &summary.references {
            self.todo.push_back(Step { reference: *reference, via: Some(Rc::clone(via)), is_attached });
        }
    }

    fn uses(&mut self, uses: &[Use], via: &Rc<str>, is_attached: bool) {
        for used in uses {
            let reference = match used {
                Use::Function(oid) => Reference::Function(*oid),
                Use::Type(oid) => Reference::Makes(*oid),
            };
            self.todo.push_back(Step { reference, via: Some(Rc::clone(via)), is_attached });
        }
    }

    /// What is attached to a relation and, where it is written, to its partitions and inheritors.
    fn relation(&mut self, oid: Oid, access: Access) {
        let Some(relation) = self.catalog.relation(oid) else { return };
        self.attached(relation, access);
        if access == Access::Read {
            return;
        }
        // A row whose key changes is deleted from one partition and inserted into another.
        let moves = access == Access::Update && relation.kind == 'p';
        let mut seen = HashSet::from([oid]);
        let mut todo: Vec<Oid> = relation.children.clone();
        while let Some(child) = todo.pop() {
            if seen.insert(child)
                && let Some(child) = self.catalog.relation(child)
            {
                self.attached(child, access);
                if moves {
                    self.triggers(child, Access::Delete);
                    self.triggers(child, Access::Insert);
                }
                todo.extend(&child.children);
            }
        }
    }

    fn triggers(&mut self, relation: &'c Relation, access: Access) {
        for trigger in relation.triggers.iter().filter(|trigger| trigger.events.fires_on(access)) {
            let via = format!("trigger {} on {}", trigger.name, relation.title);
            self.uses(&trigger.uses, &via.into(), true);
        }
    }

    fn attached(&mut self, relation: &'c Relation, access: Access) {
        let title = &relation.title;
        if relation.kind == 'f' && access.operation().is_some() {
            self.push(Effect::External { construct: format!("foreign table {title}") }, None);
        }
        self.triggers(relation, access);
        // A materialized view runs its query when it is filled, not when it is read; a view also when it is written to.
        let runs = |rule: &Rule| match (relation.kind, rule.event) {
            ('m', _) => access == Access::Refresh,
            ('v', '1') => true,
            _ => rule.fires_on(access),
        };
        for rule in relation.rules.iter().filter(|rule| runs(rule)) {
            self.rule(rule, title);
        }
        self.foreign_keys(relation, access);
        let is_replaced = relation
            .triggers
            .iter()
            .any(|trigger| trigger.events.is_instead() && trigger.events.fires_on(access))
            || relation.rules.iter().any(|rule| rule.is_instead && rule.fires_on(access));
        if let (Some(base), Some(operation), 'v', false) =
            (relation.base, access.operation(), relation.kind, is_replaced)
            && let Some(base_relation) = self.catalog.relation(base)
        {
            let via: Rc<str> = format!("view {title}").into();
            let table = base_relation.title.clone();
            self.add(Effect::Write { table, operation, bound: Bound::Conditional }, &via, true);
            let reference = Reference::Relation(base, access);
            self.todo.push_back(Step { reference, via: Some(via), is_attached: true });
        }
        self.uses(&relation.policies, &format!("row security of {title}").into(), true);
        if matches!(access, Access::Insert | Access::Update | Access::Refresh) {
            self.uses(&relation.expressions, &format!("expressions of {title}").into(), true);
        }
    }

    fn rule(&mut self, rule: &'c Rule, title: &str) {
        let via: Rc<str> = match rule.event {
            '1' => format!("view {title}").into(),
            _ => format!("rule {} on {title}", rule.name).into(),
        };
        let read = || {
            let names = Names { catalog: self.catalog, path: self.catalog.search_path() };
            Reading::new(Some(names)).rule(&rule.text)
        };
        match rule.summary.get_or_init(read) {
            Some(summary) => self.summary(summary, &via, true),
            None => self.add(Effect::HiddenCode { code: via.to_string() }, &via, true),
        }
        self.uses(&rule.uses, &via, true);
    }

    fn foreign_keys(&mut self, relation: &'c Relation, access: Access) {
        for key in &relation.foreign_keys {
            let Some(follows) = key.follows(access) else { continue };
            let (Some(child), Some(operation)) = (self.catalog.relation(key.child), follows.operation())
            else {
                continue;
            };
            let via: Rc<str> = format!("foreign key {}", key.name).into();
            let write = Effect::Write { table: child.title.clone(), operation, bound: Bound::Conditional };
            self.add(write, &via, true);
            let reference = Reference::Relation(key.child, follows);
            self.todo.push_back(Step { reference, via: Some(via), is_attached: true });
        }
    }

    /// Adds an effect of code. What an owner attached is bounded by what is observed, not by its text.
    fn add(&mut self, effect: Effect, via: &Rc<str>, is_attached: bool) {
        let effect = match effect {
            effect if !is_attached => effect,
            Effect::Write { table, operation, .. } => {
                Effect::Write { table, operation, bound: Bound::Conditional }
            }
            Effect::Call { .. } | Effect::DynamicCode { .. } | Effect::Opaque { .. } => {
                Effect::HiddenCode { code: via.to_string() }
            }
            // Who may read a view may read what it shows; a setting of the application's own is nobody's harm.
            Effect::Read { .. } | Effect::Setting { reach: Reach::Harmless | Reach::Session, .. } => return,
            effect => effect,
        };
        self.push(effect, Some(via));
    }

    fn push(&mut self, effect: Effect, via: Option<&str>) {
        let predicted = Predicted { effect, via: via.map(str::to_owned) };
        if !self.effects.iter().rev().take(256).any(|known| known.predicted == predicted) {
            self.effects.push(Located { predicted, offset: self.offset });
        }
    }
}

fn read(catalog: &Catalog, function: &Function) -> Option<Summary> {
    if matches!(function.body, Body::Unreadable) {
        return None;
    }
    let own_path = body::search_path(function);
    let path = own_path.as_deref().unwrap_or(catalog.search_path());
    Reading::new(Some(Names { catalog, path })).function(&function.body)
}
