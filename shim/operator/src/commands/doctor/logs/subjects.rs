//! Which names are the same pod's: a line that has two of them joins them. Pure, and bounded.

use std::collections::HashMap;

use super::names::{Name, SHORT_ID};

/// More names are not remembered.
const MOST_NAMES: usize = 1 << 16;

/// A name's place.
pub(super) type Place = usize;

/// All names so far.
#[derive(Default)]
pub(super) struct Subjects {
    places: HashMap<Name, Place>,
    /// Where the id stands that begins so: people and dockerd shorten ids.
    beginnings: HashMap<String, Place>,
    nodes: Vec<Node>,
}

struct Node {
    name: Name,
    /// Towards the one that stands for all of them.
    parent: Place,
    /// The pod's uid, at the one that stands for all: two pods are never joined by a name that both had.
    uid: Option<Place>,
}

impl Subjects {
    /// Joins `names`, and says where the first of them stands. None of no names, and when there are too many.
    pub(super) fn join(&mut self, names: Vec<Name>) -> Option<Place> {
        let mut places = names.into_iter().map_while(|name| self.place(name)).collect::<Vec<_>>().into_iter();
        let first = places.next()?;
        places.for_each(|next| self.union(first, next));
        Some(first)
    }

    fn place(&mut self, name: Name) -> Option<Place> {
        if let Some(place) = self.places.get(&name) {
            return Some(*place);
        }
        let place = self.nodes.len();
        if place >= MOST_NAMES {
            return None;
        }
        if let Some(same) = self.same_id(&name, place) {
            self.places.insert(name, same);
            return Some(same);
        }
        let uid = matches!(name, Name::Uid(_)).then_some(place);
        self.nodes.push(Node { name: name.clone(), parent: place, uid });
        self.places.insert(name, place);
        Some(place)
    }

    /// Where the same id stands already, shorter or longer; from now on it is called by the longer one.
    fn same_id(&mut self, name: &Name, next: Place) -> Option<Place> {
        let Name::Id(id) = name else { return None };
        let place = *self.beginnings.entry(id.get(..SHORT_ID)?.to_owned()).or_insert(next);
        let same = &mut self.nodes.get_mut(place)?.name;
        let (is_shorter, is_longer) = (id.starts_with(same.text()), same.text().starts_with(id.as_str()));
        if is_shorter {
            *same = name.clone();
        }
        (is_shorter || is_longer).then_some(place)
    }

    /// The one that stands for all that are joined with `place`.
    pub(super) fn root(&self, mut place: Place) -> Place {
        while let Some(node) = self.nodes.get(place).filter(|node| node.parent != place) {
            place = node.parent;
        }
        place
    }

    /// The same, and the way there is shorter the next time.
    fn shorten(&mut self, place: Place) -> Place {
        let root = self.root(place);
        let mut next = place;
        while next != root {
            next = std::mem::replace(&mut self.nodes[next].parent, root);
        }
        root
    }

    fn union(&mut self, one: Place, other: Place) {
        let (one, other) = (self.shorten(one), self.shorten(other));
        let (uid, other_uid) = (self.nodes[one].uid, self.nodes[other].uid);
        if one == other || uid.is_some() && other_uid.is_some() {
            return;
        }
        // The older one stands for both, so that ways stay short.
        let (root, child) = (one.min(other), one.max(other));
        self.nodes[child].parent = root;
        self.nodes[root].uid = uid.or(other_uid);
    }

    /// All names, by the one that stands for them.
    pub(super) fn members(&self) -> HashMap<Place, Vec<&Name>> {
        let mut all: HashMap<Place, Vec<&Name>> = HashMap::new();
        for (place, node) in self.nodes.iter().enumerate() {
            all.entry(self.root(place)).or_default().push(&node.name);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> Name {
        Name::Uid(text.into())
    }

    fn id(text: &str) -> Name {
        Name::Id(text.into())
    }

    fn pod(text: &str) -> Name {
        Name::Pod(text.into())
    }

    #[test]
    fn names_are_joined_along_a_chain() {
        let mut all = Subjects::default();
        let container = all.join(vec![id("container")]).unwrap();
        all.join(vec![id("sandbox"), id("container")]);
        all.join(vec![pod("shop/web"), id("sandbox")]);
        let first = all.join(vec![uid("1"), pod("shop/web")]).unwrap();
        assert_eq!(all.root(first), all.root(container));
        assert_eq!(all.members()[&all.root(first)].len(), 4);
    }

    #[test]
    fn two_pods_of_one_name_stay_two() {
        let mut all = Subjects::default();
        let first = all.join(vec![uid("1"), pod("shop/web-0")]).unwrap();
        let second = all.join(vec![uid("2"), pod("shop/web-0")]).unwrap();
        assert_ne!(all.root(first), all.root(second));
        let third = all.join(vec![pod("shop/web-0"), id("x")]).unwrap();
        assert_eq!(all.root(third), all.root(first));
    }

    #[test]
    fn there_is_a_limit() {
        let mut all = Subjects::default();
        for number in 0..MOST_NAMES {
            assert!(all.join(vec![id(&number.to_string())]).is_some());
        }
        assert_eq!(all.join(vec![id("one more")]), None);
        assert!(all.join(vec![id("3")]).is_some());
    }
}
