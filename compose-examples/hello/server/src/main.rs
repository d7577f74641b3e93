//! The demo's program: `hello serve` answers HTTP and datagrams, `hello fetch URL` asks such a server over and over.
//!
//! It needs nothing but the standard library and is linked statically, so that its image holds one file.
//! As process 1 of a container it has no default action for SIGTERM, and it keeps nothing that could be
//! lost: its compose file therefore stops it with SIGKILL.

use std::{
    env,
    error::Error,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A request line and headers longer than this are not read to their end: the answer is the same.
const MAX_REQUEST: u64 = 8 * 1024;

/// A client that says nothing for this long is hung up on, so that it cannot hold the only thread.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["serve", address] => serve(address),
        ["fetch", url] => fetch_forever(url),
        ["about"] => about(),
        ["stamp"] => stamp(),
        _ => {
            complain(
                "expected one of: hello serve ADDRESS:PORT | hello fetch http://HOST[:PORT]/ | hello about | hello stamp",
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Answers every request with a greeting that names this host and whoever asked, over TCP and over UDP.
fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let failed = |error| format!("cannot listen on {address}: {error}");
    let listener = listen(address).map_err(failed)?;
    let datagrams = UdpSocket::bind(listener.local_addr()?).map_err(failed)?;
    thread::Builder::new().spawn(move || answer_datagrams(&datagrams))?;
    say(&format!("serving on {}", listener.local_addr()?));
    for stream in listener.incoming() {
        match stream.and_then(answer) {
            Ok(line) => say(&line),
            Err(error) => complain(&format!("request failed: {error}")),
        }
    }
    Ok(())
}

/// Without an address on all of them: one socket takes IPv4 too, where there is IPv6 at all.
fn listen(address: &str) -> io::Result<TcpListener> {
    if !address.starts_with(':') {
        return TcpListener::bind(address);
    }
    TcpListener::bind(format!("[::]{address}")).or_else(|_| TcpListener::bind(format!("0.0.0.0{address}")))
}

fn answer(mut stream: TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
    let mut lines = BufReader::new((&stream).take(MAX_REQUEST)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while let Some(line) = lines.next().transpose()? {
        if line.is_empty() {
            break;
        }
    }
    let body = greeting(stream.peer_addr()?);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(request)
}

/// What is in a datagram does not matter.
fn answer_datagrams(socket: &UdpSocket) {
    let mut ignored = [0; 16];
    loop {
        let answered = socket
            .recv_from(&mut ignored)
            .and_then(|(_, peer)| socket.send_to(greeting(peer).as_bytes(), peer));
        if let Err(error) = answered {
            complain(&format!("datagram failed: {error}"));
        }
    }
}

fn greeting(peer: SocketAddr) -> String {
    format!("hello from {} to {}\n", hostname(), peer.ip().to_canonical())
}

/// Asks once a second and says what came back, for as long as it lives.
fn fetch_forever(url: &str) -> Result<(), Box<dyn Error>> {
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| format!("expected http://…, found {url}"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let place = if authority.contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    // The sender lives as long as the loop: receiving with a time-out is this program's clock.
    let (_keep, never) = mpsc::channel::<()>();
    loop {
        match fetch(&place, path) {
            Ok(body) => say(&format!("fetched: {}", body.trim_end())),
            Err(error) => say(&format!("cannot fetch {url}: {error}")),
        }
        if never.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Disconnected) {
            return Ok(());
        }
    }
}

fn fetch(authority: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(MAX_REQUEST).read_to_string(&mut answer)?;
    Ok(answer
        .split_once("\r\n\r\n")
        .map_or(String::new(), |(_, body)| body.to_owned()))
}

/// What this process sees of itself.
fn about() -> Result<(), Box<dyn Error>> {
    let threads = thread::available_parallelism()?;
    say(&format!(
        "host {}, process {}, {threads} cores",
        hostname(),
        std::process::id()
    ));
    Ok(())
}

/// Says when its first instruction ran, in nanoseconds since 1970, then stays: for measuring a start.
fn stamp() -> Result<(), Box<dyn Error>> {
    say(&SystemTime::now()
        .duration_since(UNIX_EPOCH)?
        .as_nanos()
        .to_string());
    loop {
        thread::park();
    }
}

fn hostname() -> String {
    env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .map_or_else(|| "somewhere".to_owned(), |name| name.trim().to_owned())
}

/// A line on standard output; a reader that went away is no reason to stop serving.
fn say(line: &str) {
    drop(writeln!(io::stdout().lock(), "{line}"));
}

fn complain(line: &str) {
    drop(writeln!(io::stderr().lock(), "hello: {line}"));
}
