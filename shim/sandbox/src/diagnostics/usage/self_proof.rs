//! Whether what the sentry itself says of a container's use may stand for what the real shim would say.
//!
//! It has to prove that, for each container anew: the first [`HELD`] answers are the real shim's, and beside each the sentry
//! is asked twice, before and after. What the real shim says must lie between the two, field by field; where they agree it
//! must be the same. A field that is not so, and does not move by itself, is a difference, and one is enough: the whole
//! sandbox goes back to the real shim for good. What moves by itself (processor time that is divided among containers,
//! memory, processes) may have gone up and come down between two looks: such a comparison shows nothing, and
//! [`COMPARED`] in all must suffice.
//!
//! Afterwards the sentry is believed as long as it answers in the known shape. Where it is late, silent or refuses, the real
//! shim is asked the same; if that answers, [`FAILURES`] times in a row, the fault is the direct way's, and the sandbox goes
//! back as well. Where the real shim cannot tell either, it was the sentry's or the node's, and says nothing of the way.

use std::collections::BTreeMap;

/// So many comparisons have to hold.
pub const HELD: u8 = 3;
/// Among so many at most.
pub const COMPARED: u8 = 20;
/// So often in a row the real shim may know what the sentry has not said.
pub const FAILURES: u8 = 3;

/// By which way a container's use is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the sentry.
    Direct,
    /// From both: the real shim answers, the sentry is compared with it.
    Both,
    /// From the real shim.
    Shim,
}

/// One field of an answer, as each has it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Whether it goes up and down by itself.
    pub moves: bool,
    /// The sentry's, before the real shim was asked.
    pub before: u64,
    /// The real shim's.
    pub shim: u64,
    /// The sentry's, after it had answered.
    pub after: u64,
}

impl Field {
    /// Whether the real shim's lies between the sentry's.
    pub fn holds(&self) -> bool {
        (self.before.min(self.after)..=self.before.max(self.after)).contains(&self.shim)
    }
}

/// What has been seen of one sandbox.
#[derive(Debug)]
pub struct SelfProof {
    containers: BTreeMap<String, Seen>,
    failures: u8,
    refuted: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    held: u8,
    compared: u8,
}

impl SelfProof {
    /// Of a sandbox that nothing is known of; `is_wanted` is false where the operator wants the real shim's answers.
    pub fn new(is_wanted: bool) -> Self {
        Self { containers: BTreeMap::new(), failures: 0, refuted: !is_wanted }
    }

    /// By which way to go for a container.
    pub fn way(&self, container: &str) -> Way {
        match self.containers.get(container) {
            _ if self.refuted => Way::Shim,
            Some(seen) if seen.held >= HELD => Way::Direct,
            _ => Way::Both,
        }
    }

    /// Only these containers are left.
    pub fn retain(&mut self, is_left: impl Fn(&str) -> bool) {
        self.containers.retain(|container, _| is_left(container));
    }

    /// A container's use was learned by both ways. Tells what is wrong, if that is so.
    pub fn compared(&mut self, container: &str, fields: impl IntoIterator<Item = Field>) -> Option<String> {
        let mut outside = None;
        for field in fields.into_iter().filter(|field| !field.holds()) {
            let Field { name, before, shim, after, moves } = field;
            let what = format!("{name} is {shim} there, and {before} and {after} by the sentry");
            if !moves {
                return self.refute(what);
            }
            outside = Some(what);
        }
        self.count(container, outside)
    }

    /// The sentry has answered one of the two questions, and the other or the real shim has not: nothing was compared.
    pub fn incomparable(&mut self, container: &str) -> Option<String> {
        self.count(container, Some("it has not answered twice".to_string()))
    }

    /// One more; the last of those that have not held tells why.
    fn count(&mut self, container: &str, outside: Option<String>) -> Option<String> {
        let seen = self.containers.entry(container.to_string()).or_default();
        seen.held += u8::from(outside.is_none());
        seen.compared += 1;
        if seen.held >= HELD || seen.compared < COMPARED {
            return None;
        }
        let (held, compared, why) = (seen.held, seen.compared, outside.unwrap_or_default());
        self.refute(format!("of {compared} comparisons of container {container} {held} have held: {why}"))
    }

    /// The sentry has answered.
    pub fn answered(&mut self) {
        self.failures = 0;
    }

    /// The real shim has told what the sentry had not. Tells what is wrong, once that is so.
    pub fn missed(&mut self, why: &str) -> Option<String> {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES {
            return None;
        }
        self.refute(format!(
            "the shim has answered {FAILURES} times in a row where the sentry has not: {why}"
        ))
    }

    /// What the sentry says is not what was expected: never again. Tells it, the first time.
    pub fn refute(&mut self, why: String) -> Option<String> {
        self.containers.clear();
        (!std::mem::replace(&mut self.refuted, true)).then_some(why)
    }
}

/// Processor time in nanoseconds, as the sentry counts it for each container and the host for all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessorTime {
    /// Of the container.
    own: u64,
    /// Of all.
    all: u64,
    /// How many that are.
    containers: u64,
    /// By the host, where that can tell.
    host: Option<u64>,
}

impl ProcessorTime {
    /// `own` is none for a container that the sentry does not list. None where it lists none at all: gVisor of 2025 does so
    /// where it tells the container's time itself, and runsc leaves that as it is; a newer one tells none then.
    pub fn new(own: Option<u64>, of_each: impl Iterator<Item = u64>, host: Option<u64>) -> Option<Self> {
        let (all, containers) =
            of_each.fold((0_u64, 0), |(all, count), one| (all.wrapping_add(one), count + 1));
        let own = own.unwrap_or(0);
        (containers > 0).then(|| Self { own, all, containers, host: host.filter(|host| *host > 0) })
    }

    /// The container's, as runsc makes it of these (`runsc/container/container.go`, `populateStats`).
    pub fn share(&self) -> u64 {
        let Self { own, all, containers, host } = *self;
        let Some(host) = host else { return own };
        let (own, all) = if all == 0 { (host / containers, host) } else { (own, all) };
        // In floats, as there: the products of two such times do not fit.
        (own as f64 * (host as f64 / all as f64)) as u64
    }

    /// The least and the most that a share can have been in between. Each of the three only grows, their quotient need not:
    /// that of an idle container falls while the sentry counts more of another's time than the host.
    pub fn between(before: &Self, after: &Self) -> (u64, u64) {
        let least = Self { all: after.all, ..*before };
        let most = Self { all: before.all, ..*after };
        (least.share(), most.share())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(moves: bool, before: u64, shim: u64, after: u64) -> Field {
        Field { name: "pids.current", moves, before, shim, after }
    }

    #[test]
    fn a_container_is_believed_after_three_comparisons_that_hold() {
        let mut proof = SelfProof::new(true);
        for _ in 0..HELD {
            assert_eq!(proof.way("a"), Way::Both);
            assert_eq!(proof.compared("a", [field(false, 4, 4, 4), field(true, 9, 7, 5)]), None);
        }
        assert_eq!((proof.way("a"), proof.way("b")), (Way::Direct, Way::Both));
        proof.retain(|container| container == "b");
        assert_eq!(proof.way("a"), Way::Both);
    }

    #[test]
    fn one_difference_is_enough_for_the_whole_sandbox_and_is_told_once() {
        let mut proof = SelfProof::new(true);
        for _ in 0..HELD {
            proof.compared("a", [field(true, 1, 1, 1)]);
        }
        let told = proof.compared("b", [field(false, 5, 6, 5)]).unwrap();
        assert_eq!(told, "pids.current is 6 there, and 5 and 5 by the sentry");
        assert_eq!((proof.way("a"), proof.way("b")), (Way::Shim, Way::Shim));
        assert_eq!(proof.compared("b", [field(false, 5, 6, 5)]), None);
    }

    #[test]
    fn what_moves_by_itself_has_twenty_comparisons() {
        let mut proof = SelfProof::new(true);
        for _ in 0..COMPARED - 1 {
            assert_eq!(proof.compared("a", [field(true, 5, 6, 5)]), None);
        }
        assert!(proof.incomparable("a").unwrap().contains("of 20 comparisons of container a 0 have held"));
        assert_eq!(proof.way("a"), Way::Shim);
    }

    #[test]
    fn three_times_in_a_row_the_shim_knows_what_the_sentry_does_not() {
        let mut proof = SelfProof::new(true);
        for _ in 0..10 {
            assert_eq!((proof.missed("late"), proof.missed("late")), (None, None));
            proof.answered();
        }
        proof.missed("late");
        proof.missed("late");
        assert!(proof.missed("late").unwrap().ends_with("where the sentry has not: late"));
        assert_eq!(proof.way("a"), Way::Shim);
    }

    #[test]
    fn who_wants_the_shim_has_it_and_nothing_is_told() {
        let mut proof = SelfProof::new(false);
        assert_eq!((proof.way("a"), proof.missed("x"), proof.refute("y".into())), (Way::Shim, None, None));
    }

    fn time(own: Option<u64>, of_each: &[u64], host: Option<u64>) -> ProcessorTime {
        ProcessorTime::new(own, of_each.iter().copied(), host).unwrap()
    }

    /// By populateStats, each case.
    #[test]
    fn processor_time_is_divided_as_runsc_divides_it() {
        let share_of = |own, of_each: &[u64], host| time(own, of_each, host).share();
        assert_eq!(ProcessorTime::new(None, [].into_iter(), Some(5)), None);
        // No cgroup, or one that has counted nothing: the sentry's word.
        assert_eq!(share_of(Some(7), &[7, 3], None), 7);
        assert_eq!(share_of(Some(7), &[7, 3], Some(0)), 7);
        // The sentry has counted nothing: equal parts.
        assert_eq!(share_of(Some(0), &[0, 0], Some(10)), 5);
        assert_eq!(share_of(Some(30), &[30, 10], Some(100)), 75);
        // An id that the sentry has not listed.
        assert_eq!(share_of(None, &[30, 10], Some(100)), 0);
        // Sixteen seconds times sixteen seconds is more than 64 bits hold.
        let (usage, host) = (16_000_000_000, 17_000_000_000);
        assert_eq!(share_of(Some(usage), &[usage], Some(host)), host);
        assert_eq!(share_of(Some(usage), &[usage; 4], Some(host)), host / 4);
    }

    #[test]
    fn a_share_lies_between_what_its_parts_allow() {
        // The sentry counts another container's time first, the host afterwards: the idle one's share falls and rises.
        let before = time(Some(10), &[10, 90], Some(200));
        let meanwhile = time(Some(10), &[10, 190], Some(210));
        let after = time(Some(10), &[10, 190], Some(400));
        assert_eq!([before, meanwhile, after].map(|time| time.share()), [20, 10, 20]);
        let (least, most) = ProcessorTime::between(&before, &after);
        assert_eq!((least, most), (10, 40));
    }
}
