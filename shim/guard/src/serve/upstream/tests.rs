use runsc_guard_node::config::Config;
use runsc_guard_node::paths::Place;
use runsc_guard_proto::protobuf::Message as _;
use runsc_guard_proto::task::CreateTaskRequest;

use super::*;

fn upstream() -> Upstream {
    let folder = std::path::PathBuf::from("/nowhere");
    let params = ServeParams {
        config: Config::default(),
        config_file: None,
        shim: folder.join("shim"),
        namespace: "k8s.io".into(),
        sandbox: "root".into(),
        container: "root".into(),
        bundle: folder.clone(),
        address: String::new(),
        ttrpc_address: String::new(),
        place: Place { socket: folder.join("s"), folder: folder.clone(), lock: folder.join("l") },
        debug: false,
        oom_score_refused: None,
        annotations_ignored: None,
    };
    Upstream::new(Arc::new(params), Identity::me().unwrap(), unbounded_channel().0)
}

fn create(upstream: &mut Upstream, call: u64, id: &str) {
    let create = CreateTaskRequest { id: id.into(), ..CreateTaskRequest::default() };
    let request = Request { payload: create.write_to_bytes().unwrap(), ..Request::default() };
    upstream.send(CallId(call), Method::Create, request, ConnectionKind::Own);
}

/// The calls that are on their way to the real shim, with their connections and streams.
fn sent(upstream: &Upstream) -> Vec<(u64, ConnectionId, u32)> {
    let of = |(id, connection): (&ConnectionId, &Connection)| {
        let call = |(stream, sent): (&u32, &Sent)| match sent.why {
            Why::Call(CallId(call)) => Some((call, *id, *stream)),
            Why::Question | Why::Dismissal => None,
        };
        connection.calls.iter().filter_map(call).collect::<Vec<_>>()
    };
    upstream.connections.iter().flat_map(of).collect()
}

/// A second container waits for the first one only as long as that is being created.
#[tokio::test]
async fn whatever_becomes_of_the_first_create_the_next_one_goes_on() {
    for end in ["fails", "is given up", "is lost"] {
        let mut upstream = upstream();
        create(&mut upstream, 1, "root");
        create(&mut upstream, 2, "side");
        create(&mut upstream, 3, "third");
        let [(1, id, stream)] = sent(&upstream)[..] else { panic!("the first alone is sent") };
        match end {
            "fails" => {
                let failure = encode::failure(Code::UNKNOWN, "no rootfs".into());
                assert!(upstream.received(id, stream, failure).is_some());
            }
            "is given up" => upstream.cancel(CallId(1)),
            _ => assert_eq!(upstream.disconnected(id), [CallId(1)]),
        }
        let sent = sent(&upstream);
        assert!(matches!(sent[..], [(2, ..)]), "where the first {end}: {sent:?}");
        assert_eq!(upstream.parked.len(), 1, "one after the other");
    }
}
