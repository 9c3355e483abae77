use super::*;

fn digest(folder: &Folder) -> String {
    folder.read().unwrap().digest().to_string()
}

#[test]
fn a_digest_names_every_file_and_nothing_else() {
    let folder = Folder::valid();
    let first = digest(&folder);
    assert_eq!(first.len(), 64);
    assert_eq!(digest(&folder), first);
    assert_eq!(digest(&Folder::valid()), first, "the place does not count");

    folder.write(".DS_Store", "left behind");
    fs::create_dir(folder.dir.join("__pycache__")).unwrap();
    folder.write("__pycache__/hooks.pyc", "left behind");
    assert_eq!(digest(&folder), first);

    for hidden in [".w.bin", "__pycache__/w.bin"] {
        folder.write(hidden, "a model may name it");
        assert_ne!(digest(&folder), first, "{hidden}");
        folder.remove(hidden);
    }

    folder.write("weights.bin", "external data");
    let second = digest(&folder);
    assert_ne!(second, first);
    fs::rename(folder.dir.join("weights.bin"), folder.dir.join("data.bin")).unwrap();
    assert_ne!(digest(&folder), second);
}

#[test]
fn the_end_of_a_file_and_the_start_of_the_next_cannot_be_exchanged() {
    let (one, other) = (Folder::valid(), Folder::valid());
    one.write("x", "ab");
    one.write("y", "c");
    other.write("x", "a");
    other.write("y", "bc");
    assert_ne!(digest(&one), digest(&other));
}
