//! What a terminal makes of keys: echo, lines, and the two control characters that end something.
//!
//! The kernel's line discipline while a program reads, and the line editor of the shell while that waits for a command.

/// What a shell is given for Ctrl-C at its prompt.
pub(crate) const INTERRUPT: &[u8] = b"\x03";
/// Longest line.
const LINE_MAX: usize = 4096;
/// Longest history.
const HISTORY_MAX: usize = 500;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mode {
    /// A program, line by line.
    #[default]
    Cooked,
    /// The shell's line editor.
    Edit,
    /// A program, key by key, without echo.
    Raw,
}

/// What has come of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Input for whoever reads. Nothing is the end of the input, for one reader.
    Input(Vec<u8>),
    /// Ctrl-C: the program in the foreground is to end.
    Interrupt,
}

/// Finds what a word at the end of a text could be: whole words.
pub(super) type Complete<'a> = &'a (dyn Fn(&str) -> Vec<String> + Sync);

/// The state of one terminal.
#[derive(Debug, Default)]
pub(super) struct Discipline {
    pub(super) mode: Mode,
    /// What stands before the line in [`Mode::Edit`].
    pub(super) prompt: String,
    line: Vec<char>,
    cursor: usize,
    history: Vec<String>,
    /// Which line of the history is shown, and what was typed before.
    shown: Option<(usize, Vec<char>)>,
    /// An escape sequence, or a character of several bytes, that has not ended.
    partial: Vec<u8>,
    /// Whether the last key was a carriage return: a line feed after it is the same key.
    returned: bool,
}

impl Discipline {
    /// What is typed and not yet sent.
    pub(super) fn typed(&self) -> String {
        self.line.iter().collect()
    }

    /// Takes keys; gives what the terminal shows, and what comes of them.
    pub(super) fn feed(&mut self, keys: &[u8], complete: Complete<'_>) -> (Vec<u8>, Vec<Event>) {
        let (mut echo, mut events) = (String::new(), Vec::new());
        for key in keys {
            if self.mode == Mode::Raw && *key != 3 {
                match events.last_mut() {
                    Some(Event::Input(bytes)) => bytes.push(*key),
                    _ => events.push(Event::Input(vec![*key])),
                }
                continue;
            }
            if let Some(unit) = self.unit(*key) {
                self.key(&unit, complete, &mut echo, &mut events);
            }
        }
        (echo.into_bytes(), events)
    }

    /// Collects the bytes of a character or of an escape sequence.
    fn unit(&mut self, byte: u8) -> Option<String> {
        self.partial.push(byte);
        let bytes = self.partial.as_slice();
        let whole = match bytes {
            [0x1b] | [0x1b, b'[' | b'O'] if self.mode == Mode::Edit => false,
            [0x1b, b'[', .., last] if self.mode == Mode::Edit => (0x40..=0x7e).contains(last) || bytes.len() > 8,
            _ => match std::str::from_utf8(bytes) {
                Ok(_) => true,
                Err(error) => error.error_len().is_some() || bytes.len() >= 4,
            },
        };
        whole.then(|| String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into_owned())
    }

    fn key(&mut self, unit: &str, complete: Complete<'_>, echo: &mut String, events: &mut Vec<Event>) {
        let again = std::mem::replace(&mut self.returned, unit == "\r");
        match unit {
            "\n" if again => {}
            "\r" | "\n" => {
                echo.push('\n');
                let line = self.take();
                self.remember(&line);
                events.push(Event::Input(format!("{line}\n").into_bytes()));
            }
            "\x03" | "\x1c" => {
                echo.push_str(if unit == "\x03" { "^C" } else { "^\\" });
                self.take();
                if self.mode == Mode::Edit {
                    echo.push('\n');
                    self.mode = Mode::Cooked;
                    events.push(Event::Input(INTERRUPT.to_vec()));
                } else {
                    events.push(Event::Interrupt);
                }
            }
            "\x04" if self.line.is_empty() || self.mode == Mode::Cooked => {
                events.push(Event::Input(self.take().into_bytes()));
                self.mode = Mode::Cooked;
            }
            "\x7f" | "\x08" => self.erase(self.cursor.saturating_sub(1), echo),
            "\x15" => self.erase(0, echo),
            "\x17" => {
                let before = self.line.get(..self.cursor).unwrap_or_default();
                let word = before.iter().rposition(|c| *c != ' ').unwrap_or(0);
                let from = before.get(..word).and_then(|b| b.iter().rposition(|c| *c == ' ')).map_or(0, |at| at + 1);
                self.erase(from, echo);
            }
            _ if self.mode == Mode::Edit => self.edit(unit, complete, echo),
            _ => self.insert(unit, echo),
        }
    }

    /// A key of the line editor.
    fn edit(&mut self, unit: &str, complete: Complete<'_>, echo: &mut String) {
        let end = self.line.len();
        match unit {
            "\x01" | "\x1b[H" | "\x1bOH" | "\x1b[1~" | "\x1b[7~" => self.go(0, echo),
            "\x05" | "\x1b[F" | "\x1bOF" | "\x1b[4~" | "\x1b[8~" => self.go(end, echo),
            "\x02" | "\x1b[D" | "\x1bOD" => self.go(self.cursor.saturating_sub(1), echo),
            "\x06" | "\x1b[C" | "\x1bOC" => self.go((self.cursor + 1).min(end), echo),
            "\x04" | "\x1b[3~" if self.cursor < end => {
                self.cursor += 1;
                if let Some(c) = self.line.get(self.cursor - 1) {
                    echo.push(*c);
                }
                self.erase(self.cursor - 1, echo);
            }
            "\x0b" => {
                self.line.truncate(self.cursor);
                echo.push_str("\x1b[J");
            }
            "\x0c" => {
                echo.push_str("\x1b[H\x1b[J");
                self.redraw(echo);
            }
            "\x10" | "\x1b[A" | "\x1bOA" => self.recall(true, echo),
            "\x0e" | "\x1b[B" | "\x1bOB" => self.recall(false, echo),
            "\t" => self.complete(complete, echo),
            _ if unit.starts_with(|c: char| c.is_control()) => {}
            _ => self.insert(unit, echo),
        }
    }

    fn insert(&mut self, unit: &str, echo: &mut String) {
        for c in unit.chars() {
            if self.line.len() >= LINE_MAX {
                echo.push('\x07');
                return;
            }
            self.line.insert(self.cursor, c);
            self.cursor += 1;
            match u32::from(c) {
                // A program is given control characters, which are shown as such.
                n @ (0..=8 | 10..=31) => echo.extend(['^', char::from_u32(n + 64).unwrap_or('?')]),
                _ => echo.push(c),
            }
        }
        self.tail(0, echo);
    }

    /// Takes away what is between `from` and the cursor.
    fn erase(&mut self, from: usize, echo: &mut String) {
        let gone = self.cursor - from;
        self.line.drain(from..self.cursor);
        self.cursor = from;
        echo.push_str(&"\x08".repeat(gone));
        self.tail(gone, echo);
    }

    /// Shows what is behind the cursor again, and blanks in the place of what was taken away.
    fn tail(&self, blanks: usize, echo: &mut String) {
        let rest = self.line.get(self.cursor..).unwrap_or_default();
        echo.extend(rest);
        echo.push_str(&" ".repeat(blanks));
        echo.push_str(&"\x08".repeat(rest.len() + blanks));
    }

    fn go(&mut self, to: usize, echo: &mut String) {
        if to < self.cursor {
            echo.push_str(&"\x08".repeat(self.cursor - to));
        } else {
            echo.extend(self.line.get(self.cursor..to).unwrap_or_default());
        }
        self.cursor = to;
    }

    fn redraw(&self, echo: &mut String) {
        echo.push_str(&self.prompt);
        echo.extend(&self.line);
        echo.push_str(&"\x08".repeat(self.line.len() - self.cursor));
    }

    fn show(&mut self, line: Vec<char>, echo: &mut String) {
        self.go(0, echo);
        self.cursor = line.len();
        self.line = line;
        echo.extend(&self.line);
        echo.push_str("\x1b[J");
    }

    fn recall(&mut self, older: bool, echo: &mut String) {
        let at = match (&self.shown, older) {
            (None, true) => self.history.len().checked_sub(1),
            (Some((at, _)), true) => at.checked_sub(1),
            (Some((at, _)), false) => Some(at + 1),
            (None, false) => None,
        };
        let Some(at) = at else {
            echo.push('\x07');
            return;
        };
        let draft = self.shown.take().map_or_else(|| self.line.clone(), |(_, draft)| draft);
        match self.history.get(at).map(|line| line.chars().collect()) {
            Some(line) => {
                self.shown = Some((at, draft));
                self.show(line, echo);
            }
            None => self.show(draft, echo),
        }
    }

    fn complete(&mut self, complete: Complete<'_>, echo: &mut String) {
        let before: String = self.line.get(..self.cursor).unwrap_or_default().iter().collect();
        let word = before.rsplit(' ').next().unwrap_or_default();
        let found = complete(&before);
        let Some(first) = found.first() else {
            echo.push('\x07');
            return;
        };
        let shared = found.iter().fold(first.as_str(), |shared, other| {
            let same = shared
                .char_indices()
                .zip(other.chars())
                .find(|((_, a), b)| a != b)
                .map_or(shared.len().min(other.len()), |((at, _), _)| at);
            shared.get(..same).unwrap_or_default()
        });
        let mut more = shared.strip_prefix(word).unwrap_or_default().to_owned();
        if found.len() == 1 && !first.ends_with('/') {
            more.push(' ');
        }
        if more.is_empty() {
            let names: Vec<&str> = found.iter().map(|f| f.trim_end_matches('/').rsplit('/').next().unwrap_or(f)).collect();
            echo.extend(["\n", &names.join("  "), "\n"]);
            self.redraw(echo);
        } else {
            self.insert(&more, echo);
        }
    }

    /// Takes the line away from the editor.
    fn take(&mut self) -> String {
        self.cursor = 0;
        self.shown = None;
        std::mem::take(&mut self.line).into_iter().collect()
    }

    fn remember(&mut self, line: &str) {
        if self.mode != Mode::Edit {
            return;
        }
        self.mode = Mode::Cooked;
        if !line.trim().is_empty() && self.history.last().is_none_or(|last| last != line) {
            self.history.push(line.to_owned());
            if self.history.len() > HISTORY_MAX {
                self.history.remove(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let word = text.rsplit(' ').next().unwrap_or_default();
        ["/etc/hosts", "/etc/hostname", "/var/"].iter().filter(|n| n.starts_with(word)).map(|n| (*n).to_owned()).collect()
    }

    /// What lines come of keys at a prompt, and what a terminal shows in the end.
    fn typed(keys: &str) -> (Vec<String>, String) {
        let mut d = Discipline { mode: Mode::Edit, ..Discipline::default() };
        let (mut lines, mut screen) = (Vec::new(), String::new());
        for key in keys.as_bytes() {
            let (echo, events) = d.feed(&[*key], &names);
            screen.push_str(&String::from_utf8(echo).unwrap());
            for event in events {
                match event {
                    Event::Input(bytes) => lines.push(String::from_utf8(bytes).unwrap()),
                    Event::Interrupt => lines.push("interrupt".to_owned()),
                }
                d.mode = Mode::Edit;
            }
        }
        (lines, screen)
    }

    /// The last line of what a terminal shows that was sent `text`.
    fn screen(text: &str) -> String {
        let (mut line, mut at) = (Vec::new(), 0);
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\n' => (line, at) = (Vec::new(), 0),
                '\x08' => at -= 1,
                '\x1b' => {
                    assert_eq!(chars.by_ref().take(2).collect::<String>(), "[J");
                    line.truncate(at);
                }
                c => {
                    line.resize(line.len().max(at + 1), ' ');
                    line[at] = c;
                    at += 1;
                }
            }
        }
        line.into_iter().collect::<String>().trim_end().to_owned()
    }

    #[test]
    fn lines_are_edited() {
        for (keys, line) in [
            ("ls\r", "ls\n"),
            ("lx\x7fs\r\n", "ls\n"),
            ("s\x1b[Dl\r", "ls\n"),
            ("one two\x17three\r", "one three\n"),
            ("wrong\x15right\r", "right\n"),
            ("b\x01a\x05c\r", "abc\n"),
            ("abcd\x1b[D\x1b[D\x0b\r", "ab\n"),
            ("abc\x01\x1b[3~\r", "bc\n"),
            ("é\x7fö\r", "ö\n"),
            ("cat /etc/hostn\t\r", "cat /etc/hostname \n"),
            ("ls /v\tlog\r", "ls /var/log\n"),
        ] {
            assert_eq!(typed(keys).0, [line], "{keys:?}");
            let shown = typed(keys.trim_end_matches(['\r', '\n'])).1;
            assert_eq!(screen(&shown), line.trim_end(), "{keys:?}");
        }
        assert!(typed("ls /etc/h\t\t").1.contains("\nhosts  hostname\n"), "{:?}", typed("ls /etc/h\t\t").1);
    }

    #[test]
    fn lines_come_back_and_control_characters_end_things() {
        assert_eq!(typed("one\rtwo\r\x1b[A\x1b[A\r\x10\r").0, ["one\n", "two\n", "one\n", "one\n"]);
        assert_eq!(typed("one\rnew\x1b[A\x1b[B\r").0, ["one\n", "new\n"]);
        assert_eq!(typed("half\x03\x04").0, ["\x03", ""]);
        let mut d = Discipline::default();
        let (echo, events) = d.feed(b"hal\x7flo\r\x1b[A\x03\x04", &names);
        assert_eq!(String::from_utf8(echo).unwrap(), "hal\x08 \x08lo\n^[[A^C");
        assert_eq!(events, [Event::Input(b"halo\n".to_vec()), Event::Interrupt, Event::Input(Vec::new())]);
        d.mode = Mode::Raw;
        assert_eq!(d.feed(b"q\r\x03", &names).1, [Event::Input(b"q\r".to_vec()), Event::Interrupt]);
    }

    proptest::proptest! {
        #[test]
        fn any_keys_will_do(keys in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), edit in proptest::prelude::any::<bool>()) {
            let mut d = Discipline { mode: if edit { Mode::Edit } else { Mode::Cooked }, ..Discipline::default() };
            d.feed(&keys, &names);
            proptest::prop_assert!(d.cursor <= d.line.len() && d.partial.len() < 10);
        }
    }
}
