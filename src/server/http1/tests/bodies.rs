//! How the bodies of requests come to whoever reads them.

use std::sync::Mutex;

use tokio::sync::mpsc;

use super::*;

/// RFC 9110 §10.1.1: who reads the body makes it come, and once it is coming nothing need be said.
#[tokio::test]
async fn a_client_is_told_to_go_on_if_its_body_is_wanted() {
    let head = |version: &str| {
        format!(
            "POST / {version}\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
    };
    let head_1_1 = head("HTTP/1.1");
    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfour";
    let told = format!("HTTP/1.1 100 Continue\r\n\r\n{answer}");
    for (first, then, expected) in [
        (head_1_1.clone(), "four", told.as_str()),
        (format!("{head_1_1}fo"), "ur", answer),
        (format!("{head_1_1}four"), "", answer),
        (head("HTTP/1.0"), "four", answer),
    ] {
        let mut client = connect(echo);
        client.write_all(first.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
        client.write_all(then.as_bytes()).await.unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        assert_eq!(without_dates(&answers), expected, "{first:?}");
    }

    let unread = async |_: Request| answer::empty(StatusCode::UNAUTHORIZED).map(Into::into);
    let mut client = connect(unread);
    client.write_all(head_1_1.as_bytes()).await.unwrap();
    let mut refused = [0; 12];
    client.read_exact(&mut refused).await.unwrap();
    assert_eq!(refused, *b"HTTP/1.1 401");
}

/// However it comes, and whatever comes with it.
#[tokio::test]
async fn a_body_is_what_was_sent() {
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\none\r\n5;x=y\r\nthree\r\n0\r\nDigest: z\r\n\r\n";
    let sized =
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 8\r\n\r\nonethree";
    let all = [chunked, sized].concat();
    let answered =
        |head: &str| format!("HTTP/1.1 200 OK\r\n{head}content-length: 8\r\n\r\nonethree");
    let expected = [answered(""), answered("connection: close\r\n")].concat();

    assert_eq!(exchange(echo, &all).await, expected);
    let mut client = connect(echo);
    for byte in all.as_bytes() {
        client.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    assert_eq!(without_dates(&answers), expected);
}

#[tokio::test]
async fn a_body_that_is_malformed_from_the_start_reaches_nobody() {
    let handler = async |_: Request| panic!("it was handed out");
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

    for body in ["x\r\n", "1\r\na\r\nx\r\n", "1\r\nab"] {
        let refused = exchange(handler, &format!("{head}{body}")).await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{body:?}: {refused}");
    }
}

/// Each would be a write to the upstream, of one byte.
#[tokio::test]
async fn small_chunks_are_joined() {
    let (tell, mut told) = mpsc::channel(100);
    let handler = move |request: Request| {
        let tell = tell.clone();
        async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                tell.send(frame.into_data().unwrap().len()).await.unwrap();
            }
            answer::empty(StatusCode::OK).map(Into::into)
        }
    };
    let mut client = connect(handler);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(told.recv().await, Some(1));

    client.write_all(&b"1\r\na\r\n".repeat(1000)).await.unwrap();

    assert_eq!(told.recv().await, Some(1000));
}

/// What nobody asks for stays with the client.
#[tokio::test]
async fn a_body_comes_when_it_is_asked_for() {
    let (give, mut taken) = mpsc::channel(1);
    let handler = move |request: Request| {
        give.try_send(request.into_body()).unwrap();
        std::future::pending::<Response>()
    };
    let mut client = connect(handler);
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    client.write_all(head).await.unwrap();
    let mut body = taken.recv().await.unwrap();
    let sent = tokio::spawn(async move {
        let sent = client.write_all(&vec![b'x'; 1_000_000]).await;
        (client, sent)
    });
    tokio::task::yield_now().await;
    assert!(!sent.is_finished(), "more was read than anybody asked for");

    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }

    assert_eq!(read, 1_000_000);
    sent.await.unwrap().1.unwrap();
}

#[tokio::test]
async fn who_reads_a_body_is_told_how_it_broke_off() {
    let faults = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&faults);
    let handler = move |request: Request| {
        let noted = Arc::clone(&noted);
        async move {
            if let Err(fault) = request.into_body().collect().await {
                noted.lock().unwrap().push(fault.to_string());
            }
            answer::empty(StatusCode::BAD_GATEWAY).map(Into::into)
        }
    };
    let mut client = connect(handler);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    tokio::task::yield_now().await;
    client.write_all(b"x\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();

    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(*faults.lock().unwrap(), ["the chunked body is malformed"]);
}

/// The client need not wait for that word, nor read it before it sends.
#[tokio::test(start_paused = true)]
async fn the_word_to_go_on_arrives_even_if_nothing_more_is_wanted() {
    let (mut client, server) = duplex(16);
    let (_drain, stop) = Drain::new();
    let handler = async |request: Request, _| {
        request.into_body().collect().await.unwrap();
        std::future::pending().await
    };
    let talk = async move {
        let head =
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
        client.write_all(head).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.write_all(b"four").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut told = [0; 25];
        client.read_exact(&mut told).await.unwrap();
        assert_eq!(told, *b"HTTP/1.1 100 Continue\r\n\r\n");
    };
    tokio::join!(serve(server, Ipv4Addr::LOCALHOST.into(), handler, stop), talk);
}
