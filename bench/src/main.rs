//! `tracemq-bench`: measures TraceMQ beside a real peer, with the same load generator in the same run, since machines
//! are shared and noisy: the ratios are what counts.

mod calls;
mod connections;
mod lanes;
mod load;
mod messages;
mod report;
mod server;
mod storm;
mod tls;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use calls::CallsArgs;
use connections::ConnectionsArgs;
use messages::MessagesArgs;
use storm::StormArgs;

/// Figures of TraceMQ beside mosquitto
#[derive(Parser)]
enum Command {
    Calls(CallsArgs),
    Connections(ConnectionsArgs),
    Messages(MessagesArgs),
    Storm(StormArgs),
}

fn main() -> ExitCode {
    match run(&Command::parse()) {
        Ok((report, is_whole)) => {
            print!("{report}");
            if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("tracemq-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The report, and whether nothing was lost that must not be.
fn run(command: &Command) -> anyhow::Result<(String, bool)> {
    let descriptors_max = storm::descriptors_max()?;
    match command {
        Command::Calls(args) => Ok((calls::run(args)?, true)),
        Command::Connections(args) => Ok((connections::run(args)?, true)),
        Command::Messages(args) => Ok((messages::run(args)?, true)),
        Command::Storm(args) => storm::run(args, descriptors_max),
    }
}
