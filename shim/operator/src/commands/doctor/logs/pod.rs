//! A judged pod, as it is printed.

use serde::Serialize;

use super::cause::Cause;
use super::fact::Fact;
use super::judge::Judged;
use super::names::Name;

/// One pod, sandbox or container.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pod {
    /// `namespace/name`, or its id.
    pub(crate) name: String,
    /// All ids and names that are known to be its.
    pub(crate) ids: Vec<String>,
    /// Whether it is stuck, and what else it may be.
    pub(crate) state: &'static str,
    /// Why, as far as the lines tell.
    pub(crate) cause: Cause,
    /// How often its end was tried in vain.
    pub(crate) tries: u64,
    /// Lines about it.
    pub(crate) lines: u64,
    /// When the first was written, in the log's own words.
    pub(crate) first: Option<String>,
    /// And the last.
    pub(crate) last: Option<String>,
}

impl Pod {
    /// As it was judged.
    pub(super) fn of(one: &Judged<'_>) -> Self {
        let mut timed: Vec<_> = one.facts.iter().filter(|fact| fact.words.is_some()).collect();
        timed.sort_by_key(|fact| fact.times[0].or(fact.times[1]));
        let words = |fact: Option<&&&Fact>| fact.and_then(|fact| fact.words.as_deref()).map(str::to_owned);
        Self {
            name: display(one),
            ids: one.names.iter().map(|name| name.text().to_owned()).collect(),
            state: one.state.word(),
            cause: one.cause,
            tries: one.tries,
            lines: one.facts.len() as u64,
            first: words(timed.first()),
            last: words(timed.last()),
        }
    }
}

impl Pod {
    /// In a few words.
    pub(super) fn what(&self) -> String {
        match self.state {
            "guarded" => "ended by the guard".to_owned(),
            "slow" => "slow, ended at last".to_owned(),
            "guard waits" => "the guard's deadline runs".to_owned(),
            _ => self.cause.words().to_owned(),
        }
    }
}

/// What commands take.
pub(super) fn handle<'a>(one: &Judged<'a>) -> Option<&'a str> {
    let id = one.names.iter().find(|name| matches!(name, Name::Id(_)));
    id.or_else(|| one.names.iter().find(|name| matches!(name, Name::Docker(_)))).map(|name| name.text())
}

/// What people know it by.
pub(super) fn display(one: &Judged<'_>) -> String {
    let is_pod = |name: &&&Name| matches!(name, Name::Pod(_));
    let name =
        one.names.iter().find(is_pod).or_else(|| one.names.iter().find(|name| matches!(name, Name::Id(_))));
    let name = name.or_else(|| one.names.first()).map(|name| name.text().to_owned());
    name.unwrap_or_else(|| {
        if one.cause.is_of_the_node() { "the node" } else { "(no name in the line)" }.to_owned()
    })
}
