//! A connection of a verb to its master.

use bourse_client::{ClientArgs, Connection, Service};
use bourse_proto::operator::operator_client::OperatorClient;
use bourse_proto::services::services_client::ServicesClient;

/// The master's APIs for people, over one connection.
#[derive(Clone)]
pub struct Session {
    pub operator: OperatorClient<Service>,
    pub services: ServicesClient<Service>,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// No master answers there, or the settings are wrong; the text says what to do.
    pub async fn open(args: &ClientArgs) -> anyhow::Result<Session> {
        Ok(Session::over(&Connection::open(&args.settings()?).await?))
    }

    /// Speaks over a connection that is there.
    pub fn over(connection: &Connection) -> Session {
        Session { operator: connection.operator(), services: connection.services() }
    }
}
