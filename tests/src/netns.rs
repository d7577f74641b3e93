//! A network namespace as a test uses it: sockets made in it, questions asked from it.
//!
//! A socket stays in the namespace that it was made in, so a thread enters only for as long as making one takes.

use crate::dns;
use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Everything is on one machine: what takes longer than this does not come.
pub const ANSWER: Duration = Duration::from_secs(2);

/// More than any answer in a test has.
const MOST: u64 = 64 * 1024;

/// After this libc asks again.
const PATIENT_ANSWER: Duration = Duration::from_secs(5);

/// Where a container asks for names.
pub const RESOLVER: &str = "127.0.0.11:53";

#[derive(Debug)]
pub struct Netns {
    file: File,
}

impl Netns {
    /// That of a process.
    pub fn of(pid: &str) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        let file = File::open(&path).with_context(|| path.clone())?;
        Ok(Self { file })
    }

    /// The one that is mounted on a file.
    pub fn mounted(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        Ok(Self { file })
    }

    /// Another hold of the same.
    pub fn again(&self) -> Result<Self> {
        let file = self.file.try_clone()?;
        Ok(Self { file })
    }

    /// Does something in it, on a thread of its own.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            });
            entered.join().unwrap_or_else(|_| bail!("the thread panicked"))
        })
    }

    /// A connection, with deadlines on all that it does.
    pub fn connect(&self, to: &str) -> Result<TcpStream> {
        let address: SocketAddr = to.parse().with_context(|| to.to_owned())?;
        let stream = self
            .inside(|| TcpStream::connect_timeout(&address, ANSWER))?
            .with_context(|| format!("no connection to {to}"))?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        Ok(stream)
    }

    /// The body of `GET /`.
    pub fn get(&self, to: &str) -> Result<String> {
        get_over(self.connect(to)?).with_context(|| format!("asking {to}"))
    }

    /// What comes back for a datagram.
    pub fn ask_udp(&self, to: &str) -> Result<String> {
        let answer = self.datagram(to, b"who are you?", ANSWER)?;
        Ok(String::from_utf8(answer)?)
    }

    fn datagram(&self, to: &str, question: &[u8], patience: Duration) -> Result<Vec<u8>> {
        let address: SocketAddr = to.parse().with_context(|| to.to_owned())?;
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = self.inside(|| UdpSocket::bind(any))??;
        socket.set_read_timeout(Some(patience))?;
        // Only whoever was asked is heard.
        socket.connect(address)?;
        socket.send(question)?;
        let mut answer = vec![0; usize::try_from(MOST)?];
        let length = socket
            .recv(&mut answer)
            .with_context(|| format!("no answer from {to}"))?;
        answer.truncate(length);
        Ok(answer)
    }

    /// Runs a program in it, which must succeed.
    pub fn run(&self, program: &str, words: &str) -> Result<String> {
        let mut command = Command::new(program);
        command.args(words.split_whitespace()).stdin(Stdio::null());
        let output = self.inside(|| command.output())??;
        ensure!(
            output.status.success(),
            "{program} {words}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Its addresses but those that every namespace has.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let listed = self.run("ip", "-o addr show scope global")?;
        let prefixes = listed.lines().filter_map(|line| line.split_whitespace().nth(3));
        prefixes
            .map(|prefix| Ok(prefix.split('/').next().unwrap_or(prefix).parse()?))
            .collect()
    }

    /// Asks its resolver for a name as fast as it can, for so long, and does not care for answers; says how often it
    /// has asked.
    pub fn flood_names(&self, name: &str, time: Duration) -> Result<u32> {
        let question = dns::question(name, dns::A)?;
        let socket = self.inside(|| UdpSocket::bind("0.0.0.0:0"))??;
        socket.connect(RESOLVER)?;
        socket.set_nonblocking(true)?;
        let begun = Instant::now();
        let mut asked = 0;
        while begun.elapsed() < time {
            // A queue that is full is what a flood makes.
            asked += u32::from(socket.send(&question).is_ok());
            while socket.recv(&mut [0; 512]).is_ok() {}
        }
        Ok(asked)
    }

    /// The addresses of a name, as a container's resolver says them; none if it says that there are none.
    pub fn lookup(&self, name: &str) -> Result<Vec<IpAddr>> {
        let mut found = Vec::new();
        for kind in [dns::A, dns::AAAA] {
            let answer = self.datagram(RESOLVER, &dns::question(name, kind)?, ANSWER)?;
            let answer = dns::answer(&answer)?;
            ensure!(
                [dns::NO_ERROR, dns::NO_SUCH_NAME].contains(&answer.code),
                "{name}: code {}",
                answer.code
            );
            found.extend(answer.addresses);
        }
        found.sort();
        Ok(found)
    }

    /// The answer's code for one question, whatever it is; waits for as long as libc does.
    pub fn lookup_code(&self, name: &str) -> Result<u8> {
        let answer = self.datagram(RESOLVER, &dns::question(name, dns::A)?, PATIENT_ANSWER)?;
        Ok(dns::answer(&answer)?.code)
    }

    /// Answers HTTP on a port with the address that asked.
    pub fn tell_who_asks(&self, port: u16) -> Result<()> {
        self.listen(&format!("[::]:{port}"), |stream| {
            // A client that went away is its own affair.
            drop(say_who_asks(&stream));
        })
    }

    /// Listens, and hands every connection to `serve` for as long as the process lives.
    pub fn listen(&self, on: &str, serve: impl Fn(TcpStream) + Send + 'static) -> Result<()> {
        let address: SocketAddr = on.parse()?;
        let listener = self
            .inside(|| TcpListener::bind(address))?
            .with_context(|| on.to_owned())?;
        thread::spawn(move || listener.incoming().flatten().for_each(serve));
        Ok(())
    }

    /// A server of names that has one address for each of these, and none else.
    pub fn serve_names(&self, on: &str, names: &[(&str, &str)]) -> Result<()> {
        let address: SocketAddr = on.parse()?;
        let socket = self
            .inside(|| UdpSocket::bind(address))?
            .with_context(|| on.to_owned())?;
        let names = names
            .iter()
            .map(|(name, address)| Ok(((*name).to_owned(), address.parse()?)))
            .collect::<Result<Vec<(String, IpAddr)>>>()?;
        thread::spawn(move || {
            let mut question = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                if let Ok(answer) = dns::serve(&question[..length], &names) {
                    // Whoever asked may be gone.
                    drop(socket.send_to(&answer, from));
                }
            }
        });
        Ok(())
    }
}

fn say_who_asks(mut stream: &TcpStream) -> Result<()> {
    let peer = stream.peer_addr()?.ip().to_canonical().to_string();
    let mut lines = BufReader::new(stream).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let length = peer.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{peer}"
    )?;
    Ok(())
}

/// `GET /` over a connection that is open.
pub fn get_over(mut stream: TcpStream) -> Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MOST).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "the answer is {head:?}");
    Ok(body.trim_end().to_owned())
}

/// Says back over a connection what was said: it lives.
pub fn echo_over(stream: &mut TcpStream, word: &str) -> Result<()> {
    stream.write_all(word.as_bytes())?;
    let mut heard = vec![0; word.len()];
    stream.read_exact(&mut heard).context("nothing came back")?;
    ensure!(heard == word.as_bytes(), "{heard:?}");
    Ok(())
}
