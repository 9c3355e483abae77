//! Why there is no connection to the broker, in words that say how to mend it.

/// A URL that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker's URL {url} cannot be used: {reason}")]
pub struct UrlFault {
    /// The URL without its password.
    pub url: String,
    /// What is wrong with it; quotes nothing of it.
    pub reason: &'static str,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFault {
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] UrlFault),
    /// No TCP connection: refused, unknown host, timed out.
    #[error(
        "no broker at {address}: {reason}; start RabbitMQ there or set broker.url to where it is"
    )]
    Unreachable {
        /// Host and port.
        address: String,
        /// The system's reason.
        reason: String,
    },
    /// Something accepted the connection and did not finish the AMQP handshake.
    #[error(
        "{address} accepts connections but did not finish the AMQP handshake in time; is it RabbitMQ, and is this its AMQP port?"
    )]
    Silent {
        /// Host and port.
        address: String,
    },
    /// Wrong user or password.
    #[error("the broker refused user {user:?} ({reason}); check user and password in broker.url")]
    AccessRefused {
        /// Who asked.
        user: String,
        /// The broker's words.
        reason: String,
    },
    /// No such virtual host, or the user may not enter it.
    #[error(
        "the broker refused virtual host {vhost:?} ({reason}); create it, grant access, or name another at the end of broker.url"
    )]
    Vhost {
        /// Which.
        vhost: String,
        /// The broker's words.
        reason: String,
    },
    /// No encrypted connection, or not with the certificates that there are.
    #[error("no encrypted connection to {address}: {reason}")]
    Tls {
        /// Host and port.
        address: String,
        /// What is wrong, and how to mend it.
        reason: String,
    },
    /// Anything else.
    #[error("the connection to {address} failed: {reason}")]
    Broken {
        /// Host and port.
        address: String,
        /// lapin's or the broker's words.
        reason: String,
    },
}

impl ConnectFault {
    /// Whether only a change of configuration can help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            ConnectFault::Url(_)
            | ConnectFault::AccessRefused { .. }
            | ConnectFault::Vhost { .. } => true,
            ConnectFault::Unreachable { .. }
            | ConnectFault::Silent { .. }
            | ConnectFault::Tls { .. }
            | ConnectFault::Broken { .. } => false,
        }
    }
}
