//! `show`.

use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::args::{Form, Scope, Show};
use crate::screen;
use crate::survey::model::Sandbox;
use crate::survey::pick::pick;
use crate::survey::survey;
use crate::threads::apart;

pub(crate) mod details;
mod text;

use details::Details;

/// What one sandbox's details may take beyond the survey; without them the rest is shown.
const LIMIT: Duration = Duration::from_millis(450);

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    sandbox: &'a Sandbox,
    details: Option<&'a Details>,
}

/// Prints all about one sandbox.
pub(crate) fn run(scope: &Scope, args: &Show) -> Result<ExitCode> {
    let seen = survey(scope)?;
    crate::commands::caution(&seen).iter().for_each(|caution| screen::complain(caution));
    let sandbox = pick(&seen.sandboxes, &args.id)?;
    let (done, result) = mpsc::channel();
    let found = sandbox.found.clone();
    apart(move || {
        // Nobody listens to what comes too late.
        let _ = done.send(Details::of(&found));
    });
    let details = result.recv_timeout(LIMIT).ok();
    let text = match args.output {
        Form::Json => serde_json::to_string_pretty(&Shown { sandbox, details: details.as_ref() })? + "\n",
        Form::Text => screen::fitted(&text::render(sandbox, details.as_ref())),
    };
    screen::write(&text)?;
    Ok(ExitCode::SUCCESS)
}
