//! A builder of statements: bytes decide what it writes, and perhaps where it plants something that `app` refuses.
//!
//! Without a plant the statement is ordinary work. So both mistakes are found: what slips through, and what is refused
//! for nothing.

use arbitrary::Unstructured;

/// A built statement.
#[derive(Debug)]
pub struct Built {
    /// The statement.
    pub sql: String,
    /// What was planted in it, where anything was.
    pub planted: Option<&'static str>,
}

/// Expressions that the policy `app` refuses wherever they stand.
pub const EXPRESSIONS: &[&str] = &[
    "lo_unlink(1)",
    "\"lo_unlink\"(1)",
    "U&\"lo\\005funlink\"(1)",
    "Lo_UnLink(1)",
    "wipe_everything()",
    "app.abs(1)",
    "(1 === 2)",
    "(1 OPERATOR(app.+) 2)",
    "(a === ANY (ARRAY[1]))",
    "setval('s', 1)",
    "pg_terminate_backend(7)",
    "pg_catalog.pg_read_file('x')",
    "query_to_xml('SELECT 1', true, false, '')",
    "dblink_exec('c', 'DELETE FROM t')",
    "set_config('role', 'postgres', false)",
    "pg_promote()",
    "(SELECT wipe_everything() FROM t LIMIT 1)",
    "(wipe_everything(1)).field",
    "wipe_everything(VARIADIC ARRAY[1])",
];

/// Statements with rows to give that the policy `app` refuses wherever they stand.
pub const STATEMENTS: &[&str] = &[
    "DELETE FROM t RETURNING 1",
    "DELETE FROM t WHERE true RETURNING 1",
    "DELETE FROM ONLY t WHERE 1 = 1 RETURNING 1",
    "DELETE FROM t WHERE id = id RETURNING 1",
    "DELETE FROM t USING u RETURNING 1",
    "UPDATE t SET a = 1 RETURNING 1",
    "UPDATE t SET a = 1 WHERE id = 1 OR true RETURNING 1",
    "UPDATE t SET a = u.a FROM u RETURNING 1",
    "MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE RETURNING 1",
    "INSERT INTO t VALUES (wipe_everything()) RETURNING 1",
];

const STRINGS: &[&str] = &[
    "'x'",
    "'it''s'",
    "''",
    "'; DELETE FROM t; --'",
    "'/* no comment'",
    "E'a\\'b\\\\'",
    "e'\\x41\\u0042'",
    "$$; DROP TABLE t; '$$",
    "$tag$ $$ $tag$",
    "U&'d\\0061t\\+000061'",
    "U&'d!0061t' UESCAPE '!'",
    "B'101'",
    "X'1F'",
    "N'x'",
    "'one' \n 'two'",
    "'ä€😀'",
];

const COLUMNS: &[&str] =
    &["a", "b", "t.a", "\"B\"", "\"we\"\"ird\"", "u&\"d\\0061t\"", "A", "größe", "s.t.c"];
const TABLES: &[&str] = &["t", "u", "public.t", "\"T\"", "ONLY t", "pg_catalog.pg_class", "t AS x (y, z)"];
const OPERATORS: &[&str] = &[
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "||",
    "=",
    "<>",
    "<",
    ">=",
    "->>",
    "@>",
    "&&",
    "~*",
    "#>>",
    "<<",
    "IS DISTINCT FROM",
];
const FUNCTIONS: &[&str] = &[
    "abs",
    "lower",
    "pg_catalog.length",
    "round",
    "concat",
    "ROUND",
    "\"upper\"",
    "jsonb_build_object",
    "coalesce",
    "greatest",
];
const AGGREGATES: &[&str] = &["count", "sum", "array_agg", "string_agg", "max", "jsonb_agg"];
const TYPES: &[&str] = &[
    "int",
    "text",
    "numeric(10, 2)",
    "timestamp with time zone",
    "int[]",
    "pg_catalog.int8",
    "varchar(3)",
    "interval day to second",
    "double precision",
];

/// How deep expressions and queries nest.
const DEPTH: usize = 4;

/// No new nesting begins behind so many tokens.
const MANY_TOKENS: usize = 400;

/// Builds one statement.
pub fn build(bytes: &[u8]) -> Built {
    let mut builder = Builder {
        source: Unstructured::new(bytes),
        tokens: Vec::new(),
        expression: None,
        statement: None,
        slot: 0,
        planted: None,
    };
    match builder.pick(3) {
        0 => {}
        1 => builder.expression = Some(builder.one_of(EXPRESSIONS)),
        _ => builder.statement = Some(builder.one_of(STATEMENTS)),
    }
    builder.slot = builder.pick(12);
    builder.top();
    Built { sql: builder.tokens.join(" "), planted: builder.planted }
}

struct Builder<'a> {
    source: Unstructured<'a>,
    tokens: Vec<String>,
    expression: Option<&'static str>,
    statement: Option<&'static str>,
    /// How many places are passed by before the plant is put.
    slot: usize,
    planted: Option<&'static str>,
}

impl Builder<'_> {
    /// A number below a bound; zero, which is always the simplest, when the bytes are used up.
    fn pick(&mut self, bound: usize) -> usize {
        self.source.int_in_range(0..=bound - 1).unwrap_or(0)
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.pick(list.len())]
    }

    fn often(&mut self) -> bool {
        self.pick(2) == 1
    }

    fn put(&mut self, token: &str) {
        self.tokens.push(token.to_owned());
    }

    fn any(&mut self, list: &[&str]) {
        let token = self.one_of(list);
        self.put(token);
    }

    /// Gives the plant if its place is here.
    fn due(&mut self, plant: Option<&'static str>) -> Option<&'static str> {
        let plant = plant.filter(|_| self.planted.is_none())?;
        if self.slot > 0 {
            self.slot -= 1;
            return None;
        }
        self.planted = Some(plant);
        Some(plant)
    }

    fn top(&mut self) {
        match self.pick(12) {
            0 => self.query(DEPTH),
            1 => self.insert(DEPTH),
            2 => self.update(DEPTH),
            3 => self.delete(DEPTH),
            4 => self.merge(DEPTH),
            5 => self.around("EXPLAIN ANALYZE", ""),
            6 => {
                // Nothing is written then; the planner may still run functions.
                self.statement = None;
                self.around("EXPLAIN ( VERBOSE , COSTS off )", "");
            }
            7 => self.around("COPY (", ") TO STDOUT"),
            8 => self.around("DECLARE c CURSOR FOR", ""),
            9 => self.around("CREATE TEMP TABLE made AS", ""),
            10 => {
                self.put("VALUES");
                self.row(DEPTH);
            }
            _ => {
                self.with(DEPTH);
                self.update(DEPTH);
            }
        }
    }

    fn around(&mut self, before: &str, after: &str) {
        self.put(before);
        self.query(DEPTH);
        self.put(after);
    }

    fn query(&mut self, depth: usize) {
        if self.often() {
            self.with(depth);
        }
        self.select(depth);
        while depth > 1 && self.pick(4) == 3 {
            self.any(&["UNION ALL", "UNION", "EXCEPT", "INTERSECT ALL"]);
            self.put("(");
            self.query(depth - 2);
            self.put(")");
        }
        if self.often() {
            self.put("ORDER BY");
            self.expression(depth);
            self.any(&["", "DESC", "ASC NULLS FIRST", "USING <"]);
        }
        if self.often() {
            self.any(&["LIMIT", "OFFSET"]);
            self.expression(depth);
        }
    }

    fn with(&mut self, depth: usize) {
        self.any(&["WITH", "WITH RECURSIVE"]);
        for number in 0..=self.pick(3) {
            if number > 0 {
                self.put(",");
            }
            self.put(&format!("w{number}"));
            self.any(&["AS (", "AS MATERIALIZED (", "(a, b) AS NOT MATERIALIZED ("]);
            match self.due(self.statement) {
                Some(plant) => self.put(plant),
                None if depth > 1 && self.pick(4) == 3 => self.delete(depth - 1),
                None if depth > 0 => self.query(depth - 1),
                None => self.put("SELECT 1"),
            }
            self.put(")");
        }
    }

    fn select(&mut self, depth: usize) {
        self.put("SELECT");
        match self.pick(4) {
            2 => self.put("DISTINCT"),
            3 => {
                self.put("DISTINCT ON (");
                self.expression(depth);
                self.put(")");
            }
            _ => {}
        }
        self.list(depth);
        if self.often() {
            self.put("FROM");
            self.from(depth);
        }
        if self.often() {
            self.put("WHERE");
            self.expression(depth);
        }
        if self.often() {
            self.any(&["GROUP BY ROLLUP (", "GROUP BY GROUPING SETS ( ( a ) ,", "GROUP BY ("]);
            self.expression(depth);
            self.put(")");
            if self.often() {
                self.put("HAVING");
                self.expression(depth);
            }
        }
        if self.pick(4) == 3 {
            self.put("WINDOW w AS ( PARTITION BY");
            self.expression(depth);
            self.put("ORDER BY a ROWS");
            self.expression(depth);
            self.put("PRECEDING )");
        }
    }

    fn from(&mut self, depth: usize) {
        match self.pick(if depth > 0 { 9 } else { 1 }) {
            1 => {
                self.put("LATERAL (");
                self.query(depth - 1);
                self.put(") AS sub");
            }
            2 => {
                self.put("t LEFT JOIN u ON");
                self.expression(depth);
            }
            3 => {
                self.put("generate_series ( 1 ,");
                self.expression(depth);
                self.put(") WITH ORDINALITY AS g ( n , o )");
            }
            4 => {
                self.put("ROWS FROM ( unnest (");
                self.expression(depth);
                self.put(") , generate_series ( 1 , 2 ) ) AS r");
            }
            5 => {
                self.put("t TABLESAMPLE bernoulli (");
                self.expression(depth);
                self.put(") REPEATABLE ( 1 )");
            }
            6 => {
                self.put("( VALUES");
                self.row(depth);
                self.put(") AS v");
            }
            7 => {
                self.put("XMLTABLE ( '/r' PASSING");
                self.primary(depth);
                self.put("COLUMNS c int PATH 'c' DEFAULT");
                self.primary(depth);
                self.put(") AS xt");
            }
            8 => {
                self.put("t CROSS JOIN LATERAL (");
                self.query(depth - 1);
                self.put(") AS sub NATURAL JOIN u");
            }
            _ => self.any(TABLES),
        }
    }

    fn insert(&mut self, depth: usize) {
        self.put("INSERT INTO t AS x ( a , b )");
        if self.often() {
            self.query(depth - 1);
        } else {
            self.put("VALUES");
            self.row(depth);
        }
        if self.often() {
            self.put("ON CONFLICT ( a ) WHERE b > 0 DO UPDATE SET b =");
            self.expression(depth);
            self.put("WHERE x . a <>");
            self.primary(depth);
        }
        self.returning(depth);
    }

    fn update(&mut self, depth: usize) {
        self.put("UPDATE t SET a =");
        self.expression(depth);
        if self.often() {
            self.put(", ( b , c ) = ROW (");
            self.expression(depth);
            self.put(", DEFAULT )");
        }
        if self.often() {
            self.put("FROM");
            self.from(depth);
        }
        self.condition(depth);
        self.returning(depth);
    }

    fn delete(&mut self, depth: usize) {
        self.put("DELETE FROM t");
        if self.often() {
            self.put("USING");
            self.from(depth);
        }
        self.condition(depth);
        self.returning(depth);
    }

    fn merge(&mut self, depth: usize) {
        self.put("MERGE INTO t USING (");
        self.query(depth - 1);
        self.put(") AS s ON t . id = s . id WHEN MATCHED AND s . gone THEN DELETE WHEN MATCHED THEN UPDATE SET a =");
        self.expression(depth);
        self.put("WHEN NOT MATCHED THEN INSERT VALUES");
        self.row(depth);
    }

    /// A condition that always depends on the row.
    fn condition(&mut self, depth: usize) {
        self.put("WHERE t . id = $1");
        if self.often() {
            self.put("AND t . b IS DISTINCT FROM (");
            self.expression(depth);
            self.put(")");
        }
    }

    fn returning(&mut self, depth: usize) {
        if self.often() {
            self.put("RETURNING");
            self.list(depth);
        }
    }

    fn row(&mut self, depth: usize) {
        self.put("(");
        self.expressions(depth);
        self.put(")");
    }

    fn list(&mut self, depth: usize) {
        self.expression(depth);
        if self.often() {
            self.put("AS \"Name\" ,");
            self.expression(depth);
        }
    }

    fn expressions(&mut self, depth: usize) {
        self.expression(depth);
        for _ in 0..self.pick(3) {
            self.put(",");
            self.expression(depth);
        }
    }

    /// An expression that can stand wherever the grammar wants an operand.
    fn primary(&mut self, depth: usize) {
        self.put("(");
        self.expression(depth);
        self.put(")");
    }

    fn expression(&mut self, depth: usize) {
        if let Some(plant) = self.due(self.expression) {
            return self.put(plant);
        }
        if depth == 0 || self.tokens.len() > MANY_TOKENS {
            return self.atom();
        }
        let depth = depth - 1;
        match self.pick(22) {
            0..=3 => self.atom(),
            4 => {
                self.primary(depth);
                self.any(OPERATORS);
                self.primary(depth);
            }
            5 => {
                self.any(&["NOT", "-", "@"]);
                self.primary(depth);
            }
            6 => {
                self.any(FUNCTIONS);
                self.row(depth);
            }
            7 => self.aggregate(depth),
            8 => {
                self.put("CASE WHEN");
                self.expression(depth);
                self.put("THEN");
                self.expression(depth);
                self.put("ELSE");
                self.expression(depth);
                self.put("END");
            }
            9 => self.subquery("(", ")", depth),
            10 => self.subquery("EXISTS (", ")", depth),
            11 => {
                self.primary(depth);
                self.subquery("NOT IN (", ")", depth);
            }
            12 => {
                self.primary(depth);
                self.put("IN");
                self.row(depth);
            }
            13 => {
                self.put("CAST (");
                self.expression(depth);
                self.put("AS");
                self.any(TYPES);
                self.put(")");
            }
            14 => {
                self.primary(depth);
                self.put("::");
                self.any(TYPES);
            }
            15 => {
                self.put("( ARRAY [");
                self.expressions(depth);
                self.put("] ) [");
                self.expression(depth);
                self.put(": ]");
            }
            16 => {
                self.primary(depth);
                self.put("BETWEEN SYMMETRIC");
                self.primary(depth);
                self.put("AND");
                self.primary(depth);
            }
            17 => {
                self.primary(depth);
                self.any(&["LIKE", "NOT ILIKE", "SIMILAR TO", "AT TIME ZONE"]);
                self.primary(depth);
            }
            18 => {
                self.primary(depth);
                self.any(&["IS NULL", "IS NOT TRUE", "COLLATE \"C\"", "IS JSON OBJECT", "ISNULL"]);
            }
            19 => {
                self.primary(depth);
                self.any(&["= ANY (", "<> ALL ("]);
                self.expression(depth);
                self.put(")");
            }
            20 => {
                self.any(&[
                    "JSON_OBJECT ( 'k' :",
                    "xmlforest ( a AS n ,",
                    "extract ( epoch FROM",
                    "JSON_ARRAY (",
                ]);
                self.primary(depth);
                self.put(")");
            }
            _ => {
                self.put("ROW");
                self.row(depth);
            }
        }
    }

    fn subquery(&mut self, open: &str, close: &str, depth: usize) {
        self.put(open);
        self.query(depth);
        self.put(close);
    }

    fn aggregate(&mut self, depth: usize) {
        self.any(AGGREGATES);
        self.any(&["(", "( DISTINCT"]);
        self.expression(depth);
        self.put("ORDER BY");
        self.expression(depth);
        self.put(") FILTER ( WHERE");
        self.expression(depth);
        self.put(")");
        if self.often() {
            self.put("OVER ( PARTITION BY");
            self.expression(depth);
            self.put(")");
        }
    }

    fn atom(&mut self) {
        match self.pick(4) {
            0 => self.any(COLUMNS),
            1 => self.any(STRINGS),
            2 => self.any(&[
                "1",
                "1.5e3",
                "$1",
                "NULL",
                "true",
                "DATE '2026-01-01'",
                "INTERVAL '1' DAY",
                "current_date",
                "0x1F",
            ]),
            _ => self.any(&[
                "now ( )",
                "count ( * )",
                "CURRENT_USER",
                "t . *",
                "( b ) . c",
                "( ARRAY [ 1 ] ) [ 1 ]",
            ]),
        }
    }
}
