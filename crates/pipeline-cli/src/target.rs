//! The services a command talks to: started in this process, running elsewhere, or the account's.

use std::path::PathBuf;
use std::sync::Arc;

use aws_local::Server;
use pipeline::settings::{Pace, SettingsDraft, variables};
use pipeline::{Clients, Connection};

use crate::cli::{Account, Place, Target};
use crate::progress::Progress;

/// The services, open.
pub struct Opened {
    /// The clients of them.
    pub clients: Clients,
    /// The server in this process, when there is one.
    server: Option<Server>,
}

impl Opened {
    /// Connects, starting the local server where one is needed.
    pub async fn open(place: &Place, progress: &Arc<Progress>) -> anyhow::Result<Self> {
        // A region that the environment sets for an account does not move the local services.
        let local_region = place.region.as_deref().unwrap_or(aws_local::REGION);
        match (place.target, &place.endpoint_url) {
            (Target::Aws, url) => {
                let region = region(place.region.as_deref());
                let connection = Connection {
                    region,
                    endpoint_url: url.clone(),
                    ..Connection::default()
                };
                Ok(Self {
                    clients: connection.clients().await?,
                    server: None,
                })
            }
            (Target::Local, Some(url)) => Ok(Self {
                clients: Connection::to_url(url, local_region).clients().await?,
                server: None,
            }),
            (Target::Local, None) => {
                let told = Arc::clone(progress);
                let server = Server::builder(place.data_dir())
                    .region(local_region)
                    .on_training(Arc::new(move |_job: &str, event: &ipinsights::Progress| {
                        told.training(event)
                    }))
                    .start()
                    .await?;
                let connection = Connection::to_url(server.url(), local_region);
                Ok(Self {
                    clients: connection.clients().await?,
                    server: Some(server),
                })
            }
        }
    }

    /// Stops the server, if it is ours.
    pub async fn close(self) {
        if let Some(server) = self.server {
            server.shutdown().await;
        }
    }
}

impl Place {
    /// The folder of the local services.
    fn data_dir(&self) -> PathBuf {
        let given = self.data_dir.clone();
        let set = || std::env::var_os("IPINSIGHTS_DATA_DIR").filter(|folder| !folder.is_empty());
        given
            .or_else(|| set().map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(".ipinsights"))
    }
}

/// The region that the arguments or the first build's variable give; `None` leaves it to the SDK.
fn region(given: Option<&str>) -> Option<String> {
    given.map(str::to_owned).or_else(|| {
        std::env::var(variables::REGION)
            .ok()
            .filter(|region| !region.is_empty())
    })
}

/// The region for what is only printed.
pub fn region_or_default(given: Option<&str>) -> String {
    let aws = || {
        std::env::var("AWS_REGION")
            .ok()
            .filter(|region| !region.is_empty())
    };
    region(given)
        .or_else(aws)
        .unwrap_or_else(|| aws_local::REGION.to_owned())
}

/// The settings that depend on the place: the account's from flags and variables, the local ones fixed.
pub fn settings(target: Target, name: &str, account: &Account) -> SettingsDraft {
    let draft = SettingsDraft {
        name: name.to_owned(),
        target: target.as_str().to_owned(),
        build: crate::build::build(),
        ..SettingsDraft::default()
    };
    match target {
        Target::Aws => SettingsDraft {
            workflow_execution_role: account.workflow_execution_role.clone(),
            estimator_role: account.estimator_role.clone(),
            training_instance: account.training_instance.clone(),
            hosting_instance: account.hosting_instance.clone(),
            data_location: account.data_location.clone(),
            artifact_location: account.artifact_location.clone(),
            ..draft
        }
        .or_variables(|name| std::env::var(name).ok()),
        // Variables meant for an account do not reach the local run: its buckets and roles are its own.
        Target::Local => SettingsDraft {
            workflow_execution_role: account
                .workflow_execution_role
                .clone()
                .or(Some(aws_local::ROLE_ARN.to_owned())),
            estimator_role: account
                .estimator_role
                .clone()
                .or(Some(aws_local::ROLE_ARN.to_owned())),
            data_location: account.data_location.clone(),
            artifact_location: account.artifact_location.clone(),
            training_instance: account.training_instance.clone(),
            hosting_instance: account.hosting_instance.clone(),
            pace: Pace::brisk(),
            ..draft
        },
    }
}
