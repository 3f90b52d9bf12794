//! `tracemq-bench`: measures TraceMQ beside a real peer, with the same load generator in the same run, since machines
//! are shared and noisy: the ratios are what counts.

mod connections;
mod lanes;
mod load;
mod messages;
mod report;
mod server;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use connections::ConnectionsArgs;
use messages::MessagesArgs;

/// Figures of TraceMQ beside mosquitto
#[derive(Parser)]
enum Command {
    Connections(ConnectionsArgs),
    Messages(MessagesArgs),
}

fn main() -> ExitCode {
    match run(&Command::parse()) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tracemq-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<String> {
    server::raise_descriptor_limit()?;
    match command {
        Command::Connections(args) => connections::run(args),
        Command::Messages(args) => messages::run(args),
    }
}
