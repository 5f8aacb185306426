//! The three rtnetlink requests that step 6 needs (linux/netlink.h, linux/rtnetlink.h, linux/if_link.h), written
//! out: a library for all the others would be in the memory of every pod's guard.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

/// The kernel answers at once, or is itself in trouble.
const PATIENCE: i64 = 2;
/// `struct nlmsghdr` and, after it, `struct ifinfomsg`.
const HEADER: usize = 16;
const INFO: usize = 16;
const RESPONSE: usize = 64 * 1024;

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its number.
    pub(super) index: i32,
    /// `IFF_UP` and its like.
    flags: u32,
    /// `eth0`.
    pub(super) name: String,
    /// `veth`, `macvlan`, ...; empty for one that no driver of that sort made.
    pub(super) kind: String,
}

impl Link {
    pub(super) fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }

    pub(super) fn is_loopback(&self) -> bool {
        self.flags & libc::IFF_LOOPBACK as u32 != 0
    }

    /// From the body of an `RTM_NEWLINK`.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let index = i32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
        let flags = u32::from_ne_bytes(body.get(8..12)?.try_into().ok()?);
        let attributes = body.get(INFO..)?;
        let name = attribute(attributes, libc::IFLA_IFNAME).map(text).unwrap_or_default();
        let info = attribute(attributes, libc::IFLA_LINKINFO).unwrap_or_default();
        let kind = attribute(info, libc::IFLA_INFO_KIND).map(text).unwrap_or_default();
        Some(Self { index, flags, name, kind })
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The value of the first attribute of this kind (`struct rtattr`: length, type, value, padding to 4).
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [a, b, c, d, ..] = rest {
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        // The two upper bits of the type are flags.
        let kind = u16::from_ne_bytes([*c, *d]) & 0x3fff;
        let value = rest.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    None
}

const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

/// A conversation with one network namespace.
pub(super) struct Netlink {
    socket: OwnedFd,
    serial: u32,
}

impl Netlink {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
        Ok(Self { socket, serial: 0 })
    }

    /// Every link.
    pub(super) fn links(&mut self) -> io::Result<Vec<Link>> {
        self.send(libc::RTM_GETLINK, libc::NLM_F_DUMP, 0)?;
        let mut found = Vec::new();
        loop {
            for (kind, body) in self.receive()? {
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(found),
                    libc::NLMSG_ERROR => return result(&body).map(|()| found),
                    _ if kind == libc::RTM_NEWLINK => found.extend(Link::parse(&body)),
                    _ => {}
                }
            }
        }
    }

    /// `ip link set down`.
    pub(super) fn set_down(&mut self, index: i32) -> io::Result<()> {
        self.command(libc::RTM_NEWLINK, index)
    }

    /// `ip link delete`.
    pub(super) fn remove(&mut self, index: i32) -> io::Result<()> {
        self.command(libc::RTM_DELLINK, index)
    }

    /// A request that is acknowledged. One about a link that is gone is done.
    fn command(&mut self, kind: u16, index: i32) -> io::Result<()> {
        self.send(kind, libc::NLM_F_ACK, index)?;
        loop {
            for (kind, body) in self.receive()? {
                if i32::from(kind) == libc::NLMSG_ERROR {
                    return match result(&body) {
                        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
                        other => other,
                    };
                }
            }
        }
    }

    /// A header and a `struct ifinfomsg`: with no flag set in the value and `IFF_UP` in the mask it means "down".
    fn send(&mut self, kind: u16, flags: i32, index: i32) -> io::Result<()> {
        self.serial += 1;
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        let mut message = Vec::with_capacity(HEADER + INFO);
        message.extend(((HEADER + INFO) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.serial.to_ne_bytes());
        message.extend([0; 8]); // our port, to be filled in; family, padding, device type
        message.extend(index.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend((libc::IFF_UP as u32).to_ne_bytes());
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty())?;
        Ok(())
    }

    /// The messages of one datagram that answer the last request: type and body.
    fn receive(&self) -> io::Result<Vec<(u16, Vec<u8>)>> {
        let mut buffer = vec![0; RESPONSE];
        let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        Ok(messages(&buffer[..length], self.serial))
    }
}

fn messages(mut rest: &[u8], serial: u32) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while rest.len() >= HEADER {
        let number = |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        let length = number(0) as usize;
        let Some(body) = rest.get(HEADER..length) else { break };
        if number(8) == serial {
            found.push((u16::from_ne_bytes([rest[4], rest[5]]), body.to_vec()));
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    found
}

/// What an `NLMSG_ERROR` says: 0, or a negative errno.
fn result(body: &[u8]) -> io::Result<()> {
    let code = body.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_is_not_read() {
        let mut whole = vec![0; INFO];
        whole[4] = 7;
        whole.extend([9, 0, 3, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0]);
        // IFLA_LINKINFO (18), nested, with IFLA_INFO_KIND (1) in it.
        whole.extend([13, 0, 18, 0x80, 9, 0, 1, 0, b'v', b'e', b't', b'h', 0, 0, 0, 0]);
        let link = Link::parse(&whole).unwrap();
        assert_eq!((link.index, link.name.as_str(), link.kind.as_str()), (7, "eth0", "veth"));
        for length in 0..whole.len() {
            let cut = Link::parse(&whole[..length]);
            assert!(cut.is_none_or(|cut| cut.index == 7));
        }
        assert!(attribute(&[0, 0, 3, 0, 1, 2], 3).is_none());
        assert!(messages(&[255; 40], u32::MAX).is_empty());
    }
}
