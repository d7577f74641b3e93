//! What the tests themselves rely on, tried without the product: namespaces, names, a typist, a client that hammers.

use anyhow::{Result, ensure};
use shoal_tests::{HOST_V4, Hammer, Host, HostOptions, OUTSIDE_V4, OUTSIDE_V6, Outside, RESOLVER, Typist};

#[test]
fn a_machine_outside_is_reached_and_answers() -> Result<()> {
    let host = Host::new("helpers", HostOptions::default())?;
    let outside = Outside::new(&host)?;
    outside.serve(8000)?;
    let net = host.net()?;
    ensure!(
        net.get(&format!("{OUTSIDE_V4}:8000"))? == HOST_V4,
        "it sees another address"
    );
    net.get(&format!("[{OUTSIDE_V6}]:8000"))?;
    ensure!(
        net.get(&format!("{OUTSIDE_V4}:8001")).is_err(),
        "nobody listens there"
    );
    let hammer = Hammer::start(&net, &format!("{OUTSIDE_V4}:8000"))?;
    net.serve_names(
        RESOLVER,
        &[("a.example", "203.0.113.1"), ("a.example", "2001:db8::1")],
    )?;
    ensure!(
        net.lookup("a.example")?.len() == 2,
        "{:?}",
        net.lookup("a.example")?
    );
    ensure!(net.lookup_code("b.example")? == 3, "a name that is not there");
    ensure!(hammer.finish()? > 0, "nothing was asked");
    let hammer = Hammer::start(&net, &format!("{OUTSIDE_V4}:8001"))?;
    ensure!(hammer.finish().is_err(), "a failure was not noticed");
    host.finish_bare()
}

#[test]
fn a_typist_sees_how_commands_end() -> Result<()> {
    let host = Host::new("typist", HostOptions::default())?;
    let mut typist = Typist::new(&host, "/", &[("WORD", "spoken".to_owned())])?;
    let (code, said) = typist.line("echo it was $WORD")?;
    ensure!(code == 0 && said.contains("it was spoken"), "{code} {said}");
    ensure!(typist.line("(exit 3)")?.0 == 3, "the code is not seen");
    ensure!(typist.line("test -t 0 && test -t 1")?.0 == 0, "it is no terminal");
    typist.begin("sleep 1000")?;
    let (code, _) = typist.interrupt()?;
    ensure!(code == 130, "{code}");
    drop(typist);
    host.finish_bare()
}
