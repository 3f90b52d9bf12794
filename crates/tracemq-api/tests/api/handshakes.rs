//! What stands before HTTP: a handshake, which has its deadline, and plain HTTP where TLS is due.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tracemq_api::{Door, Handshake, ServeLimits, Shaking, Stream, serve_within};

use crate::world::World;

const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Not TLS, and as long: two bytes, of which the first is that of a handshake, then all is as it is.
fn two_bytes() -> Handshake {
    Arc::new(|mut stream: TcpStream| -> Shaking {
        Box::pin(async move {
            stream.read_exact(&mut [0; 2]).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    })
}

async fn served(limits: ServeLimits) -> (std::net::SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(serve_within(limits, Door::tls(listener, two_bytes()), World::new().router, stopped));
    (address, stop)
}

async fn all_that_comes(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_handshake_that_stops_ends_at_its_deadline_and_gives_its_place_back() {
    let limits =
        ServeLimits { connections_max: 1, handshake_timeout: Duration::from_millis(200), ..Default::default() };
    let (address, _stop) = served(limits).await;
    let silent = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(&[22]).await.unwrap();
    let mut whole = TcpStream::connect(address).await.unwrap();
    whole.write_all(&[&[22, 0], REQUEST].concat()).await.unwrap();
    assert_eq!(all_that_comes(silent).await, "");
    assert_eq!(all_that_comes(half).await, "");
    let answer = all_that_comes(whole).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_refused_in_words_whatever_it_asks_for() {
    let (address, _stop) = served(ServeLimits::default()).await;
    for target in ["/livez", "/", "/api/v1/gaps", "/nothing"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = String::from_utf8_lossy(REQUEST).replace("/livez", target);
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = all_that_comes(stream).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"tls-required\""), "{target}: {answer}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
    }
}

#[tokio::test]
async fn a_handshake_under_way_does_not_hold_up_a_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let begun = Arc::new(tokio::sync::Notify::new());
    let tell = Arc::clone(&begun);
    let never: Handshake = Arc::new(move |_| -> Shaking {
        tell.notify_one();
        Box::pin(std::future::pending())
    });
    let door = Door::tls(listener, never);
    let serving = tokio::spawn(serve_within(ServeLimits::default(), door, World::new().router, stopped));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[22]).await.unwrap();
    begun.notified().await;
    let asked = std::time::Instant::now();
    stop.send(()).unwrap();
    serving.await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}
