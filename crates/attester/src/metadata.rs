//! A cloud's metadata service: plain HTTP to an address that only the host answers. What it gives is the host's word, and is
//! signed by others where it matters.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest answer, head included.
const MAX_ANSWER: usize = 128 * 1024;

/// How long the service may take; a quote takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Sends one request (HTTP/1.1, RFC 9112) and returns the body of a 200. With a body of its own the request is a POST of JSON.
///
/// # Errors
/// What the system says, another status, or an answer that is not HTTP or too long.
pub(crate) fn ask(service: SocketAddr, path: &str, json: Option<&str>) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&service, CONNECT_PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let host = service.ip();
    let request = match json {
        None => format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nMetadata: true\r\nConnection: close\r\n\r\n"),
        Some(json) => format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nMetadata: true\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        ),
    };
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER as u64 + 1).read_to_end(&mut answer)?;
    if answer.len() > MAX_ANSWER {
        return Err(invalid(&format!("it is longer than {MAX_ANSWER} bytes")));
    }
    body(&answer)
}

/// The body of an answer that was read to its end.
fn body(answer: &[u8]) -> io::Result<Vec<u8>> {
    let end =
        answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| invalid("it has no end of its head"))?;
    let (head, rest) = answer.split_at(end);
    let rest = rest.get(4..).unwrap_or_default();
    let head = str::from_utf8(head).map_err(|_| invalid("its head is not text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")).and_then(|line| line.get(2..5));
    match status {
        Some("200") => {}
        Some(status) => {
            return Err(io::Error::other(format!("it answered with the status {}", status.escape_default())));
        }
        None => return Err(invalid("it is not HTTP")),
    }
    let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let field =
        |name: &str| fields.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    if field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return unchunked(rest).ok_or_else(|| invalid("its chunks are broken off or malformed"));
    }
    match field("content-length").map(str::parse::<usize>) {
        None => Ok(rest.to_vec()),
        Some(Ok(length)) => rest.get(..length).map(<[u8]>::to_vec).ok_or_else(|| invalid("it broke off")),
        Some(Err(_)) => Err(invalid("its length is no number")),
    }
}

/// Joins the chunks (RFC 9112, 7.1).
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = str::from_utf8(rest.get(..end)?).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        let (chunk, behind) = rest.split_at_checked(size)?;
        body.extend_from_slice(chunk);
        rest = behind.strip_prefix(b"\r\n")?;
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer is malformed: {why}"))
}

/// The body of a fuzz target: reads `bytes` as an answer. It must not panic.
pub fn fuzz_answer(bytes: &[u8]) {
    if let Ok(body) = body(bytes) {
        assert!(body.len() < bytes.len());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;
    use std::thread::{JoinHandle, spawn};

    use proptest::prelude::*;

    use super::*;

    /// A service that gives these answers, one a connection, and then the requests that it had.
    pub(crate) fn service(answers: Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || answers.into_iter().map(|answer| serve_one(&listener, &answer)).collect();
        (address, spawn(serve))
    }

    fn serve_one(listener: &TcpListener, answer: &[u8]) -> String {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let length = stream.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..length]);
            let text = String::from_utf8_lossy(&request);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let expected =
                head.split("Content-Length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
            if body.len() >= expected {
                break;
            }
        }
        stream.write_all(answer).unwrap();
        String::from_utf8(request).unwrap()
    }

    pub(crate) fn ok(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    #[test]
    fn requests_and_answers_are_plain_http() {
        let chunked =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".to_vec();
        let open = b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nto the end".to_vec();
        let (address, requests) = service(vec![ok("{}"), chunked, open]);
        assert_eq!(ask(address, "/a?b=c", None).unwrap(), b"{}");
        assert_eq!(ask(address, "/q", Some("{\"x\":1}")).unwrap(), b"abcde");
        assert_eq!(ask(address, "/q", None).unwrap(), b"to the end");
        let requests = requests.join().unwrap();
        assert!(
            requests[0].starts_with("GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1\r\nMetadata: true\r\n"),
            "{}",
            requests[0]
        );
        assert!(requests[1].starts_with("POST /q HTTP/1.1\r\n") && requests[1].ends_with("\r\n\r\n{\"x\":1}"));
    }

    #[test]
    fn what_is_no_whole_200_is_refused() {
        for (answer, why) in [
            (&b"HTTP/1.1 404 Not Found\r\n\r\n"[..], "status 404"),
            (b"SSH-2.0\r\n\r\n", "not HTTP"),
            (b"HTTP/1.1 200 OK\r\n", "no end of its head"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfour", "broke off"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no number"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc\r\n", "chunks"),
        ] {
            let error = body(answer).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let (address, requests) = service(vec![[&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; MAX_ANSWER]].concat()]);
        assert!(ask(address, "/", None).unwrap_err().to_string().contains("longer than"));
        requests.join().unwrap_or_default();
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(bytes: Vec<u8>, chunks: Vec<u8>) {
            fuzz_answer(&bytes);
            fuzz_answer(&[&b"HTTP/1.1 200 OK\r\n\r\n"[..], &bytes].concat());
            fuzz_answer(&[&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n"[..], &chunks].concat());
        }
    }
}
