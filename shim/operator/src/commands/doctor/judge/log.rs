//! The guard's log against containerd's, into which it is copied: one journal should have one format.

use runsc_guard_node::config::LogFormat;

use crate::commands::doctor::facts::{Facts, Handler};
use crate::commands::doctor::finding::Finding;
use crate::containerd::dump::Dump;

const ABOUT: &str = "log";

/// What containerd's own program makes of its files tells its format, whichever file sets it.
pub(super) fn log(facts: &Facts) -> Vec<Finding> {
    let Some(Ok(merged)) = &facts.merged else { return Vec::new() };
    let guarded = facts.handlers.iter().filter(|one| one.defined.guarded);
    guarded.filter_map(|one| differs(one, merged, facts)).collect()
}

fn differs(one: &Handler, merged: &Dump, facts: &Facts) -> Option<Finding> {
    let config = one.config.as_ref().ok()?;
    let containerds = if merged.logs_json() { LogFormat::Json } else { LogFormat::Logfmt };
    if config.log_format == containerds {
        return None;
    }
    let name = &one.defined.name;
    let what = format!(
        "handler {name}: the guard writes its log as {}, and containerd as {}: one journal has both",
        word(config.log_format),
        word(containerds)
    );
    let file = match &one.defined.config_path {
        Some(file) => file.display().to_string(),
        None => "a file that the handler's options.ConfigPath names".to_owned(),
    };
    let own = match containerds {
        LogFormat::Json => "\"json\"",
        LogFormat::Logfmt => "\"logfmt\"",
    };
    let other = match config.log_format {
        LogFormat::Json => "json",
        LogFormat::Logfmt => "text",
    };
    let remedy = format!(
        "log_format = {own} under [guard] in {file}, which holds for new pods; or format = \"{other}\" under [debug] in \
         {}, then {}",
        facts.settings_file.display(),
        facts.restart
    );
    Some(Finding::warn(ABOUT, what, remedy))
}

fn word(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Json => "JSON",
        LogFormat::Logfmt => "logfmt",
    }
}
