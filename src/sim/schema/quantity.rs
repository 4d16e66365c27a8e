//! Resource quantities (`100m`, `1280Mi`, `1e3`): parsed exactly, printed in the canonical text of the API server.

use std::fmt;
use std::str::FromStr;

const NANOS: i128 = 1_000_000_000;
/// Keeps every product of a number and a suffix inside an `i128`.
const MAX_DIGITS: usize = 18;
const DECIMAL: [(&str, u32); 10] =
    [("E", 27), ("P", 24), ("T", 21), ("G", 18), ("M", 15), ("k", 12), ("", 9), ("m", 6), ("u", 3), ("n", 0)];
const BINARY: [(&str, u32); 6] = [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];

/// The server's text for anything that is no quantity.
pub const INVALID: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// The text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{INVALID}")]
pub struct InvalidQuantity;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// An exact amount of a resource, down to a billionth.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self { nanos: 0, format: Format::Decimal };

    /// So many thousandths, printed with decimal suffixes: CPU.
    pub fn from_milli(milli: i64) -> Self {
        Self { nanos: i128::from(milli) * 1_000_000, format: Format::Decimal }
    }

    /// So many bytes, printed with binary suffixes: memory.
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nanos: i128::from(bytes) * NANOS, format: Format::Binary }
    }

    /// From a JSON string or number.
    pub fn from_json(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::String(text) => text.parse().ok(),
            serde_json::Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        }
    }

    /// The amount as a floating-point number: cores, bytes.
    #[expect(clippy::cast_precision_loss, reason = "callers of this one want an approximation")]
    pub fn to_f64(self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// Thousandths, rounded up.
    pub fn to_milli(self) -> i128 {
        ceil_div(self.nanos, 1_000_000)
    }

    /// Whole units, rounded up.
    pub fn to_units(self) -> i128 {
        ceil_div(self.nanos, NANOS)
    }

    /// The sum, in this quantity's format.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_add(other.nanos), format: if self.nanos == 0 { other.format } else { self.format } }
    }

    /// The difference, in this quantity's format.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_sub(other.nanos), format: if self.nanos == 0 { other.format } else { self.format } }
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it has no part smaller than a thousandth.
    pub fn is_whole_milli(self) -> bool {
        self.nanos % 1_000_000 == 0
    }

    /// Whether it is a whole number.
    pub fn is_whole(self) -> bool {
        self.nanos % NANOS == 0
    }
}

/// The canonical text of a quantity; anything else comes back unchanged.
pub fn canonical(text: &str) -> String {
    text.parse::<Quantity>().map_or_else(|_| text.to_owned(), |q| q.to_string())
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

fn ceil_div(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let (negative, body) = match text.as_bytes().first() {
            Some(b'-') => (true, text.get(1..).unwrap_or_default()),
            Some(b'+') => (false, text.get(1..).unwrap_or_default()),
            _ => (false, text),
        };
        let end = body.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(body.len());
        let (number, suffix) = body.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(InvalidQuantity);
        }
        let (format, scale) = scale(suffix)?;
        let whole = whole.trim_start_matches('0');
        if whole.len() > MAX_DIGITS {
            return Err(InvalidQuantity);
        }
        // Digits beyond the 18th cannot change the billionths but for rounding up.
        let kept: String = fraction.chars().take(MAX_DIGITS).collect();
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| InvalidQuantity)? };
        let numerator: i128 = if kept.is_empty() { 0 } else { kept.parse().map_err(|_| InvalidQuantity)? };
        let denominator = 10_i128.pow(u32::try_from(kept.len()).map_err(|_| InvalidQuantity)?);
        let nanos = scale.apply(whole, 1)?.checked_add(scale.apply(numerator, denominator)?).ok_or(InvalidQuantity)?;
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format })
    }
}

/// What a suffix multiplies by: nanos for one unit, or a divisor when below a billionth.
#[derive(Clone, Copy)]
struct Scale {
    times: i128,
    by: i128,
}

impl Scale {
    fn apply(self, numerator: i128, denominator: i128) -> Result<i128, InvalidQuantity> {
        let product = numerator.checked_mul(self.times);
        let divisor = denominator.checked_mul(self.by).ok_or(InvalidQuantity)?;
        match product {
            Some(product) => Ok(ceil_div(product, divisor)),
            None => (numerator / divisor).checked_mul(self.times).ok_or(InvalidQuantity),
        }
    }
}

fn scale(suffix: &str) -> Result<(Format, Scale), InvalidQuantity> {
    if let Some((_, bits)) = BINARY.iter().find(|(text, _)| *text == suffix) {
        return Ok((Format::Binary, Scale { times: (1_i128 << bits) * NANOS, by: 1 }));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(text, _)| *text == suffix) {
        return Ok((Format::Decimal, Scale { times: 10_i128.pow(*power), by: 1 }));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).and_then(|digits| digits.parse::<i32>().ok()).ok_or(InvalidQuantity)?;
    let power = exponent.saturating_add(9);
    let scale = match power {
        0..=27 => Scale { times: 10_i128.pow(power.unsigned_abs()), by: 1 },
        -18..0 => Scale { times: 1, by: 10_i128.pow(power.unsigned_abs()) },
        _ => return Err(InvalidQuantity),
    };
    Ok((Format::Exponent, scale))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.format == Format::Binary && self.nanos.abs() >= 1024 * NANOS {
            let units = self.to_units();
            for (suffix, bits) in BINARY {
                if units % (1_i128 << bits) == 0 {
                    return write!(f, "{}{suffix}", units >> bits);
                }
            }
            return write!(f, "{units}");
        }
        for (suffix, power) in DECIMAL {
            let unit = 10_i128.pow(power);
            if self.nanos % unit == 0 {
                let amount = self.nanos / unit;
                return match self.format {
                    Format::Exponent if power != 9 => write!(f, "{amount}e{}", i64::from(power) - 9),
                    _ => write!(f, "{amount}{suffix}"),
                };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_texts() {
        for (given, expected) in [
            ("100m", "100m"),
            ("0.5", "500m"),
            ("2000Mi", "2000Mi"),
            ("1280Mi", "1280Mi"),
            ("1024Mi", "1Gi"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("1e3", "1e3"),
            ("12e2", "1200"),
            ("0", "0"),
            ("0Mi", "0"),
            ("512", "512"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            (".5", "500m"),
            ("1.", "1"),
            ("-1.5", "-1500m"),
            ("+2", "2"),
            ("0.0000000001", "1n"),
            ("128974848", "128974848"),
            ("129M", "129M"),
            ("123Mi", "123Mi"),
            ("1E", "1E"),
            ("100n", "100n"),
            ("1e-3", "1e-3"),
            ("250u", "250u"),
        ] {
            assert_eq!(given.parse::<Quantity>().map(|q| q.to_string()), Ok(expected.to_owned()), "{given}");
        }
    }

    #[test]
    fn no_quantities() {
        for text in ["", "lots", "1.2.3", "1 Mi", "Mi", "1mi", "--1", "1e", "1ee3", "1e99", ".", "99999999999999999999", "1\u{b5}"] {
            assert_eq!(text.parse::<Quantity>(), Err(InvalidQuantity), "{text}");
        }
    }

    #[test]
    fn amounts() {
        let memory: Quantity = "2000Mi".parse().unwrap();
        assert_eq!(memory.to_units(), 2_097_152_000);
        assert_eq!("250m".parse::<Quantity>().unwrap().to_milli(), 250);
        assert!("1".parse::<Quantity>().unwrap() > "999m".parse().unwrap());
        assert_eq!(Quantity::from_bytes(1 << 30).to_string(), "1Gi");
        assert_eq!(Quantity::from_milli(1500).to_string(), "1500m");
        assert_eq!(Quantity::ZERO.plus(memory).to_string(), "2000Mi");
    }

    proptest::proptest! {
        #[test]
        fn any_text_parses_or_not_and_canonical_text_is_a_fixed_point(text in "[+-]?[0-9.]{0,22}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,2}") {
            if let Ok(q) = text.parse::<Quantity>()
                && let Ok(again) = q.to_string().parse::<Quantity>()
            {
                proptest::prop_assert_eq!(again.to_string(), q.to_string());
            }
        }
    }
}
