//! What a plan takes from outside: every variable and secret that it names is read before anything runs.

use super::gates::Placed;
use super::read::SecretKeys;
use super::source::Reader;
use crate::value::{Reference, Text, Variables, is_variable_name, nearest};
use secrecy::SecretString;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use toml::Spanned;

type Secrets = BTreeMap<String, Spanned<SecretKeys>>;

impl Reader<'_> {
    /// Reads every variable and secret that the plan names; one that is unset or empty is a problem now, not at run time.
    pub(super) fn variables(&mut self, placed: &[Placed], of_plan: &[Text], secrets: &Secrets) -> Variables {
        let mut variables = Variables::default();
        for (name, secret) in secrets {
            if let Some(value) = self.secret(name, secret) {
                variables.insert_secret(name, value);
            }
        }
        for text in of_plan {
            self.text(text, |_| false, secrets, &mut variables);
        }
        let positions: HashMap<&str, usize> =
            placed.iter().enumerate().map(|(position, one)| (one.gate.id.as_str(), position)).collect();
        for one in placed {
            self.current = one.source;
            for text in &one.seen.texts {
                self.text(text, |id| needs(placed, &positions, one, id), secrets, &mut variables);
            }
            for name in &one.seen.names {
                self.variable(name.as_str(), &name.span, &mut variables);
            }
        }
        self.current = 0;
        variables
    }

    fn secret(&mut self, name: &str, raw: &Spanned<SecretKeys>) -> Option<SecretString> {
        let directory = &self.sources[0].directory;
        let value = match (&raw.get_ref().env, &raw.get_ref().file) {
            _ if !is_variable_name(name) => Err(format!("`{}` cannot name a secret", name.escape_debug())),
            (Some(variable), None) => (self.environment)(variable)
                .ok_or_else(|| format!("variable `{variable}` of secret `{name}` is not set")),
            (None, Some(path)) => std::fs::read_to_string(directory.join(path))
                .map(|text| text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
                .map_err(|error| format!("secret `{name}`: cannot read {}: {error}", path.display())),
            _ => Err(format!("secret `{name}` needs either `env` or `file`")),
        };
        let value = value.and_then(|value| {
            if value.is_empty() { Err(format!("secret `{name}` is empty")) } else { Ok(value) }
        });
        value.map(SecretString::from).map_err(|message| self.problem(raw.span(), message, None)).ok()
    }

    fn text(
        &mut self,
        text: &Text,
        is_needed: impl Fn(&str) -> bool,
        secrets: &Secrets,
        variables: &mut Variables,
    ) {
        let references = match text.references() {
            Ok(references) => references,
            Err(message) => return self.problem(text.span.clone(), message, None),
        };
        for reference in references {
            match reference {
                Reference::Env(name) => self.variable(name, &text.span, variables),
                Reference::Secret(name) if secrets.contains_key(name) => {}
                Reference::Secret(name) => {
                    let hint = nearest(name, secrets.keys().map(String::as_str)).map_or_else(
                        || {
                            format!(
                                "write `[secrets]` and `{name} = {{ env = \"…\" }}` or `{{ file = \"…\" }}`"
                            )
                        },
                        |name| format!("did you mean `{name}`?"),
                    );
                    self.problem(text.span.clone(), format!("the plan has no secret `{name}`"), Some(hint));
                }
                Reference::Gate { id, .. } if is_needed(id) => {}
                Reference::Gate { id, .. } => {
                    let message = format!("`{text}` refers to `{id}`, which this gate does not need");
                    let hint = format!("write `needs = [\"{id}\"]`, so that its result is there");
                    self.problem(text.span.clone(), message, Some(hint));
                }
            }
        }
    }

    fn variable(&mut self, name: &str, span: &Range<usize>, variables: &mut Variables) {
        if !is_variable_name(name) {
            let message = format!("`{}` cannot name a variable", name.escape_debug());
            self.problem(span.clone(), message, None);
        } else if variables.get(name).is_none() {
            match (self.environment)(name).filter(|value| !value.is_empty()) {
                Some(value) => variables.insert(name, value),
                None => {
                    let message = format!("variable `{name}` is not set, or is empty");
                    self.problem(span.clone(), message, None);
                }
            }
        }
    }
}

/// Whether a gate needs another one, directly or through others.
fn needs(placed: &[Placed], positions: &HashMap<&str, usize>, gate: &Placed, id: &str) -> bool {
    let mut seen = vec![false; placed.len()];
    let mut open = vec![gate];
    while let Some(gate) = open.pop() {
        for need in &gate.gate.needs {
            if need == id {
                return true;
            }
            if let Some(&next) = positions.get(need.as_str()).filter(|next| !seen[**next]) {
                seen[next] = true;
                open.push(&placed[next]);
            }
        }
    }
    false
}
