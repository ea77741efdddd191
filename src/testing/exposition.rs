//! A strict reader of Prometheus' text exposition format, version 0.0.4: the judge of what we write.
//!
//! In: text. Out: its samples, or the first line that breaks a rule. Never: lenient where Prometheus is: each metric has
//! its HELP and TYPE once and before its samples, its samples stand together, no sample is there twice.
//! Source: Prometheus, "Exposition formats", text format details.

use std::collections::{BTreeMap, BTreeSet};

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its metric.
    pub name: String,
    /// Its labels, unescaped.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

/// Read it.
pub fn parse(text: &str) -> Result<Vec<Sample>, String> {
    if !text.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    let mut samples: Vec<Sample> = Vec::new();
    let (mut helped, mut typed, mut closed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut seen = BTreeSet::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("line {}: {what}: {line}", number + 1);
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(|| wrong("no help"))?;
            if !is_name(name) || help.is_empty() || !helped.insert(name.to_owned()) {
                return Err(wrong("a name that is none, or helped twice"));
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| wrong("no type"))?;
            if !matches!(kind, "gauge" | "counter" | "untyped")
                || !helped.contains(name)
                || !typed.insert(name.to_owned())
            {
                return Err(wrong("no such type, no HELP before it, or typed twice"));
            }
        } else {
            let sample = sample(line).ok_or_else(|| wrong("no sample"))?;
            if !typed.contains(&sample.name) {
                return Err(wrong("no TYPE before it"));
            }
            if let Some(last) = samples.last().filter(|last| last.name != sample.name) {
                closed.insert(last.name.clone());
            }
            if closed.contains(&sample.name) {
                return Err(wrong("samples of one metric stand apart"));
            }
            if !seen.insert((sample.name.clone(), sample.labels.clone())) {
                return Err(wrong("there twice"));
            }
            samples.push(sample);
        }
    }
    match typed.iter().find(|name| !samples.iter().any(|sample| sample.name == **name)) {
        Some(name) => Err(format!("{name} has no sample")),
        None => Ok(samples),
    }
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn sample(line: &str) -> Option<Sample> {
    let (name, rest) = line.split_once('{')?;
    let mut labels = BTreeMap::new();
    let mut chars = rest.chars();
    loop {
        let label: String = chars.by_ref().take_while(|c| *c != '=').collect();
        if !is_name(&label) || chars.next()? != '"' {
            return None;
        }
        let mut value = String::new();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => value.push(match chars.next()? {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    _ => return None,
                }),
                c => value.push(c),
            }
        }
        if labels.insert(label, value).is_some() {
            return None;
        }
        match chars.next()? {
            ',' => {}
            '}' => break,
            _ => return None,
        }
    }
    let value = chars.as_str().strip_prefix(' ')?.parse().ok()?;
    is_name(name).then(|| Sample { name: name.to_owned(), labels, value })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn rules() {
        let head = "# HELP a b\n# TYPE a gauge\n";
        assert_eq!(parse(&format!("{head}a{{l=\"x\\\"\\\\\\n\"}} 1.5\n")).unwrap()[0].label("l"), Some("x\"\\\n"));
        for wrong in [
            "a{l=\"x\"} 1\n",
            &format!("{head}a{{l=\"x\"}} 1"),
            &format!("{head}a{{l=\"x\"}} one\n"),
            &format!("{head}a{{l=\"x\"}} 1\na{{l=\"x\"}} 2\n"),
            &format!("{head}a{{l=\"x\n\"}} 1\n"),
            &format!("{head}a{{1=\"x\"}} 1\n"),
            &format!("{head}{head}a{{l=\"x\"}} 1\n"),
            head,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
