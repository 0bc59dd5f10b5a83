//! What a policy says of each single effect, for whoever wants to know why.

use super::super::context::Context;
use super::super::effect::Effect;
use super::super::verdict::{Decision, Limits};
use super::Policy;
use super::rules::Rule;

/// What a policy says of one effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What it decides.
    pub decision: Decision,
    /// How much a statement with this effect may change, where it is allowed within limits.
    pub limits: Option<Limits>,
    /// The class of the effect: the name that the presets know it by.
    pub class: &'static str,
    /// The rule that refuses it or asks for an approval: one of the policy file, or the class itself. None where it may be.
    pub rule: Option<String>,
    /// One sentence for a person, where there is a rule.
    pub reason: Option<String>,
    /// One sentence on what to do instead, where there is a rule.
    pub hint: Option<String>,
}

impl Policy {
    /// Tells what the policy says of one effect, predicted or observed, whatever else the statement does.
    pub fn explain(&self, effect: &Effect, context: &Context) -> Explained {
        let ruling = self.rule_on(effect, context);
        let (rule, reason, hint) = match ruling.words {
            Some(words) => (Some(words.id), Some(words.reason), Some(words.hint)),
            None => (None, None, None),
        };
        Explained {
            decision: ruling.decision,
            limits: (ruling.decision == Decision::Limit).then_some(ruling.limits),
            class: Rule::of(effect).id(),
            rule,
            reason,
            hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::effect::{Bound, Operation};

    #[test]
    fn each_effect_is_explained_by_itself() {
        let delete = |bound| Effect::Write { table: "t".to_owned(), operation: Operation::Delete, bound };
        let cases = [
            (Policy::app(), delete(Bound::None), Decision::Deny, "delete-all", Some("delete-all")),
            (Policy::app(), delete(Bound::Conditional), Decision::Limit, "delete", None),
            (Policy::app(), Effect::Read { table: "t".to_owned() }, Decision::Allow, "read", None),
            (Policy::read_only(), delete(Bound::Conditional), Decision::Deny, "delete", Some("delete")),
        ];
        for (policy, effect, decision, class, rule) in cases {
            let explained = policy.explain(&effect, &Context::default());
            assert_eq!((explained.decision, explained.class), (decision, class));
            assert_eq!(explained.rule.as_deref(), rule);
            assert_eq!(explained.reason.is_some(), rule.is_some());
            assert_eq!(explained.limits.is_some(), decision == Decision::Limit);
        }
    }
}
