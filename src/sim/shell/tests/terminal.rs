//! What somebody at a terminal sees.

use super::*;

/// Types pieces into `argv`, each when nothing more comes; gives all that the terminal shows, and the exit code.
async fn sitting(family: &'static str, argv: &[&str], pieces: &[&str]) -> (String, Exit) {
    let mut fake = Fake::new(family);
    fake.programs = vec!["top".to_owned()];
    let argv = argv.iter().map(|a| (*a).to_owned()).collect();
    let (keys, input) = mpsc::channel(8);
    let (out, mut shown) = mpsc::channel(8);
    let terminal = Arc::new(Terminal::default());
    terminal.resize(30, 10);
    let session = tokio::spawn(run_at(terminal, Arc::new(fake), argv, input, out));
    let mut screen = String::new();
    let mut pieces = pieces.iter();
    // Bounded: each round takes a piece of what is shown, or one of `pieces`.
    for _ in 0..1000 {
        match tokio::time::timeout(Duration::from_millis(50), shown.recv()).await {
            Ok(Some(Output::Stdout(text) | Output::Stderr(text))) => screen.push_str(&String::from_utf8_lossy(&text)),
            Ok(None) => break,
            Err(_) => match pieces.next() {
                Some(piece) => keys.send(piece.as_bytes().to_vec()).await.unwrap(),
                None => break,
            },
        }
    }
    drop(keys);
    (screen, tokio::time::timeout(Duration::from_secs(10), session).await.unwrap().unwrap())
}

#[tokio::test]
async fn a_shell_asks_for_commands_and_is_left() {
    let (screen, exit) =
        sitting("busybox", &["sh"], &["cd /\r", "echo a; foo\r", "if true\r", "then echo b; fi\r", "\x1b[A\x03", "exit 3\r"]).await;
    let want =
        "/tmp # cd /\n/ # echo a; foo\na\nsh: foo: not found\n/ # if true\n> then echo b; fi\nb\n/ # then echo b; fi\x1b[J^C\n/ # exit 3\n";
    assert_eq!((screen.as_str(), exit), (want, Exit::Code(3)));
    let (screen, exit) = sitting("debian", &["bash"], &["false\r", "nope\r", "\x04"]).await;
    let prompt = "root@web-5d-x7:/tmp# ";
    assert_eq!(screen, format!("{prompt}false\n{prompt}nope\nbash: nope: command not found\n{prompt}exit\n"));
    assert_eq!(exit, Exit::Code(127));
}

#[tokio::test]
async fn what_is_typed_goes_to_the_program_in_front() {
    let (screen, exit) =
        sitting("busybox", &["sh"], &["cat\r", "one\r", "two\x7f\x7fen\r", "\x04", "read x; echo $x-\r", "y\r", "\x04"]).await;
    let lines: Vec<&str> = screen.lines().collect();
    assert_eq!(lines, ["/tmp # cat", "one", "one", "two\x08 \x08\x08 \x08en", "ten", "/tmp # read x; echo $x-", "y", "y-", "/tmp # "]);
    assert_eq!(exit, Exit::Code(0));
    // What is typed before there is a prompt waits for it.
    let (screen, _) = sitting("busybox", &["sh"], &["read x\recho $x\rhalf", "\x15pwd\r", "\x04"]).await;
    assert!(screen.ends_with("pwd\n/tmp\n/tmp # ") && !screen.contains("half: not found"), "{screen}");
}

#[tokio::test]
async fn only_the_program_in_front_is_interrupted() {
    let (screen, exit) = sitting(
        "busybox",
        &["sh"],
        &["f() { cat > /tmp/x; echo never; }; f\r", "\x03", "echo $?; sh\r", "cat\r", "\x03", "echo in $?; exit\r", "echo out\r", "\x04"],
    )
    .await;
    assert!(
        !screen.contains("never\n")
            && screen.contains("\n130\n")
            && screen.contains("\nin 130\n")
            && screen.ends_with("echo out\nout\n/tmp # "),
        "{screen}"
    );
    assert_eq!(exit, Exit::Code(0));
    assert_eq!(sitting("busybox", &["cat"], &["\x03"]).await, ("^C".to_owned(), Exit::Code(130)));
}

#[tokio::test]
async fn programs_know_a_terminal() {
    let commands = "stty size; tty; test -t 0 && echo in; test -t 1 | cat; [ -t 1 ] && echo out; cd /; mkdir -p d; cd d; mkdir x; echo > longer; ls; ls | cat\r";
    let (screen, _) = sitting("busybox", &["sh"], &[commands, "\x04"]).await;
    let shown = screen.split_once('\r').map_or(screen.as_str(), |(_, s)| s);
    assert!(shown.contains("\n10 30\n/dev/pts/0\nin\nout\nlonger  \x1b[1;34mx\x1b[m\nlonger\nx\n"), "{shown:?}");
    let (screen, exit) = sitting("busybox", &["top", "-n", "2"], &[]).await;
    assert_eq!((screen.matches("\x1b[H\x1b[JMem:").count(), screen.starts_with('\x1b')), (2, true), "{screen:?}");
    assert_eq!(exit, Exit::Code(0));
}
