use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};

use super::*;
use crate::tls::trial::{Client, Shown, was_shown};

/// 2026-01-01
const BEGINS: u64 = 1_767_225_600;
/// 2027-01-01
const ENDS: u64 = 1_798_761_600;

type Ends = (tokio_rustls::client::TlsStream<DuplexStream>, ServerStream<DuplexStream>);

/// Both ends of a connection.
async fn shake_hands(acceptor: &Acceptor, client: &Client, host: &str) -> io::Result<Ends> {
    let (near, mut far) = duplex(64 * 1024);
    let serve = async {
        let hello = acceptor.hello(&mut far).await.unwrap();
        hello.answer(far).await
    };
    let (near, far) = tokio::join!(client.connect_to(host, near), serve);
    Ok((near?, far.map_err(|_| io::Error::other("refused"))?))
}

async fn say<A, B>(from: &mut A, to: &mut B, text: &str)
where
    A: AsyncWrite + Unpin,
    B: AsyncRead + Unpin,
{
    from.write_all(text.as_bytes()).await.unwrap();
    from.flush().await.unwrap();
    let mut heard = vec![0; text.len()];
    to.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, text.as_bytes());
}

/// Whatever else may be said against it.
#[test]
fn a_certificate_is_good_from_its_first_second_to_its_last() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
    let usual = params.clone();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.clone();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let (begins, ends) = (Timestamp::from_seconds(BEGINS), Timestamp::from_seconds(ENDS));

    for params in [usual, authority, params] {
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let at = |time| Chain(vec![certificate.clone()]).at(Timestamp::from_seconds(time));
        assert_eq!(at(BEGINS - 1).unwrap_err(), NotCurrent::NotBegun(begins));
        assert_eq!(at(BEGINS).unwrap().ends, ends);
        assert_eq!(at(ENDS).unwrap().ends, ends);
        assert_eq!(at(ENDS + 1).unwrap_err(), NotCurrent::Ended(ends));
    }
}

/// Fault 37
#[tokio::test]
async fn a_renewed_certificate_is_shown_to_who_comes_next_and_who_is_there_stays() {
    let (first, second) = (Shown::make(), Shown::make());
    let acceptor = Acceptor::new(first.identity()).unwrap();
    let of_a_worker = acceptor.clone();
    let client = || Client::of(&[&first, &second], &[]);
    let (mut near, mut far) = shake_hands(&of_a_worker, &client(), "localhost").await.unwrap();
    say(&mut near, &mut far, "before").await;

    acceptor.renew(second.identity());

    let (next, _) = shake_hands(&of_a_worker, &client(), "localhost").await.unwrap();
    assert!(was_shown(&near, &first) && was_shown(&next, &second));
    say(&mut near, &mut far, "after").await;
    say(&mut far, &mut near, "and back").await;
}

/// RFC 6066 §3: by an address, no name is named.
#[tokio::test]
async fn who_names_no_name_or_another_one_is_shown_the_certificate_too() {
    let shown = Shown::make();
    let acceptor = Acceptor::new(shown.identity()).unwrap();
    let client = Client::of(&[&shown], &[]);

    let (near, _) = shake_hands(&acceptor, &client, "127.0.0.1").await.unwrap();
    assert!(was_shown(&near, &shown));
    let misled = shake_hands(&acceptor, &client, "other.example").await.unwrap_err();
    assert!(misled.to_string().contains("not valid for name"), "{misled}");
}

/// RFC 8446 §8: what comes early could have been recorded.
#[tokio::test]
async fn who_comes_back_is_known_and_may_send_nothing_early() {
    let shown = Shown::make();
    let acceptor = Acceptor::new(shown.identity()).unwrap();
    for version in [&TLS12, &TLS13] {
        let mut client = Client::speaking(&[version], &[&shown], &["http/1.1"]);
        client.0.enable_early_data = true;
        let (mut near, mut far) = shake_hands(&acceptor, &client, "localhost").await.unwrap();
        say(&mut far, &mut near, "tickets come with it").await;

        let (mut next, _) = shake_hands(&acceptor, &client, "localhost").await.unwrap();

        let (_, session) = next.get_mut();
        assert_eq!(session.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
        assert!(session.early_data().is_none() && !session.is_early_data_accepted());
    }
}

/// RFC 7301 §3.2
#[tokio::test]
async fn http2_is_agreed_on_where_the_client_knows_it() {
    let shown = Shown::make();
    let acceptor = Acceptor::new(shown.identity()).unwrap();
    for (protocols, agreed) in [
        (&["http/1.1", "h2"][..], Agreed::Http2),
        (&["http/1.1"], Agreed::Http1),
        (&[], Agreed::Http1),
    ] {
        let client = Client::of(&[&shown], protocols);
        let (_, far) = shake_hands(&acceptor, &client, "localhost").await.unwrap();
        assert_eq!(far.agreed(), agreed, "{protocols:?}");
    }
    let other = Client::of(&[&shown], &["spdy/3"]);
    shake_hands(&acceptor, &other, "localhost").await.unwrap_err();
}

#[test]
fn debug_shows_no_key() {
    let identity = Shown::make().identity();
    let shown = format!("{identity:?} {:?}", Acceptor::new(identity.clone()).unwrap());

    assert!(shown.len() < 150, "{shown}");
}
