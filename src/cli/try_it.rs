//! `mcp-doorman try`: the whole thing on this machine, with nothing to configure.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use serde_json::json;
use tokio::runtime::Builder;
use tracing_subscriber::fmt::writer::MakeWriterExt as _;

use crate::app::Surroundings;
use crate::app::memory::Memory;
use crate::chance::Chance;
use crate::cli::stop::StopSignals;
use crate::cli::{BAD_CONFIG, FAILED, complain};
use crate::clock::Clock;
use crate::demo::{self, Demo, DemoFault, DemoSettings};
use crate::outbound::Internet;
use crate::telemetry::{self, LogFormat, LogLevel, LogSettings, Standard};
use crate::wire::UpstreamUrl;

#[derive(Args, Debug)]
pub struct TryArguments {
    /// Where the sidecar listens: a port, or a loopback address and a port. Default: a free port.
    #[arg(long, value_name = "PORT", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// The URL of your own MCP server, in place of the sample.
    #[arg(long, value_name = "URL", value_parser = upstream_url)]
    upstream: Option<UpstreamUrl>,
    /// Print one line of JSON (url, username, password, upstream) in place of the explanation.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &TryArguments) -> ExitCode {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(show(arguments)),
        Err(error) => {
            complain(&format!("mcp-doorman: can't start: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

async fn show(arguments: &TryArguments) -> ExitCode {
    // Each request that goes through is a line of `debug`.
    let log = LogSettings { format: LogFormat::Text, level: LogLevel::Debug };
    // What is logged while it starts is about a config that nobody wrote.
    let explained = Arc::new(AtomicBool::new(false));
    let is_explained = Arc::clone(&explained);
    let writer = Standard::Error.with_filter(move |_| is_explained.load(Ordering::Relaxed));
    let log = telemetry::log_to(&log, writer);
    let Ok(mut signals) = StopSignals::listen() else {
        complain(&"mcp-doorman try: can't start: signals can't be received");
        return ExitCode::from(FAILED);
    };
    let settings = DemoSettings {
        listen: arguments.listen.unwrap_or(ANY_PORT),
        upstream: arguments.upstream.clone(),
    };
    let surroundings = Surroundings {
        clock: Clock::System,
        chance: Chance::system(),
        log,
        internet: Internet::of_this_machine(),
        memory: Memory::of_this_process(),
        store: None,
    };
    let demo = match demo::start(settings, surroundings).await {
        Ok(demo) => demo,
        Err(fault) => {
            complain(&format!("mcp-doorman try: {fault}"));
            return ExitCode::from(exit_code(&fault));
        }
    };
    let text = if arguments.json { in_json(&demo) } else { explanation(&demo) };
    if let Err(error) = tell(&text) {
        complain(&format!("mcp-doorman try: the password can't be told: standard output: {error}"));
        return ExitCode::from(FAILED);
    }
    explained.store(true, Ordering::Relaxed);
    signals.asked().await;
    // Nobody depends on a demo: what is under way ends with it.
    ExitCode::SUCCESS
}

/// Unlike `say`: what nobody was told nobody can use.
fn tell(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{text}")?;
    out.flush()
}

fn exit_code(fault: &DemoFault) -> u8 {
    match fault {
        DemoFault::NotLoopback(_) => BAD_CONFIG,
        DemoFault::Server(_)
        | DemoFault::Idp(_)
        | DemoFault::Tls(_)
        | DemoFault::Entropy(_)
        | DemoFault::Config(_)
        | DemoFault::App(_) => FAILED,
    }
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    address.parse().map_err(|_| "write a port, or an address and a port: 127.0.0.1:8080".to_owned())
}

fn upstream_url(text: &str) -> Result<UpstreamUrl, String> {
    UpstreamUrl::parse(text)
        .map_err(|fault| format!("{fault}; write it in full: http://127.0.0.1:3000/mcp, https://… or unix:/path/of/socket:/mcp"))
}

fn in_json(demo: &Demo) -> String {
    json!({
        "url": demo.url,
        "username": demo.username,
        "password": demo.password.expose(),
        "upstream": demo.upstream,
    })
    .to_string()
}

fn explanation(demo: &Demo) -> String {
    let Demo { url, upstream, username, .. } = demo;
    let password = demo.password.expose();
    let warning = if demo.upstream_answers {
        String::new()
    } else {
        format!("\n                (nothing answers at {upstream} yet)")
    };
    format!(
        r#"
  mcp-doorman is trying itself out, on this machine only.

    MCP URL     {url}{warning}
    User name   {username}
    Password    {password}

  Add the URL to an MCP client:

    Claude Code   claude mcp add --transport http doorman {url}
                  then /mcp inside Claude Code, to log in
    VS Code       code --add-mcp '{{"name":"doorman","type":"http","url":"{url}"}}'
    Cursor        in ~/.cursor/mcp.json: {{"mcpServers":{{"doorman":{{"url":"{url}"}}}}}}
    Codex         codex mcp add doorman --url {url}
                  codex mcp login doorman
    Any other     npx mcp-remote {url}

  What happens next: the client registers itself and opens a browser. A page
  asks whether the client may act for you; then you log in as above. From then
  on its calls go through to the MCP server, which knows nothing of all this:
  {upstream}

  Stop with Ctrl-C; nothing is kept. What happens is logged below.
"#
    )
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
