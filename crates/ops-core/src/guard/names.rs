//! Names in the tree: lists of string nodes, read without copying and shown as SQL would write them.

use super::parse::ast;
use super::parse::ast::node::Node as NodeEnum;

/// A dotted name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a>(&'a [ast::Node]);

impl<'a> Name<'a> {
    pub(super) fn parts(self) -> impl DoubleEndedIterator<Item = &'a str> {
        self.0.iter().filter_map(|node| match node.node.as_ref() {
            Some(NodeEnum::String(part)) => Some(part.sval.as_str()),
            _ => None,
        })
    }

    pub(super) fn last(self) -> Option<&'a str> {
        self.parts().next_back()
    }

    /// Returns the part before the last: a function's schema, a column's table.
    pub(super) fn qualifier(self) -> Option<&'a str> {
        self.parts().nth_back(1)
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.parts().eq(other.parts())
    }
}

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, part) in self.parts().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            f.write_str(&quoted(part))?;
        }
        Ok(())
    }
}

/// Reads a list of string nodes as a name.
pub(super) fn strings(nodes: &[ast::Node]) -> Name<'_> {
    Name(nodes)
}

/// Returns a column's name, unless it ends in `*` or holds something else than names.
pub(super) fn column_name(column: &ast::ColumnRef) -> Option<Name<'_>> {
    let name = Name(&column.fields);
    (name.parts().count() == column.fields.len() && !column.fields.is_empty()).then_some(name)
}

/// Returns a table's name as SQL would write it.
pub(super) fn table(table: &ast::RangeVar) -> String {
    if table.schemaname.is_empty() && table.catalogname.is_empty() {
        return quoted(&table.relname);
    }
    let parts = [&table.catalogname, &table.schemaname, &table.relname];
    parts.into_iter().filter(|part| !part.is_empty()).map(|part| quoted(part)).collect::<Vec<_>>().join(".")
}

/// Tells whether a table is one of the system's own: by its schema, or by a name that is looked for there first.
pub(super) fn is_of_the_system(table: &ast::RangeVar) -> bool {
    match table.schemaname.as_str() {
        "" => table.relname.starts_with("pg_"),
        schema => matches!(schema, "pg_catalog" | "pg_toast" | "information_schema"),
    }
}

/// Returns the name of whatever object a node stands for, as well as it can be told.
pub(super) fn object(node: Option<&ast::Node>) -> String {
    match node.and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::String(name)) => quoted(&name.sval),
        Some(NodeEnum::List(list)) => {
            let parts: Vec<String> = list.items.iter().map(|item| object(Some(item))).collect();
            parts.join(".")
        }
        Some(NodeEnum::RangeVar(range)) => table(range),
        Some(NodeEnum::TypeName(name)) => strings(&name.names).to_string(),
        Some(NodeEnum::ObjectWithArgs(function)) => strings(&function.objname).to_string(),
        _ => String::new(),
    }
}

/// Puts a name between double quotes where SQL would need them.
pub(crate) fn quoted(name: &str) -> String {
    let is_plain = name.bytes().enumerate().all(|(index, byte)| {
        byte.is_ascii_lowercase()
            || byte == b'_'
            || byte >= 0x80
            || index > 0 && (byte.is_ascii_digit() || byte == b'$')
    });
    if is_plain && !name.is_empty() { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Returns a relation's name with its schema, as SQL would write it.
pub(crate) fn qualified(schema: &str, relation: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(relation))
}

/// Tells whether a name, written as SQL would, has a schema before it.
pub(super) fn has_qualifier(name: &str) -> bool {
    last_part(name).len() < name.len()
}

/// Returns the part of a name, written as SQL would, after its last dot outside quotes; still quoted.
pub(super) fn last_part(name: &str) -> &str {
    let mut is_quoted = false;
    let mut from = 0;
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'.' if !is_quoted => from = at + 1,
            _ => {}
        }
    }
    &name[from..]
}
