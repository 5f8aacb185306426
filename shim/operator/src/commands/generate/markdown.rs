//! The configuration reference as a page: `hack/docs/configuration.md`.

use super::keys::Key;
use super::words;

/// The page.
pub(super) fn page(keys: &[Key]) -> String {
    let mut page = format!(
        "<!-- Generated: runsc-guard configuration markdown > hack/docs/configuration.md -->\n# Configuration\n\n{}\n\n\
         | key | default | accepted | |\n| --- | --- | --- | --- |\n",
        words::INTRODUCTION.join("\n\n"),
    );
    for Key { name, default, accepted, meaning, .. } in keys {
        page += &format!("| `{name}` | `{default}` | {accepted} | {meaning} |\n");
    }
    page += &format!(
        "\n## For one pod\n\n{}\n\n| annotation | key |\n| --- | --- |\n",
        words::ANNOTATIONS.join("\n\n")
    );
    for key in keys {
        if let Some(annotation) = &key.annotation {
            page += &format!("| `{annotation}` | `{}` |\n", key.name);
        }
    }
    page + &format!("\n## gVisor's keys that the guard reads\n\n{}\n", words::gvisors())
}
