//! What the operating system says when a connection ends, in the words of the record.

use std::io::{self, ErrorKind};

use tracemq_model::{End, Reason};

/// The end that a failed read or write stands for.
pub(crate) fn of_io_error(error: &io::Error, doing: &str) -> End {
    let kind = error.kind();
    let reason = if kind == ErrorKind::ConnectionReset {
        Reason::ConnectionReset
    } else if kind == ErrorKind::BrokenPipe {
        // A reset that comes after the client's FIN is reported so: the client had closed, and took no more.
        Reason::ClientClosed
    } else if matches!(kind, ErrorKind::ConnectionAborted | ErrorKind::NotConnected) {
        Reason::BrokenPipe
    } else {
        Reason::NetworkError // whatever else a socket reports, it is the path
    };
    End::of(reason).with_detail(&format!("{doing}: {error}"))
}

/// The end of a connection whose client closed the TCP stream before it had finished `what`.
pub(crate) fn of_early_fin(what: &str) -> End {
    End::of(Reason::ClientClosed).with_detail(&format!("in the middle of the {what}"))
}

/// The end of a connection whose client closed the TCP stream. `unread` is how much of a packet had come by then.
pub(crate) fn of_fin(unread: usize) -> End {
    let end = End::of(Reason::ClientClosed);
    if unread == 0 {
        end
    } else {
        end.with_detail(&format!("in the middle of a packet, {unread} bytes of it had come"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_loss_has_its_reason() {
        for (kind, reason) in [
            (ErrorKind::ConnectionReset, Reason::ConnectionReset),
            (ErrorKind::BrokenPipe, Reason::ClientClosed),
            (ErrorKind::NotConnected, Reason::BrokenPipe),
            (ErrorKind::TimedOut, Reason::NetworkError),
            (ErrorKind::HostUnreachable, Reason::NetworkError),
        ] {
            assert_eq!(of_io_error(&kind.into(), "read").reason, reason);
        }
        assert_eq!(of_fin(0).detail, None);
        assert!(of_fin(3).detail.unwrap().contains("3 bytes"));
    }
}
