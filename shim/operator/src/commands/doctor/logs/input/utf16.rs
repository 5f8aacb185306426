//! UTF-16, as PowerShell's `>` writes it.

use std::io::{self, Read};

/// Which byte of two comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

/// Whether a text that begins so is UTF-16: by its mark, or since every second byte is zero.
pub(super) fn order(head: &[u8]) -> Option<Order> {
    match head {
        [0xff, 0xfe, ..] => return Some(Order::Little),
        [0xfe, 0xff, ..] => return Some(Order::Big),
        _ => {}
    }
    let head = &head[..head.len().min(128) & !1];
    let zeros = |first: usize| head.iter().skip(first).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let most = head.len() * 2 / 5;
    match head.len() >= 16 {
        true if odd >= most && even == 0 => Some(Order::Little),
        true if even >= most && odd == 0 => Some(Order::Big),
        _ => None,
    }
}

/// Reads it as UTF-8.
pub(super) struct Utf16<R> {
    source: R,
    order: Order,
    /// The first of a pair.
    high: Option<u16>,
    /// Half of a unit.
    odd: Option<u8>,
    text: Vec<u8>,
    read: usize,
}

impl<R: Read> Utf16<R> {
    pub(super) fn new(source: R, order: Order) -> Self {
        Self { source, order, high: None, odd: None, text: Vec::new(), read: 0 }
    }

    fn unit(&mut self, pair: [u8; 2]) {
        let unit = match self.order {
            Order::Little => u16::from_le_bytes(pair),
            Order::Big => u16::from_be_bytes(pair),
        };
        let mut units = self.high.take().into_iter().chain([unit]).collect::<Vec<_>>();
        if units.len() == 1 && (0xd800..0xdc00).contains(&unit) {
            self.high = Some(unit);
            return;
        }
        for one in char::decode_utf16(units.drain(..)) {
            let one = one.unwrap_or(char::REPLACEMENT_CHARACTER);
            self.text.extend_from_slice(one.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.text.len() {
            (self.read, self.text) = (0, Vec::new());
            let mut bytes = [0; 4096];
            let length = self.source.read(&mut bytes)?;
            if length == 0 {
                return Ok(0);
            }
            let mut rest = &bytes[..length];
            if let (Some(odd), [first, after @ ..]) = (self.odd.take(), rest) {
                self.unit([odd, *first]);
                rest = after;
            }
            let pairs = rest.chunks_exact(2);
            self.odd = pairs.remainder().first().copied();
            pairs.for_each(|pair| self.unit([pair[0], pair[1]]));
        }
        let length = buffer.len().min(self.text.len() - self.read);
        buffer[..length].copy_from_slice(&self.text[self.read..self.read + length]);
        self.read += length;
        Ok(length)
    }
}
