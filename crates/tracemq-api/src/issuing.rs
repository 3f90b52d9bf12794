//! What devices log in with, as the API has it given out: what it asks of whoever keeps the books.

use std::io;

use tracemq_access::mqtt::issued::{DeviceCredential, DeviceError, Grant, Group, GroupError, TokenError};
use tracemq_model::{ClientId, InstanceId};

/// Why nothing was given out or changed.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// No token is given out.
    #[error("no token is given out")]
    Token(#[source] TokenError),
    /// No credential is registered.
    #[error("no device credential is registered")]
    Device(#[source] DeviceError),
    /// No group is created.
    #[error("no group is created")]
    Group(#[source] GroupError),
    /// It could not be made durable, so it is not in force.
    #[error("the change could not be written")]
    Write(#[source] io::Error),
    /// The server gives nothing out.
    #[error("tokens and device credentials are not given out here")]
    Off,
}

/// Some of the clients of a group that have a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicesPage {
    /// Their identifiers, in their order.
    pub clients: Vec<String>,
    /// How many the group has in all.
    pub total: usize,
    /// Whether there are more behind these.
    pub has_more: bool,
}

/// Gives out tokens and credentials of devices. What a call has changed is durable and in force when it returns: who
/// may not stay has been told to go. Calls may block.
pub trait Issuing: Send + Sync {
    /// A new token with these rights.
    ///
    /// # Errors
    /// When there is no room for it, or it can't be written.
    fn issue_token(&self, grant: Grant) -> Result<String, IssueError>;

    /// Whether a token of that instance is good now.
    fn token_is_valid(&self, token: &str, instance: &InstanceId) -> bool;

    /// Takes a token back. False when it was not given out for that instance, or is long forgotten.
    ///
    /// # Errors
    /// When that can't be written.
    fn revoke_token(&self, token: &str, instance: &InstanceId) -> Result<bool, IssueError>;

    /// A new credential for a client, in place of the one that it has.
    ///
    /// # Errors
    /// When there is no room for it, or it can't be written.
    fn register_device(&self, instance: &InstanceId, client: &ClientId) -> Result<DeviceCredential, IssueError>;

    /// The client's credential.
    fn device(&self, instance: &InstanceId, client: &ClientId) -> Option<DeviceCredential>;

    /// `limit` clients of a group that have a credential, behind `after`, of which `skip` are passed over.
    fn devices_of_group(
        &self,
        instance: &InstanceId,
        group: &str,
        after: Option<&str>,
        skip: usize,
        limit: usize,
    ) -> DevicesPage;

    /// The client's credential with a new secret. None when it has none.
    ///
    /// # Errors
    /// When that can't be written.
    fn refresh_device(&self, instance: &InstanceId, client: &ClientId) -> Result<Option<DeviceCredential>, IssueError>;

    /// Takes the client's credential away. False when it has none.
    ///
    /// # Errors
    /// When that can't be written.
    fn unregister_device(&self, instance: &InstanceId, client: &ClientId) -> Result<bool, IssueError>;

    /// The groups that client identifiers may name: those of the configuration, created at 0, then those that were created by
    /// calls.
    fn groups(&self, instance: &InstanceId) -> Vec<Group>;

    /// Creates a group.
    ///
    /// # Errors
    /// When it can't be called that, is there, there are too many, or it can't be written.
    fn create_group(&self, instance: &InstanceId, group: &str) -> Result<(), IssueError>;

    /// Deletes a group that was created by a call. False when it was not.
    ///
    /// # Errors
    /// When that can't be written.
    fn delete_group(&self, instance: &InstanceId, group: &str) -> Result<bool, IssueError>;
}

/// Gives nothing out.
#[derive(Clone, Copy, Debug)]
pub struct NoIssuing;

impl Issuing for NoIssuing {
    fn issue_token(&self, _: Grant) -> Result<String, IssueError> {
        Err(IssueError::Off)
    }

    fn token_is_valid(&self, _: &str, _: &InstanceId) -> bool {
        false
    }

    fn revoke_token(&self, _: &str, _: &InstanceId) -> Result<bool, IssueError> {
        Err(IssueError::Off)
    }

    fn register_device(&self, _: &InstanceId, _: &ClientId) -> Result<DeviceCredential, IssueError> {
        Err(IssueError::Off)
    }

    fn device(&self, _: &InstanceId, _: &ClientId) -> Option<DeviceCredential> {
        None
    }

    fn devices_of_group(&self, _: &InstanceId, _: &str, _: Option<&str>, _: usize, _: usize) -> DevicesPage {
        DevicesPage::default()
    }

    fn refresh_device(&self, _: &InstanceId, _: &ClientId) -> Result<Option<DeviceCredential>, IssueError> {
        Err(IssueError::Off)
    }

    fn unregister_device(&self, _: &InstanceId, _: &ClientId) -> Result<bool, IssueError> {
        Err(IssueError::Off)
    }

    fn groups(&self, _: &InstanceId) -> Vec<Group> {
        Vec::new()
    }

    fn create_group(&self, _: &InstanceId, _: &str) -> Result<(), IssueError> {
        Err(IssueError::Off)
    }

    fn delete_group(&self, _: &InstanceId, _: &str) -> Result<bool, IssueError> {
        Err(IssueError::Off)
    }
}
