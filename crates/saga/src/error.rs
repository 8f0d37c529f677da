//! What can go wrong around sagas. What goes wrong inside one parks it, with the reason.

/// Why something could not be done for a saga.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The id is taken. Of two requests to start the same saga, one has done so.
    #[error("there is a saga with the id {id} already")]
    AlreadyStarted {
        /// The id.
        id: String,
    },
    /// An id that is empty or too long, or with a NUL in it, which PostgreSQL cannot store.
    #[error("no saga can have the id {id:?}: an id has 1 to {limit} bytes, none of which is 0")]
    InvalidId {
        /// The id.
        id: String,
        /// The most bytes there may be.
        limit: usize,
    },
    /// The key of a signal, with a NUL in it, which PostgreSQL cannot store.
    #[error("no signal can have the key {key:?}: there is a NUL in it")]
    InvalidKey {
        /// The key.
        key: String,
    },
    /// There is no such saga.
    #[error("there is no saga {id}")]
    NotFound {
        /// The id that was asked for.
        id: String,
    },
    /// A saga is to be cancelled, or a step of it skipped, and nobody says why.
    #[error("the reason is empty: say why, for whoever looks at saga {id} later")]
    NoReason {
        /// Its id.
        id: String,
    },
    /// Nothing can change a saga that has ended.
    #[error("saga {id} has ended: it is {state}")]
    Ended {
        /// Its id.
        id: String,
        /// How it ended.
        state: crate::State,
    },
    /// Somebody else has taken the saga since it was read. Nothing was written; the same may succeed now.
    #[error("saga {id} was taken by somebody else meanwhile: try again")]
    Overtaken {
        /// Its id.
        id: String,
    },
    /// A command that the saga called in its own transaction would change the saga itself. The command is sent instead.
    #[error("saga {id} is taking the very step that this belongs to")]
    UnderWay {
        /// Its id.
        id: String,
    },
    /// A command that the saga called in its own transaction failed, and the transaction with it.
    #[error("`{command}` failed in the transaction of the saga's step, which cannot go on")]
    Local {
        /// The command's type.
        command: String,
        /// How it failed.
        #[source]
        source: env::BoxError,
    },
    /// A saga that only goes forward cannot be undone.
    #[error(
        "saga {id} is past its point of no return and can only go forward: retry it, or skip the step that hangs"
    )]
    PastReturn {
        /// Its id.
        id: String,
    },
    /// A step is to be skipped that the saga does not wait for.
    #[error("saga {id} does not wait for step {seq}: its timeline says what it waits for")]
    NotWaiting {
        /// Its id.
        id: String,
        /// The step.
        seq: u32,
    },
    /// A saga is to be started whose function this service does not have. Register it.
    #[error("the service has no saga `{saga}`: register its function")]
    NotRegistered {
        /// Its name.
        saga: String,
    },
    /// An input, a signal, or a line of a journal, cannot be written as JSON.
    #[error("something of saga {id} cannot be written as JSON")]
    Encode {
        /// Its id.
        id: String,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// A timer cannot be read. A newer version of the service may have set it.
    #[error("the timer {id} cannot be read")]
    Timer {
        /// Its id.
        id: String,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// The table holds a state that this version does not know.
    #[error("`{state}` is no state of a saga; a newer version may know it")]
    UnknownState {
        /// What is there.
        state: String,
    },
    /// A command or the end of a saga could not be published.
    #[error("cannot publish")]
    Publish(
        #[from]
        #[source]
        events::Error,
    ),
    /// The database failed.
    #[error("the database failed")]
    Database(
        #[from]
        #[source]
        data::Error,
    ),
}

/// The result of most of what this crate does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the same may succeed when it is tried again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Database(error) => error.is_retryable(),
            Self::Publish(error) => error.is_retryable(),
            Self::Overtaken { .. } => true,
            Self::Local { source, .. } => env::causes(source.as_ref())
                .any(|cause| cause.downcast_ref().is_some_and(data::Error::is_retryable)),
            _ => false,
        }
    }
}
