//! Which sandbox an id on the command line means. Pure.

use super::model::Sandbox;

/// The one sandbox that `prefix` means: a whole id before a prefix, a sandbox's own before a container's.
pub(crate) fn pick<'a>(sandboxes: &'a [Sandbox], prefix: &str) -> Result<&'a Sandbox, PickError> {
    let ranks: [&dyn Fn(&Sandbox) -> bool; 3] = [
        &|one| one.found.id == prefix,
        &|one| !prefix.is_empty() && one.found.id.starts_with(prefix),
        &|one| one.is_named(prefix),
    ];
    for rank in ranks {
        let mut meant = sandboxes.iter().filter(|one| rank(one));
        match (meant.next(), meant.next()) {
            (Some(one), None) => return Ok(one),
            (Some(one), Some(other)) => {
                let full = |one: &Sandbox| format!("{}/{}", one.found.namespace, one.found.id);
                return Err(PickError::Several(prefix.to_owned(), full(one), full(other)));
            }
            (None, _) => {}
        }
    }
    Err(PickError::None(prefix.to_owned()))
}

/// Why an id means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PickError {
    /// Nothing begins so.
    #[error("no gVisor sandbox and no container in one has an id that begins with {0:?}; see runsc-guard ls")]
    None(String),
    /// More than one does.
    #[error("{0:?} is the beginning of several ids, {1} and {2} among them; add letters, or -n NAMESPACE")]
    Several(String, String, String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::model::State;
    use crate::survey::model::tests::sandbox;

    #[test]
    fn a_prefix_must_mean_one_sandbox() {
        let all =
            [sandbox("abc1", State::Running), sandbox("abd2", State::Running), sandbox("abc", State::Wedged)];
        let id = |prefix: &str| pick(&all, prefix).map(|one| one.found.id.clone());
        assert_eq!(id("abd").unwrap(), "abd2");
        assert_eq!(id("abc").unwrap(), "abc", "a whole id is no prefix");
        assert_eq!(id("app-of-abd").unwrap(), "abd2");
        assert!(matches!(id("ab"), Err(PickError::Several(..))));
        assert!(matches!(id("x"), Err(PickError::None(_))));
        assert!(matches!(id(""), Err(PickError::None(_))));
    }
}
