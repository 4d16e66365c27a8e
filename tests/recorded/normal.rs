//! Outputs without what may differ: names, identities, times, versions, addresses, the width of columns.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// Letters and digits of generated names.
const SUFFIX: &str = "[bcdfghjklmnpqrstvwxz2456789]";

static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let rules = [
        (r"/(LIVE|MERGED)-\d+".to_owned(), "/$1"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}".to_owned(), "UID"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?(Z|[+-]\d{4})( UTC)?)?".to_owned(), "TIME"),
        (r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}".to_owned(), "TIME"),
        (r#"((?i:resource ?version)"?: *"?)\d+"#.to_owned(), "${1}RV"),
        (r"(Too large resource version: \w+, current: )\d+".to_owned(), "${1}RV"),
        (format!(r"-{SUFFIX}{{8,10}}-{SUFFIX}{{5}}\b"), "-HASH-ID"),
        (format!(r"((?:pod-template|controller-revision)-hash\W+(?:\w+-)?){SUFFIX}{{6,10}}\b"), "${1}HASH"),
        (format!(r"(kubernetes\.io/hash\W+){SUFFIX}{{6,10}}\b"), "${1}HASH"),
        (format!(r"-{SUFFIX}{{8,10}}\b"), "-HASH"),
        (r#""HASH""#.to_owned(), "HASH"),
        (r"\.[0-9a-f]{15,16}\b".to_owned(), ".EVENT"),
        (format!(r"-{SUFFIX}{{5}}\b"), "-ID"),
        (r"\b(10|192)\.\d+\.\d+\.\d+\b".to_owned(), "IP"),
        (r"\bnode-[123]\b".to_owned(), "node-N"),
        (r"\b(\d+d(\d+h)?|\d+h(\d+m)?|\d+m\d+s|\d+s)\b".to_owned(), "AGE"),
        (r"(?m)(  )\d+m(  |$)".to_owned(), "${1}AGE${2}"),
        (r"(?m)(<invalid>)".to_owned(), "AGE"),
        (r"-{3,}".to_owned(), "---"),
        (r"(?m)([^ \n]) {2,}".to_owned(), "${1}  "),
        (r"(?m) +$".to_owned(), ""),
    ];
    rules.into_iter().map(|(pattern, with)| (Regex::new(&pattern).unwrap(), with)).collect()
});

/// A piece of text, normalised.
pub(crate) fn text(text: &str) -> String {
    RULES.iter().fold(text.to_owned(), |text, (rule, with)| rule.replace_all(&text, *with).into_owned())
}

/// The lines of an output, normalised.
pub(crate) fn lines(text: &str, folder: &str) -> Vec<String> {
    // The recorder's folder of manifests was called m when it looked at errors.
    let text = text.replace(&format!("{folder}/trial/tmp"), "$TMP").replace(folder, "$TMP").replace("\"manifests/", "\"m/");
    let mut text = documents(&text).unwrap_or_else(|| text.lines().flat_map(|line| [pretty(line), "\n".to_owned()]).collect());
    for (rule, with) in RULES.iter() {
        text = rule.replace_all(&text, *with).into_owned();
    }
    text.lines().map(str::to_owned).collect()
}

/// A text that is JSON and nothing else, with sorted keys.
fn documents(text: &str) -> Option<String> {
    let mut out = String::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        out.push_str(&serde_json::to_string_pretty(&value.ok()?).ok()?);
        out.push('\n');
    }
    (!out.is_empty()).then_some(out)
}

/// One line of JSON becomes many, with sorted keys.
fn pretty(line: &str) -> String {
    if !line.starts_with('{') {
        return line.to_owned();
    }
    serde_json::from_str::<Value>(line).ok().and_then(|v| serde_json::to_string_pretty(&v).ok()).unwrap_or_else(|| line.to_owned())
}
