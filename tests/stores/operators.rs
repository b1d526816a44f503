//! What operators ask of one replica holds for all of them, and is not done when the store is away.

use mcp_doorman::store::StateSettings;
use tempfile::TempDir;

use crate::servers::{Server, single, soon_async};
use crate::support::admin::AdminSocket;
use crate::support::doorman::{Doorman, Login};
use crate::support::fake_mcp_server::FakeMcpServer;

/// Two replicas on one server, and the admin socket of the second.
async fn replicas(server: &Server) -> (Doorman, Doorman, AdminSocket, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let socket = AdminSocket::in_folder(folder.path());
    let state = || StateSettings::Redis(Box::new(single(server)));
    let upstream = FakeMcpServer::start().await;
    let here = Doorman::in_front_of(upstream.clone()).state(state()).start().await;
    let there = Doorman::in_front_of(upstream).beside(&here).state(state());
    let there = there.admin_socket(&socket.path).start().await;
    here.until_ready().await;
    there.until_ready().await;
    (here, there, socket, folder)
}

async fn ends_at(doorman: &Doorman, login: &Login) {
    soon_async("a refused access token", async || {
        let answer = doorman.call(&login.tokens.access).await;
        (answer.status == 401).then_some(())
    })
    .await;
    doorman.refresh(&login.client, &login.tokens.refresh).await.assert_error(400, "invalid_grant");
}

#[tokio::test]
async fn what_one_replica_is_told_to_end_ends_at_all() {
    let server = Server::start(&[]);
    let (here, there, socket, _folder) = replicas(&server).await;

    for whose in ["grant", "user", "client"] {
        let login = here.log_in().await;
        here.call(&login.tokens.access).await.assert_status(200);
        there.call(&login.tokens.access).await.assert_status(200);
        let [connection] = socket.connections().await.try_into().unwrap();

        socket.revoke(whose, connection[whose].as_str().unwrap()).await.assert_ended(1);

        there.call(&login.tokens.access).await.assert_status(401);
        ends_at(&here, &login).await;
        assert!(socket.connections().await.is_empty());
    }
}

#[tokio::test]
async fn what_could_not_be_ended_is_told_and_can_be_tried_again() {
    let mut server = Server::start(&["appendonly yes", "appendfsync always"]);
    let (here, there, socket, _folder) = replicas(&server).await;
    let login = here.log_in().await;
    let [connection] = socket.connections().await.try_into().unwrap();
    let grant = connection["grant"].as_str().unwrap();

    server.kill();
    socket.ask("GET", "/connections", "").await.assert_error(503, "store_unavailable");
    socket.revoke("user", "alice-7f3a").await.assert_error(503, "store_unavailable");
    let printed = socket.run(&["revoke", "--grant", grant]).await;

    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.err.contains(&format!("NOT ended {grant}")), "{printed:?}");
    assert_eq!(socket.run(&["connections"]).await.code, Some(1));
    // As far as this replica goes.
    there.call(&login.tokens.access).await.assert_status(401);
    here.call(&login.tokens.access).await.assert_status(200);

    server.start_again();
    soon_async("an ending", async || {
        (socket.run(&["revoke", "--grant", grant]).await.code == Some(0)).then_some(())
    })
    .await;
    ends_at(&here, &login).await;
}
