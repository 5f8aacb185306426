use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::*;

const MOMENT: Duration = Duration::from_millis(50);

fn frame(type_: u8, stream_id: u32, body: usize) -> Vec<u8> {
    let header = MessageHeader { length: body as u32, stream_id, type_, flags: 0 };
    [Vec::from(header), vec![0; body]].concat()
}

fn headers(frames: &mut Frames, bytes: &[u8]) -> Vec<(u32, u32)> {
    let mut seen = Vec::new();
    frames.pass(bytes, |header| seen.push((header.stream_id, header.length)));
    seen
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn frames_are_seen_however_they_are_cut() {
    let bytes = [frame(1, 1, 5), frame(1, 3, 0), frame(2, 5, 300)].concat();
    let whole = headers(&mut Frames::default(), &bytes);
    assert_eq!(whole, [(1, 5), (3, 0), (5, 300)]);
    for size in 1..bytes.len() {
        let mut frames = Frames::default();
        let seen: Vec<_> = bytes.chunks(size).flat_map(|part| headers(&mut frames, part)).collect();
        assert_eq!((seen, frames.is_between()), (whole.clone(), true), "in pieces of {size}");
    }
}

/// Reads frames off the guard's end until nothing comes for a moment.
async fn frames_let_in(metered: &mut Metered) -> usize {
    let mut count = 0;
    let mut frame = [0; MESSAGE_HEADER_LENGTH];
    while timeout(MOMENT, metered.read_exact(&mut frame)).await.is_ok_and(|read| read.is_ok()) {
        let length = MessageHeader::from(frame).length;
        metered.read_exact(&mut vec![0; length as usize]).await.unwrap();
        count += 1;
    }
    count
}

#[test]
fn who_leaves_too_much_open_is_not_read_until_answers_are_taken() {
    runtime().block_on(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut metered, (mut answers, mut requests)) =
            (Metered::new(Socket::new(ours).unwrap()), theirs.into_split());
        let sender = tokio::spawn(async move {
            for number in 0..10_000 {
                requests.write_all(&frame(MESSAGE_TYPE_REQUEST, number * 2 + 1, 0)).await.unwrap();
            }
            requests
        });
        let most = (WINDOW / EACH) as usize;
        assert_eq!(frames_let_in(&mut metered).await, most);
        for answered in 0..3 {
            metered.write_all(&frame(MESSAGE_TYPE_RESPONSE, answered * 2 + 1, 7)).await.unwrap();
        }
        assert_eq!(frames_let_in(&mut metered).await, 3);
        // An answer to nothing makes no room.
        metered.write_all(&frame(MESSAGE_TYPE_RESPONSE, 99_999, 7)).await.unwrap();
        assert_eq!(frames_let_in(&mut metered).await, 0);
        answers.read_exact(&mut [0; 68]).await.unwrap();
        sender.abort();
    });
}

#[test]
fn large_frames_count_by_their_size_and_answers_by_none_wait_for_none() {
    runtime().block_on(async {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut metered = Metered::new(Socket::new(ours).unwrap());
        let sender = tokio::spawn(async move {
            // A type that nobody answers costs nothing.
            for _ in 0..3000 {
                theirs.write_all(&frame(9, 1, 0)).await.unwrap();
            }
            for number in 0..4 {
                theirs.write_all(&frame(MESSAGE_TYPE_DATA, number, MESSAGE_LENGTH_MAX)).await.unwrap();
            }
            theirs
        });
        assert_eq!(frames_let_in(&mut metered).await, 3000 + 2);
        sender.abort();
    });
}

#[test]
fn the_last_descriptors_are_not_for_connections() {
    assert!(!is_reserved(3, 1024) && !is_reserved(991, 1024));
    assert!(is_reserved(992, 1024) && is_reserved(1023, 1024) && is_reserved(3, 16));
    assert!(!is_reserved(1 << 30, u64::MAX));
}
