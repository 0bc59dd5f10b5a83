//! The table of the grammar's nodes: the family and the children of each.
//!
//! Each row names every field of its node: children between brackets, the rest between braces. So a new node and a
//! new field of an old node both break the build until somebody decides what they mean.

use super::parse::NodeRef;
use super::parse::ast;

/// Which part of the classifier judges a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// It has no effect of its own.
    Part,
    /// It reads or writes rows, or runs code.
    Query,
    /// It changes the session, the transaction or the server's state.
    Session,
    /// It adds, changes or drops objects.
    Schema,
    /// The parser never makes it; if it does, nobody knows what it means.
    Analysed,
}

/// Something with nodes in it.
trait Children {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>));
}

impl Children for ast::Node {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>)) {
        if let Some(node) = &self.node {
            visit(node.to_ref());
        }
    }
}

impl<T: Children> Children for Box<T> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>)) {
        (**self).each(visit);
    }
}

impl<T: Children> Children for Option<T> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>)) {
        self.iter().for_each(|child| child.each(visit));
    }
}

impl<T: Children> Children for Vec<T> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>)) {
        self.iter().for_each(|child| child.each(visit));
    }
}

macro_rules! nodes {
    ($($family:ident $variant:ident($node:ident) [$($child:ident)*] {$($plain:ident)*};)*) => {
        /// Returns the family of a node and the name of its type.
        pub(super) fn family(node: NodeRef<'_>) -> (Family, &'static str) {
            match node {
                $(NodeRef::$variant(_) => (nodes!(@$family), stringify!($variant)),)*
            }
        }

        /// Visits the children of a node in the order of their fields.
        pub(super) fn children<'a>(node: NodeRef<'a>, visit: &mut dyn FnMut(NodeRef<'a>)) {
            match node {
                $(NodeRef::$variant(ast::$node { $($child,)* $($plain: _,)* }) => {
                    $($child.each(visit);)*
                })*
            }
        }

        $(impl Children for ast::$node {
            fn each<'a>(&'a self, visit: &mut dyn FnMut(NodeRef<'a>)) {
                visit(NodeRef::$variant(self));
            }
        })*
    };
    (@part) => { Family::Part };
    (@query) => { Family::Query };
    (@session) => { Family::Session };
    (@schema) => { Family::Schema };
    (@analysed) => { Family::Analysed };
}

nodes! {
    // Parts: no effect of their own; what they contain is looked at.
    part Alias(Alias) [colnames] {aliasname};
    part IntoClause(IntoClause) [rel col_names options view_query] {access_method on_commit table_space_name
        skip_data};
    part GroupingFunc(GroupingFunc) [xpr args refs] {agglevelsup location};
    part NamedArgExpr(NamedArgExpr) [xpr arg] {name argnumber location};
    part BoolExpr(BoolExpr) [xpr args] {boolop location};
    part CaseExpr(CaseExpr) [xpr arg args defresult] {casetype casecollid location};
    part CaseWhen(CaseWhen) [xpr expr result] {location};
    part RowExpr(RowExpr) [xpr args colnames] {row_typeid row_format location};
    part CoalesceExpr(CoalesceExpr) [xpr args] {coalescetype coalescecollid location};
    part MinMaxExpr(MinMaxExpr) [xpr args] {minmaxtype minmaxcollid inputcollid op location};
    part SqlvalueFunction(SqlValueFunction) [xpr] {op r#type typmod location};
    part XmlExpr(XmlExpr) [xpr named_args arg_names args] {op name xmloption indent r#type typmod location};
    part JsonFormat(JsonFormat) [] {format_type encoding location};
    part JsonReturning(JsonReturning) [format] {typid typmod};
    part JsonValueExpr(JsonValueExpr) [raw_expr formatted_expr format] {};
    part JsonIsPredicate(JsonIsPredicate) [expr format] {item_type unique_keys location};
    part JsonBehavior(JsonBehavior) [expr] {btype coerce location};
    part NullTest(NullTest) [xpr arg] {nulltesttype argisrow location};
    part BooleanTest(BooleanTest) [xpr arg] {booltesttype location};
    part SetToDefault(SetToDefault) [xpr] {type_id type_mod collation location};
    part CurrentOfExpr(CurrentOfExpr) [xpr] {cvarno cursor_name cursor_param};
    part JoinExpr(JoinExpr) [larg rarg using_clause join_using_alias quals alias] {jointype is_natural
        rtindex};
    part TypeName(TypeName) [names typmods array_bounds] {type_oid setof pct_type typemod location};
    part ColumnRef(ColumnRef) [fields] {location};
    part ParamRef(ParamRef) [] {number location};
    part TypeCast(TypeCast) [arg type_name] {location};
    part CollateClause(CollateClause) [arg collname] {location};
    part RoleSpec(RoleSpec) [] {roletype rolename location};
    part AStar(AStar) [] {};
    part AIndices(AIndices) [lidx uidx] {is_slice};
    part AIndirection(AIndirection) [arg indirection] {};
    part AArrayExpr(AArrayExpr) [elements] {list_start list_end location};
    part ResTarget(ResTarget) [indirection val] {name location};
    part MultiAssignRef(MultiAssignRef) [source] {colno ncolumns};
    part WindowDef(WindowDef) [partition_clause order_clause start_offset end_offset] {name refname
        frame_options location};
    part RangeSubselect(RangeSubselect) [subquery alias] {lateral};
    part RangeFunction(RangeFunction) [functions alias coldeflist] {lateral ordinality is_rowsfrom};
    part RangeTableFunc(RangeTableFunc) [docexpr rowexpr namespaces columns alias] {lateral location};
    part RangeTableFuncCol(RangeTableFuncCol) [type_name colexpr coldefexpr] {colname for_ordinality
        is_not_null location};
    part ColumnDef(ColumnDef) [type_name raw_default cooked_default identity_sequence coll_clause
        constraints fdwoptions] {colname compression inhcount is_local is_not_null is_from_type storage
        storage_name identity generated coll_oid location};
    part TableLikeClause(TableLikeClause) [relation] {options relation_oid};
    part IndexElem(IndexElem) [expr collation opclass opclassopts] {name indexcolname ordering
        nulls_ordering};
    part DefElem(DefElem) [arg] {defnamespace defname defaction location arg_location};
    part XmlSerialize(XmlSerialize) [expr type_name] {xmloption indent location};
    part PartitionElem(PartitionElem) [expr collation opclass] {name location};
    part PartitionSpec(PartitionSpec) [part_params] {strategy location};
    part PartitionBoundSpec(PartitionBoundSpec) [listdatums lowerdatums upperdatums] {strategy is_default
        modulus remainder location};
    part PartitionRangeDatum(PartitionRangeDatum) [value] {kind location};
    part PartitionCmd(PartitionCmd) [name bound] {concurrent};
    part TableSampleClause(TableSampleClause) [args repeatable] {tsmhandler};
    part GroupingSet(GroupingSet) [content] {kind location};
    part InferClause(InferClause) [index_elems where_clause] {conname location};
    part OnConflictClause(OnConflictClause) [infer target_list where_clause] {action location};
    part CtesearchClause(CteSearchClause) [search_col_list] {search_breadth_first search_seq_column location};
    part CtecycleClause(CteCycleClause) [cycle_col_list cycle_mark_value cycle_mark_default]
        {cycle_mark_column cycle_path_column location cycle_mark_type cycle_mark_typmod cycle_mark_collation
        cycle_mark_neop};
    part CommonTableExpr(CommonTableExpr) [aliascolnames ctequery search_clause cycle_clause ctecolnames
        ctecoltypes ctecoltypmods ctecolcollations] {ctename ctematerialized location cterecursive
        cterefcount};
    part MergeWhenClause(MergeWhenClause) [condition target_list values] {match_kind command_type r#override};
    part ReturningOption(ReturningOption) [] {option value location};
    part ReturningClause(ReturningClause) [options exprs] {};
    part TriggerTransition(TriggerTransition) [] {name is_new is_table};
    part JsonOutput(JsonOutput) [type_name returning] {};
    part JsonArgument(JsonArgument) [val] {name};
    part JsonFuncExpr(JsonFuncExpr) [context_item pathspec passing output on_empty on_error] {op column_name
        wrapper quotes location};
    part JsonTablePathSpec(JsonTablePathSpec) [string] {name name_location location};
    part JsonTable(JsonTable) [context_item pathspec passing columns on_error alias] {lateral location};
    part JsonTableColumn(JsonTableColumn) [type_name pathspec format columns on_empty on_error] {coltype
        name wrapper quotes location};
    part JsonKeyValue(JsonKeyValue) [key value] {};
    part JsonParseExpr(JsonParseExpr) [expr output] {unique_keys location};
    part JsonScalarExpr(JsonScalarExpr) [expr output] {location};
    part JsonSerializeExpr(JsonSerializeExpr) [expr output] {location};
    part JsonObjectConstructor(JsonObjectConstructor) [exprs output] {absent_on_null unique location};
    part JsonArrayConstructor(JsonArrayConstructor) [exprs output] {absent_on_null location};
    part JsonArrayQueryConstructor(JsonArrayQueryConstructor) [query output format] {absent_on_null location};
    part JsonAggConstructor(JsonAggConstructor) [output agg_filter agg_order over] {location};
    part JsonObjectAgg(JsonObjectAgg) [constructor arg] {absent_on_null unique};
    part JsonArrayAgg(JsonArrayAgg) [constructor arg] {absent_on_null};
    part RawStmt(RawStmt) [stmt] {stmt_location stmt_len};
    part ReturnStmt(ReturnStmt) [returnval] {};
    part AtalterConstraint(AtAlterConstraint) [] {conname alter_enforceability is_enforced
        alter_deferrability deferrable initdeferred alter_inheritability noinherit};
    part ObjectWithArgs(ObjectWithArgs) [objname objargs objfuncargs] {args_unspecified};
    part AccessPriv(AccessPriv) [cols] {priv_name};
    part VariableShowStmt(VariableShowStmt) [] {name};
    part Constraint(Constraint) [raw_expr keys including exclusions options where_clause pktable fk_attrs
        pk_attrs fk_del_set_cols old_conpfeqop] {contype conname deferrable initdeferred is_enforced
        skip_validation initially_valid is_no_inherit cooked_expr generated_when generated_kind
        nulls_not_distinct without_overlaps indexname indexspace reset_default_tblspc access_method
        fk_with_period pk_with_period fk_matchtype fk_upd_action fk_del_action old_pktable_oid location};
    part CreateOpClassItem(CreateOpClassItem) [name order_family class_args storedtype] {itemtype number};
    part DeclareCursorStmt(DeclareCursorStmt) [query] {portalname options};
    part ClosePortalStmt(ClosePortalStmt) [] {portalname};
    part FetchStmt(FetchStmt) [] {direction how_many portalname ismove};
    part StatsElem(StatsElem) [expr] {name};
    part FunctionParameter(FunctionParameter) [arg_type defexpr] {name mode location};
    part VacuumRelation(VacuumRelation) [relation va_cols] {oid};
    part PublicationTable(PublicationTable) [relation where_clause columns] {};
    part PublicationObjSpec(PublicationObjSpec) [pubtable] {pubobjtype name location};
    part Integer(Integer) [] {ival};
    part Float(Float) [] {fval};
    part Boolean(Boolean) [] {boolval};
    part String(String) [] {sval};
    part BitString(BitString) [] {bsval};
    part List(List) [items] {};
    part AConst(AConst) [] {isnull location val};
    // Rows and code.
    query RangeVar(RangeVar) [alias] {catalogname schemaname relname inh relpersistence location};
    query SubLink(SubLink) [xpr testexpr oper_name subselect] {sub_link_type sub_link_id location};
    query AExpr(AExpr) [name lexpr rexpr] {kind rexpr_list_start rexpr_list_end location};
    query FuncCall(FuncCall) [funcname args agg_order agg_filter over] {agg_within_group agg_star
        agg_distinct func_variadic funcformat location};
    query SortBy(SortBy) [node use_op] {sortby_dir sortby_nulls location};
    query RangeTableSample(RangeTableSample) [relation method args repeatable] {location};
    query LockingClause(LockingClause) [locked_rels] {strength wait_policy};
    query WithClause(WithClause) [ctes] {recursive location};
    query InsertStmt(InsertStmt) [relation cols select_stmt on_conflict_clause returning_clause with_clause]
        {r#override};
    query DeleteStmt(DeleteStmt) [relation using_clause where_clause returning_clause with_clause] {};
    query UpdateStmt(UpdateStmt) [relation target_list where_clause from_clause returning_clause
        with_clause] {};
    query MergeStmt(MergeStmt) [relation source_relation join_condition merge_when_clauses returning_clause
        with_clause] {};
    query SelectStmt(SelectStmt) [distinct_clause into_clause target_list from_clause where_clause
        group_clause having_clause window_clause values_lists sort_clause limit_offset limit_count
        locking_clause with_clause larg rarg] {group_distinct limit_option op all};
    query CopyStmt(CopyStmt) [relation query attlist options where_clause] {is_from is_program filename};
    query DoStmt(DoStmt) [args] {};
    query CallStmt(CallStmt) [funccall funcexpr outargs] {};
    query ExplainStmt(ExplainStmt) [query options] {};
    query CreateTableAsStmt(CreateTableAsStmt) [query into] {objtype is_select_into if_not_exists};
    // Session, transaction and server state.
    session VariableSetStmt(VariableSetStmt) [args] {kind name jumble_args is_local location};
    session NotifyStmt(NotifyStmt) [] {conditionname payload payload_location};
    session ListenStmt(ListenStmt) [] {conditionname};
    session UnlistenStmt(UnlistenStmt) [] {conditionname};
    session TransactionStmt(TransactionStmt) [options] {kind savepoint_name gid chain location};
    session LoadStmt(LoadStmt) [] {filename};
    session CheckPointStmt(CheckPointStmt) [] {};
    session DiscardStmt(DiscardStmt) [] {target};
    session LockStmt(LockStmt) [relations] {mode nowait};
    session ConstraintsSetStmt(ConstraintsSetStmt) [constraints] {deferred};
    session PrepareStmt(PrepareStmt) [argtypes query] {name};
    session ExecuteStmt(ExecuteStmt) [params] {name};
    session DeallocateStmt(DeallocateStmt) [] {name isall location};
    // Objects.
    schema CreateSchemaStmt(CreateSchemaStmt) [authrole schema_elts] {schemaname if_not_exists};
    schema AlterTableStmt(AlterTableStmt) [relation cmds] {objtype missing_ok};
    schema AlterTableCmd(AlterTableCmd) [newowner def] {subtype name num behavior missing_ok recurse};
    schema ReplicaIdentityStmt(ReplicaIdentityStmt) [] {identity_type name};
    schema AlterCollationStmt(AlterCollationStmt) [collname] {};
    schema AlterDomainStmt(AlterDomainStmt) [type_name def] {subtype name behavior missing_ok};
    schema GrantStmt(GrantStmt) [objects privileges grantees grantor] {is_grant targtype objtype
        grant_option behavior};
    schema GrantRoleStmt(GrantRoleStmt) [granted_roles grantee_roles opt grantor] {is_grant behavior};
    schema AlterDefaultPrivilegesStmt(AlterDefaultPrivilegesStmt) [options action] {};
    schema CreateStmt(CreateStmt) [relation table_elts inh_relations partbound partspec of_typename
        constraints nnconstraints options] {oncommit tablespacename access_method if_not_exists};
    schema CreateTableSpaceStmt(CreateTableSpaceStmt) [owner options] {tablespacename location};
    schema DropTableSpaceStmt(DropTableSpaceStmt) [] {tablespacename missing_ok};
    schema AlterTableSpaceOptionsStmt(AlterTableSpaceOptionsStmt) [options] {tablespacename is_reset};
    schema AlterTableMoveAllStmt(AlterTableMoveAllStmt) [roles] {orig_tablespacename objtype
        new_tablespacename nowait};
    schema CreateExtensionStmt(CreateExtensionStmt) [options] {extname if_not_exists};
    schema AlterExtensionStmt(AlterExtensionStmt) [options] {extname};
    schema AlterExtensionContentsStmt(AlterExtensionContentsStmt) [object] {extname action objtype};
    schema CreateFdwStmt(CreateFdwStmt) [func_options options] {fdwname};
    schema AlterFdwStmt(AlterFdwStmt) [func_options options] {fdwname};
    schema CreateForeignServerStmt(CreateForeignServerStmt) [options] {servername servertype version fdwname
        if_not_exists};
    schema AlterForeignServerStmt(AlterForeignServerStmt) [options] {servername version has_version};
    schema CreateForeignTableStmt(CreateForeignTableStmt) [base_stmt options] {servername};
    schema CreateUserMappingStmt(CreateUserMappingStmt) [user options] {servername if_not_exists};
    schema AlterUserMappingStmt(AlterUserMappingStmt) [user options] {servername};
    schema DropUserMappingStmt(DropUserMappingStmt) [user] {servername missing_ok};
    schema ImportForeignSchemaStmt(ImportForeignSchemaStmt) [table_list options] {server_name remote_schema
        local_schema list_type};
    schema CreatePolicyStmt(CreatePolicyStmt) [table roles qual with_check] {policy_name cmd_name permissive};
    schema AlterPolicyStmt(AlterPolicyStmt) [table roles qual with_check] {policy_name};
    schema CreateAmStmt(CreateAmStmt) [handler_name] {amname amtype};
    schema CreateTrigStmt(CreateTrigStmt) [relation funcname args columns when_clause transition_rels
        constrrel] {replace isconstraint trigname row timing events deferrable initdeferred};
    schema CreateEventTrigStmt(CreateEventTrigStmt) [whenclause funcname] {trigname eventname};
    schema AlterEventTrigStmt(AlterEventTrigStmt) [] {trigname tgenabled};
    schema CreatePlangStmt(CreatePLangStmt) [plhandler plinline plvalidator] {replace plname pltrusted};
    schema CreateRoleStmt(CreateRoleStmt) [options] {stmt_type role};
    schema AlterRoleStmt(AlterRoleStmt) [role options] {action};
    schema AlterRoleSetStmt(AlterRoleSetStmt) [role setstmt] {database};
    schema DropRoleStmt(DropRoleStmt) [roles] {missing_ok};
    schema CreateSeqStmt(CreateSeqStmt) [sequence options] {owner_id for_identity if_not_exists};
    schema AlterSeqStmt(AlterSeqStmt) [sequence options] {for_identity missing_ok};
    schema DefineStmt(DefineStmt) [defnames args definition] {kind oldstyle if_not_exists replace};
    schema CreateDomainStmt(CreateDomainStmt) [domainname type_name coll_clause constraints] {};
    schema CreateOpClassStmt(CreateOpClassStmt) [opclassname opfamilyname datatype items] {amname is_default};
    schema CreateOpFamilyStmt(CreateOpFamilyStmt) [opfamilyname] {amname};
    schema AlterOpFamilyStmt(AlterOpFamilyStmt) [opfamilyname items] {amname is_drop};
    schema DropStmt(DropStmt) [objects] {remove_type behavior missing_ok concurrent};
    schema TruncateStmt(TruncateStmt) [relations] {restart_seqs behavior};
    schema CommentStmt(CommentStmt) [object] {objtype comment};
    schema SecLabelStmt(SecLabelStmt) [object] {objtype provider label};
    schema IndexStmt(IndexStmt) [relation index_params index_including_params options where_clause
        exclude_op_names] {idxname access_method table_space idxcomment index_oid old_number
        old_create_subid old_first_relfilelocator_subid unique nulls_not_distinct primary isconstraint
        iswithoutoverlaps deferrable initdeferred transformed concurrent if_not_exists
        reset_default_tblspc};
    schema CreateStatsStmt(CreateStatsStmt) [defnames stat_types exprs relations] {stxcomment transformed
        if_not_exists};
    schema AlterStatsStmt(AlterStatsStmt) [defnames stxstattarget] {missing_ok};
    schema CreateFunctionStmt(CreateFunctionStmt) [funcname parameters return_type options sql_body]
        {is_procedure replace};
    schema AlterFunctionStmt(AlterFunctionStmt) [func actions] {objtype};
    schema RenameStmt(RenameStmt) [relation object] {rename_type relation_type subname newname behavior
        missing_ok};
    schema AlterObjectDependsStmt(AlterObjectDependsStmt) [relation object] {object_type extname remove};
    schema AlterObjectSchemaStmt(AlterObjectSchemaStmt) [relation object] {object_type newschema missing_ok};
    schema AlterOwnerStmt(AlterOwnerStmt) [relation object newowner] {object_type};
    schema AlterOperatorStmt(AlterOperatorStmt) [opername options] {};
    schema AlterTypeStmt(AlterTypeStmt) [type_name options] {};
    schema RuleStmt(RuleStmt) [relation where_clause actions] {rulename event instead replace};
    schema CompositeTypeStmt(CompositeTypeStmt) [typevar coldeflist] {};
    schema CreateEnumStmt(CreateEnumStmt) [type_name vals] {};
    schema CreateRangeStmt(CreateRangeStmt) [type_name params] {};
    schema AlterEnumStmt(AlterEnumStmt) [type_name] {old_val new_val new_val_neighbor new_val_is_after
        skip_if_new_val_exists};
    schema ViewStmt(ViewStmt) [view aliases query options] {replace with_check_option};
    schema CreatedbStmt(CreatedbStmt) [options] {dbname};
    schema AlterDatabaseStmt(AlterDatabaseStmt) [options] {dbname};
    schema AlterDatabaseRefreshCollStmt(AlterDatabaseRefreshCollStmt) [] {dbname};
    schema AlterDatabaseSetStmt(AlterDatabaseSetStmt) [setstmt] {dbname};
    schema DropdbStmt(DropdbStmt) [options] {dbname missing_ok};
    schema AlterSystemStmt(AlterSystemStmt) [setstmt] {};
    schema ClusterStmt(ClusterStmt) [relation params] {indexname};
    schema VacuumStmt(VacuumStmt) [options rels] {is_vacuumcmd};
    schema RefreshMatViewStmt(RefreshMatViewStmt) [relation] {concurrent skip_data};
    schema ReindexStmt(ReindexStmt) [relation params] {kind name};
    schema CreateConversionStmt(CreateConversionStmt) [conversion_name func_name] {for_encoding_name
        to_encoding_name def};
    schema CreateCastStmt(CreateCastStmt) [sourcetype targettype func] {context inout};
    schema CreateTransformStmt(CreateTransformStmt) [type_name fromsql tosql] {replace lang};
    schema DropOwnedStmt(DropOwnedStmt) [roles] {behavior};
    schema ReassignOwnedStmt(ReassignOwnedStmt) [roles newrole] {};
    schema AlterTsdictionaryStmt(AlterTsDictionaryStmt) [dictname options] {};
    schema AlterTsconfigurationStmt(AlterTsConfigurationStmt) [cfgname tokentype dicts] {kind r#override
        replace missing_ok};
    schema CreatePublicationStmt(CreatePublicationStmt) [options pubobjects] {pubname for_all_tables};
    schema AlterPublicationStmt(AlterPublicationStmt) [options pubobjects] {pubname for_all_tables action};
    schema CreateSubscriptionStmt(CreateSubscriptionStmt) [publication options] {subname conninfo
        conninfo_location};
    schema AlterSubscriptionStmt(AlterSubscriptionStmt) [publication options] {kind subname conninfo
        conninfo_location};
    schema DropSubscriptionStmt(DropSubscriptionStmt) [] {subname missing_ok behavior};
    // Made by the server's analyser and planner, never by its parser.
    analysed TableFunc(TableFunc) [ns_uris ns_names docexpr rowexpr colnames coltypes coltypmods
        colcollations colexprs coldefexprs colvalexprs passingvalexprs plan] {functype notnulls
        ordinalitycol location};
    analysed Var(Var) [xpr] {varno varattno vartype vartypmod varcollid varnullingrels varlevelsup
        varreturningtype location};
    analysed Param(Param) [xpr] {paramkind paramid paramtype paramtypmod paramcollid location};
    analysed Aggref(Aggref) [xpr aggargtypes aggdirectargs args aggorder aggdistinct aggfilter] {aggfnoid
        aggtype aggcollid inputcollid aggstar aggvariadic aggkind agglevelsup aggsplit aggno aggtransno
        location};
    analysed WindowFunc(WindowFunc) [xpr args aggfilter run_condition] {winfnoid wintype wincollid
        inputcollid winref winstar winagg location};
    analysed WindowFuncRunCondition(WindowFuncRunCondition) [xpr arg] {opno inputcollid wfunc_left};
    part MergeSupportFunc(MergeSupportFunc) [xpr] {msftype msfcollid location};
    analysed SubscriptingRef(SubscriptingRef) [xpr refupperindexpr reflowerindexpr refexpr refassgnexpr]
        {refcontainertype refelemtype refrestype reftypmod refcollid};
    analysed FuncExpr(FuncExpr) [xpr args] {funcid funcresulttype funcretset funcvariadic funcformat
        funccollid inputcollid location};
    analysed OpExpr(OpExpr) [xpr args] {opno opresulttype opretset opcollid inputcollid location};
    analysed DistinctExpr(DistinctExpr) [xpr args] {opno opresulttype opretset opcollid inputcollid location};
    analysed NullIfExpr(NullIfExpr) [xpr args] {opno opresulttype opretset opcollid inputcollid location};
    analysed ScalarArrayOpExpr(ScalarArrayOpExpr) [xpr args] {opno use_or inputcollid location};
    analysed SubPlan(SubPlan) [xpr testexpr param_ids set_param par_param args] {sub_link_type plan_id
        plan_name first_col_type first_col_typmod first_col_collation use_hash_table unknown_eq_false
        parallel_safe startup_cost per_call_cost};
    analysed AlternativeSubPlan(AlternativeSubPlan) [xpr subplans] {};
    analysed FieldSelect(FieldSelect) [xpr arg] {fieldnum resulttype resulttypmod resultcollid};
    analysed FieldStore(FieldStore) [xpr arg newvals fieldnums] {resulttype};
    analysed RelabelType(RelabelType) [xpr arg] {resulttype resulttypmod resultcollid relabelformat location};
    analysed CoerceViaIo(CoerceViaIo) [xpr arg] {resulttype resultcollid coerceformat location};
    analysed ArrayCoerceExpr(ArrayCoerceExpr) [xpr arg elemexpr] {resulttype resulttypmod resultcollid
        coerceformat location};
    analysed ConvertRowtypeExpr(ConvertRowtypeExpr) [xpr arg] {resulttype convertformat location};
    analysed CollateExpr(CollateExpr) [xpr arg] {coll_oid location};
    analysed CaseTestExpr(CaseTestExpr) [xpr] {type_id type_mod collation};
    analysed ArrayExpr(ArrayExpr) [xpr elements] {array_typeid array_collid element_typeid multidims
        list_start list_end location};
    analysed RowCompareExpr(RowCompareExpr) [xpr opnos opfamilies inputcollids largs rargs] {cmptype};
    analysed JsonConstructorExpr(JsonConstructorExpr) [xpr args func coercion returning] {r#type
        absent_on_null unique location};
    analysed JsonExpr(JsonExpr) [xpr formatted_expr format path_spec returning passing_names passing_values
        on_empty on_error] {op column_name use_io_coercion use_json_coercion wrapper omit_quotes collation
        location};
    analysed JsonTablePath(JsonTablePath) [] {name};
    analysed JsonTablePathScan(JsonTablePathScan) [plan path child] {error_on_error col_min col_max};
    analysed JsonTableSiblingJoin(JsonTableSiblingJoin) [plan lplan rplan] {};
    analysed MergeAction(MergeAction) [qual target_list update_colnos] {match_kind command_type r#override};
    analysed CoerceToDomain(CoerceToDomain) [xpr arg] {resulttype resulttypmod resultcollid coercionformat
        location};
    analysed CoerceToDomainValue(CoerceToDomainValue) [xpr] {type_id type_mod collation location};
    analysed NextValueExpr(NextValueExpr) [xpr] {seqid type_id};
    analysed InferenceElem(InferenceElem) [xpr expr] {infercollid inferopclass};
    analysed ReturningExpr(ReturningExpr) [xpr retexpr] {retlevelsup retold};
    analysed TargetEntry(TargetEntry) [xpr expr] {resno resname ressortgroupref resorigtbl resorigcol
        resjunk};
    analysed RangeTblRef(RangeTblRef) [] {rtindex};
    analysed FromExpr(FromExpr) [fromlist quals] {};
    analysed OnConflictExpr(OnConflictExpr) [arbiter_elems arbiter_where on_conflict_set on_conflict_where
        excl_rel_tlist] {action constraint excl_rel_index};
    analysed Query(Query) [utility_stmt cte_list rtable rteperminfos jointree merge_action_list
        merge_join_condition target_list on_conflict returning_list group_clause grouping_sets having_qual
        window_clause distinct_clause sort_clause limit_offset limit_count row_marks set_operations
        constraint_deps with_check_options] {command_type query_source can_set_tag result_relation has_aggs
        has_window_funcs has_target_srfs has_sub_links has_distinct_on has_recursive has_modifying_cte
        has_for_update has_row_security has_group_rte is_return merge_target_relation r#override
        returning_old_alias returning_new_alias group_distinct limit_option stmt_location stmt_len};
    analysed RangeTblEntry(RangeTblEntry) [alias eref tablesample subquery joinaliasvars joinleftcols
        joinrightcols join_using_alias functions tablefunc values_lists coltypes coltypmods colcollations
        groupexprs security_quals] {rtekind relid inh relkind rellockmode perminfoindex security_barrier
        jointype joinmergedcols funcordinality ctename ctelevelsup self_reference enrname enrtuples lateral
        in_from_cl};
    analysed RtepermissionInfo(RtePermissionInfo) [] {relid inh required_perms check_as_user selected_cols
        inserted_cols updated_cols};
    analysed RangeTblFunction(RangeTblFunction) [funcexpr funccolnames funccoltypes funccoltypmods
        funccolcollations] {funccolcount funcparams};
    analysed WithCheckOption(WithCheckOption) [qual] {kind relname polname cascaded};
    analysed SortGroupClause(SortGroupClause) [] {tle_sort_group_ref eqop sortop reverse_sort nulls_first
        hashable};
    analysed WindowClause(WindowClause) [partition_clause order_clause start_offset end_offset] {name
        refname frame_options start_in_range_func end_in_range_func in_range_coll in_range_asc
        in_range_nulls_first winref copied_order};
    analysed RowMarkClause(RowMarkClause) [] {rti strength wait_policy pushed_down};
    analysed SetOperationStmt(SetOperationStmt) [larg rarg col_types col_typmods col_collations
        group_clauses] {op all};
    analysed PlassignStmt(PlAssignStmt) [indirection val] {name nnames location};
    analysed InlineCodeBlock(InlineCodeBlock) [] {source_text lang_oid lang_is_trusted atomic};
    analysed CallContext(CallContext) [] {atomic};
    analysed IntList(IntList) [items] {};
    analysed OidList(OidList) [items] {};
}
