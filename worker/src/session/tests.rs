//! The session against a manager of a few lines, over a plain connection.

use super::*;
use crate::assignment::{AssignmentSet, AssignmentUpdate, Position, UpdateRefusal};
use crate::board::Posted;
use crate::dial::DialError;
use crate::name::container_of;
use crate::supervisor::Refused;
use crate::task::{Origin, Report};
use crate::testing::assigned;
use futures::future::BoxFuture;
use shoal_api::v1::{self, session_down::Down, session_up::Up};
use shoal_core::model::{TaskState, WallTime};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// One accepted session, in the test's hands.
struct Held {
    up: Streaming<v1::SessionUp>,
    down: mpsc::Sender<Result<v1::SessionDown, Status>>,
}

struct Fake {
    sessions: mpsc::Sender<Held>,
}

#[tonic::async_trait]
impl v1::dispatcher_server::Dispatcher for Fake {
    type SessionStream = ReceiverStream<Result<v1::SessionDown, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionUp>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (down, stream) = mpsc::channel(16);
        let up = request.into_inner();
        self.sessions.send(Held { up, down }).await.unwrap();
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

struct Plain(SocketAddr);

impl Dial for Plain {
    fn dial(&self) -> BoxFuture<'_, Result<Dialled, DialError>> {
        self.dial_back(self.0.to_string())
    }

    fn dial_back(&self, address: String) -> BoxFuture<'_, Result<Dialled, DialError>> {
        Box::pin(async move {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            match endpoint.connect().await {
                Ok(channel) => Ok(Dialled { channel, address }),
                Err(source) => Err(DialError::Connect { address, source }),
            }
        })
    }
}

struct NoStreams;

impl ServeStreams for NoStreams {
    fn serve(&self, _: v1::StreamRequest, _: &str) {}
}

struct Rig {
    sessions: mpsc::Receiver<Held>,
    board: Arc<Board>,
    link: watch::Receiver<Link>,
    updates: mpsc::Receiver<AssignmentUpdate>,
}

/// A session against the fake manager, and a supervisor that keeps the set and tells what it took.
async fn rig() -> Rig {
    let (sessions, accepted) = mpsc::channel(4);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = v1::dispatcher_server::DispatcherServer::new(Fake { sessions });
    let serving = Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    let (supervisor, mut messages) = mpsc::channel(4);
    let (seen, updates) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut set = AssignmentSet::default();
        while let Some(message) = messages.recv().await {
            match message {
                Message::Position(answer) => drop(answer.send(set.at)),
                Message::Update(update, answer) => {
                    let taken = set.apply(update.clone()).map(drop).map_err(Refused::Order);
                    seen.send(update).await.unwrap();
                    drop(answer.send(taken));
                }
            }
        }
    });
    let board = Arc::new(Board::default());
    let (link, linked) = watch::channel(Link::Lost);
    let (_, description) = watch::channel(NodeDescription::default());
    let parts = SessionParts {
        dial: Arc::new(Plain(address)),
        board: Arc::clone(&board),
        supervisor,
        streams: Arc::new(NoStreams),
        description,
        manager: watch::Sender::new(String::new()),
    };
    tokio::spawn(keep_open(parts, link));
    Rig {
        sessions: accepted,
        board,
        link: linked,
        updates,
    }
}

impl Rig {
    async fn accept(&mut self) -> (Held, v1::Hello) {
        let mut held = within(self.sessions.recv()).await.unwrap();
        let Up::Hello(hello) = held.next().await else {
            panic!("a session begins with its hello");
        };
        held.tell(Down::Welcome(v1::Welcome {
            heartbeat_period_ns: 100_000_000,
            ..v1::Welcome::default()
        }))
        .await;
        (held, hello)
    }
}

impl Held {
    async fn tell(&self, down: Down) {
        self.down
            .send(Ok(v1::SessionDown { down: Some(down) }))
            .await
            .unwrap();
    }

    async fn next(&mut self) -> Up {
        within(self.up.message()).await.unwrap().unwrap().up.unwrap()
    }

    /// The next message that is no heartbeat.
    async fn word(&mut self) -> Up {
        loop {
            match self.next().await {
                Up::Heartbeat(_) => {}
                other => return other,
            }
        }
    }

    async fn reports(&mut self) -> v1::Reports {
        match self.word().await {
            Up::Reports(reports) => reports,
            other => panic!("expected reports, heard {other:?}"),
        }
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .expect("in time")
}

fn part(prev: Option<u64>, index: u64, removed: &[&str], last: bool) -> Down {
    let position = |index| v1::Position { epoch: 1, index };
    Down::Assignments(v1::Assignments {
        full: prev.is_none(),
        prev: prev.map(position),
        position: Some(position(index)),
        tasks: Vec::new(),
        removed_tasks: removed.iter().map(|id| (*id).to_owned()).collect(),
        last,
        tables: None,
    })
}

fn post(board: &Board, number: u32, state: TaskState) {
    let task = assigned(number);
    board.post(Posted {
        container: container_of(&task.id, 0).unwrap(),
        report: Report {
            state,
            ..Report::new(&Origin::Fresh)
        },
        task: Arc::new(task),
        wall: WallTime(0),
        health: None,
    });
}

#[tokio::test]
async fn parts_are_joined_and_a_gap_asks_for_everything() {
    let mut rig = rig().await;
    let (mut held, hello) = rig.accept().await;
    assert_eq!(hello.held, Some(v1::Position { epoch: 0, index: 0 }));
    within(rig.link.wait_for(|link| *link == Link::Session))
        .await
        .unwrap();
    held.tell(part(None, 5, &[], true)).await;
    assert!(matches!(
        within(rig.updates.recv()).await,
        Some(AssignmentUpdate::Full { .. })
    ));
    let (one, two) = (assigned(1).id, assigned(2).id);
    held.tell(part(Some(5), 7, &[one.as_str()], false)).await;
    held.tell(part(Some(5), 7, &[two.as_str()], true)).await;
    let Some(AssignmentUpdate::Diff { at, removed, .. }) = within(rig.updates.recv()).await else {
        panic!("expected a diff");
    };
    assert_eq!((at, removed), (Position { epoch: 1, index: 7 }, vec![one, two]));
    held.tell(part(Some(6), 9, &[], true)).await;
    let gap = UpdateRefusal::Gap {
        held: Position { epoch: 1, index: 7 },
        prev: Position { epoch: 1, index: 6 },
    };
    match held.word().await {
        Up::Resync(resync) => assert_eq!(resync.reason, gap.to_string()),
        other => panic!("expected a resync, heard {other:?}"),
    }
    // An older position ends the session, and the next one says what is held.
    held.tell(part(None, 3, &[], true)).await;
    let (_held, hello) = rig.accept().await;
    assert_eq!(hello.held, Some(v1::Position { epoch: 1, index: 7 }));
}

#[tokio::test]
async fn reports_that_nobody_answers_are_said_again_in_the_same_session() {
    let mut rig = rig().await;
    let (mut held, _) = rig.accept().await;
    post(&rig.board, 1, TaskState::Preparing);
    let first = held.reports().await;
    post(&rig.board, 2, TaskState::Preparing);
    let again = held.reports().await;
    assert!(again.sequence > first.sequence);
    assert_eq!(again.reports.len(), 2, "with what has come meanwhile");
    // A late answer to the first is none to the second.
    held.tell(Down::ReportsTaken(v1::ReportsTaken {
        sequence: first.sequence,
    }))
    .await;
    assert_eq!(held.reports().await.reports.len(), 2);
}

#[tokio::test]
async fn reports_are_folded_and_said_again_when_a_session_breaks() {
    let mut rig = rig().await;
    let (mut held, _) = rig.accept().await;
    post(&rig.board, 1, TaskState::Preparing);
    let first = held.reports().await;
    assert_eq!(first.reports.len(), 1);
    // While the first is under way: only the latest of each task is said.
    post(&rig.board, 1, TaskState::Starting);
    post(&rig.board, 1, TaskState::Running);
    post(&rig.board, 2, TaskState::Preparing);
    held.tell(Down::ReportsTaken(v1::ReportsTaken {
        sequence: first.sequence,
    }))
    .await;
    let second = held.reports().await;
    let states: Vec<_> = second
        .reports
        .iter()
        .map(|report| report.status.as_ref().unwrap().state())
        .collect();
    assert_eq!(states.len(), 2);
    assert!(states.contains(&v1::TaskState::Running));
    drop(held);
    let (mut held, _) = rig.accept().await;
    assert_eq!(
        held.reports().await.reports.len(),
        2,
        "nobody said that they were durable"
    );
}

#[tokio::test]
async fn past_its_time_without_a_manager_the_node_counts_as_cut_off() {
    let (link, mut linked) = watch::channel(Link::Lost);
    let forever = with_cut_off(&link, Instant::now(), std::future::pending::<()>());
    tokio::select! {
        () = forever => {}
        changed = within(linked.wait_for(|link| *link == Link::CutOff)) => drop(changed.unwrap()),
    }
    link.send_replace(Link::Session);
    let short = with_cut_off(&link, Instant::now(), async { 7 });
    assert_eq!(within(short).await, 7);
    assert_eq!(*link.borrow(), Link::Session, "in session nothing is due");
}
