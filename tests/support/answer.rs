//! Reads answers of HTTP/1.1 with a Content-Length, for clients that are measured themselves.

use std::io::BufRead;

/// Code and body of the next answer.
pub(crate) fn read(from: &mut impl BufRead) -> Result<(u16, Vec<u8>), Box<dyn std::error::Error>> {
    let (mut line, mut length) = (String::new(), 0);
    from.read_line(&mut line)?;
    let code = line.split(' ').nth(1).unwrap_or_default().parse()?;
    loop {
        line.clear();
        from.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((code, body))
}
