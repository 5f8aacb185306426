//! A registry on loopback that hands out [`Store`] and takes nothing.

use crate::images::{MANIFEST, Store};
use anyhow::Result;
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// Serves for as long as the program runs.
pub(crate) fn serve(store: Store) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let store = Arc::new(store);
    thread::spawn(move || {
        for caller in listener.incoming().flatten() {
            let store = Arc::clone(&store);
            // A caller that leaves early is none of the registry's business.
            thread::spawn(move || drop(answer(&store, caller)));
        }
    });
    Ok(address)
}

/// One request, and the connection's end.
fn answer(store: &Store, mut caller: TcpStream) -> Result<()> {
    let mut lines = BufReader::new(caller.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    match find(store, path) {
        Some((kind, digest, bytes)) => {
            write!(
                caller,
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nDocker-Content-Digest: {digest}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                bytes.len()
            )?;
            if method == "GET" {
                caller.write_all(bytes)?;
            }
        }
        None => write!(caller, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?,
    }
    Ok(())
}

/// What lies at `/v2/`, `/v2/REPOSITORY/manifests/TAG|DIGEST` or `/v2/REPOSITORY/blobs/DIGEST`.
fn find<'a>(store: &'a Store, path: &str) -> Option<(&'static str, String, &'a [u8])> {
    let rest = path.strip_prefix("/v2/")?;
    if rest.is_empty() {
        return Some(("application/json", String::new(), b"{}"));
    }
    let (kind, digest) = if let Some((repository, reference)) = rest.rsplit_once("/manifests/") {
        let digest = store.tags.get(&format!("{repository}:{reference}")).map_or(reference, String::as_str);
        (MANIFEST, digest)
    } else {
        ("application/octet-stream", rest.rsplit_once("/blobs/")?.1)
    };
    Some((kind, digest.to_owned(), store.blobs.get(digest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manifest_names_is_there() -> Result<()> {
        let store = Store::made()?;
        let path = "/v2/e2e-test-images/busybox/manifests/1.29-2";
        let Some((kind, digest, bytes)) = find(&store, path) else { anyhow::bail!("no busybox") };
        assert_eq!(kind, MANIFEST);
        let manifest: serde_json::Value = serde_json::from_slice(bytes)?;
        for part in [&manifest["config"], &manifest["layers"][0]] {
            let digest = part["digest"].as_str().unwrap_or_default();
            let found = find(&store, &format!("/v2/e2e-test-images/busybox/blobs/{digest}"));
            assert_eq!(found.map(|(_, _, bytes)| bytes.len() as u64), part["size"].as_u64());
        }
        assert!(find(&store, &format!("/v2/e2e-test-images/busybox/manifests/{digest}")).is_some());
        assert!(find(&store, "/v2/e2e-test-images/busybox/manifests/other").is_none());
        Ok(())
    }
}
