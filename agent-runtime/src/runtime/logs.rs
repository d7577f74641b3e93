//! Reading containers' logs, which outlive their containers.
//! Called by the worker. Knows when a followed log ends: with its container.

use futures::Stream;

use crate::container::id::ContainerId;
use crate::logs::{LogError, LogQuery, LogRecord, Logs};

use super::Runtime;

impl Runtime {
    /// Reads a log; with `follow` until the container has ended, or is gone.
    pub async fn logs(
        &self,
        query: LogQuery,
    ) -> Result<impl Stream<Item = Result<LogRecord, LogError>> + Send + use<>, LogError> {
        let runtime = self.clone();
        let id = query.container.clone();
        let ended = async move {
            // A container that nothing is known of writes nothing more either.
            let _however = runtime.wait(&id).await;
        };
        self.stored_logs().read(query, Box::pin(ended)).await
    }

    /// The containers whose logs are here, in no order; theirs too that are gone.
    pub async fn logged(&self) -> std::io::Result<Vec<ContainerId>> {
        self.stored_logs().list().await
    }

    /// Takes a log away. Nothing to take away is fine.
    pub async fn forget_logs(&self, id: &ContainerId) -> std::io::Result<()> {
        self.stored_logs().forget(id).await
    }

    fn stored_logs(&self) -> Logs {
        Logs::new(self.config().logs_dir.clone())
    }
}
