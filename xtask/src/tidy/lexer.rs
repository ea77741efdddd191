//! Rust source to tokens, as far as tidy needs it: words, text, signs, lines, and which inline module they stand in.
//!
//! In: any text. Out: tokens without comments. Never: fails; what is not Rust gives odd tokens, not an error.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier, keyword or number.
    Word,
    /// A string literal; its text is what stands between the quotes.
    Text,
    /// `::` or a single sign.
    Sign,
}

/// One token and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub kind: Kind,
    pub text: String,
    /// Counted from 1.
    pub line: usize,
    /// How many inline modules (`mod x { … }`) it stands in.
    pub inline_depth: usize,
    /// It stands in an inline module named `tests`.
    pub in_tests: bool,
}

/// Cut a source into tokens.
pub(super) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text, line: 1, tokens: Vec::new(), braces: 0, modules: Vec::new() };
    while lexer.step() {}
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
    braces: usize,
    /// Open inline modules: their name, and how many braces were open outside.
    modules: Vec<(String, usize)>,
}

impl<'a> Lexer<'a> {
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if first.is_whitespace() {
            self.take(first.len_utf8());
        } else if self.rest.starts_with("//") {
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.block_comment();
        } else if let Some(hashes) = raw_string(self.rest) {
            self.raw_text(hashes);
        } else if first == '"' || self.rest.starts_with("b\"") || self.rest.starts_with("c\"") {
            self.text();
        } else if first == '\'' {
            self.quote();
        } else if first.is_alphanumeric() || first == '_' {
            let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
            let word = self.take(end).to_string();
            self.push(Kind::Word, word);
        } else if self.rest.starts_with("::") {
            self.take(2);
            self.push(Kind::Sign, "::".into());
        } else {
            self.take(first.len_utf8());
            self.sign(first);
        }
        true
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn push(&mut self, kind: Kind, text: String) {
        let in_tests = self.modules.iter().any(|(name, _)| name == "tests");
        let inline_depth = self.modules.len();
        self.tokens.push(Token { kind, text, line: self.line, inline_depth, in_tests });
    }

    fn sign(&mut self, sign: char) {
        if sign == '}' {
            self.braces = self.braces.saturating_sub(1);
            if self.modules.last().is_some_and(|(_, outside)| *outside == self.braces) {
                self.modules.pop();
            }
        }
        self.push(Kind::Sign, sign.to_string());
        if sign == '{' {
            if let [.., key, name, _] = self.tokens.as_slice()
                && key.text == "mod"
                && [key.kind, name.kind] == [Kind::Word; 2]
            {
                self.modules.push((name.text.clone(), self.braces));
            }
            self.braces += 1;
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0usize;
        loop {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.take(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.take(2);
                if depth == 0 {
                    return;
                }
            } else {
                let Some(next) = self.rest.chars().next() else { return };
                self.take(next.len_utf8());
            }
        }
    }

    fn text(&mut self) {
        let line = self.line;
        self.take(self.rest.find('"').map_or(1, |at| at + 1));
        let mut escaped = false;
        let end = self.rest.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let inside = self.take(end.unwrap_or(self.rest.len())).to_string();
        self.take(1);
        self.push(Kind::Text, inside);
        self.tokens.last_mut().expect("checked: just pushed").line = line;
    }

    fn raw_text(&mut self, hashes: usize) {
        let line = self.line;
        self.take(self.rest.find('"').map_or(1, |at| at + 1));
        let close = format!("\"{}", "#".repeat(hashes));
        let inside = self.take(self.rest.find(&close).unwrap_or(self.rest.len())).to_string();
        self.take(close.len());
        self.push(Kind::Text, inside);
        self.tokens.last_mut().expect("checked: just pushed").line = line;
    }

    /// A character or a lifetime.
    fn quote(&mut self) {
        let mut after = self.rest.chars().skip(1);
        match (after.next(), after.next()) {
            (Some('\\'), _) => {
                // '\'' and '\\' hold a quote or a backslash of their own; '\u{…}' ends at its quote.
                let end = self.rest.get(3..).and_then(|rest| rest.find('\'')).map_or(self.rest.len(), |at| at + 4);
                self.take(end);
            }
            (Some(inside), Some('\'')) => {
                self.take(2 + inside.len_utf8());
            }
            _ => {
                self.take(1);
            }
        }
    }
}

/// How many hashes a raw string opens with, if one begins here: `r"`, `br#"`, `cr##"`.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}
