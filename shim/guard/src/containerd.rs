//! One question to containerd itself: does it know this task?
//!
//! That is `Tasks.Get` of its GRPC API, and so HTTP/2. A client for that weighs more than the rest of the guard, and is
//! needed once in a guard's life if ever: so the one request is written here by hand, and of the answer only what
//! matters is read. A task has a message, an error has none; and of the errors only NOT_FOUND is an answer.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use runsc_guard_node::client;

/// RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const METHOD: &[u8] = b"/containerd.services.tasks.v1.Tasks/Get";
/// `grpc-status: 5` as grpc-go writes it in the first answer of a connection: a name that is compressed (RFC 7541,
/// appendix B: 8 bytes) and a value that is not.
const NOT_FOUND: &[u8] = b"\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x01\x35";
/// Far more than such an answer has.
const LONGEST: usize = 1 << 20;
const STREAM: u32 = 1;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK_OR_END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Whether the containerd that serves `socket` knows the task `id`; an error where it does not say.
pub(crate) fn knows(socket: &Path, namespace: &str, id: &str, until: Instant) -> io::Result<bool> {
    let mut stream = client::connect(socket, until)?;
    let mut request = PREFACE.to_vec();
    frame(&mut request, SETTINGS, 0, 0, &[]);
    frame(&mut request, HEADERS, END_HEADERS, STREAM, &headers(namespace)?);
    frame(&mut request, DATA, ACK_OR_END_STREAM, STREAM, &message(id)?);
    stream.set_write_timeout(Some(left(until)?))?;
    stream.write_all(&request)?;
    loop {
        stream.set_read_timeout(Some(left(until)?))?;
        let mut header = [0; 9];
        stream.read_exact(&mut header)?;
        let [a, b, c, kind, flags, e, f, g, h] = header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > LONGEST {
            return Err(io::Error::other("it does not speak HTTP/2"));
        }
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        let ours = u32::from_be_bytes([e, f, g, h]) == STREAM;
        match kind {
            SETTINGS if flags & ACK_OR_END_STREAM == 0 => {
                let mut acknowledged = Vec::new();
                frame(&mut acknowledged, SETTINGS, ACK_OR_END_STREAM, 0, &[]);
                stream.write_all(&acknowledged)?;
            }
            DATA if ours => return Ok(true),
            HEADERS if ours && flags & ACK_OR_END_STREAM != 0 => {
                let not_found = payload.windows(NOT_FOUND.len()).any(|part| part == NOT_FOUND);
                return if not_found { Ok(false) } else { Err(io::Error::other("it answers another error")) };
            }
            RST_STREAM | GOAWAY => return Err(io::Error::other("it does not answer")),
            _ => {}
        }
    }
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn frame(to: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    to.extend_from_slice(&length[1..]);
    to.extend_from_slice(&[kind, flags]);
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(payload);
}

/// RFC 7541: what the static table has whole (POST, http), by its name (path, authority), or not at all.
fn headers(namespace: &str) -> io::Result<Vec<u8>> {
    let mut block = vec![0x83, 0x86, 0x04];
    text(&mut block, METHOD)?;
    block.push(0x01);
    text(&mut block, b"localhost")?;
    for (name, value) in [
        (&b"content-type"[..], &b"application/grpc"[..]),
        (b"te", b"trailers"),
        (b"containerd-namespace", namespace.as_bytes()),
    ] {
        block.push(0x00);
        text(&mut block, name)?;
        text(&mut block, value)?;
    }
    Ok(block)
}

/// A short string with its length.
fn text(to: &mut Vec<u8>, text: &[u8]) -> io::Result<()> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 127);
    to.push(length.ok_or(io::ErrorKind::InvalidInput)?);
    to.extend_from_slice(text);
    Ok(())
}

/// `GetRequest { container_id }`, uncompressed.
fn message(id: &str) -> io::Result<Vec<u8>> {
    let mut request = vec![0x0a];
    text(&mut request, id.as_bytes())?;
    let mut message = vec![0, 0, 0, 0, u8::try_from(request.len()).map_err(io::Error::other)?];
    message.append(&mut request);
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::thread;

    /// What a containerd answers that says this.
    fn answered(frames: &[(u8, u8, u32, &[u8])]) -> io::Result<bool> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket)?;
        let mut answer = Vec::new();
        for (kind, flags, stream, payload) in frames {
            frame(&mut answer, *kind, *flags, *stream, payload);
        }
        thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept()?;
                let mut preface = [0; 24];
                stream.read_exact(&mut preface)?;
                stream.write_all(&answer)?;
                // Until the one who asks has heard enough.
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                stream.read_to_end(&mut Vec::new())
            });
            knows(&socket, "k8s.io", "pod", Instant::now() + Duration::from_millis(500))
        })
    }

    #[test]
    fn only_not_found_is_a_no_and_only_a_message_is_a_yes() {
        let settings = (SETTINGS, 0, 0, &[][..]);
        let head = (HEADERS, END_HEADERS, 1, &b"\x88"[..]);
        let not_found = [b"\x88\x5f\x10application/grpc\x40", NOT_FOUND].concat();
        assert!(answered(&[settings, head, (DATA, 0, 1, b"\0\0\0\0\0")]).unwrap());
        assert!(!answered(&[settings, (HEADERS, 5, 1, &not_found)]).unwrap());
        let other = [b"\x88\x40", &NOT_FOUND[..10], b"4"].concat();
        for unclear in [
            &[settings, (HEADERS, 5, 1, &other[..])][..],
            &[settings, (HEADERS, 5, 3, &not_found)],
            &[settings, head],
            &[(GOAWAY, 0, 0, b"")],
            &[(RST_STREAM, 0, 1, b"")],
            &[],
        ] {
            assert!(answered(unclear).is_err(), "{unclear:?}");
        }
        assert!(knows(Path::new("/nowhere"), "k8s.io", "pod", Instant::now() + LATER).is_err());
    }

    /// connect(2) itself waits where nobody accepts.
    #[test]
    fn a_containerd_that_accepts_nobody_any_more_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let waiting = UnixStream::connect(&socket).unwrap();
        let error = knows(&socket, "k8s.io", "pod", Instant::now() + Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        drop(waiting);
    }

    const LATER: Duration = Duration::from_secs(1);
}
