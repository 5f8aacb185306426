//! Where to listen. Pure.

use std::path::PathBuf;
use std::str::FromStr;

/// An address as it is given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `HOST:PORT`.
    Tcp(String),
    /// `unix:/PATH`.
    Unix(PathBuf),
}

/// Why it is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    /// A socket needs a place that does not depend on where the command was started.
    #[error("the path after unix: must be absolute, as in unix:/run/runsc-guard-metrics.sock")]
    Relative,
    /// Neither form.
    #[error("must be HOST:PORT, as in 127.0.0.1:9750 or [::]:9750, or unix:/PATH")]
    Form,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            // As gRPC and containerd write it, too.
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(AddressError::Relative) };
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(text.to_owned()))
            }
            _ => Err(AddressError::Form),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_taken_and_others_explained() {
        for tcp in ["127.0.0.1:9750", "[::1]:0", "localhost:80"] {
            assert_eq!(tcp.parse(), Ok(Address::Tcp(tcp.to_owned())));
        }
        for unix in ["unix:/run/m.sock", "unix:///run/m.sock"] {
            assert_eq!(unix.parse(), Ok(Address::Unix("/run/m.sock".into())));
        }
        assert_eq!("unix:m.sock".parse::<Address>(), Err(AddressError::Relative));
        for wrong in ["", "9750", ":9750", "host:", "host:99999", "/run/m.sock"] {
            assert_eq!(wrong.parse::<Address>(), Err(AddressError::Form), "{wrong}");
        }
    }
}
