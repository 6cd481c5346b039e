//! Logs made from a seed: the same seed gives the same bytes.

use std::fmt::Write;

use crate::logs::Random;

fn private(random: &mut Random) -> String {
    format!("10.0.{}.{}", random.below(16), 1 + random.below(254))
}

/// A flow log of version 2 with its header line, of at least so many bytes: of the flows about 45 % came in from outside,
/// 40 % went out, 10 % stayed inside; 15 % were rejected; there is a note without data now and then.
pub(crate) fn flow_log(seed: u64, bytes: usize) -> String {
    let mut random = Random::new(seed);
    let mut out = String::with_capacity(bytes + 256);
    out.push_str(access_events::format::flow_log::DEFAULT_COLUMNS);
    out.push('\n');
    let mut start = 1_714_557_600;
    while out.len() < bytes {
        start += random.below(2);
        let eni = 0x0a1b_2c3d_4e5f_0000 + random.below(400) * 7919;
        let end = start + 60;
        let kind = random.below(100);
        if kind < 5 {
            writeln!(out, "2 123456789012 eni-{eni:017x} - - - - - - - {start} {end} - NODATA")
        } else {
            let (source, target) = match kind {
                5..50 => (random.address(), private(&mut random)),
                50..90 => (private(&mut random), random.address()),
                _ => (private(&mut random), private(&mut random)),
            };
            let [from, to] = [1024 + random.below(64_000), *random.pick(&[&22_u64, &80, &443, &3389, &8443])];
            let packets = 1 + random.below(200);
            let size = packets * (40 + random.below(1400));
            let action = if random.below(100) < 15 { "REJECT" } else { "ACCEPT" };
            writeln!(
                out,
                "2 123456789012 eni-{eni:017x} {source} {target} {from} {to} 6 {packets} {size} {start} {end} {action} OK"
            )
        }
        .unwrap();
    }
    out
}

/// A combined log of a web server of at least so many bytes: of the requests 30 % are for `/login_success`, 70 % have a user,
/// 90 % end with 200.
pub(crate) fn web_log(seed: u64, bytes: usize) -> String {
    const AGENTS: [&str; 4] = [
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_13_6) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/70.0.3538.77 Safari/537.36",
        "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
        "curl/8.5.0",
        "Mozilla/5.0 \\\"quoted\\\" (compatible)",
    ];
    let mut random = Random::new(seed);
    let mut out = String::with_capacity(bytes + 512);
    let mut second = 0;
    while out.len() < bytes {
        second += random.below(2);
        let [day, hour, minute] = [1 + second / 86_400 % 28, second / 3600 % 24, second / 60 % 60];
        let ip = random.address();
        let user = match random.below(10) {
            0..3 => "-".to_owned(),
            _ => format!("user_{}", random.below(10_000)),
        };
        let path = match random.below(10) {
            0..3 => "/login_success".to_owned(),
            n => format!(
                "/static/{n}/{:x}.js?v={}",
                random.below(1 << 32),
                random.below(100)
            ),
        };
        let status = if random.below(10) == 0 {
            *random.pick(&[&304, &401, &404, &500])
        } else {
            200
        };
        let size = random.below(100_000);
        let agent = random.pick(&AGENTS);
        writeln!(
            out,
            "{ip} - {user} [{day:02}/Nov/2018:{hour:02}:{minute:02}:{:02} +0000] \"GET {path} HTTP/1.1\" {status} {size} \
             \"https://www.example.com/start\" \"{agent}\"",
            second % 60,
        )
        .unwrap();
    }
    out
}
