//! `Streams.Attach`: the worker's end of a stream.
//!
//! The first message names the stream; from then on the other side of the broker reads what comes up and
//! writes what goes down.

use super::broker::Broker;
use shoal_api::{
    convert::{Details, status},
    v1::{ErrorCode, StreamDown, StreamUp, stream_up::Up, streams_server::Streams},
};
use shoal_core::model::NodeId;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Extensions, Request, Response, Status, Streaming};

/// Reads from a request which node's certificate it came with.
pub type CallerNode = fn(&Extensions) -> Option<NodeId>;

#[derive(Clone, Debug)]
pub struct StreamsService {
    broker: Broker,
    caller: CallerNode,
}

impl StreamsService {
    pub fn new(broker: Broker, caller: CallerNode) -> Self {
        Self { broker, caller }
    }
}

#[tonic::async_trait]
impl Streams for StreamsService {
    type AttachStream = ReceiverStream<Result<StreamDown, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<StreamUp>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let node = (self.caller)(request.extensions())
            .ok_or_else(|| status(Details::of(ErrorCode::Forbidden, "only a node dials back")))?;
        let mut up = request.into_inner();
        let Some(StreamUp {
            up: Some(Up::Attached(attached)),
        }) = up.message().await?
        else {
            let message = "expected the stream's id first";
            return Err(status(
                Details::of(ErrorCode::Invalid, message).with_field("attached"),
            ));
        };
        let down = self.broker.attach(&node, &attached.stream, up).ok_or_else(|| {
            let message = "nobody waits for this stream any more";
            status(Details::of(ErrorCode::NotFound, message))
        })?;
        Ok(Response::new(ReceiverStream::new(down)))
    }
}
