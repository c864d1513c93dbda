use proptest::prelude::*;

use super::*;

fn guard(networks: &[&str]) -> Guard {
    let allowed_networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    Guard::new(&Config { allowed_networks, https_only: false, divert_to: None, timeout: Duration::from_secs(1) })
}

fn strict() -> Guard {
    guard(&[])
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_edges_of_every_reserved_ipv4_block_are_exact() {
    let blocks = [
        ("0.0.0.0", "0.255.255.255"),
        ("10.0.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.0.0.0", "192.0.0.255"),
        ("192.0.2.0", "192.0.2.255"),
        ("192.88.99.0", "192.88.99.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("198.18.0.0", "198.19.255.255"),
        ("198.51.100.0", "198.51.100.255"),
        ("203.0.113.0", "203.0.113.255"),
        ("224.0.0.0", "255.255.255.255"),
    ];
    let bits = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_bits();
    let ranges = blocks.map(|(first, last)| bits(first)..=bits(last));
    let agrees = |bits: u32| {
        let reserved = ranges.iter().any(|range| range.contains(&bits));
        is_public(IpAddr::V4(Ipv4Addr::from_bits(bits))) != reserved
    };
    for range in &ranges {
        for edge in [range.start().wrapping_sub(1), *range.start(), *range.end(), range.end().wrapping_add(1)] {
            assert!(agrees(edge), "{}", Ipv4Addr::from_bits(edge));
        }
    }
    for middle in (0..1 << 20).map(|prefix: u32| prefix << 12 | 0x7ff) {
        assert!(agrees(middle), "{}", Ipv4Addr::from_bits(middle));
    }
}

#[test]
fn the_edges_of_every_reserved_ipv6_block_are_exact() {
    let blocks = [
        ("100::", "100::ffff:ffff:ffff:ffff"),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fe80::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ];
    for (first, last) in blocks {
        let (first, last) = (first.parse::<Ipv6Addr>().unwrap(), last.parse::<Ipv6Addr>().unwrap());
        assert!(!is_public(IpAddr::V6(first)) && !is_public(IpAddr::V6(last)), "{first}");
    }
    // `fdff…` and `feff…` have reserved neighbours; the others have not.
    for outside in [
        "100:0:0:1::",
        "2001:db7:ffff::1",
        "2001:db9::",
        "2001:ffff::",
        "2003::",
        "3ffe:ffff::",
        "3fff:1000::",
        "5eff:ffff::",
        "5f01::",
        "fbff:ffff::",
        "fe7f:ffff::",
    ] {
        assert!(is_public(address(outside)), "{outside}");
    }
}

#[test]
fn addresses_that_are_not_public() {
    let table = [
        "169.254.169.254",
        "255.255.255.255",
        "::",
        "::1",
        "1::1",
        "ff:ffff::1",
        "::7f00:1",
        "::ffff:0:7f00:1",
        "::5efe:7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::",
        "64:ff9b:0:1::1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:1::3",
        "2001:1ff::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:5db8:d822::1",
        "3fff::1",
        "3fff:fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ];
    for text in table {
        assert!(!is_public(address(text)), "{text}");
    }
}

#[test]
fn addresses_that_are_public() {
    let table = [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.216.34",
        "192.88.98.255",
        "192.88.100.1",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::101:101",
        "2001:1::1",
        "2001:1::2",
        "2001:3::1",
        "2001:4:112::1",
        "2001:20::1",
        "2001:2f::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2606:4700:4700::1111",
        "3fff:1000::1",
    ];
    for text in table {
        assert!(is_public(address(text)), "{text}");
    }
}

#[test]
fn no_spelling_of_a_private_address_passes() {
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "0x7f.0x0.0x0.0x1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "0",
        "0.0.0.0",
        "10.1.2.3",
        "192.168.1.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
    ];
    for host in hosts {
        for port in ["", ":80", ":8080"] {
            let refused = strict().check(&format!("http://{host}{port}/path"));
            assert_eq!(refused, Err(Refusal::Address), "{host}{port}");
        }
    }
}

#[test]
fn urls_of_other_kinds_are_refused() {
    let table = [
        ("gopher://example.com/", Refusal::Scheme),
        ("file:///etc/passwd", Refusal::Scheme),
        ("dict://example.com:11211/stat", Refusal::Scheme),
        ("data:text/plain,x", Refusal::Scheme),
        ("ftp://example.com/", Refusal::Scheme),
        ("ws://example.com/", Refusal::Scheme),
        ("javascript:alert(1)", Refusal::Scheme),
        ("mailto:ada@example.com", Refusal::Scheme),
        ("https://user@example.com/", Refusal::UserInfo),
        ("https://user:password@example.com/", Refusal::UserInfo),
        ("https://:password@example.com/", Refusal::UserInfo),
        ("https://example.com@127.0.0.1/", Refusal::UserInfo),
        ("https://example.com/#fragment", Refusal::Fragment),
        ("https://example.com/#", Refusal::Fragment),
        ("https://example.com:22/", Refusal::Port),
        ("https://example.com:7999/", Refusal::Port),
        ("https://example.com:9001/", Refusal::Port),
        ("https://8.8.8.8:25/", Refusal::Port),
        ("http://127.0.0.1:6379/", Refusal::Port),
        ("", Refusal::NotAUrl),
        ("example.com", Refusal::NotAUrl),
        ("//example.com/", Refusal::NotAUrl),
        ("https://", Refusal::NotAUrl),
        ("https://exa mple.com/", Refusal::NotAUrl),
        ("https://example.com/\r\nHost: evil", Refusal::NotAUrl),
        ("ht\ntp://127.0.0.1/", Refusal::NotAUrl),
        (" https://example.com/", Refusal::NotAUrl),
        ("https://example.com:99999/", Refusal::NotAUrl),
        ("https://[::1/", Refusal::NotAUrl),
    ];
    for (url, refusal) in table {
        assert_eq!(strict().check(url), Err(refusal), "{url:?}");
    }
    let long = format!("https://example.com/{}", "a".repeat(2048));
    assert_eq!(strict().check(&long), Err(Refusal::NotAUrl));
}

#[test]
fn public_urls_pass_in_canonical_form() {
    let target = strict().check("HTTPS://Bücher.example:443/a/../b?q=1").unwrap();
    assert_eq!(target.url.as_str(), "https://xn--bcher-kva.example/b?q=1");
    assert_eq!((target.origin.as_str(), target.demand), ("https://xn--bcher-kva.example:443", Demand::Admitted));
    assert_eq!(strict().check("http://8.8.8.8").unwrap().origin, "http://8.8.8.8:80");
    assert_eq!(
        strict().check("https://[2606:4700:4700::1111]:8443/").unwrap().origin,
        "https://[2606:4700:4700::1111]:8443"
    );
    for port in [80, 443, 8000, 8080, 9000] {
        assert!(strict().check(&format!("https://example.com:{port}/")).is_ok(), "{port}");
    }
}

#[test]
fn https_only_means_it() {
    let config = Config {
        allowed_networks: vec!["127.0.0.0/8".parse().unwrap()],
        https_only: true,
        divert_to: None,
        timeout: Duration::from_secs(1),
    };
    let guard = Guard::new(&config);
    assert_eq!(guard.check("http://example.com/"), Err(Refusal::Unencrypted));
    assert_eq!(guard.check("http://127.0.0.1/"), Err(Refusal::Unencrypted));
    assert!(guard.check("https://example.com/").is_ok());
}

#[test]
fn listed_networks_may_be_reached_on_any_port() {
    let guard = guard(&["127.0.0.0/8", "fd00:1::/32"]);
    for url in [
        "http://127.0.0.1:3000/",
        "http://2130706433:6379/",
        "http://[fd00:1::5]:22/",
        "http://localhost:3000/",
        "http://[::ffff:127.0.0.1]:3000/",
    ] {
        assert_eq!(guard.check(url).map(|target| target.demand), Ok(Demand::Listed), "{url}");
    }
    assert_eq!(guard.check("http://127.0.0.1/").map(|target| target.demand), Ok(Demand::Admitted));
    assert_eq!(guard.check("http://10.0.0.1/"), Err(Refusal::Address));
    assert_eq!(guard.check("http://8.8.8.8:3000/"), Err(Refusal::Port));
    assert_eq!(guard.check("http://intranet:3000/").map(|target| target.demand), Ok(Demand::Listed));
}

#[test]
fn one_bad_answer_spoils_a_look_up() {
    let answers = |list: &[&str]| list.iter().map(|ip| SocketAddr::new(address(ip), 0)).collect::<Vec<_>>().into_iter();
    let passes = |guard: &Guard, list: &[&str], demand| guard.vet(answers(list), demand).is_ok();
    assert!(passes(&strict(), &["93.184.216.34", "2606:4700:4700::1111"], Demand::Admitted));
    assert!(!passes(&strict(), &["93.184.216.34", "127.0.0.1"], Demand::Admitted));
    assert!(!passes(&strict(), &["::1"], Demand::Admitted));
    assert!(!passes(&strict(), &["93.184.216.34"], Demand::Listed));
    let guard = guard(&["10.0.0.0/8"]);
    assert!(passes(&guard, &["10.1.1.1", "93.184.216.34"], Demand::Admitted));
    assert!(passes(&guard, &["10.1.1.1"], Demand::Listed));
    assert!(!passes(&guard, &["10.1.1.1", "93.184.216.34"], Demand::Listed));
}

proptest! {
    #[test]
    fn no_text_panics_the_guard(text in any::<String>()) {
        let _judged = strict().check(&text).is_ok();
    }

    #[test]
    fn whatever_passes_is_not_a_private_address(host in "[0-9a-fx.:%\\[\\]]{1,24}", port in prop::option::of(any::<u16>())) {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        if let Ok(target) = strict().check(&format!("http://{host}{port}/")) {
            match target.url.host().unwrap() {
                Host::Ipv4(four) => prop_assert!(is_public(IpAddr::V4(four))),
                Host::Ipv6(six) => prop_assert!(is_public(IpAddr::V6(six))),
                Host::Domain(_) => {}
            }
        }
    }

    #[test]
    fn a_translated_address_is_as_public_as_what_it_carries(bits: u32) {
        let four = Ipv4Addr::from_bits(bits);
        let translated = Ipv6Addr::from_bits(0x0064_ff9b_u128 << 96 | u128::from(bits));
        prop_assert_eq!(is_public(IpAddr::V6(translated)), is_public(IpAddr::V4(four)));
        prop_assert_eq!(is_public(IpAddr::V6(four.to_ipv6_mapped())), is_public(IpAddr::V4(four)));
    }

    #[test]
    fn the_first_256th_of_ipv6_is_closed(bits: u128) {
        let six = Ipv6Addr::from_bits(bits >> 8);
        prop_assume!(canonical(IpAddr::V6(six)) == IpAddr::V6(six));
        prop_assert!(!is_public(IpAddr::V6(six)));
    }

    #[test]
    fn no_6to4_address_is_public(bits: u128) {
        prop_assert!(!is_public(IpAddr::V6(Ipv6Addr::from_bits(0x2002_u128 << 112 | bits >> 16))));
    }
}
