//! An event for each escalation, for those who watch containerd's events and not its log.
//!
//! `ctr events`, and whoever decodes by containerd's registry, shows only payloads of types that are linked into it.
//! `containerd.types.Sandbox` is, since 1.7: it names a sandbox and carries labels, and no event of containerd's own
//! has it, so nobody can take ours for one of those, as they could a `ContainerUpdate`. `google.protobuf.Struct`,
//! which would be neutral too, is not linked into `ctr`. An older `ctr` leaves the event out with a warning.
//!
//! The topic is our own, and who acts on events asks for topics: CRI for `/tasks/oom` and `/images/`
//! (internal/cri/server/service.go), moby for `/tasks/` (libcontainerd/remote/client.go). containerd itself passes
//! events on unread.

use runsc_guard_proto::protobuf::well_known_types::any::Any;
use runsc_guard_proto::protobuf::{Message as _, MessageField};
use runsc_guard_proto::{Envelope, sandbox::Sandbox};

use super::fact::Fact;
use super::fields::{self, Field};
use super::observer::{Observer, Scene};
use crate::serve::encode;
use crate::serve::publish::Publisher;

const TOPIC: &str = "/runsc-guard/escalation";

/// Publishes them.
pub(super) struct ContainerdEvent {
    publisher: Publisher,
    namespace: String,
    sandbox: String,
}

impl ContainerdEvent {
    pub(super) fn new(publisher: Publisher, namespace: &str, sandbox: &str) -> Self {
        Self { publisher, namespace: namespace.to_owned(), sandbox: sandbox.to_owned() }
    }
}

impl Observer for ContainerdEvent {
    fn observe(&mut self, fact: &Fact<'_>, scene: &Scene<'_>) {
        let Fact::Noted(note) = fact else { return };
        // (Of one that is forgotten the bundle is gone, and with it the way of a line into containerd's log.)
        if note.phase().is_some() {
            let labels = fields::of(note, scene.report);
            self.publisher.publish(escalation(&self.namespace, &self.sandbox, &labels));
        }
    }
}

/// The event about this sandbox with these labels.
fn escalation(namespace: &str, sandbox: &str, labels: &[(&str, Field)]) -> Envelope {
    let mut content = Sandbox::new();
    content.sandbox_id = sandbox.to_owned();
    content.labels = labels.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
    let mut any = Any::new();
    any.type_url = "containerd.types.Sandbox".to_owned();
    any.value = content.write_to_bytes().unwrap_or_default();
    let mut envelope = Envelope::new();
    envelope.timestamp = encode::timestamp(encode::wall_clock_ns());
    envelope.namespace = namespace.to_owned();
    envelope.topic = TOPIC.to_owned();
    envelope.event = MessageField::some(any);
    envelope
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escalation_reads_back_as_a_sandbox_with_labels() {
        let envelope = escalation("ns", "box", &[("phase", Field::Text("begins".into()))]);
        assert_eq!((envelope.namespace.as_str(), envelope.topic.as_str()), ("ns", TOPIC));
        let any = envelope.event.unwrap();
        assert_eq!(any.type_url, "containerd.types.Sandbox");
        let content = Sandbox::parse_from_bytes(&any.value).unwrap();
        assert_eq!((content.sandbox_id.as_str(), content.labels["phase"].as_str()), ("box", "begins"));
    }
}
