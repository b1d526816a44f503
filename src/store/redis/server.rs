//! Where Redis is, how to get a connection to it, and whether state is safe there.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ::redis::aio::{ConnectionLike as _, MultiplexedConnection};
use ::redis::cluster::{ClusterClient, ClusterClientBuilder};
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::{
    MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr,
};
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo as _, Pipeline, RedisConnectionInfo, RedisError, RedisResult,
    ServerErrorKind, TlsCertificates, TlsMode, Value, cmd, from_redis_value,
};

use crate::secret::Secret;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    pub servers: RedisServers,
    pub login: RedisLogin,
    pub tls: RedisTls,
    /// Before every key, so that several deployments can share a server.
    pub key_prefix: String,
    /// Use a server that may drop records when its memory is full.
    pub allow_eviction: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisServers {
    Single(RedisAddress),
    /// The sentinels, what they call the master, and who we are to them.
    Sentinel {
        sentinels: Vec<RedisAddress>,
        master: String,
        login: RedisLogin,
    },
    /// Some of the nodes; the others are learnt from them.
    Cluster(Vec<RedisAddress>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisAddress {
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisLogin {
    pub user: Option<String>,
    pub password: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisTls {
    Off,
    /// Trust what the operating system trusts.
    On,
    /// Trust only the certificates in this file (PEM).
    OnWithRoots(PathBuf),
}

/// Why there is no store. Completes "…: ".
#[derive(Debug, thiserror::Error)]
pub enum ConnectFault {
    #[error("can't read the certificates in {}: {fault}", path.display())]
    Roots { path: PathBuf, fault: io::Error },
    #[error("can't be used: {0}")]
    Settings(String),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A server that answers, but may lose state or can't keep it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "redis may drop state when its memory is full (maxmemory-policy is {policy}): set it to \
         noeviction, or allow eviction, and expect people to be signed out"
    )]
    MayEvict { policy: String },
    #[error("redis {version} is too old: 6.2 is needed, or any Valkey")]
    TooOld { version: String },
}

/// Makes connections.
#[derive(Clone)]
pub enum Server {
    Single(Client),
    Sentinel(SentinelSettings),
    Cluster(Box<ClusterClient>),
}

#[derive(Clone)]
pub struct SentinelSettings {
    addresses: Vec<ConnectionAddr>,
    master: String,
    login: RedisLogin,
    master_login: RedisLogin,
    certificates: Option<TlsCertificates>,
}

/// Shared by all who ask at the same time.
#[derive(Clone)]
pub enum Connection {
    /// And how many replicas there were when it began.
    One(MultiplexedConnection, u32),
    Cluster(ClusterConnection),
}

/// A node to ask, if there are several.
#[derive(Clone, Debug)]
pub enum Node {
    Only,
    Of { key: String },
    At { host: String, port: u16 },
}

impl Server {
    pub fn new(settings: &RedisSettings) -> Result<Self, ConnectFault> {
        let certificates = certificates(&settings.tls)?;
        let built = match &settings.servers {
            RedisServers::Single(address) => single(settings, address, certificates),
            RedisServers::Sentinel { sentinels, master, login } => {
                Ok(Self::Sentinel(SentinelSettings {
                    addresses: sentinels.iter().map(|one| settings.tls.address(one)).collect(),
                    master: master.clone(),
                    login: login.clone(),
                    master_login: settings.login.clone(),
                    certificates,
                }))
            }
            RedisServers::Cluster(nodes) => cluster(settings, nodes, certificates),
        };
        built.map_err(|fault| ConnectFault::Settings(fault.to_string()))
    }

    pub async fn connect(&self) -> RedisResult<Connection> {
        // Answers are waited for, and given up, by who asks.
        let how = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_DEADLINE))
            .set_response_timeout(None);
        let client = match self {
            Self::Single(client) => client.clone(),
            Self::Sentinel(settings) => settings.client()?.async_get_client().await?,
            Self::Cluster(client) => {
                return client.get_async_connection().await.map(Connection::Cluster);
            }
        };
        let mut connection = client.get_multiplexed_async_connection_with_config(&how).await?;
        // Over a connection that has written nothing, this waits for nobody and counts who is there.
        let mut count = cmd("WAIT");
        count.arg(0).arg(0);
        let replicas = allowed(count.query_async(&mut connection).await)?.unwrap_or(0);
        Ok(Connection::One(connection, replicas))
    }
}

fn single(
    settings: &RedisSettings,
    address: &RedisAddress,
    certificates: Option<TlsCertificates>,
) -> RedisResult<Server> {
    let info = settings.connection_info(address)?;
    let client = match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates)?,
        None => Client::open(info)?,
    };
    Ok(Server::Single(client))
}

fn cluster(
    settings: &RedisSettings,
    nodes: &[RedisAddress],
    certificates: Option<TlsCertificates>,
) -> RedisResult<Server> {
    let nodes: RedisResult<Vec<_>> =
        nodes.iter().map(|node| settings.connection_info(node)).collect();
    let mut builder = ClusterClientBuilder::new(nodes?)
        // It would also repeat writes that may have been done.
        .retries(0)
        .connection_timeout(CONNECT_DEADLINE)
        .response_timeout(ANSWER_DEADLINE);
    if let Some(user) = &settings.login.user {
        builder = builder.username(user);
    }
    if let Some(password) = &settings.login.password {
        builder = builder.password(password.expose());
    }
    if !matches!(settings.tls, RedisTls::Off) {
        builder = builder.tls(TlsMode::Secure);
    }
    if let Some(certificates) = certificates {
        builder = builder.certs(certificates);
    }
    builder.build().map(|client| Server::Cluster(Box::new(client)))
}

impl SentinelSettings {
    fn client(&self) -> RedisResult<SentinelClient> {
        let mut builder = SentinelClientBuilder::new(
            self.addresses.clone(),
            &self.master,
            SentinelServerType::Master,
        )?;
        if let Some(user) = &self.login.user {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = &self.login.password {
            builder = builder.set_client_to_sentinel_password(password.expose());
        }
        if let Some(user) = &self.master_login.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.master_login.password {
            builder = builder.set_client_to_redis_password(password.expose());
        }
        if self.addresses.iter().any(|one| matches!(one, ConnectionAddr::TcpTls { .. })) {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()
    }
}

impl RedisSettings {
    fn connection_info(&self, address: &RedisAddress) -> RedisResult<ConnectionInfo> {
        let mut who = RedisConnectionInfo::default();
        if let Some(user) = &self.login.user {
            who = who.set_username(user);
        }
        if let Some(password) = &self.login.password {
            who = who.set_password(password.expose());
        }
        Ok(self.tls.address(address).into_connection_info()?.set_redis_settings(who))
    }
}

impl RedisTls {
    fn address(&self, address: &RedisAddress) -> ConnectionAddr {
        let RedisAddress { host, port } = address.clone();
        match self {
            Self::Off => ConnectionAddr::Tcp(host, port),
            Self::On | Self::OnWithRoots(_) => {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            }
        }
    }
}

fn certificates(tls: &RedisTls) -> Result<Option<TlsCertificates>, ConnectFault> {
    let RedisTls::OnWithRoots(path) = tls else { return Ok(None) };
    let roots = fs::read(path);
    let roots = roots.map_err(|fault| ConnectFault::Roots { path: path.clone(), fault })?;
    Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(roots) }))
}

impl Connection {
    /// Send all of `commands` at once, over one connection, and give the answer of each.
    pub async fn send(&mut self, node: &Node, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        let count = commands.len();
        let answers = match self {
            Self::One(connection, _) => connection.req_packed_commands(commands, 0, count).await?,
            Self::Cluster(connection) => {
                connection.route_pipeline(commands.clone(), 0, count, node.route()).await?
            }
        };
        answers.into_iter().map(Value::extract_error).collect()
    }

    /// Every server that holds records.
    pub async fn nodes(&mut self) -> RedisResult<Vec<Node>> {
        let connection = match self {
            Self::One(..) => return Ok(vec![Node::Only]),
            Self::Cluster(connection) => connection,
        };
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answer = connection.route_command(cmd("PING"), everywhere).await?.extract_error()?;
        let answers: Vec<(String, String)> = from_redis_value(answer)?;
        let at = |(address, _): (String, String)| {
            let (host, port) = address.rsplit_once(':')?;
            Some(Node::At { host: host.to_owned(), port: port.parse().ok()? })
        };
        Ok(answers.into_iter().filter_map(at).collect())
    }

    pub const fn heals_itself(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Refuse servers that can't keep state, or need not.
    pub async fn judge(&mut self, allow_eviction: bool) -> RedisResult<Result<(), Refusal>> {
        for node in self.nodes().await? {
            let facts = self.facts(&node).await?;
            let verdict = facts.judge(allow_eviction);
            if verdict.is_err() {
                return Ok(verdict);
            }
        }
        Ok(Ok(()))
    }

    async fn facts(&mut self, node: &Node) -> RedisResult<Facts> {
        if let Some(told) = allowed(self.ask::<String>(node, cmd("INFO")).await)? {
            return Ok(Facts::from_info(&told));
        }
        let mut config = cmd("CONFIG");
        config.arg("GET").arg("maxmemory*");
        let told: Option<Vec<(String, String)>> = allowed(self.ask(node, config).await)?;
        Ok(told.map(Facts::from_config).unwrap_or_default())
    }

    /// How many replicas follow this node now, or did when we connected, if more we may not know; `None` if
    /// not even that.
    pub async fn replicas(&mut self, node: &Node) -> RedisResult<Option<u32>> {
        let mut info = cmd("INFO");
        info.arg("replication");
        if let Some(told) = allowed(self.ask::<String>(node, info).await)? {
            // One that is still being filled is no second server yet.
            let online = told.lines().filter(|line| line.contains(",state=online,"));
            return Ok(u32::try_from(online.count()).ok());
        }
        Ok(match self {
            Self::One(_, replicas) => Some(*replicas),
            Self::Cluster(_) => None,
        })
    }

    pub async fn ask<T: ::redis::FromRedisValue>(
        &mut self,
        node: &Node,
        command: Cmd,
    ) -> RedisResult<T> {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(command);
        let answer = self.send(node, &commands).await?.pop().unwrap_or(Value::Nil);
        Ok(from_redis_value(answer)?)
    }
}

impl Node {
    fn route(&self) -> SingleNodeRoutingInfo {
        match self {
            Self::Only => SingleNodeRoutingInfo::RandomPrimary,
            Self::Of { key } => {
                SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master))
            }
            Self::At { host, port } => {
                SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port }
            }
        }
    }
}

/// What a server says of itself, as far as we may know.
#[derive(Debug, Default)]
struct Facts {
    version: Option<String>,
    max_memory: Option<String>,
    policy: Option<String>,
}

impl Facts {
    fn from_info(told: &str) -> Self {
        let line = |name| line(told, name).map(str::to_owned);
        Self {
            version: line("redis_version"),
            max_memory: line("maxmemory"),
            policy: line("maxmemory_policy"),
        }
    }

    fn from_config(told: Vec<(String, String)>) -> Self {
        let mut facts = Self::default();
        for (name, value) in told {
            match name.as_str() {
                "maxmemory" => facts.max_memory = Some(value),
                "maxmemory-policy" => facts.policy = Some(value),
                _ => {}
            }
        }
        facts
    }

    fn judge(self, allow_eviction: bool) -> Result<(), Refusal> {
        match self.version {
            Some(version) if is_too_old(&version) => return Err(Refusal::TooOld { version }),
            Some(_) => {}
            None => tracing::warn!("redis does not say which version it is; 6.2 is needed"),
        }
        let (Some(max_memory), Some(policy)) = (self.max_memory, self.policy) else {
            tracing::warn!(
                "redis does not say whether it may drop state; it must not: check that its maxmemory-policy is noeviction"
            );
            return Ok(());
        };
        if max_memory != "0" && policy != "noeviction" && !allow_eviction {
            return Err(Refusal::MayEvict { policy });
        }
        Ok(())
    }
}

fn is_too_old(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let (major, minor): (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    (major, minor) < (6, 2)
}

fn line<'a>(told: &'a str, name: &str) -> Option<&'a str> {
    told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// `None` if the server knows the command but does not let us use it.
fn allowed<T>(answer: RedisResult<T>) -> RedisResult<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(fault) if fault.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The server said that it did not do it, and that another one, or the same a little later, would.
pub fn is_worth_another_try(fault: &RedisError) -> bool {
    [
        ErrorKind::Server(ServerErrorKind::Moved),
        ErrorKind::Server(ServerErrorKind::Ask),
        ErrorKind::Server(ServerErrorKind::TryAgain),
        ErrorKind::Server(ServerErrorKind::ClusterDown),
        ErrorKind::ClusterConnectionNotFound,
    ]
    .contains(&fault.kind())
}

/// This connection will not do any more, or leads to a server that no longer takes writes.
pub fn is_end_of_connection(fault: &RedisError) -> bool {
    fault.is_io_error()
        || fault.is_unrecoverable_error()
        || [
            ErrorKind::Parse,
            ErrorKind::Server(ServerErrorKind::ReadOnly),
            ErrorKind::Server(ServerErrorKind::MasterDown),
            ErrorKind::Server(ServerErrorKind::BusyLoading),
        ]
        .contains(&fault.kind())
}

const CONNECT_DEADLINE: Duration = Duration::from_millis(1500);
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str, max_memory: &str, policy: &str) -> Facts {
        Facts::from_info(&format!(
            "# Server\r\nredis_version:{version}\r\n# Memory\r\nmaxmemory:{max_memory}\r\n\
             maxmemory_human:0B\r\nmaxmemory_policy:{policy}\r\n"
        ))
    }

    #[test]
    fn a_server_that_may_drop_state_is_refused_unless_that_is_allowed() {
        let evicting = || info("7.0.15", "1000000", "allkeys-lru");
        let refusal = Refusal::MayEvict { policy: "allkeys-lru".to_owned() };

        assert_eq!(evicting().judge(false), Err(refusal));
        assert_eq!(evicting().judge(true), Ok(()));
        assert_eq!(info("7.0.15", "1000000", "noeviction").judge(false), Ok(()));
        assert_eq!(info("7.0.15", "0", "allkeys-lru").judge(false), Ok(()));
        assert_eq!(Facts::default().judge(false), Ok(()));
    }

    #[test]
    fn a_server_that_lacks_what_we_use_is_refused() {
        for (version, is_fine) in
            [("2.8", false), ("6.0.20", false), ("6.2.0", true), ("7.2.4", true), ("10.0.0", true)]
        {
            assert_eq!(info(version, "0", "noeviction").judge(false).is_ok(), is_fine, "{version}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let refusals = [
            Refusal::MayEvict { policy: "allkeys-lru".to_owned() },
            Refusal::TooOld { version: "6.0.16".to_owned() },
        ];

        insta::assert_snapshot!(refusals.map(|refusal| refusal.to_string()).join("\n"), @"
        redis may drop state when its memory is full (maxmemory-policy is allkeys-lru): set it to noeviction, or allow eviction, and expect people to be signed out
        redis 6.0.16 is too old: 6.2 is needed, or any Valkey
        ");
    }
}
