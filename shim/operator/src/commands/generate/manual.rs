//! The configuration reference as a manual page: `runsc-guard.toml.5`.

use roff::{Roff, bold, italic, roman};

use super::keys::Key;
use super::words;

/// The page.
pub(super) fn page(keys: &[Key]) -> String {
    let mut page = Roff::new();
    page.control("TH", ["runsc-guard.toml", "5", "", concat!("runsc-guard ", env!("CARGO_PKG_VERSION"))]);
    page.control("SH", ["NAME"])
        .text([roman("runsc-guard.toml - configuration of containerd-shim-runsc-guard-v2")]);
    page.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut page, &words::INTRODUCTION);
    page.control("SH", ["KEYS"]);
    for Key { name, default, accepted, meaning, .. } in keys {
        page.control("TP", []).text([bold(*name), roman(format!(" = {default}"))]);
        page.text([roman(format!("{meaning}."))]).control("br", []);
        page.text([italic("Accepted: "), roman(format!("{accepted}."))]);
    }
    page.control("SH", ["ANNOTATIONS"]);
    paragraphs(&mut page, &words::ANNOTATIONS);
    for key in keys {
        if let Some(annotation) = &key.annotation {
            page.control("TP", []).text([bold(annotation.as_str())]).text([roman(key.name)]);
        }
    }
    page.control("SH", ["GVISOR'S KEYS"]);
    page.text([roman(plain(&words::gvisors()))]);
    page.control("SH", ["SEE ALSO"]).text([
        bold("runsc-guard"),
        roman("(1), "),
        bold("runsc-guard-doctor"),
        roman("(1)"),
    ]);
    page.render()
}

fn paragraphs(page: &mut Roff, paragraphs: &[&str]) {
    for paragraph in paragraphs {
        page.control("PP", []).text([roman(plain(paragraph))]);
    }
}

fn plain(text: &str) -> String {
    text.replace('`', "")
}
