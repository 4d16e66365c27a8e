//! `awk`: patterns and actions, fields, arithmetic, strings, arrays, control flow and the common functions; no
//! user-defined functions, no `getline` and no pipes.

mod lexer;
mod parse;
mod run;
mod value;

use crate::sim::shell::applets::options;
use crate::sim::shell::host::Host;
use crate::sim::shell::process::Process;

/// `awk [-F SEPARATOR] [-v NAME=VALUE] PROGRAM FILE...`
pub(super) async fn awk<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "+F:v:f:", &[]);
    let mut rest = options.rest.clone();
    let text = if let Some(path) = options.value('f') {
        let path = path.to_owned();
        String::from_utf8_lossy(&p.read_file(&path).await.unwrap_or_default()).into_owned()
    } else if rest.is_empty() {
        p.raw_error("usage: awk [-F fs][-v var=value][prog | -f progfile][file ...]\n");
        return 2;
    } else {
        rest.remove(0)
    };
    let rules = match parse::parse(&text) {
        Ok(rules) => rules,
        Err(message) => {
            p.raw_error(format!("awk: {message}\n"));
            return 2;
        }
    };
    let mut machine = run::Machine::new(p.environment.clone());
    if let Some(separator) = options.value('F') {
        machine.set("FS", &if separator == "t" { "\t".to_owned() } else { unescape(separator) });
    }
    for assignment in options.all('v') {
        if let Some((name, value)) = assignment.split_once('=') {
            machine.set(name, &unescape(value));
        }
    }
    let files: Vec<String> = rest
        .into_iter()
        .filter(|argument| match argument.split_once('=') {
            Some((name, value)) if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty() => {
                machine.set(name, &unescape(value));
                false
            }
            _ => true,
        })
        .collect();
    let mut code = 0;
    let only_begin = rules.iter().all(|r| r.when == parse::When::Begin);
    let inputs = if only_begin {
        Vec::new()
    } else {
        let (inputs, fine) = p.inputs(&files).await;
        code = if fine { 0 } else { 2 };
        inputs
    };
    let inputs: Vec<(String, String)> =
        inputs.into_iter().map(|(name, bytes)| (name, String::from_utf8_lossy(&bytes).into_owned())).collect();
    let result = machine.run(&rules, &inputs);
    let output = std::mem::take(&mut machine.output);
    p.print(output);
    let errors = std::mem::take(&mut machine.errors);
    p.raw_error(errors);
    for (path, append, text) in std::mem::take(&mut machine.files) {
        let content = crate::sim::shell::files::Content { head: text.into_bytes(), zeros: 0 };
        if let Err(error) = p.write_file(&path, &content, append, 1).await {
            p.raw_error(format!("awk: cannot open \"{path}\" for output ({error})\n"));
            return 2;
        }
    }
    match result {
        Ok(exit) => exit.unwrap_or(code),
        Err(message) => {
            p.raw_error(format!("awk: {message}\n"));
            2
        }
    }
}

fn unescape(text: &str) -> String {
    String::from_utf8_lossy(&super::echo::unescape(text).0).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awk(program: &str, input: &str) -> String {
        let rules = parse::parse(program).unwrap();
        let mut machine = run::Machine::new(std::collections::BTreeMap::new());
        machine.run(&rules, &[("-".to_owned(), input.to_owned())]).unwrap();
        machine.output
    }

    #[test]
    fn programs() {
        for (program, input, expected) in [
            ("{print $2, $1}", "a b\nc d\n", "b a\nd c\n"),
            ("NR==2", "x\ny\n", "y\n"),
            ("/b/ {print NR \":\" $0}", "a\nb\n", "2:b\n"),
            ("{s+=$1} END {print s, s/NR}", "1\n2\n4\n", "7 2.33333\n"),
            ("{print $NF; print NF}", "a b c\n", "c\n3\n"),
            ("BEGIN {x=3; while (x>0) {printf \"%d-\", x--}; print \"\"}", "", "3-2-1-\n"),
            ("{c[$1]++} END {for (k in c) print k, c[k]}", "b\na\nb\n", "a 1\nb 2\n"),
            ("$1 > 2 && $2 != \"x\"", "3 y\n3 x\n1 y\n", "3 y\n"),
            ("{gsub(/a/,\"o\"); print toupper($0), length($0)}", "banana\n", "BONONO 6\n"),
            ("BEGIN {n=split(\"a:b:c\",p,\":\"); print n, p[2], substr(\"hello\",2,3), index(\"abc\",\"c\")}", "", "3 b ell 3\n"),
            ("{$2=\"z\"; print; print ($1 ~ /^a/) ? \"yes\" : \"no\"}", "a b\n", "a z\nyes\n"),
            ("BEGIN {for (i=0;i<3;i++) {if (i==1) continue; print i}; exit; print 9}", "", "0\n2\n"),
            ("NR>1 {next} {print}", "1\n2\n", "1\n"),
            ("BEGIN {print 2^3, 7%4, -3, !0, \"3\"+4, 1e3, 0.1+0.2, 100000000}", "", "8 3 -3 1 7 1000 0.3 100000000\n"),
            ("!seen[$0]++", "a\na\nb\n", "a\nb\n"),
            ("/1/,/3/", "0\n1\n2\n3\n4\n", "1\n2\n3\n"),
            ("BEGIN{FS=\":\"} {print $1}", "a:b\n", "a\n"),
            ("{print > \"/dev/stderr\"}", "x\n", ""),
        ] {
            assert_eq!(awk(program, input), expected, "{program}");
        }
    }

    #[test]
    fn endless_programs_end() {
        let rules = parse::parse("BEGIN {while (1) x++}").unwrap();
        assert!(run::Machine::new(std::collections::BTreeMap::new()).run(&rules, &[]).is_err());
        assert!(parse::parse(&"(".repeat(10_000)).is_err());
        assert!(parse::parse("{print").is_err());
    }
}
