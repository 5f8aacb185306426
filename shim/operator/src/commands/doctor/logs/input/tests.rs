use std::io::Write as _;

use super::*;

fn read(bytes: &[u8]) -> (String, io::Result<()>) {
    let mut read = Vec::new();
    let result =
        text(io::Cursor::new(bytes.to_vec())).and_then(|mut text| text.read_to_end(&mut read).map(drop));
    (String::from_utf8_lossy(&read).into_owned(), result)
}

fn gz(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zst(text: &str) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn what_is_compressed_is_read_member_after_member() {
    assert_eq!(read(b"plain\n").0, "plain\n");
    assert_eq!(read(&[gz("a\n"), gz("b\n")].concat()).0, "a\nb\n");
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zst("a\n"), &zst("b\n")].concat();
    let (text, result) = read(&skipped);
    assert_eq!((text.as_str(), result.is_ok()), ("a\nb\n", true));
    assert!(read(b"").1.is_ok());
}

#[test]
fn what_is_cut_is_read_as_far_as_it_goes_and_told() {
    let long: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    for whole in [gz(&long), zst(&long)] {
        let (text, result) = read(&whole[..whole.len() / 2]);
        assert!(result.is_err() && long.starts_with(&text), "{result:?} after {}", text.len());
    }
    assert!(read(&gz("a")[..6]).1.is_err());
}

#[test]
fn utf16_is_known_by_its_mark_and_without() {
    for text in ["lines of a log äöü €\n", "\u{feff}with its mark 😀\n"] {
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        assert_eq!((read(&little).0.as_str(), read(&big).0.as_str()), (text, text));
    }
}

#[test]
fn what_is_no_text_is_told_with_what_to_do() {
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, word) in [
        (&b"LPKSHHRH..."[..], "journalctl --file"),
        (b"\xfd7zXZ\0..", "xz -d"),
        (b"PK\x03\x04", "zip"),
        (&tar, "tar"),
    ] {
        assert!(read(bytes).1.unwrap_err().to_string().contains(word));
        assert!(read(&[gz(""), gz(&String::from_utf8_lossy(bytes))].concat()).1.is_err() || bytes[0] > 0x7f);
    }
}
