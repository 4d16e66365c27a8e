use super::*;

fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(Into::into).collect()
}

#[test]
fn other_names_are_no_shims() {
    assert!(dispatch(words("microremed run x")).is_none());
    assert!(dispatch(words("/usr/local/bin/microremed")).is_none());
    assert!(dispatch(Vec::new()).is_none());
}

#[test]
fn sudo_drops_only_its_own_options() {
    let args = words("-H -S -n -u root MODE=x /bin/sh -c id -u");
    let command = sudo_command(&args);
    assert_eq!(command.settings, [("MODE", "x")]);
    assert_eq!(command.program, words("/bin/sh -c id -u"));
    assert_eq!(sudo_command(&words("-- ls -l")).program, words("ls -l"));
    assert_eq!(sudo_command(&words("-i")), SudoCommand { settings: vec![], program: &[], shell: true });
}

#[test]
fn the_real_program_is_the_next_on_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let [shims, bin] = ["shims", "bin"].map(|n| folder.path().join(n));
    for d in [&shims, &bin] {
        std::fs::create_dir(d).unwrap();
    }
    let own = folder.path().join("own");
    std::fs::write(&own, "").unwrap();
    std::fs::write(bin.join("kubectl"), "").unwrap();
    std::os::unix::fs::symlink(&own, shims.join("kubectl")).unwrap();
    let path = std::env::join_paths([&shims, &bin]).unwrap();
    let own = std::fs::canonicalize(own).unwrap();
    assert_eq!(find(&path, "kubectl", Some(&own)), Some(bin.join("kubectl")));
    assert_eq!(find(&path, "sleep", Some(&own)), None);
}

#[test]
fn date_shows_the_clusters_present_unless_asked_for_another_moment() {
    let now = || Some("1767225665.040".to_owned());
    assert_eq!(dated(words("-u +%s"), now()), words("-d @1767225665.040 -u +%s"));
    assert_eq!(dated(words("-Iseconds"), now()), words("-d @1767225665.040 -Iseconds"));
    for other in ["-d yesterday", "-ud @0", "--date=now +%s", "-r file"] {
        assert_eq!(dated(words(other), now()), words(other));
    }
    assert_eq!(dated(words("+%s"), None), words("+%s"));
}
