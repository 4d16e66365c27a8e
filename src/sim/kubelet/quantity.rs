//! Kubernetes quantities (`100m`, `2000Mi`, `1.5`) as plain numbers, and durations (`1000ms`, `5s`, `1h2m`).

use std::time::Duration;

use serde_json::Value;

/// Suffixes and their factors.
const SUFFIXES: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// The number that a quantity stands for: cores, bytes, pods. `None` for anything else.
pub fn parse(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => parse_text(s),
        _ => None,
    }
}

/// The number that the text of a quantity stands for.
pub fn parse_text(text: &str) -> Option<f64> {
    let text = text.trim();
    // `1E3` is an exponent, `1E` is a suffix: numbers first.
    if let Ok(n) = text.parse::<f64>() {
        return n.is_finite().then_some(n);
    }
    SUFFIXES.iter().find_map(|(s, factor)| text.strip_suffix(s).and_then(|n| n.parse::<f64>().ok()).map(|n| n * factor))
}

/// Bytes, from a quantity.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes are far below the limits and never negative here")]
pub fn bytes(value: &Value) -> Option<u64> {
    parse(value).filter(|b| *b >= 0.0).map(|b| b as u64)
}

/// Bytes as Chaos Mesh and stress-ng write them: `1280MiB`, `256MB`, `1Gi`, `512`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes are far below the limits and never negative here")]
pub fn byte_size(text: &str) -> Option<u64> {
    let t = text.trim();
    let t = t.strip_suffix('B').unwrap_or(t);
    // Chaos Mesh reads MB and MiB alike as powers of 1024.
    let t = t.strip_suffix('i').unwrap_or(t);
    let factors = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
    let (number, shift) = factors
        .iter()
        .find_map(|(c, s)| t.strip_suffix(*c).or_else(|| t.strip_suffix(c.to_ascii_lowercase())).map(|n| (n, *s)))
        .unwrap_or((t, 0));
    let n: f64 = number.trim().parse().ok()?;
    (n >= 0.0).then_some((n * f64::from(1u32 << (shift / 2)) * f64::from(1u32 << (shift - shift / 2))) as u64)
}

/// A Go duration: `1000ms`, `5s`, `1h2m3.5s`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let n: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match rest.get(..letters)? {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += n * unit;
        rest = rest.get(letters..)?;
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_quantities() {
        assert_eq!(parse_text("2000Mi"), Some(2000.0 * 1_048_576.0));
        assert_eq!(parse_text("100m"), Some(0.1));
        assert_eq!(parse_text("1e3"), Some(1000.0));
        assert_eq!(parse_text("2"), Some(2.0));
        assert_eq!(parse_text("lots"), None);
        assert_eq!(byte_size("1280MiB"), Some(1280 << 20));
        assert_eq!(byte_size("256MB"), Some(256 << 20));
        assert_eq!(byte_size("1Gi"), Some(1 << 30));
    }

    #[test]
    fn reads_durations() {
        assert_eq!(duration("1000ms"), Some(Duration::from_secs(1)));
        assert_eq!(duration("1h2m3.5s"), Some(Duration::from_millis(3_723_500)));
        assert_eq!(duration("5"), None);
    }
}
