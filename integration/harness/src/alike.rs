//! The same under gVisor's own shim and under the guard.

use crate::{Handler, Host, Transcript};
use anyhow::{Context as _, Result};

/// Runs `scenario` under the handlers `unguarded` and `guarded`, each with an id of its own, and compares what it noted.
pub fn alike(
    host: &Host,
    name: &str,
    scenario: impl Fn(&Host, &Handler, &str, &mut Transcript) -> Result<()>,
) -> Result<()> {
    let transcript = |handler: &str| {
        let id = format!("{name}-{handler}");
        let mut notes = Transcript::default();
        notes.rename(&id, "ID");
        scenario(host, &host.handler(handler)?, &id, &mut notes)
            .with_context(|| format!("{handler}, after:\n{notes}"))?;
        anyhow::Ok(notes)
    };
    let unguarded = transcript("unguarded")?;
    println!("{name}, unguarded:\n{unguarded}");
    unguarded.assert_same(&transcript("guarded")?)
}
