//! `tracemq`: the binary. Parses what was typed, and hands over to one module a command.

mod access;
mod cli;
mod clients;
mod config;
mod credentials;
mod demo;
mod exit;
mod history;
mod passwd;
mod serve;
mod shell;
mod store;
mod trust;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command, ConfigCommand};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo => demo::run(),
        Command::History(args) => history::run(&args),
        Command::Clients(args) => clients::list(&args),
        Command::Kick(args) => clients::kick(&args),
        Command::Passwd(args) => passwd::run(&args),
        Command::Access { place, command } => access::run(&place, &command),
        Command::Store { command } => store::run(&command),
        Command::Config { command: ConfigCommand::Check(args) } => check_config(&args),
    };
    exit::report(result)
}

fn check_config(args: &cli::ServeArgs) -> anyhow::Result<()> {
    let config = args.resolve()?;
    serve::check_certificates(&config)?;
    serve::access::read(&config.mqtt)?;
    access::file::load(&config.data_dir)?;
    Ok(std::io::stdout().write_all(config.to_toml()?.as_bytes())?)
}
