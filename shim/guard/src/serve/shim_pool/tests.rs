use runsc_guard_proto::task::{CloseIORequest, CreateTaskRequest, PidsRequest, UpdateTaskRequest};

use super::*;
use crate::serve::encode;

const FIRST: ShimId = ShimId::FIRST;

fn create(id: &str) -> Vec<u8> {
    let request =
        CreateTaskRequest { id: id.into(), bundle: format!("/b/{id}"), ..CreateTaskRequest::default() };
    request.write_to_bytes().unwrap()
}

fn delete(id: &str, exec: &str) -> Vec<u8> {
    let request = DeleteRequest { id: id.into(), exec_id: exec.into(), ..DeleteRequest::default() };
    request.write_to_bytes().unwrap()
}

fn success() -> Response {
    encode::message(&PidsRequest::default())
}

fn failure(code: Code) -> Response {
    encode::failure(code, "container not created".into())
}

/// A pool whose first container, `root`, is created, and whose real shim has answered the question.
fn told(answer: &Response) -> ShimPool {
    let mut pool = ShimPool::new();
    assert_eq!(pool.route(Method::Create, &create("root")), Route::To(FIRST));
    assert_eq!(pool.answered(FIRST, Method::Create, &create("root"), true), Next::Ask(FIRST));
    pool.told(answer);
    pool
}

/// One real shim per container, for `root` and `side`.
fn pod() -> (ShimPool, ShimId) {
    let mut pool = told(&success());
    let Route::New(side) = pool.route(Method::Create, &create("side")) else { panic!("no new real shim") };
    assert_eq!(pool.answered(side, Method::Create, &create("side"), true), Next::Nothing);
    (pool, side)
}

#[test]
fn one_that_looks_ids_up_holds_the_whole_pod() {
    let mut pool = told(&failure(Code::NOT_FOUND));
    for method in [Method::Create, Method::State, Method::Delete, Method::Shutdown] {
        assert_eq!(pool.route(method, &create("side")), Route::To(FIRST), "{method}");
        assert!(!pool.minds(method), "{method}");
    }
    assert_eq!(pool.answered(FIRST, Method::Delete, &delete("side", ""), true), Next::Nothing);
    assert_eq!(pool.lost(FIRST), Loss::Shim);
}

#[test]
fn one_that_does_not_say_is_taken_for_todays() {
    assert_eq!(
        told(&failure(Code::DEADLINE_EXCEEDED)).route(Method::Create, &create("side")),
        Route::To(FIRST)
    );
    let mut pool = ShimPool::new();
    pool.route(Method::Create, &create("root"));
    pool.answered(FIRST, Method::Create, &create("root"), true);
    assert_eq!(pool.unanswered(Method::State), Next::Unpark);
    assert_eq!(pool.route(Method::Create, &create("side")), Route::To(FIRST));
}

#[test]
fn until_it_has_said_a_second_container_waits_and_nothing_else() {
    let mut pool = ShimPool::new();
    assert_eq!(pool.route(Method::Create, &create("root")), Route::To(FIRST));
    assert_eq!(pool.route(Method::Create, &create("side")), Route::Later);
    assert_eq!(pool.answered(FIRST, Method::Create, &create("root"), true), Next::Ask(FIRST));
    assert_eq!(pool.route(Method::Create, &create("side")), Route::Later);
    assert_eq!(pool.route(Method::Create, &create("root")), Route::To(FIRST));
    assert_eq!(pool.route(Method::State, &create("root")), Route::To(FIRST));
}

#[test]
fn a_first_create_that_fails_leaves_room_for_another() {
    let mut pool = ShimPool::new();
    pool.route(Method::Create, &create("root"));
    assert_eq!(pool.answered(FIRST, Method::Create, &create("root"), false), Next::Unpark);
    assert_eq!(pool.route(Method::Create, &create("other")), Route::To(FIRST));
    assert_eq!(pool.unanswered(Method::Create), Next::Unpark);
    assert_eq!(pool.route(Method::Create, &create("third")), Route::To(FIRST));
}

#[test]
fn with_one_container_each_every_request_finds_its_real_shim() {
    let (mut pool, side) = pod();
    assert_ne!(side, FIRST);
    let update = |id: &str| {
        let mut request = UpdateTaskRequest { id: id.into(), ..UpdateTaskRequest::default() };
        request.resources.mut_or_insert_default().value = vec![0xff, 0xfe];
        request.write_to_bytes().unwrap()
    };
    assert_eq!(pool.route(Method::Update, &update("side")), Route::To(side));
    assert_eq!(pool.route(Method::Update, &update("root")), Route::To(FIRST));
    assert_eq!(pool.route(Method::State, &create("nobody")), Route::Unknown);
    assert_eq!(pool.route(Method::Create, &create("side")), Route::To(side), "theirs to refuse");
    assert_eq!(pool.route(Method::Shutdown, b""), Route::All(vec![FIRST, side]));
    assert_eq!((pool.lost(side), pool.lost(FIRST)), (Loss::Expected, Loss::Shim));
}

#[test]
fn a_real_shim_goes_with_its_container_and_the_last_one_stays() {
    let (mut pool, side) = pod();
    assert!(pool.minds(Method::Delete));
    assert_eq!(pool.answered(side, Method::Delete, &delete("side", "exec"), true), Next::Nothing);
    assert_eq!(pool.answered(side, Method::Delete, &delete("side", ""), false), Next::Nothing);
    assert_eq!(pool.answered(side, Method::Delete, &delete("side", ""), true), Next::Dismiss(side));
    assert_eq!(pool.route(Method::State, &create("side")), Route::Unknown);
    assert_eq!(pool.lost(side), Loss::Expected);
    let Route::New(again) = pool.route(Method::Create, &create("side")) else { panic!("no new real shim") };
    assert!(again != side && again != FIRST);
    assert_eq!(pool.answered(again, Method::Create, &create("side"), false), Next::Dismiss(again));
    assert_eq!(pool.lost(again), Loss::Expected);
    assert_eq!(pool.answered(FIRST, Method::Delete, &delete("root", ""), true), Next::Nothing);
    assert_eq!(pool.route(Method::Shutdown, b""), Route::All(vec![FIRST]));
    assert_eq!(pool.lost(FIRST), Loss::Shim);
}

#[test]
fn one_that_ends_unasked_is_missed() {
    let (mut pool, side) = pod();
    assert_eq!(pool.lost(side), Loss::Shim);
}

#[test]
fn sockets_differ_and_none_is_longer_than_the_first() {
    let base = runsc_guard_node::paths::Base { runtime: "/run/g".into(), sockets: "/run/s".into() };
    let place = Place::of(&base, "/c.sock", "ns", "root", None).unwrap();
    let length = |shim: ShimId| shim.socket(&place).as_os_str().len();
    assert_ne!(ShimId(1).socket(&place), FIRST.socket(&place));
    assert!(length(ShimId(99_999_999)) <= length(FIRST));
}

#[test]
fn the_container_is_read_as_the_whole_message_would_be() {
    let close = CloseIORequest { id: "a".into(), exec_id: "e".into(), stdin: true, ..Default::default() };
    let close = close.write_to_bytes().unwrap();
    let twice = [close.clone(), create("b")].concat();
    for payload in [close, twice, create("c"), Vec::new(), b"\xff\xff".to_vec()] {
        let whole = PidsRequest::parse_from_bytes(&payload).unwrap_or_default();
        assert_eq!(container(&payload), whole.id, "{payload:?}");
    }
}
