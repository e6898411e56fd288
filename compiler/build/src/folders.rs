//! Where Cargo leaves programs. Build scripts are told where they may write, `OUT_DIR`, and not where that is.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the programs of the profile whose build has `out` as `OUT_DIR`: `target/release` and the like. Where
/// builds and programs have folders of their own (`build.build-dir`), Cargo is asked for both.
pub(crate) fn of_programs(out: &Path) -> Option<PathBuf> {
    let profile = out.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "build"))?.parent()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let asked = Command::new(cargo).args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).output();
    let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    Some(among_programs(profile, &said).unwrap_or_else(|| profile.to_path_buf()))
}

/// The folder of programs that belongs to `profile`, one of builds, where `metadata` tells of two.
fn among_programs(profile: &Path, metadata: &str) -> Option<PathBuf> {
    let inner = profile.strip_prefix(text_field(metadata, "build_directory")?).ok()?;
    Some(Path::new(&text_field(metadata, "target_directory")?).join(inner))
}

/// The text of a field of a JSON object, of which it is known that the name stands once.
fn text_field(json: &str, name: &str) -> Option<String> {
    let (_, rest) = json.split_once(&format!("\"{name}\":\""))?;
    let mut text = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            // Paths have no other escapes than these.
            '\\' => text.push(characters.next().filter(|c| matches!(c, '\\' | '"' | '/'))?),
            character => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_have_a_folder_of_their_own() {
        let metadata =
            r#"{"packages":[],"target_directory":"/a \"b\"/target","build_directory":"/build/1","version":1}"#;
        let found = |profile: &str| among_programs(Path::new(profile), metadata);
        assert_eq!(
            found("/build/1/aarch64-unknown-linux-gnu/release"),
            Some("/a \"b\"/target/aarch64-unknown-linux-gnu/release".into())
        );
        assert_eq!(found("/elsewhere/debug"), None);
        assert_eq!(among_programs(Path::new("/build/1/debug"), "{}"), None);
    }
}
