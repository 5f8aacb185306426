//! Where handlers stand in a file, by its version.

use serde::Serialize;

/// Names of the table that holds the handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Table {
    /// Files of version 1.
    Cri,
    /// Files of version 2.
    GrpcCri,
    /// Files of version 3 and later.
    CriRuntime,
    /// Docker's daemon.json, which is not containerd's at all.
    Docker,
}

impl Table {
    /// All of containerd's.
    pub(crate) const ALL: [Self; 3] = [Self::Cri, Self::GrpcCri, Self::CriRuntime];

    /// Where handlers stand in a file of this version.
    pub(crate) fn of_version(version: u32) -> Self {
        match version {
            3.. => Self::CriRuntime,
            2 => Self::GrpcCri,
            _ => Self::Cri,
        }
    }

    /// The plugin's name.
    pub(crate) fn plugin(self) -> &'static str {
        match self {
            Self::Cri => "cri",
            Self::GrpcCri => "io.containerd.grpc.v1.cri",
            Self::CriRuntime => "io.containerd.cri.v1.runtime",
            Self::Docker => "runtimes",
        }
    }
}
