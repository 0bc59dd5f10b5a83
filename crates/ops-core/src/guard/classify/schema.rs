//! Objects: CREATE, ALTER, DROP, TRUNCATE, GRANT and the maintenance commands.

use super::super::catalog::Access;
use super::super::effect::Effect;
use super::super::names::{self, strings};
use super::super::parse::ast::node::Node as NodeEnum;
use super::super::parse::ast::{AlterTableType, DropBehavior, ObjectType};
use super::super::parse::{NodeRef, ast};
use super::{Descend, Walker, option};

impl<'a> Walker<'a, '_> {
    pub(super) fn schema(&mut self, node: NodeRef<'a>, name: &'static str) -> Descend {
        self.relation(node)
            .or_else(|| self.code(node))
            .or_else(|| self.drop_or_alter(node))
            .or_else(|| self.privilege(node))
            .or_else(|| self.cluster(node))
            .or_else(|| self.type_or_search(node))
            .unwrap_or_else(|| self.opaque(name))
    }

    /// Tables and what belongs to them.
    fn relation(&mut self, node: NodeRef<'a>) -> Option<Descend> {
        Some(match node {
            NodeRef::CreateStmt(create) => {
                let temporary = create.relation.as_ref().is_some_and(|table| table.relpersistence == "t");
                self.add_relation("table", create.relation.as_ref(), temporary)
            }
            NodeRef::CreateForeignTableStmt(create) => {
                let table = create.base_stmt.as_ref().and_then(|base| base.relation.as_ref());
                let (name, _) = self.target(table);
                self.add(Effect::External { construct: format!("foreign table {name}") }, -1)
            }
            NodeRef::ViewStmt(view) => {
                let temporary = view.view.as_ref().is_some_and(|view| view.relpersistence == "t");
                if view.replace && !temporary {
                    let (name, location) = self.target(view.view.as_ref());
                    return Some(self.add(Effect::SchemaChange { kind: "view".into(), name }, location));
                }
                self.add_relation("view", view.view.as_ref(), temporary)
            }
            NodeRef::CreateSeqStmt(create) => {
                let temporary =
                    create.sequence.as_ref().is_some_and(|sequence| sequence.relpersistence == "t");
                self.add_relation("sequence", create.sequence.as_ref(), temporary)
            }
            NodeRef::AlterSeqStmt(alter) => {
                let (name, location) = self.target(alter.sequence.as_ref());
                if option(&alter.options, "restart").is_some() {
                    self.add(Effect::SequenceReset, location);
                }
                self.add(Effect::SchemaChange { kind: "sequence".into(), name }, location)
            }
            NodeRef::IndexStmt(index) => {
                let (table, location) = self.target(index.relation.as_ref());
                let name = if index.idxname.is_empty() {
                    format!("on {table}")
                } else {
                    names::quoted(&index.idxname)
                };
                if !index.concurrent {
                    self.add(Effect::LockTable { table, mode: "SHARE" }, location);
                }
                self.add(Effect::SchemaAdd { kind: "index".into(), name, temporary: false }, location)
            }
            NodeRef::TruncateStmt(truncate) => {
                let cascade = is_cascade(truncate.behavior());
                for table in truncate.relations.iter().filter_map(range_var) {
                    let (name, location) = self.accessed(Some(table), Access::Truncate);
                    self.add(Effect::Truncate { table: name, cascade }, location);
                    if let (true, Some(oid)) = (cascade, self.relation_named(table).1) {
                        self.truncate_cascade(oid, location);
                    }
                }
                Descend::No
            }
            NodeRef::ClusterStmt(cluster) => {
                let (name, location) = self.accessed(cluster.relation.as_ref(), Access::Refresh);
                self.add(Effect::Rewrite { name }, location)
            }
            NodeRef::VacuumStmt(vacuum) => {
                if vacuum.is_vacuumcmd && option(&vacuum.options, "full").unwrap_or(false) {
                    self.add(Effect::Rewrite { name: "VACUUM FULL".into() }, -1);
                }
                for node in &vacuum.rels {
                    if let Some(NodeEnum::VacuumRelation(target)) = node.node.as_ref() {
                        self.accessed(target.relation.as_ref(), Access::Refresh);
                    }
                }
                self.add(Effect::Maintenance, -1);
                Descend::No
            }
            NodeRef::RefreshMatViewStmt(refresh) => {
                let (name, location) = self.accessed(refresh.relation.as_ref(), Access::Refresh);
                self.add(Effect::Rewrite { name }, location)
            }
            NodeRef::ReindexStmt(reindex) => {
                let (table, location) = self.accessed(reindex.relation.as_ref(), Access::Refresh);
                let name = if table.is_empty() { names::quoted(&reindex.name) } else { table };
                self.add(Effect::Rewrite { name }, location)
            }
            NodeRef::CreateStatsStmt(create) => {
                self.create("statistics", strings(&create.defnames).to_string())
            }
            NodeRef::AlterStatsStmt(alter) => self.change("statistics", strings(&alter.defnames).to_string()),
            NodeRef::CreateSchemaStmt(create) => self.create("schema", names::quoted(&create.schemaname)),
            _ => return None,
        })
    }

    pub(super) fn add_relation(
        &mut self,
        kind: &str,
        table: Option<&'a ast::RangeVar>,
        temporary: bool,
    ) -> Descend {
        let (_, location) = self.target(table);
        let name = table.map(|table| self.new_name(table, temporary)).unwrap_or_default();
        self.add(Effect::SchemaAdd { kind: kind.into(), name, temporary }, location)
    }

    /// Returns the name that a new relation gets: what is in the first schema, whatever is called so in a later one.
    fn new_name(&self, table: &ast::RangeVar, temporary: bool) -> String {
        let name = names::table(table);
        let path = self.reading.names.map_or(&[][..], |names| names.path);
        let first = path.iter().find(|schema| *schema != "pg_catalog" && !schema.starts_with("pg_temp"));
        match first {
            Some(schema) if table.schemaname.is_empty() && !temporary => {
                format!("{}.{name}", names::quoted(schema))
            }
            _ => name,
        }
    }

    /// Returns the name of an object that is dropped or described, with its schema where it is a known relation.
    fn object_name(&self, kind: ObjectType, object: Option<&ast::Node>) -> String {
        let is_relation = matches!(
            kind,
            ObjectType::ObjectTable
                | ObjectType::ObjectView
                | ObjectType::ObjectMatview
                | ObjectType::ObjectIndex
                | ObjectType::ObjectSequence
                | ObjectType::ObjectForeignTable
        );
        let found = self.reading.names.zip(object).filter(|_| is_relation).and_then(|(names, object)| {
            let Some(NodeEnum::List(list)) = object.node.as_ref() else { return None };
            let name = strings(&list.items);
            names.catalog.find_relation(name.qualifier(), name.last()?, names.path)
        });
        found.map_or_else(|| names::object(object), |(_, relation)| relation.title.clone())
    }

    fn create(&mut self, kind: &str, name: String) -> Descend {
        self.add(Effect::SchemaAdd { kind: kind.into(), name, temporary: false }, -1)
    }

    fn change(&mut self, kind: &str, name: String) -> Descend {
        self.add(Effect::SchemaChange { kind: kind.into(), name }, -1)
    }

    fn define(&mut self, kind: &str, name: String) -> Descend {
        self.add(Effect::CodeDefinition { kind: kind.into(), name }, -1);
        // It runs later, if at all; nothing in it happens now.
        Descend::No
    }

    /// Code that the server runs later.
    fn code(&mut self, node: NodeRef<'a>) -> Option<Descend> {
        Some(match node {
            NodeRef::CreateFunctionStmt(create) => {
                let kind = if create.is_procedure { "procedure" } else { "function" };
                self.define(kind, strings(&create.funcname).to_string())
            }
            NodeRef::AlterFunctionStmt(alter) => {
                let name = alter.func.as_ref().map(|function| strings(&function.objname).to_string());
                self.define("function", name.unwrap_or_default())
            }
            NodeRef::CreateTrigStmt(create) => self.define("trigger", names::quoted(&create.trigname)),
            NodeRef::CreateEventTrigStmt(create) => self.cluster_wide("event trigger", &create.trigname),
            NodeRef::AlterEventTrigStmt(alter) => self.cluster_wide("event trigger", &alter.trigname),
            NodeRef::RuleStmt(rule) => self.define("rule", names::quoted(&rule.rulename)),
            NodeRef::CreateCastStmt(_) => self.define("cast", String::new()),
            NodeRef::CreateTransformStmt(_) => self.define("transform", String::new()),
            NodeRef::CreateConversionStmt(create) => {
                self.define("conversion", strings(&create.conversion_name).to_string())
            }
            NodeRef::CreateOpClassStmt(create) => {
                self.define("operator class", strings(&create.opclassname).to_string())
            }
            NodeRef::CreateOpFamilyStmt(create) => {
                self.define("operator family", strings(&create.opfamilyname).to_string())
            }
            NodeRef::AlterOpFamilyStmt(alter) => {
                self.define("operator family", strings(&alter.opfamilyname).to_string())
            }
            NodeRef::AlterOperatorStmt(alter) => {
                let name = alter.opername.as_ref().map(|operator| strings(&operator.objname).to_string());
                self.define("operator", name.unwrap_or_default())
            }
            NodeRef::CreateAmStmt(create) => self.define("access method", names::quoted(&create.amname)),
            NodeRef::CreatePlangStmt(create) => self.define("language", names::quoted(&create.plname)),
            // An extension's script runs as its owner, and may install any of the above.
            NodeRef::CreateExtensionStmt(create) => self.define("extension", names::quoted(&create.extname)),
            NodeRef::AlterExtensionStmt(alter) => self.define("extension", names::quoted(&alter.extname)),
            NodeRef::AlterExtensionContentsStmt(alter) => {
                self.define("extension", names::quoted(&alter.extname))
            }
            NodeRef::DefineStmt(define) => {
                let name = strings(&define.defnames).to_string();
                match define.kind() {
                    ObjectType::ObjectCollation
                    | ObjectType::ObjectTsconfiguration
                    | ObjectType::ObjectTsdictionary => self.create(&kind(define.kind()), name),
                    object => self.define(&kind(object), name),
                }
            }
            _ => return None,
        })
    }

    /// DROP, RENAME and the ALTER statements that concern any kind of object.
    fn drop_or_alter(&mut self, node: NodeRef<'a>) -> Option<Descend> {
        Some(match node {
            NodeRef::DropStmt(drop) => {
                let cascade = is_cascade(drop.behavior());
                for object in &drop.objects {
                    let name = self.object_name(drop.remove_type(), Some(object));
                    let effect = match drop.remove_type() {
                        ObjectType::ObjectForeignServer
                        | ObjectType::ObjectFdw
                        | ObjectType::ObjectForeignTable
                        | ObjectType::ObjectEventTrigger
                        | ObjectType::ObjectPublication => {
                            Effect::Cluster { construct: format!("DROP {}", kind(drop.remove_type())) }
                        }
                        ObjectType::ObjectPolicy => Effect::Privilege { action: "DROP POLICY".into() },
                        object => Effect::SchemaDrop { kind: kind(object), name, cascade },
                    };
                    self.add(effect, -1);
                }
                Descend::No
            }
            NodeRef::AlterTableStmt(alter) => {
                let (name, location) = self.target(alter.relation.as_ref());
                self.add(Effect::SchemaChange { kind: kind(alter.objtype()), name: name.clone() }, location);
                for node in &alter.cmds {
                    if let Some(NodeEnum::AlterTableCmd(command)) = node.node.as_ref() {
                        self.alter_table(command, &name, location);
                    }
                }
                Descend::Yes
            }
            // Judged above, with the name of the table.
            NodeRef::AlterTableCmd(_) | NodeRef::ReplicaIdentityStmt(_) => Descend::Yes,
            NodeRef::RenameStmt(rename) => {
                let (table, location) = self.target(rename.relation.as_ref());
                let name = if table.is_empty() { names::object(rename.object.as_deref()) } else { table };
                if matches!(rename.rename_type(), ObjectType::ObjectRole | ObjectType::ObjectDatabase) {
                    let construct = format!(
                        "rename of {} {}",
                        kind(rename.rename_type()),
                        names::quoted(&rename.subname)
                    );
                    return Some(self.add(Effect::Cluster { construct }, -1));
                }
                self.add(Effect::SchemaChange { kind: kind(rename.rename_type()), name }, location)
            }
            NodeRef::AlterObjectSchemaStmt(alter) => {
                let (table, location) = self.target(alter.relation.as_ref());
                let name = if table.is_empty() { names::object(alter.object.as_deref()) } else { table };
                self.add(Effect::SchemaChange { kind: kind(alter.object_type()), name }, location)
            }
            NodeRef::AlterObjectDependsStmt(alter) => {
                let (name, location) = self.target(alter.relation.as_ref());
                self.add(Effect::SchemaChange { kind: kind(alter.object_type()), name }, location)
            }
            NodeRef::CommentStmt(comment) => {
                let name = self.object_name(comment.objtype(), comment.object.as_deref());
                self.add(Effect::SchemaChange { kind: kind(comment.objtype()), name }, -1);
                Descend::No
            }
            NodeRef::DropOwnedStmt(drop) => {
                let cascade = is_cascade(drop.behavior());
                self.add(
                    Effect::SchemaDrop { kind: "everything owned".into(), name: roles(&drop.roles), cascade },
                    -1,
                )
            }
            _ => return None,
        })
    }

    fn alter_table(&mut self, command: &'a ast::AlterTableCmd, table: &str, location: i32) {
        use AlterTableType as Alter;

        let part = || format!("{table}.{}", names::quoted(&command.name));
        let cascade = is_cascade(command.behavior());
        let dropped = |kind: &str| Effect::SchemaDrop { kind: kind.into(), name: part(), cascade };
        let effect = match command.subtype() {
            Alter::AtDropColumn => dropped("column"),
            Alter::AtDropConstraint => dropped("constraint"),
            Alter::AtDropExpression | Alter::AtDropIdentity => dropped("column default"),
            // The rows are kept, but no longer where they are looked for.
            Alter::AtDetachPartition | Alter::AtDetachPartitionFinalize | Alter::AtDropInherit => {
                Effect::SchemaDrop { kind: "partition".into(), name: table.to_owned(), cascade: false }
            }
            Alter::AtAlterColumnType | Alter::AtSetExpression => Effect::Rewrite { name: part() },
            Alter::AtSetLogged | Alter::AtSetUnLogged | Alter::AtSetAccessMethod | Alter::AtSetTableSpace => {
                Effect::Rewrite { name: table.to_owned() }
            }
            Alter::AtAddColumn if may_rewrite(command) || self.adds_own_type(command) => {
                Effect::Rewrite { name: table.to_owned() }
            }
            Alter::AtChangeOwner
            | Alter::AtEnableRowSecurity
            | Alter::AtDisableRowSecurity
            | Alter::AtForceRowSecurity
            | Alter::AtNoForceRowSecurity => {
                Effect::Privilege { action: format!("owner or row security of {table}") }
            }
            Alter::AtEnableTrig
            | Alter::AtEnableAlwaysTrig
            | Alter::AtEnableReplicaTrig
            | Alter::AtDisableTrig
            | Alter::AtEnableTrigAll
            | Alter::AtDisableTrigAll
            | Alter::AtEnableTrigUser
            | Alter::AtDisableTrigUser
            | Alter::AtEnableRule
            | Alter::AtEnableAlwaysRule
            | Alter::AtEnableReplicaRule
            | Alter::AtDisableRule => Effect::CodeDefinition { kind: "trigger or rule".into(), name: part() },
            Alter::Undefined => Effect::Opaque { node: "AlterTableCmd" },
            // The rest changes the table and loses nothing.
            _ => return,
        };
        self.add(effect, location);
    }

    /// Tells whether a new column is of a type of the users' own: a domain's checks run for every row.
    fn adds_own_type(&self, command: &'a ast::AlterTableCmd) -> bool {
        let Some(NodeEnum::ColumnDef(column)) = command.def.as_deref().and_then(|node| node.node.as_ref())
        else {
            return false;
        };
        let Some((names, name)) = self.reading.names.zip(column.type_name.as_ref()) else { return false };
        let name = strings(&name.names);
        let found = name.last().and_then(|last| names.catalog.find_type(name.qualifier(), last, names.path));
        found.is_some()
    }

    /// Who may do what.
    fn privilege(&mut self, node: NodeRef<'a>) -> Option<Descend> {
        let (action, is_role) = match node {
            NodeRef::GrantStmt(grant) => (if grant.is_grant { "GRANT" } else { "REVOKE" }.to_owned(), false),
            NodeRef::AlterDefaultPrivilegesStmt(_) => ("ALTER DEFAULT PRIVILEGES".to_owned(), false),
            NodeRef::AlterOwnerStmt(alter) => (format!("owner of {}", kind(alter.object_type())), false),
            NodeRef::ReassignOwnedStmt(reassign) => {
                (format!("REASSIGN OWNED BY {}", roles(&reassign.roles)), true)
            }
            NodeRef::CreatePolicyStmt(policy) => {
                (format!("policy {}", names::quoted(&policy.policy_name)), false)
            }
            NodeRef::AlterPolicyStmt(policy) => {
                (format!("policy {}", names::quoted(&policy.policy_name)), false)
            }
            NodeRef::SecLabelStmt(_) => ("SECURITY LABEL".to_owned(), false),
            NodeRef::GrantRoleStmt(_) => ("membership of a role".to_owned(), true),
            NodeRef::CreateRoleStmt(create) => (format!("CREATE ROLE {}", names::quoted(&create.role)), true),
            NodeRef::AlterRoleStmt(_) => ("ALTER ROLE".to_owned(), true),
            // A setting that holds for every later session.
            NodeRef::AlterRoleSetStmt(_) => ("ALTER ROLE … SET".to_owned(), true),
            NodeRef::DropRoleStmt(_) => ("DROP ROLE".to_owned(), true),
            _ => return None,
        };
        let effect = if is_role { Effect::Role { action } } else { Effect::Privilege { action } };
        self.add(effect, -1);
        Some(Descend::No)
    }

    fn cluster_wide(&mut self, construct: &str, name: &str) -> Descend {
        self.add(Effect::Cluster { construct: format!("{construct} {}", names::quoted(name)) }, -1);
        Descend::No
    }

    /// Databases, tablespaces, replication, foreign servers, the server's settings.
    fn cluster(&mut self, node: NodeRef<'a>) -> Option<Descend> {
        let (construct, name): (&str, &str) = match node {
            NodeRef::CreatedbStmt(database) => ("CREATE DATABASE", &database.dbname),
            NodeRef::DropdbStmt(database) => ("DROP DATABASE", &database.dbname),
            NodeRef::AlterDatabaseStmt(database) => ("ALTER DATABASE", &database.dbname),
            NodeRef::AlterDatabaseRefreshCollStmt(database) => ("ALTER DATABASE", &database.dbname),
            NodeRef::AlterDatabaseSetStmt(database) => ("ALTER DATABASE", &database.dbname),
            NodeRef::AlterSystemStmt(alter) => {
                ("ALTER SYSTEM", alter.setstmt.as_ref().map_or("all", |set| set.name.as_str()))
            }
            NodeRef::CreateTableSpaceStmt(space) => ("CREATE TABLESPACE", &space.tablespacename),
            NodeRef::DropTableSpaceStmt(space) => ("DROP TABLESPACE", &space.tablespacename),
            NodeRef::AlterTableSpaceOptionsStmt(space) => ("ALTER TABLESPACE", &space.tablespacename),
            NodeRef::AlterTableMoveAllStmt(space) => {
                ("ALTER … ALL IN TABLESPACE", &space.orig_tablespacename)
            }
            NodeRef::CreatePublicationStmt(publication) => ("CREATE PUBLICATION", &publication.pubname),
            NodeRef::AlterPublicationStmt(publication) => ("ALTER PUBLICATION", &publication.pubname),
            NodeRef::CreateSubscriptionStmt(subscription) => ("CREATE SUBSCRIPTION", &subscription.subname),
            NodeRef::AlterSubscriptionStmt(subscription) => ("ALTER SUBSCRIPTION", &subscription.subname),
            NodeRef::DropSubscriptionStmt(subscription) => ("DROP SUBSCRIPTION", &subscription.subname),
            NodeRef::CreateFdwStmt(wrapper) => ("CREATE FOREIGN DATA WRAPPER", &wrapper.fdwname),
            NodeRef::AlterFdwStmt(wrapper) => ("ALTER FOREIGN DATA WRAPPER", &wrapper.fdwname),
            NodeRef::CreateForeignServerStmt(server) => ("CREATE SERVER", &server.servername),
            NodeRef::AlterForeignServerStmt(server) => ("ALTER SERVER", &server.servername),
            NodeRef::CreateUserMappingStmt(mapping) => ("CREATE USER MAPPING", &mapping.servername),
            NodeRef::AlterUserMappingStmt(mapping) => ("ALTER USER MAPPING", &mapping.servername),
            NodeRef::DropUserMappingStmt(mapping) => ("DROP USER MAPPING", &mapping.servername),
            NodeRef::ImportForeignSchemaStmt(import) => ("IMPORT FOREIGN SCHEMA", &import.remote_schema),
            _ => return None,
        };
        Some(self.cluster_wide(construct, name))
    }

    /// Types, domains, collations and text search.
    fn type_or_search(&mut self, node: NodeRef<'a>) -> Option<Descend> {
        Some(match node {
            NodeRef::CompositeTypeStmt(create) => {
                let (name, _) = self.target(create.typevar.as_ref());
                self.create("type", name)
            }
            NodeRef::CreateEnumStmt(create) => self.create("type", strings(&create.type_name).to_string()),
            NodeRef::CreateRangeStmt(create) => self.create("type", strings(&create.type_name).to_string()),
            NodeRef::CreateDomainStmt(create) => {
                self.create("domain", strings(&create.domainname).to_string())
            }
            NodeRef::AlterDomainStmt(alter) => {
                let name = strings(&alter.type_name).to_string();
                // T and O change the default and the null constraint, C adds, V validates; X drops a constraint.
                if alter.subtype == "X" {
                    let cascade = is_cascade(alter.behavior());
                    return Some(
                        self.add(Effect::SchemaDrop { kind: "constraint".into(), name, cascade }, -1),
                    );
                }
                self.change("domain", name)
            }
            NodeRef::AlterEnumStmt(alter) => self.change("type", strings(&alter.type_name).to_string()),
            NodeRef::AlterTypeStmt(alter) => self.change("type", strings(&alter.type_name).to_string()),
            NodeRef::AlterCollationStmt(alter) => {
                self.change("collation", strings(&alter.collname).to_string())
            }
            NodeRef::AlterTsdictionaryStmt(alter) => {
                self.change("text search dictionary", strings(&alter.dictname).to_string())
            }
            NodeRef::AlterTsconfigurationStmt(alter) => {
                self.change("text search configuration", strings(&alter.cfgname).to_string())
            }
            _ => return None,
        })
    }
}

fn range_var(node: &ast::Node) -> Option<&ast::RangeVar> {
    match node.node.as_ref() {
        Some(NodeEnum::RangeVar(table)) => Some(table),
        _ => None,
    }
}

/// Tells whether a new column may need a value of its own in every row: a default that is no constant, an identity, a
/// stored expression.
fn may_rewrite(command: &ast::AlterTableCmd) -> bool {
    let Some(NodeEnum::ColumnDef(column)) = command.def.as_deref().and_then(|node| node.node.as_ref()) else {
        return true;
    };
    let name = column.type_name.as_ref().and_then(|name| strings(&name.names).last());
    let is_serial = name.is_some_and(|name| {
        matches!(name, "serial" | "bigserial" | "smallserial" | "serial2" | "serial4" | "serial8")
    });
    let has_value = column.constraints.iter().any(|node| match node.node.as_ref() {
        Some(NodeEnum::Constraint(constraint)) => match constraint.contype() {
            ast::ConstrType::ConstrDefault => !is_constant(constraint.raw_expr.as_deref()),
            ast::ConstrType::ConstrIdentity | ast::ConstrType::ConstrGenerated => true,
            _ => false,
        },
        _ => false,
    });
    is_serial || has_value
}

fn is_constant(node: Option<&ast::Node>) -> bool {
    match node.and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::AConst(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => is_constant(cast.arg.as_deref()),
        Some(NodeEnum::AExpr(expression)) if expression.lexpr.is_none() => {
            is_constant(expression.rexpr.as_deref())
        }
        _ => false,
    }
}

fn is_cascade(behavior: DropBehavior) -> bool {
    behavior == DropBehavior::DropCascade
}

/// Returns the words for a kind of object: `OBJECT_TABCONSTRAINT` gives `constraint`.
fn kind(object: ObjectType) -> String {
    match object {
        ObjectType::ObjectMatview => "materialized view".into(),
        ObjectType::ObjectTabconstraint | ObjectType::ObjectDomconstraint => "constraint".into(),
        ObjectType::ObjectTsconfiguration => "text search configuration".into(),
        ObjectType::ObjectTsdictionary => "text search dictionary".into(),
        ObjectType::ObjectTsparser => "text search parser".into(),
        ObjectType::ObjectTstemplate => "text search template".into(),
        ObjectType::ObjectOpclass => "operator class".into(),
        ObjectType::ObjectOpfamily => "operator family".into(),
        ObjectType::ObjectStatisticExt => "statistics".into(),
        other => other.as_str_name().trim_start_matches("OBJECT_").replace('_', " ").to_lowercase(),
    }
}

fn roles(nodes: &[ast::Node]) -> String {
    let names: Vec<String> = nodes
        .iter()
        .filter_map(|node| match node.node.as_ref() {
            Some(NodeEnum::RoleSpec(role)) => Some(names::quoted(&role.rolename)),
            _ => None,
        })
        .collect();
    names.join(", ")
}
