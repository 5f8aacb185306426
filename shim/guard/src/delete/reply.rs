//! What `delete` answers.

use std::time::Duration;

use runsc_guard_node::bundle::Exit;
use runsc_guard_proto::protobuf::well_known_types::timestamp::Timestamp;
use runsc_guard_proto::protobuf::{Message, MessageField};
use runsc_guard_proto::task::DeleteResponse;
use serde::{Deserialize, Serialize};

/// Kept back at the end, for writing the answer.
pub(super) const MARGIN: Duration = Duration::from_millis(100);

/// The answer for containerd, and a line for its log if something is not as it should be.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// How it ended.
    pub exit: Exit,
    /// What a person should know.
    pub note: Option<String>,
}

impl Answer {
    /// The bytes for stdout.
    pub fn encode(&self) -> Vec<u8> {
        let exited_at = Timestamp {
            seconds: i64::try_from(self.exit.exited_at_ns / 1_000_000_000).unwrap_or(i64::MAX),
            nanos: i32::try_from(self.exit.exited_at_ns % 1_000_000_000).unwrap_or(0),
            ..Timestamp::default()
        };
        let response = DeleteResponse {
            pid: self.exit.pid,
            exit_status: self.exit.exit_status,
            exited_at: MessageField::some(exited_at),
            ..DeleteResponse::default()
        };
        // Writing into memory fails for no message of this kind.
        response.write_to_bytes().unwrap_or_default()
    }
}
