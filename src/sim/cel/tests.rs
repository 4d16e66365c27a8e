use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::{Budget, Expression, Failure, Input, Known, Scope};

fn run(text: &str, this: &Value) -> Result<String, String> {
    let expression = Expression::compile(text, &[("self", Known::Any)])?;
    let mut scope = Scope::default();
    scope.set("self", Input::Json(this));
    let outcome = expression.evaluate(&scope, &mut Budget::default()).map_err(|e| e.to_string())?;
    Ok(outcome.text().map_or_else(|| outcome.is_true().to_string(), str::to_owned))
}

fn holds(text: &str, this: &Value) {
    assert_eq!(run(text, this), Ok("true".to_owned()), "{text}");
}

#[test]
fn the_language_and_what_kubernetes_adds_work() {
    let this = json!({"replicas": 3, "min": 1, "name": "web-1", "ports": [{"p": 80}, {"p": 443}], "tags": ["a", "b"], "n": [1, 2, 3],
        "labels": {"app": "x", "tier": "y"}, "cpu": "500m", "every": "90s", "at": "2026-01-02T03:04:05Z", "a-b": 1, "ratio": 0.5});
    for text in [
        "self.replicas >= self.min && self.replicas <= 10",
        "has(self.name) && !has(self.other)",
        "self.ports.all(x, x.p > 0) && self.ports.exists(x, x.p == 443) && self.ports.exists_one(x, x.p == 80)",
        "self.ports.map(x, x.p).sum() == 523 && self.ports.filter(x, x.p > 100).size() == 1",
        "self.n.isSorted() && self.n.min() == 1 && self.n.max() == 3 && self.n.indexOf(2) == 1 && self.n.indexOf(9) == -1",
        "self.name.startsWith('web') && self.name.endsWith('1') && self.name.contains('-') && self.name.matches('^[a-z]+-[0-9]$')",
        "self.name.split('-')[0].upperAscii() == 'WEB' && ' x '.trim() == 'x' && self.name.replace('-', '+') == 'web+1' && self.name.substring(0, 3) == 'web'",
        "self.tags.join(',') == 'a,b' && 'a' in self.tags && !('z' in self.tags) && 'app' in self.labels && self.labels['app'] == 'x'",
        "self.labels.all(k, k.size() > 2) && self.labels.map(k, k).join(' ') == 'app tier'",
        "self.?other.orValue('d') == 'd' && self.?name.orValue('d') == 'web-1' && !self.?a.b.hasValue()",
        "quantity(self.cpu).isLessThan(quantity('1')) && quantity('1Gi').compareTo(quantity('1024Mi')) == 0 && isQuantity('5k') && !isQuantity('x')",
        "duration(self.every) > duration('1m') && duration('1h').getMinutes() == 60 && timestamp(self.at).getFullYear() == 2026",
        "timestamp(self.at) < timestamp('2027-01-01T00:00:00Z') && timestamp(self.at) + duration('1s') == timestamp('2026-01-02T03:04:06Z')",
        "isIP('10.0.0.1') && ip('::1').family() == 6 && cidr('10.0.0.0/8').containsIP('10.2.3.4') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))",
        "isURL('https://a.b:8080/x?y=1') && url('https://a.b:8080/x').getPort() == '8080' && url('https://a.b/x').getHost() == 'a.b'",
        "sets.contains(self.n, [1, 2]) && sets.intersects([3, 4], self.n) && sets.equivalent([1, 1], [1])",
        "'%s has %d'.format([self.name, self.replicas]) == 'web-1 has 3'",
        "self.a__dash__b == 1 && has(self.a__dash__b)",
        "type(self.replicas) == int && self.ratio < 1.0 && int(self.name.split('-')[1]) == 1 && string(self.replicas) == '3'",
        "(self.replicas > 5 ? 'many' : 'few') == 'few' && self.name.find('[0-9]+') == '1' && 'a1b2'.findAll('[0-9]').size() == 2",
    ] {
        holds(text, &this);
    }
}

#[test]
fn failures_are_worded_like_the_real_ones() {
    let this = json!({"a": {}, "l": [1], "s": "x", "n": 1});
    for (text, why) in [
        ("self.a.b == 1", "no such key: b"),
        ("self.l[3] == 1", "index out of bounds: 3"),
        ("self.s > self.n", "no such overload"),
        ("1 / (self.n - 1) == 1", "division by zero"),
        ("self.l.map(x, x + 1).filter(x, x > 5).min() == 1", "min called on empty list"),
    ] {
        assert_eq!(run(text, &this), Err(why.to_owned()), "{text}");
    }
}

#[test]
fn mistakes_are_found_before_anything_runs() {
    let schema = json!({"type": "object", "properties": {"replicas": {"type": "integer"}, "name": {"type": "string"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}}}});
    let wrong = |text: &str| Expression::compile(text, &[("self", Known::of(&schema))]).map(|_| ()).unwrap_err();
    assert_eq!(wrong("self.foo > 1"), "ERROR: <input>:1:5: undefined field 'foo'\n | self.foo > 1\n | ....^");
    assert_eq!(wrong("other == 1"), "ERROR: <input>:1:1: undeclared reference to 'other' (in container '')\n | other == 1\n | ^");
    assert!(
        wrong("self.replicas > 'x'").starts_with("ERROR: <input>:1:15: found no matching overload for '_>_' applied to '(int, string)'")
    );
    assert!(wrong("self.name.frobnicate()").contains("undeclared reference to 'frobnicate' (in container '')"));
    assert!(wrong("self.list.all(i, i.y == 'a')").contains("undefined field 'y'"));
    assert!(wrong("self.replicas >").starts_with("ERROR: <input>:1:16: Syntax error:"), "{}", wrong("self.replicas >"));
    assert!(Expression::compile("self.list.all(i, i.x.startsWith('a')) && self.replicas < 3", &[("self", Known::of(&schema))]).is_ok());
}

#[test]
fn no_expression_takes_more_than_its_budget() {
    let this = json!({"l": (0..2000).collect::<Vec<_>>(), "s": "x".repeat(10_000)});
    let bomb = format!("['x']{}.size() == 1", ".map(a, [a, a])".repeat(50));
    let growing = format!("('x'{}).size() == 1", ".replace('x', 'xxxxxxxxxxxxxxxx')".repeat(20));
    for text in [
        "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))",
        "self.l.all(a, a in self.l)",
        "self.l.map(a, self.s).join(self.s).size() > 0",
        "self.l.exists(a, self.s.matches('^(x+)+y$'))",
        &bomb,
        &growing,
    ] {
        assert_eq!(run(text, &this), Err(Failure::Budget.to_string()), "{text}");
    }
    let deep = format!("{}true{}", "(".repeat(4000), ")".repeat(4000));
    let long = format!("self{}", ".a".repeat(4000));
    for text in [deep, long, "x".repeat(20_000)] {
        assert!(run(&text, &this).is_err());
    }
    // As deep as is allowed, on a small stack.
    holds(&format!("{}true", "!!".repeat(20)), &this);
    holds(&format!("size([0]{}) == 41", " + [0]".repeat(40)), &this);
}

#[test]
fn every_evaluation_costs() {
    let expression = Expression::compile("self == 1", &[("self", Known::Any)]).unwrap();
    let (mut budget, mut scope) = (Budget(100), Scope::default());
    scope.set("self", Input::Json(&json!(1)));
    let done = (0..100).take_while(|_| expression.evaluate(&scope, &mut budget).is_ok()).count();
    assert!((5..=10).contains(&done), "{done}");
    assert_eq!(expression.evaluate(&scope, &mut budget).unwrap_err(), Failure::Budget);
}

#[test]
fn no_text_breaks_the_compiler_or_what_it_compiles() {
    const WORDS: [&str; 40] = [
        "self",
        ".",
        "a",
        "l",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        ".?",
        "[?",
        "==",
        "<",
        "&&",
        "||",
        "!",
        "+",
        "-",
        "/",
        "1",
        "-9223372036854775808",
        "'x'",
        "\"",
        "all",
        "map",
        "has",
        "x",
        "in",
        "size",
        "format",
        "optional.none()",
        "true",
        "null",
        "__dash__",
        "\u{e9}",
        "`",
    ];
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let this = json!({"a": {"x": 1}, "l": [1, 2], "x": "y"});
    let (mut compiled, mut broken) = (0, 0);
    for _ in 0..1500 {
        let count = random.next_u32() % 12 + 1;
        let words = (0..count).map(|_| WORDS[usize::try_from(random.next_u32()).unwrap() % WORDS.len()]);
        let text = words.collect::<Vec<_>>().concat();
        match run(&text, &this) {
            Ok(_) => compiled += 1,
            Err(why) => broken += usize::from(why.contains("internal error")),
        }
    }
    assert!(compiled > 10 && broken == 0, "{compiled} {broken}");
}
