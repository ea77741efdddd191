//! Every damage is found by the level that claims it, under the right name, as bad as it is, and nothing else is said.
//!
//! In: the damage kit over the bundled archive, an archive of a real server, and the larger archive. Out: a list of what
//! was missed or said wrongly, or nothing. Never: an expectation of wal-r's own making (the kit's model is its own).
//!
//! `WALR_DAMAGE_SEEDS=N` tries N seeds of each kind (`cargo xtask damage --sweep N`).

#![allow(clippy::print_stderr, reason = "a test speaks on stderr")]

use std::path::{Path, PathBuf};
use wal_r::testing::damage::{Archive, Damage, Kind, Scene};

fn scene(folder: &Path) -> Scene {
    let archive = Archive::read(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    Scene::new(archive).unwrap_or_else(|| panic!("{} holds no archive of WAL-E's", folder.display()))
}

/// `cargo xtask damage` runs this with `WALR_DAMAGE`: damaged copies to look at. Without it: one copy, read back.
#[test]
fn copies_for_people() {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match set("WALR_DAMAGE").as_deref() {
        Some("kinds") => Kind::all().for_each(|kind| eprintln!("{kind:?}")),
        Some(archive) => {
            let (archive, out) = (PathBuf::from(archive), PathBuf::from(set("WALR_DAMAGE_OUT").expect("where to")));
            let only = set("WALR_DAMAGE_KIND");
            let seeds = set("WALR_DAMAGE_SEEDS").unwrap_or_else(|| "0".into());
            let seeds: Vec<u64> = seeds.split_whitespace().map(|seed| seed.parse().expect("a seed")).collect();
            let scene = scene(&archive);
            for kind in Kind::all().filter(|kind| only.as_deref().is_none_or(|only| only == kind.name)) {
                for seed in &seeds {
                    if let Some(damage) = kind.damage(&scene, *seed) {
                        let folder = copy(&scene, &archive, &damage, &out);
                        eprintln!("{}: {}", folder.display(), damage.what);
                    }
                }
            }
        }
        None => {
            let (archive, _) = crate::support::archive::bundled();
            let scene = scene(&archive);
            let out = tempfile::tempdir().expect("a folder");
            let damage = Kind::named("history-missing").and_then(|kind| kind.damage(&scene, 7)).expect("a damage");
            let folder = copy(&scene, &archive, &damage, out.path());
            let copied = Archive::read(&folder).expect("the copy");
            let expected = scene.archive.damaged(&damage);
            assert!(copied.keys().eq(expected.keys()));
            assert!(copied.keys().all(|key| copied.get(key) == expected.get(key)));
        }
    }
}

/// A damaged copy in a folder of its own, and beside it what was done.
fn copy(scene: &Scene, archive: &Path, damage: &Damage, out: &Path) -> PathBuf {
    let folder = out.join(format!("{}-{}", damage.kind, damage.seed));
    scene.archive.write_damaged(archive, damage, &folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let text = format!("{}\n\n{:#?}\n", damage.what, damage.expect);
    std::fs::write(folder.with_extension("txt"), text).expect("a note beside it");
    folder
}
