use super::*;

fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = Toolchain::folder(base.path()).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    base
}

const VERSIONS: &str = r#"{"python":"3.11","ansible_core":"1","collections_from":"2","kubernetes":"3","kubectl":"4"}"#;

#[test]
fn nothing_is_missing_and_half_is_broken() {
    let base = folder_with(&[]);
    assert!(matches!(Toolchain::status(base.path()), ToolsStatus::Missing { .. }));
    let base = folder_with(&[("venv/bin/python", "")]);
    assert!(matches!(Toolchain::status(base.path()), ToolsStatus::Broken { .. }));
    let base = folder_with(&[(MARKER, VERSIONS)]);
    assert!(matches!(Toolchain::status(base.path()), ToolsStatus::Broken { .. }), "the marker without the programs");
}

#[tokio::test]
async fn a_whole_one_is_used_as_it_is() {
    let base = folder_with(&[(MARKER, VERSIONS)]);
    let made = Toolchain { root: Toolchain::folder(base.path()) };
    let collection = made.collections().join("ansible_collections/kubernetes/core");
    for part in [made.python(), made.ansible_playbook(), made.kubectl(), collection, made.callback_plugins(), made.modules()] {
        assert!(matches!(Toolchain::status(base.path()), ToolsStatus::Broken { .. }), "without {}", part.display());
        std::fs::create_dir_all(part).unwrap();
    }
    let ToolsStatus::Installed { tools, versions } = Toolchain::status(base.path()) else { panic!("not installed") };
    assert_eq!(versions.kubectl, "4");
    let none = |step: &InstallStep| panic!("{step}");
    assert_eq!(Toolchain::install(base.path(), &none, &CancellationToken::new()).await.unwrap(), tools);
}

#[tokio::test]
async fn a_second_installer_waits_and_can_be_cancelled() {
    let base = tempfile::tempdir().unwrap();
    let path = Toolchain::folder(base.path()).with_extension("lock");
    let mut lock = fd_lock::RwLock::new(std::fs::File::create(path).unwrap());
    let held = lock.write().unwrap();
    let cancel = CancellationToken::new();
    let steps = std::sync::Mutex::new(Vec::new());
    let note = |s: &InstallStep| {
        steps.lock().unwrap().push(s.clone());
        cancel.cancel();
    };
    let result = Toolchain::install(base.path(), &note, &cancel).await;
    assert!(matches!(result, Err(ToolsError::Cancelled)), "{result:?}");
    assert_eq!(*steps.lock().unwrap(), [InstallStep::WaitForOther]);
    drop(held);
}

#[tokio::test]
async fn a_failed_step_shows_its_last_lines_without_passwords() {
    let script = "for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; echo 'from https://me:secret@example.test/simple/ no' >&2; exit 1";
    let error = step("try", Path::new("/bin/sh"), &["-c".into(), script.into()], STEP_LIMIT, NETWORK_ADVICE).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("failed to try; check the network"), "{text}");
    assert!(text.ends_with("line 9\nfrom https://***@example.test/simple/ no"), "{text}");
    assert!(!text.contains("line 2\n") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_slow_step_is_given_up_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let late = folder.path().join("late");
    let script = format!("(sleep 0.4; touch {}) & sleep 60", late.display());
    let error = step("nap", Path::new("/bin/sh"), &["-c".into(), script.into()], Duration::from_millis(50), LOCAL_ADVICE).await;
    assert!(matches!(error, Err(ToolsError::Slow { .. })), "{error:?}");
    sleep(Duration::from_millis(800)).await;
    assert!(!late.exists(), "a child of the step lived on");
}
