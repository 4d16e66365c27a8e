//! Command line options as `getopt` reads them.

use std::collections::BTreeMap;

/// What was given.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    values: BTreeMap<char, Vec<String>>,
    /// Arguments that are not options.
    pub(crate) rest: Vec<String>,
    /// What was not understood, as `getopt` words it.
    pub(crate) error: Option<String>,
}

impl Options {
    /// Whether the option was given.
    pub(crate) fn has(&self, letter: char) -> bool {
        self.values.contains_key(&letter)
    }

    /// The option's last value.
    pub(crate) fn value(&self, letter: char) -> Option<&str> {
        self.values.get(&letter).and_then(|v| v.last()).map(String::as_str)
    }

    /// All values of the option.
    pub(crate) fn all(&self, letter: char) -> &[String] {
        self.values.get(&letter).map_or(&[], Vec::as_slice)
    }

    /// The option's last value as a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, letter: char) -> Option<T> {
        self.value(letter).and_then(|v| v.parse().ok())
    }
}

/// Parses `args` (program's name first). `letters` is a `getopt` string; one that begins with `+` stops at the first
/// argument that is no option. `long` maps long names to letters.
pub(crate) fn parse(args: &[String], letters: &str, long: &[(&str, char)]) -> Options {
    let stop_early = letters.starts_with('+');
    let takes_value = |c: char| letters.split_once(c).map(|(_, after)| after.starts_with(':'));
    let mut options = Options::default();
    let mut at = 1;
    while let Some(argument) = args.get(at) {
        at += 1;
        if argument == "--" {
            options.rest.extend(args.get(at..).unwrap_or_default().iter().cloned());
            break;
        }
        if let Some(name) = argument.strip_prefix("--") {
            let (name, inline) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let Some((_, letter)) = long.iter().find(|(l, _)| *l == name) else {
                options.error.get_or_insert_with(|| format!("unrecognized option '--{name}'"));
                continue;
            };
            let value = if inline.is_none() && takes_value(*letter) == Some(true) {
                at += 1;
                args.get(at - 1).cloned()
            } else {
                inline
            };
            options.values.entry(*letter).or_default().push(value.unwrap_or_default());
            continue;
        }
        let Some(cluster) = argument.strip_prefix('-').filter(|c| !c.is_empty()) else {
            if stop_early {
                options.rest.extend(args.get(at - 1..).unwrap_or_default().iter().cloned());
                break;
            }
            options.rest.push(argument.clone());
            continue;
        };
        let chars = cluster.char_indices();
        for (offset, c) in chars {
            match if c == ':' || c == '+' { None } else { takes_value(c) } {
                None => {
                    options.error.get_or_insert_with(|| format!("invalid option -- '{c}'"));
                }
                Some(false) => options.values.entry(c).or_default().push(String::new()),
                Some(true) => {
                    let inline = cluster.get(offset + c.len_utf8()..).unwrap_or_default();
                    let value = if inline.is_empty() {
                        at += 1;
                        args.get(at - 1).cloned()
                    } else {
                        Some(inline.to_owned())
                    };
                    match value {
                        Some(value) => options.values.entry(c).or_default().push(value),
                        None => {
                            options.error.get_or_insert_with(|| format!("option requires an argument -- '{c}'"));
                        }
                    }
                    break;
                }
            }
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_values_and_long_names() {
        let args: Vec<String> = ["x", "-lc3", "a", "--width=7", "--", "-b"].map(str::to_owned).to_vec();
        let options = parse(&args, "lc:w:", &[("width", 'w')]);
        assert!(options.has('l') && options.error.is_none());
        assert_eq!((options.value('c'), options.number::<u32>('w')), (Some("3"), Some(7)));
        assert_eq!(options.rest, ["a", "-b"]);
        assert_eq!(parse(&["x".to_owned(), "-z".to_owned()], "a", &[]).error.as_deref(), Some("invalid option -- 'z'"));
    }
}
