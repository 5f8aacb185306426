//! Which sandboxes are meant. Pure.

use crate::args::Reap;
use crate::survey::model::{Sandbox, Sign, State};
use crate::survey::pick::pick;

/// The choice.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// What is to be ended, each once.
    pub(crate) meant: Vec<Sandbox>,
    /// What was asked for and is not done, and why.
    pub(crate) refused: Vec<String>,
}

/// By id, or by state.
pub(crate) fn choose(sandboxes: &[Sandbox], args: &Reap) -> Chosen {
    let mut chosen = Chosen { meant: Vec::new(), refused: Vec::new() };
    if args.wedged || args.orphaned {
        let state = if args.wedged { State::Wedged } else { State::Orphaned };
        chosen.meant = sandboxes.iter().filter(|one| one.state == state).cloned().collect();
        let unknown = sandboxes.iter().filter(|one| one.state == State::Unknown);
        chosen.refused = unknown.map(untold).collect();
        return chosen;
    }
    for prefix in &args.ids {
        match pick(sandboxes, prefix) {
            Err(error) => chosen.refused.push(error.to_string()),
            Ok(one) => match objection(one, prefix) {
                Some(objection) => chosen.refused.push(objection),
                None if chosen.meant.iter().any(|other| same(one, other)) => {}
                None => chosen.meant.push(one.clone()),
            },
        }
    }
    chosen
}

/// Why it is not ended, whatever is asked for.
fn untold(one: &Sandbox) -> String {
    let why: Vec<String> = one.signs.iter().map(Sign::line).collect();
    format!("{} is left alone: {}", one.found.id, why.join("; "))
}

fn same(one: &Sandbox, other: &Sandbox) -> bool {
    (&one.found.runsc_root, &one.found.id) == (&other.found.runsc_root, &other.found.id)
}

fn objection(one: &Sandbox, prefix: &str) -> Option<String> {
    let id = &one.found.id;
    if one.state == State::Unproven {
        let what =
            "cannot be proved to be a gVisor sandbox: no shim is above it and none of runsc's files names it";
        return Some(format!("{id} {what}; nothing is done to it"));
    }
    if one.state == State::Unknown {
        return Some(untold(one));
    }
    let what = "is a container; ending it ends its whole sandbox, so name that one";
    (!id.starts_with(prefix)).then(|| format!("{prefix} {what}: {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::model::tests::sandbox;

    fn all() -> Vec<Sandbox> {
        [
            ("healthy1", State::Running),
            ("paused1", State::Paused),
            ("starting1", State::Starting),
            ("ending1", State::Ending),
            ("ended1", State::Ended),
            ("stuck1", State::Wedged),
            ("stuck2", State::Wedged),
            ("orphan1", State::Orphaned),
            ("liar1", State::Unproven),
            ("hidden1", State::Unknown),
            ("undead1", State::Unkillable),
        ]
        .map(|(id, state)| sandbox(id, state))
        .to_vec()
    }

    fn chosen(change: impl Fn(&mut Reap)) -> (Vec<String>, Vec<String>) {
        let mut args = Reap {
            ids: Vec::new(),
            wedged: false,
            orphaned: false,
            dry_run: false,
            yes: false,
            report_dir: "/r".into(),
        };
        change(&mut args);
        let chosen = choose(&all(), &args);
        (chosen.meant.into_iter().map(|one| one.found.id).collect(), chosen.refused)
    }

    #[test]
    fn wedged_and_orphaned_mean_these_and_no_others() {
        assert_eq!(chosen(|args| args.wedged = true).0, ["stuck1", "stuck2"]);
        let (orphaned, untold) = chosen(|args| args.orphaned = true);
        assert_eq!((orphaned, untold.len()), (vec!["orphan1".to_owned()], 1));
        assert!(untold[0].starts_with("hidden1 is left alone"), "{untold:?}");
    }

    #[test]
    fn ids_mean_what_they_name_once() {
        let (meant, refused) =
            chosen(|args| args.ids = ["healthy", "stuck1", "healthy1"].map(String::from).into());
        assert_eq!((meant, refused.len()), (vec!["healthy1".to_owned(), "stuck1".to_owned()], 0));
    }

    #[test]
    fn what_is_unknown_ambiguous_or_unproven_is_refused() {
        for (id, why) in [
            ("nothing", "begins with"),
            ("stuck", "several"),
            ("liar1", "cannot be proved to be a gVisor sandbox"),
            ("hidden1", "is left alone"),
            ("app-of-healthy1", "is a container"),
        ] {
            let (meant, refused) = chosen(|args| args.ids = vec![id.into()]);
            assert!(meant.is_empty() && refused[0].contains(why), "{id}: {refused:?}");
        }
    }
}
