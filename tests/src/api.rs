//! The master's API for operators and services, called without a process in between: what tests look at often.

use std::future::Future;

use bourse_client::{Connection, Service, Settings, Target, Token, TokenSource};
use bourse_proto::operator::operator_client::OperatorClient;
use bourse_proto::operator::{
    Agent, Cluster, Framework, GetClusterRequest, ListAgentsRequest, ListFrameworksRequest, ListRolesRequest,
    ListTasksRequest, Role, SetWeightRequest, Task,
};
use bourse_proto::services as wire;
use bourse_proto::services::services_client::ServicesClient;
use tokio::runtime::Runtime;
use tonic::Status;

/// A connection for tests, which are plain functions: every call waits.
pub struct Api {
    runtime: Runtime,
    connection: Connection,
}

/// What a call came to.
pub type Answer<T> = Result<T, Status>;

impl Api {
    /// Calls the master at this address with this token. Nothing is called yet.
    ///
    /// # Panics
    /// When the address or the token cannot be one.
    pub fn new(master: &str, token: &str) -> Api {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread can be started");
        let target: Target = master.parse().expect("a test's own address");
        let token = TokenSource::Text(Token::new(token).expect("a test's own token"));
        let connection = {
            let _inside = runtime.enter();
            // A host of a test's network is another machine to it.
            let settings = Settings { insecure: !target.is_loopback(), ..Settings::master(target) };
            Connection::lazy(&settings.with_token(token)).expect("good settings")
        };
        Api { runtime, connection }
    }

    /// For calls that are not among those below.
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Waits for anything.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The operator's client.
    pub fn operator(&self) -> OperatorClient<Service> {
        self.connection.operator()
    }

    fn services_client(&self) -> ServicesClient<Service> {
        self.connection.services()
    }

    /// The whole in one answer.
    pub fn cluster(&self) -> Answer<Cluster> {
        Ok(self.wait(self.operator().get_cluster(GetClusterRequest {}))?.into_inner())
    }

    /// All agents.
    pub fn agents(&self) -> Answer<Vec<Agent>> {
        self.pages(async |page| {
            let request = ListAgentsRequest { page, ..Default::default() };
            let answer = self.operator().list_agents(request).await?.into_inner();
            Ok((answer.agents, answer.next_page))
        })
    }

    /// All frameworks, also those that were torn down.
    pub fn frameworks(&self) -> Answer<Vec<Framework>> {
        self.pages(async |page| {
            let request = ListFrameworksRequest { completed: true, page, ..Default::default() };
            let answer = self.operator().list_frameworks(request).await?.into_inner();
            Ok((answer.frameworks, answer.next_page))
        })
    }

    /// All tasks, also those that have ended.
    pub fn tasks(&self) -> Answer<Vec<Task>> {
        self.pages(async |page| {
            let request = ListTasksRequest { completed: true, page, ..Default::default() };
            let answer = self.operator().list_tasks(request).await?.into_inner();
            Ok((answer.tasks, answer.next_page))
        })
    }

    /// A list, page by page: what is on the page after this one, and which comes after it.
    fn pages<T>(&self, page: impl AsyncFn(String) -> Answer<(Vec<T>, String)>) -> Answer<Vec<T>> {
        self.wait(async {
            let (mut all, mut next) = (Vec::new(), String::new());
            loop {
                let (things, after) = page(next).await?;
                all.extend(things);
                if after.is_empty() {
                    return Ok(all);
                }
                next = after;
            }
        })
    }

    /// One task by its id.
    pub fn task(&self, id: &str) -> Answer<Task> {
        let found = self.tasks()?.into_iter().find(|task| task.id == id);
        found.ok_or_else(|| Status::not_found(format!("the master lists no task {id}")))
    }

    /// The tasks that run.
    pub fn running(&self) -> Answer<Vec<Task>> {
        Ok(self.tasks()?.into_iter().filter(|task| task.state == "TASK_RUNNING").collect())
    }

    /// Deploys a service file.
    pub fn deploy(&self, toml: &str) -> Answer<wire::Service> {
        let request = wire::DeployRequest { toml: toml.to_owned(), file_name: "test.toml".to_owned() };
        let answer = self.wait(self.services_client().deploy(request))?.into_inner();
        answer.service.ok_or_else(|| Status::internal("a deployment was answered without its service"))
    }

    /// All services.
    pub fn services(&self) -> Answer<Vec<wire::Service>> {
        Ok(self
            .wait(self.services_client().list(wire::ListServicesRequest::default()))?
            .into_inner()
            .services)
    }

    /// One service by its name.
    pub fn service(&self, name: &str) -> Answer<wire::Service> {
        let found = self.services()?.into_iter().find(|service| service.name == name);
        found.ok_or_else(|| Status::not_found(format!("no service {name} is listed")))
    }

    /// Gives a role a weight.
    pub fn set_weight(&self, role: &str, weight: f64) -> Answer<()> {
        let request = SetWeightRequest { role: role.to_owned(), weight };
        self.wait(self.operator().set_weight(request)).map(drop)
    }

    /// All roles.
    pub fn roles(&self) -> Answer<Vec<Role>> {
        self.pages(async |page| {
            let request = ListRolesRequest { page, ..Default::default() };
            let answer = self.operator().list_roles(request).await?.into_inner();
            Ok((answer.roles, answer.next_page))
        })
    }

    /// Changes how many instances a service has.
    pub fn scale(&self, name: &str, count: u32) -> Answer<()> {
        let request = wire::ScaleRequest { name: name.to_owned(), count };
        self.wait(self.services_client().scale(request)).map(drop)
    }

    /// The service, as soon as it runs as it should with so many instances; else what is missing.
    ///
    /// # Errors
    /// In words, for [`wait_for`](crate::wait_for).
    pub fn settled(&self, name: &str, count: u32) -> Result<wire::Service, String> {
        let service = self.service(name).map_err(|status| status.message().to_owned())?;
        let settled = service.state == "running"
            && (service.wanted, service.running, service.healthy) == (count, count, count);
        if settled { Ok(service) } else { Err(format!("{service:?}")) }
    }
}
