use super::*;
use crate::args::{Metrics, Scope};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Serves nobody's namespace, so that a look is quick and tells nothing of this machine.
async fn server(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("m.sock");
    let scope = Scope { namespace: Some("runsc-guard-test".into()), runsc_root: Vec::new() };
    let args = Metrics { listen: None, output: Exposition::Openmetrics, report_dir: Some(folder.to_owned()) };
    let gatherer = Gatherer::new(&scope, &args);
    let address = Address::Unix(path.clone());
    let final_metrics = folder.join("final_metrics.sock");
    tokio::spawn(async move { accept(&address, gatherer, &final_metrics).await });
    while UnixStream::connect(&path).await.is_err() {
        tokio::task::yield_now().await;
    }
    path
}

async fn ask(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(path: &Path, what: &str, header: &str) -> String {
    ask(path, &format!("GET {what} HTTP/1.1\r\nHost: here\r\n{header}\r\n")).await
}

#[tokio::test]
async fn each_path_has_its_answer_and_each_reader_its_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = server(folder.path()).await;
    let prometheus = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2\r\n";
    let metrics = get(&path, "/metrics", prometheus).await;
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(metrics.contains("content-type: application/openmetrics-text; version=1.0.0"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    let plain = get(&path, "/metrics", "").await;
    assert!(plain.contains("content-type: text/plain; version=0.0.4"), "{plain}");
    assert!(plain.starts_with("HTTP/1.1 200 OK\r\n") && !plain.contains("# EOF"), "{plain}");
    assert!(get(&path, "/healthz", "").await.starts_with("HTTP/1.1 200 "));
    assert!(get(&path, "/", "").await.starts_with("HTTP/1.1 404 "));
    let post = ask(&path, "POST /metrics HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET"), "{post}");
}

#[tokio::test]
async fn a_crowd_that_never_asks_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = server(folder.path()).await;
    let mut crowd = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET /metrics HTT").await.unwrap();
        crowd.push(stream);
    }
    let begun = Instant::now();
    assert!(get(&path, "/healthz", "").await.starts_with("HTTP/1.1 200 "));
    assert!(begun.elapsed() < 2 * REQUEST, "{:?}", begun.elapsed());
    assert!(begun.elapsed() > REQUEST / 2, "the crowd took no places");
}

#[tokio::test]
async fn a_request_without_end_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = server(folder.path()).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ").await.unwrap();
    let refused = async {
        let mut taken = 0;
        while stream.write_all(&[b'x'; 1024]).await.is_ok() {
            taken += 1024;
        }
        taken
    };
    // What the kernel buffers comes on top.
    let taken = timeout(2 * REQUEST, refused).await.unwrap();
    assert!(taken < 1 << 20, "{taken}");
}

#[tokio::test]
async fn a_look_that_hangs_costs_a_scrape_two_seconds_and_the_next_ones_nothing() {
    let (scrapes, _nobody_looks) = mpsc::channel(1);
    let begun = Instant::now();
    let answer = scrape(&scrapes, Exposition::Prometheus).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(begun.elapsed() >= REQUEST && begun.elapsed() < 2 * REQUEST);
    let begun = Instant::now();
    assert_eq!(scrape(&scrapes, Exposition::Prometheus).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(begun.elapsed() < REQUEST / 2);
}

#[test]
fn only_a_socket_that_nobody_serves_is_cleared_away() {
    use nix::sys::socket::{Backlog, listen};
    use std::os::unix::net::{UnixDatagram, UnixListener};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.sock");
    clear_away(&path).unwrap();
    let is_anothers = || clear_away(&path).unwrap_err().to_string().contains("another process");
    let listener = UnixListener::bind(&path).unwrap();
    assert!(is_anothers());
    // It accepts nobody, and has room for no more: the next one would wait in connect(2).
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let begun = Instant::now();
    assert!(is_anothers() && begun.elapsed() < REQUEST);
    drop(listener);
    clear_away(&path).unwrap();
    assert!(!path.exists());
    let other_kind = UnixDatagram::bind(&path).unwrap();
    assert!(is_anothers() && path.exists());
    drop(other_kind);
    clear_away(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    assert!(clear_away(&path).unwrap_err().to_string().contains("no socket"));
    assert!(path.exists());
}

#[test]
fn who_cannot_serve_leaves_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.sock");
    let try_to_serve = || {
        let scope = Scope { namespace: Some("runsc-guard-test".into()), runsc_root: Vec::new() };
        let args = Metrics { listen: None, output: Exposition::Openmetrics, report_dir: None };
        serve(&Address::Unix(path.clone()), Gatherer::new(&scope, &args))
    };
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(try_to_serve().is_err() && path.exists(), "another server's socket");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    assert!(try_to_serve().is_err() && path.exists(), "somebody's file");
}
