//! What can be typed behind `tracemq access`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

/// Where the users are.
#[derive(Args)]
pub(crate) struct AccessPlace {
    /// Data folder of the server [default: tracemq-data]
    #[arg(short = 'D', long, value_name = "DIR", env = "TRACEMQ_DATA_DIR", global = true)]
    pub data_dir: Option<PathBuf>,
}

/// What to do with the users.
#[derive(Subcommand)]
#[command(after_help = "\
Users stand in access.json of the data folder. A running server reads it again
on SIGHUP: kill -HUP $(pidof tracemq)

A user may do what its policies and those of its groups allow together; without
any, nothing. One that denies wins.

Example:
  tracemq access user add ops
  tracemq access policy put reader reader.json
  tracemq access attach reader --user ops
  tracemq access key add ops
  tracemq access explain --user ops --action mq:QueryMqttDeviceTrace \\
      --resource acs:mq:*:*:instance/mqtt-a")]
pub(crate) enum AccessCommand {
    /// Add, list, disable and delete users
    #[command(subcommand)]
    User(UserCommand),
    /// Give keys to users, list, disable and delete them
    #[command(subcommand)]
    Key(KeyCommand),
    /// Add and delete groups, put users into them
    #[command(subcommand)]
    Group(GroupCommand),
    /// Put, list, show and delete policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Attach a policy to a user or a group
    Attach(AttachArgs),
    /// Take a policy from a user or a group
    Detach(AttachArgs),
    /// Give out a key for a time (STS), which narrows what the user may do
    Sts(StsArgs),
    /// Tell whether a call would be allowed, and which statement decides
    Explain(ExplainArgs),
}

/// Changes of users.
#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user, who may do nothing yet
    Add {
        /// The user's name
        name: String,
        /// The account whose user it is; the server's instances belong to `local`
        #[arg(long, default_value = crate::config::LOCAL_ACCOUNT)]
        account: String,
    },
    /// List all users
    List,
    /// Let a user's keys in no more, also those for a time
    Disable {
        /// The user's name
        name: String,
    },
    /// Let a user's keys in again
    Enable {
        /// The user's name
        name: String,
    },
    /// Take a user out, with its keys
    Delete {
        /// The user's name
        name: String,
    },
}

/// Changes of keys.
#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Give a user a key; its secret is shown this once
    Add {
        /// The user's name
        user: String,
    },
    /// List keys, without their secrets
    List {
        /// Of this user alone
        user: Option<String>,
    },
    /// Let a key in no more
    Disable {
        /// The key's id
        id: String,
    },
    /// Let a key in again
    Enable {
        /// The key's id
        id: String,
    },
    /// Take a key from its user
    Delete {
        /// The key's id
        id: String,
    },
}

/// Changes of groups.
#[derive(Subcommand)]
pub(crate) enum GroupCommand {
    /// Add a group
    Add {
        /// The group's name
        name: String,
    },
    /// List all groups
    List,
    /// Put a user into a group
    Join {
        /// The group's name
        name: String,
        /// The user's name
        user: String,
    },
    /// Take a user out of a group
    Leave {
        /// The group's name
        name: String,
        /// The user's name
        user: String,
    },
    /// Delete a group that nobody is in
    Delete {
        /// The group's name
        name: String,
    },
}

/// Changes of policies.
#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Add a policy, or put another document in its place
    Put {
        /// The policy's name
        name: String,
        /// Its document, JSON; `-` is stdin
        file: PathBuf,
    },
    /// List all policies
    List,
    /// Print a policy's document
    Show {
        /// The policy's name
        name: String,
    },
    /// Delete a policy that is attached to nobody
    Delete {
        /// The policy's name
        name: String,
    },
}

/// Who gets or loses a policy.
#[derive(Args)]
#[command(group(ArgGroup::new("whose").required(true).args(["user", "group"])))]
pub(crate) struct AttachArgs {
    /// The policy's name
    pub policy: String,
    /// A user's name
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// A group's name
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
}

/// For whom a key for a time is, for what and how long.
#[derive(Args)]
#[command(after_help = "\
The key ends with its time, and before that when its user is disabled or
deleted. Nothing is kept of it, and a running server needs no reload.

Example:
  tracemq access sts --user ops --policy night.json --duration 1h")]
pub(crate) struct StsArgs {
    /// The user's name
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// What it may do at most, a policy's document; `-` is stdin [default: what the user may]
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// How long it lives: 15m, 1h30m, at most 12h
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub duration: String,
}

/// Which call is asked about.
#[derive(Args)]
#[command(after_help = "\
An instance is asked for by both of its names, an operation's own name also by
that of its right, and `*` for the account is the user's. The region is as it
is given: `*` fits policies that name none.

What is not given is not known: then a statement with such a condition does not
allow, and one that denies does. The time is now.

Exit status:
  0 allowed   4 denied   1 could not be told

Example:
  tracemq access explain --user ops --action mq:QueryMqttDeviceTrace \\
      --resource acs:mq:cn-hangzhou:local:instance/mqtt-a --source-ip 10.1.2.3")]
pub(crate) struct ExplainArgs {
    /// The user's name
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// The document that a key for a time was given out with; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// What is called for; several are names of one right
    #[arg(long, value_name = "ACTION", required = true)]
    pub action: Vec<String>,
    /// On what; several are names of one thing
    #[arg(long, value_name = "RESOURCE", required = true)]
    pub resource: Vec<String>,
    /// From which address
    #[arg(long, value_name = "IP")]
    pub source_ip: Option<IpAddr>,
    /// When, as RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    pub time: Option<jiff::Timestamp>,
    /// Whether over TLS
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub secure: Option<bool>,
}
