//! Kubernetes quantities (`100m`, `2000Mi`, `1.5`), as numbers.

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no Kubernetes quantity; write for example 100m, 0.5, 300Mi or 2G")]
pub struct QuantityError(pub String);

/// Reads a quantity: cores for CPU, bytes for memory.
pub fn parse(text: &str) -> Result<f64, QuantityError> {
    let wrong = || QuantityError(text.to_owned());
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, suffix) = text.split_at(digits);
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        _ => return Err(wrong()),
    };
    if number.is_empty() || number.starts_with('.') || number.ends_with('.') {
        return Err(wrong());
    }
    number.parse::<f64>().map(|n| n * factor).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_and_bytes() {
        for (text, value) in [("500m", 0.5), ("2", 2.0), ("0.25", 0.25), ("300Mi", 314_572_800.0), ("1k", 1000.0)] {
            let parsed = parse(text).unwrap();
            assert!((parsed - value).abs() < 1e-9, "{text}: {parsed}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "m", "5 m", "5mi", "300MB", "-1", "1..2", "1.", ".5", "1e"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
