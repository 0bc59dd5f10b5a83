//! Takes a block of PL/pgSQL apart into the SQL that it runs (PostgreSQL manual, "PL/pgSQL — SQL Procedural Language").
//!
//! Every word of a block ends in one of the pieces or belongs to the frame around them, so nothing is passed over: what
//! the frame cannot be told from makes the whole block unreadable. It is a loop; nesting costs no stack.

use super::super::parse::{self, Token};

/// The SQL of a block.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pieces {
    /// Statements, each ended by a semicolon; expressions are `SELECT`s.
    pub(super) sql: String,
    /// The expressions that `EXECUTE` runs.
    pub(super) executed: Vec<String>,
}

/// Reads a block; none where it is not understood.
pub(super) fn pieces(block: &str) -> Option<Pieces> {
    let tokens = parse::tokens(block)?;
    let mut reader = Reader { text: block, tokens, at: 0, pieces: Pieces::default() };
    while reader.at < reader.tokens.len() {
        reader.statement()?;
    }
    Some(reader.pieces)
}

/// A run of tokens, from one to before another.
type Run = std::ops::Range<usize>;

struct Reader<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    pieces: Pieces,
}

impl Reader<'_> {
    fn word(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", |token| &self.text[token.start..token.end])
    }

    fn is(&self, index: usize, word: &str) -> bool {
        self.word(index).eq_ignore_ascii_case(word)
    }

    fn is_any(&self, index: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(index, word))
    }

    fn is_name(&self, index: usize) -> bool {
        self.word(index)
            .starts_with(|first: char| first == '"' || first == '_' || first == '$' || first.is_alphabetic())
    }

    fn slice(&self, run: &Run) -> &str {
        match (self.tokens.get(run.start), run.end.checked_sub(1).and_then(|last| self.tokens.get(last))) {
            (Some(first), Some(last)) if run.start < run.end => &self.text[first.start..last.end],
            _ => "",
        }
    }

    fn has_parenthesis(&self, run: &Run) -> bool {
        run.clone().any(|index| self.is(index, "("))
    }

    /// Finds the first of some words in a run, outside parentheses and `CASE … END`.
    fn find(&self, run: &Run, words: &[&str]) -> Option<usize> {
        let mut depth = 0_usize;
        for index in run.clone() {
            let is_column = index > run.start && self.is(index - 1, ".");
            if depth == 0 && !is_column && self.is_any(index, words) {
                return Some(index);
            }
            if self.is_any(index, &["(", "["]) || !is_column && self.is(index, "case") {
                depth += 1;
            } else if self.is_any(index, &[")", "]"]) || !is_column && depth > 0 && self.is(index, "end") {
                depth = depth.checked_sub(1)?;
            }
        }
        None
    }

    /// Returns the run up to one of some words, and goes on behind it.
    fn until(&mut self, words: &[&str]) -> Option<Run> {
        let rest = self.at..self.tokens.len();
        let end = self.find(&rest, words)?;
        // Two statements are not one expression.
        if !words.contains(&";") && (rest.start..end).any(|index| self.is(index, ";")) {
            return None;
        }
        self.at = end + 1;
        Some(rest.start..end)
    }

    fn expression(&mut self, run: &Run) {
        if !run.is_empty() {
            let sql = format!("SELECT {};\n", self.slice(run));
            self.pieces.sql.push_str(&sql);
        }
    }

    /// Reads one statement, or the frame that begins or ends one.
    fn statement(&mut self) -> Option<()> {
        let start = self.at;
        self.at += 1;
        match self.word(start).to_ascii_lowercase().as_str() {
            ";" | "begin" | "else" | "loop" | "exception" => {}
            // `#variable_conflict use_column`.
            "#" => self.at += 2,
            "<<" => self.at = self.until(&[">>"]).filter(|label| label.len() == 1)?.end + 1,
            "declare" => self.declarations()?,
            "if" | "elsif" | "elseif" | "when" => {
                let condition = self.until(&["then"])?;
                self.expression(&condition);
            }
            "case" => {
                let subject = self.until(&["when"])?;
                self.expression(&subject);
                self.at = subject.end;
            }
            "while" => {
                let condition = self.until(&["loop"])?;
                self.expression(&condition);
            }
            "for" => self.for_loop()?,
            "foreach" => {
                self.until(&["array"]).filter(|target| !self.has_parenthesis(target))?;
                let array = self.until(&["loop"])?;
                self.expression(&array);
            }
            "end" => {
                let mut rest = self.at..self.tokens.len();
                let end = rest.find(|index| self.is(*index, ";")).unwrap_or(self.tokens.len());
                let rest = self.at..end;
                if rest.len() > 2 || (rest.start..end).any(|index| !self.is_name(index)) {
                    return None;
                }
                self.at = end + 1;
            }
            word => {
                let word = word.to_owned();
                let rest = self.until(&[";"])?;
                self.simple(&word, start, &rest)?;
            }
        }
        Some(())
    }

    /// A statement that ends at its semicolon; `rest` is what follows its first word.
    fn simple(&mut self, word: &str, start: usize, rest: &Run) -> Option<()> {
        let first = rest.start;
        match word {
            "exit" | "continue" => {
                if let Some(when) = self.find(rest, &["when"]) {
                    self.expression(&(when + 1..rest.end));
                } else if rest.len() > 1 {
                    return None;
                }
            }
            "return" if self.is(first, "next") => self.expression(&(first + 1..rest.end)),
            "return" if self.is(first, "query") && self.is(first + 1, "execute") => {
                self.execute(&(first + 2..rest.end))?;
            }
            "return" if self.is(first, "query") => self.sql(&(first + 1..rest.end))?,
            "return" | "assert" | "perform" => self.expression(rest),
            "raise" => self.raise(rest)?,
            "execute" => self.execute(rest)?,
            "open" => self.open(rest)?,
            "get" | "fetch" | "move" | "close" if self.has_parenthesis(rest) => return None,
            "get" | "fetch" | "move" | "close" => {}
            "null" if rest.is_empty() => {}
            _ => match self.assignment(start, rest.end) {
                Some(sign) => {
                    self.subscripts(&(start..sign));
                    self.expression(&(sign + 1..rest.end));
                }
                None => self.sql(&(start..rest.end))?,
            },
        }
        Some(())
    }

    /// Finds the sign of an assignment: a variable, perhaps with fields and subscripts, stands before it.
    fn assignment(&self, start: usize, end: usize) -> Option<usize> {
        let after = self.target(start, end)?;
        (after < end && self.is_any(after, &[":=", "="])).then_some(after)
    }

    /// Returns where a variable with its fields and subscripts ends.
    fn target(&self, start: usize, end: usize) -> Option<usize> {
        if !self.is_name(start) {
            return None;
        }
        let mut at = start + 1;
        while at < end {
            if self.is(at, ".") {
                at += 2;
            } else if self.is(at, "[") {
                at = self.find(&(at + 1..end), &["]"])? + 1;
            } else {
                break;
            }
        }
        Some(at)
    }

    /// A statement of SQL, without the `INTO` that belongs to PL/pgSQL.
    fn sql(&mut self, run: &Run) -> Option<()> {
        let is_into = |index: &usize| {
            self.is(*index, "into")
                && !(*index > run.start && self.is_any(*index - 1, &["insert", "merge", "."]))
                && !self.is(run.start, "import")
        };
        let Some(into) = run.clone().find(is_into) else {
            let sql = format!("{};\n", self.slice(run));
            self.pieces.sql.push_str(&sql);
            return Some(());
        };
        let mut at = into + 1 + usize::from(self.is(into + 1, "strict"));
        loop {
            let target = at;
            at = self.target(at, run.end)?;
            self.subscripts(&(target..at));
            if !self.is(at, ",") {
                break;
            }
            at += 1;
        }
        let sql = format!("{} {};\n", self.slice(&(run.start..into)), self.slice(&(at..run.end)));
        self.pieces.sql.push_str(&sql);
        Some(())
    }

    /// A variable that is written to runs what its subscripts say.
    fn subscripts(&mut self, target: &Run) {
        if target.clone().any(|index| self.is(index, "[")) {
            self.expression(target);
        }
    }

    /// `EXECUTE text [INTO targets] [USING values]`.
    fn execute(&mut self, run: &Run) -> Option<()> {
        let end = self.find(run, &["into", "using"]).unwrap_or(run.end);
        let text = self.slice(&(run.start..end)).to_owned();
        self.pieces.executed.push(text);
        if let Some(using) = self.find(run, &["using"]) {
            let values_end = self.find(&(using + 1..run.end), &["into"]).unwrap_or(run.end);
            self.expression(&(using + 1..values_end));
        }
        if let Some(into) = self.find(run, &["into"]) {
            let targets_end = self.find(&(into + 1..run.end), &["using"]).unwrap_or(run.end);
            let targets = into + 1 + usize::from(self.is(into + 1, "strict"))..targets_end;
            self.subscripts(&targets);
        }
        Some(())
    }

    fn for_loop(&mut self) -> Option<()> {
        let targets = self.until(&["in"])?;
        if self.has_parenthesis(&targets) {
            return None;
        }
        let mut run = self.until(&["loop"])?;
        if self.is(run.start, "execute") {
            return self.execute(&(run.start + 1..run.end));
        }
        run.start += usize::from(self.is(run.start, "reverse"));
        if let Some(dots) = self.find(&run, &[".."]) {
            let by = self.find(&(dots + 1..run.end), &["by"]).unwrap_or(run.end);
            self.expression(&(run.start..dots));
            self.expression(&(dots + 1..by));
            self.expression(&((by + 1).min(run.end)..run.end));
            return Some(());
        }
        const QUERIES: &[&str] = &[
            "select", "with", "values", "table", "insert", "update", "delete", "merge", "explain", "show",
            "(",
        ];
        if self.is_any(run.start, QUERIES) {
            return self.sql(&run);
        }
        self.cursor(&run)
    }

    /// A cursor and the values of its arguments.
    fn cursor(&mut self, run: &Run) -> Option<()> {
        let after = self.target(run.start, run.end)?;
        if after < run.end {
            // Named arguments can only stand in a call.
            let arguments = format!("SELECT pg_catalog.concat{};\n", self.slice(&(after..run.end)));
            self.pieces.sql.push_str(&arguments);
        }
        Some(())
    }

    fn open(&mut self, run: &Run) -> Option<()> {
        match self.find(run, &["for"]) {
            Some(at) if self.is(at + 1, "execute") => self.execute(&(at + 2..run.end)),
            Some(at) => self.sql(&(at + 1..run.end)),
            None => self.cursor(run),
        }
    }

    fn raise(&mut self, run: &Run) -> Option<()> {
        const LEVELS: &[&str] = &["debug", "log", "info", "notice", "warning", "exception"];
        let start = run.start + usize::from(self.is_any(run.start, LEVELS));
        let using = self.find(&(start..run.end), &["using"]).unwrap_or(run.end);
        if !self.is_name(start) || self.word(start).contains('\'') {
            self.expression(&(start..using));
        } else if self.has_parenthesis(&(start..using)) {
            return None;
        }
        let mut at = using + 1;
        while at < run.end {
            let sign = self.find(&(at..run.end), &["=", ":="])?;
            let end = self.find(&(sign + 1..run.end), &[","]).unwrap_or(run.end);
            self.expression(&(sign + 1..end));
            at = end + 1;
        }
        Some(())
    }

    fn declarations(&mut self) -> Option<()> {
        while !self.is(self.at, "begin") {
            if self.is(self.at, "declare") {
                self.at += 1;
                continue;
            }
            let declared = self.until(&[";"]).filter(|run| !run.is_empty())?;
            let cursor = self.find(&declared, &["cursor"]).filter(|at| *at <= declared.start + 3);
            if cursor.is_some() {
                let query = self.find(&declared, &["for", "is"])?;
                self.sql(&(query + 1..declared.end))?;
            } else if let Some(sign) = self.find(&declared, &[":=", "=", "default"]) {
                self.expression(&(sign + 1..declared.end));
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_taken_apart() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("BEGIN NULL; END", "", &[]),
            ("begin delete from t where id = x; end;", "delete from t where id = x;", &[]),
            (
                "DECLARE a int := f(1); b CONSTANT text DEFAULT g(2); c t.x%TYPE; d CURSOR (k int) FOR SELECT h(k); BEGIN END",
                "SELECT f(1);|SELECT g(2);|SELECT h(k);",
                &[],
            ),
            ("BEGIN NEW.a := f(OLD.b); RETURN NEW; END", "SELECT f(OLD.b);|SELECT NEW;", &[]),
            ("BEGIN a[f(1)].b = 2; END", "SELECT a[f(1)].b;|SELECT 2;", &[]),
            (
                "BEGIN SELECT a, b INTO STRICT x, y.z FROM t; INSERT INTO t VALUES (1) RETURNING id INTO v; END",
                "SELECT a, b FROM t;|INSERT INTO t VALUES (1) RETURNING id ;",
                &[],
            ),
            (
                "BEGIN IF CASE WHEN a THEN b END THEN PERFORM f(1); ELSIF g(1) THEN COMMIT; ELSE CALL p(1); END IF; END",
                "SELECT CASE WHEN a THEN b END;|SELECT f(1);|SELECT g(1);|COMMIT;|CALL p(1);",
                &[],
            ),
            (
                "BEGIN CASE f(1) WHEN 1, 2 THEN TRUNCATE t; ELSE NULL; END CASE; EXCEPTION WHEN unique_violation OR others THEN RAISE; END",
                "SELECT f(1);|SELECT 1, 2;|TRUNCATE t;|SELECT unique_violation OR others;",
                &[],
            ),
            (
                "<<a>> BEGIN FOR r IN SELECT f(1) LOOP EXIT a WHEN g(1); END LOOP a; FOR i IN REVERSE h(1)..3 BY 2 LOOP CONTINUE; END LOOP; END a",
                "SELECT f(1);|SELECT g(1);|SELECT h(1);|SELECT 3;|SELECT 2;",
                &[],
            ),
            (
                "BEGIN FOR r IN c(x := f(1)) LOOP NULL; END LOOP; FOREACH x SLICE 1 IN ARRAY g(1) LOOP NULL; END LOOP; WHILE h(1) LOOP NULL; END LOOP; END",
                "SELECT pg_catalog.concat(x := f(1));|SELECT g(1);|SELECT h(1);",
                &[],
            ),
            (
                "BEGIN EXECUTE 'a' INTO x USING f(1), 2; EXECUTE format('b', 1); RETURN QUERY EXECUTE c USING d; FOR r IN EXECUTE 'e' LOOP NULL; END LOOP; OPEN q FOR EXECUTE 'f'; END",
                "SELECT f(1), 2;|SELECT d;",
                &["'a'", "format('b', 1)", "c", "'e'", "'f'"],
            ),
            (
                "BEGIN RETURN QUERY SELECT f(1); RETURN NEXT g(1); OPEN c FOR SELECT h(1); OPEN d(i(1)); FETCH c INTO x; CLOSE c; GET DIAGNOSTICS n = ROW_COUNT; END",
                "SELECT f(1);|SELECT g(1);|SELECT h(1);|SELECT pg_catalog.concat(i(1));",
                &[],
            ),
            (
                "BEGIN RAISE NOTICE 'x %', f(1) USING HINT = g(1), COLUMN = 'b'; RAISE unique_violation; ASSERT h(1), 'm'; RETURN; END",
                "SELECT 'x %', f(1);|SELECT g(1);|SELECT 'b';|SELECT h(1), 'm';",
                &[],
            ),
            ("#variable_conflict use_column\nBEGIN /* ; */ x := 1; -- END\nEND", "SELECT 1;", &[]),
        ];
        for (block, sql, executed) in cases {
            let found = pieces(block).unwrap_or_else(|| panic!("unread: {block}"));
            assert_eq!(found.sql.trim_end().replace('\n', "|"), *sql, "{block}");
            assert_eq!(found.executed, *executed, "{block}");
        }
        for unread in
            ["BEGIN x", "BEGIN FETCH RELATIVE f(1) FROM c; END", "BEGIN IF a; b THEN END", "BEGIN 'x"]
        {
            assert_eq!(pieces(unread), None, "{unread}");
        }
    }
}
