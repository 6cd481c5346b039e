//! Properties of the draw, over networks in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use proptest::prelude::*;

use super::*;
use crate::{Network, SampleSpec};

fn network(prefix: Ipv4Net, code: &str) -> Network {
    let country = Country {
        code: code.parse().unwrap(),
        name: format!("Country {code}").into(),
        english: None,
    };
    Network {
        prefix,
        country: Some(country),
        asn: None,
    }
}

/// Networks side by side from an address on, of these lengths of prefix, the largest first so that each is aligned.
fn side_by_side(first: Ipv4Addr, mut lengths: Vec<u8>) -> Vec<Ipv4Net> {
    lengths.sort_unstable();
    let mut next = u32::from(first);
    lengths
        .into_iter()
        .map(|length| {
            let network = Ipv4Net::new(next.into(), length).unwrap();
            assert_eq!(u32::from(network.network()), next);
            next += 1 << (32 - length);
            network
        })
        .collect()
}

fn try_drawn(networks: &[Network], spec: SampleSpec, seed: u64) -> Result<Drawn, Error> {
    let walk = || networks.iter().cloned().map(Ok);
    draw(&walk, "Test-Country", &spec.check().unwrap(), seed, &mut |_| {})
}

fn drawn(networks: &[Network], spec: SampleSpec, seed: u64) -> Drawn {
    try_drawn(networks, spec, seed).unwrap()
}

/// So many training rows of one country, and so many held out.
fn of_one(train: usize, held_out: usize) -> SampleSpec {
    SampleSpec::default()
        .countries(["AA"])
        .training_rows(train)
        .held_out_rows(held_out)
        .outliers(0)
        .evaluation_outliers(0)
}

/// Pearson's statistic.
fn chi_square(observed: &[f64], expected: &[f64]) -> f64 {
    let cells = observed.iter().zip(expected);
    cells.map(|(o, e)| (o - e) * (o - e) / e).sum()
}

/// What a chi-square variate exceeds once in a thousand million times (six standard deviations), by the approximation of
/// Wilson and Hilferty.
fn limit(degrees: usize) -> f64 {
    let part = 2.0 / (9.0 * degrees as f64);
    degrees as f64 * (1.0 - part + 6.0 * part.sqrt()).powi(3)
}

const SEEDS: u64 = 4000;

/// How often each network is among the first `rows` of a draw.
fn times_drawn(networks: &[Ipv4Net], rows: usize, by: DrawBy, seeds: u64) -> Vec<f64> {
    let all: Vec<_> = networks.iter().map(|prefix| network(*prefix, "AA")).collect();
    let mut times: BTreeMap<Ipv4Net, u32> = networks.iter().map(|network| (*network, 0)).collect();
    for seed in 0..SEEDS {
        let drawn = drawn(&all, of_one(rows, 0).draw_by(by), seed.wrapping_add(seeds));
        for row in drawn.countries[0].rows(Part::Train) {
            *times.get_mut(&row.network).unwrap() += 1;
        }
    }
    times.into_values().map(f64::from).collect()
}

/// Networks of few lengths, so that each has a chance that can be seen.
fn lengths() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(20..24_u8, 3..25)
}

proptest! {
    // Each case is thousands of draws.
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn networks_are_as_likely_as_each_other(lengths in lengths(), seeds: u64, rows in 1..20_usize) {
        let networks = side_by_side([10, 0, 0, 0].into(), lengths);
        let (n, rows) = (networks.len(), rows.min(networks.len() - 1));
        let times = times_drawn(&networks, rows, DrawBy::Network, seeds);
        let expected = SEEDS as f64 * rows as f64 / n as f64;
        // Drawing without replacement spreads less than drawing each row anew.
        let spread = (n - rows) as f64 / (n - 1) as f64;
        let statistic = chi_square(&times, &vec![expected; n]) / spread;
        prop_assert!(statistic < limit(n - 1), "{statistic} of {n} networks: {times:?}");
    }

    #[test]
    fn addresses_are_as_likely_as_each_other(lengths in lengths(), seeds: u64) {
        let networks = side_by_side([10, 0, 0, 0].into(), lengths);
        let sizes: Vec<f64> = networks.iter().map(|network| f64::from(network.hostmask().to_bits()) + 1.0).collect();
        let total: f64 = sizes.iter().sum();
        let expected: Vec<f64> = sizes.iter().map(|size| SEEDS as f64 * size / total).collect();
        let times = times_drawn(&networks, 1, DrawBy::Address, seeds);
        let statistic = chi_square(&times, &expected);
        prop_assert!(statistic < limit(networks.len() - 1), "{statistic}: {times:?}, not {expected:?}");
    }

    /// What comes second is as likely as its share of what the first has left.
    #[test]
    fn the_second_network_is_drawn_from_the_rest(seeds: u64) {
        let networks = side_by_side([10, 0, 0, 0].into(), vec![22, 23, 23, 24]);
        let all: Vec<_> = networks.iter().map(|prefix| network(*prefix, "AA")).collect();
        let place = |row: &Row| networks.iter().position(|network| *network == row.network).unwrap();
        let mut pairs: HashMap<(usize, usize), u32> = HashMap::new();
        for seed in 0..SEEDS {
            let spec = of_one(1, 1).draw_by(DrawBy::Address);
            let drawn = drawn(&all, spec, seed.wrapping_add(seeds));
            let country = &drawn.countries[0];
            let pair = (place(&country.rows(Part::Train)[0]), place(&country.rows(Part::Validation)[0]));
            *pairs.entry(pair).or_default() += 1;
        }
        let sizes = [4.0, 2.0, 2.0, 1.0];
        let (mut observed, mut expected) = (Vec::new(), Vec::new());
        for first in 0..4 {
            for second in (0..4).filter(|second| *second != first) {
                observed.push(f64::from(pairs.get(&(first, second)).copied().unwrap_or(0)));
                expected.push(SEEDS as f64 * sizes[first] / 9.0 * sizes[second] / (9.0 - sizes[first]));
            }
        }
        let statistic = chi_square(&observed, &expected);
        prop_assert!(statistic < limit(observed.len() - 1), "{statistic}: {observed:?}, not {expected:?}");
    }

    /// Within a network as well, and independently of being drawn.
    #[test]
    fn random_addresses_fill_their_network(seeds: u64, length in 0..=32_u8) {
        let networks = if length == 0 {
            vec![Ipv4Net::default()]
        } else {
            let first = Ipv4Net::new(Ipv4Addr::new(64, 0, 0, 0), length).unwrap().network();
            vec![Ipv4Net::new(first, length).unwrap(), Ipv4Net::new([192, 0, 2, 0].into(), 32).unwrap()]
        };
        let all: Vec<_> = networks.iter().map(|prefix| network(*prefix, "AA")).collect();
        let cells = 1_usize << (32 - length).min(4);
        let mut times = vec![0.0; cells];
        let mut drawn_times = 0.0;
        for seed in 0..SEEDS {
            let spec = of_one(1, 0).row_address(RowAddress::Random);
            let drawn = drawn(&all, spec, seed.wrapping_add(seeds));
            let row = &drawn.countries[0].rows(Part::Train)[0];
            prop_assert!(row.network.contains(&row.address));
            if row.network == networks[0] {
                let offset = u64::from(row.address.to_bits() - networks[0].network().to_bits());
                times[((offset * cells as u64) >> (32 - length)) as usize] += 1.0;
                drawn_times += 1.0;
            }
        }
        if cells > 1 {
            let statistic = chi_square(&times, &vec![drawn_times / cells as f64; cells]);
            prop_assert!(statistic < limit(cells - 1), "{statistic}: {times:?}");
        }
    }
}

/// The tests above would notice a draw that is not fair: by networks is not by addresses.
#[test]
fn a_wrong_draw_is_noticed() {
    let networks = side_by_side([10, 0, 0, 0].into(), vec![20, 21, 22, 23, 23]);
    let expected = vec![SEEDS as f64 / 5.0; 5];
    let by_network = chi_square(&times_drawn(&networks, 1, DrawBy::Network, 0), &expected);
    let by_address = chi_square(&times_drawn(&networks, 1, DrawBy::Address, 0), &expected);
    assert!(by_network < limit(4), "{by_network}");
    assert!(by_address > 10.0 * limit(4), "{by_address}");
}

/// Countries AA, BB and CC for training and OO for the outliers, scattered over few /16s so that all of these are shared.
fn crowded() -> impl Strategy<Value = Vec<Network>> {
    let one = (
        0..40_u32,
        0..256_u32,
        prop::sample::select(vec!["AA", "BB", "CC", "OO", "XX"]),
    );
    prop::collection::vec(one, 400..900).prop_map(|networks| {
        let by_prefix: BTreeMap<Ipv4Net, &str> = networks
            .into_iter()
            .map(|(block, third, code)| (Ipv4Net::new((block << 16 | third << 8).into(), 24).unwrap(), code))
            .collect();
        let large = Ipv4Net::new([200, 0, 0, 0].into(), 12).unwrap();
        by_prefix
            .into_iter()
            .chain([(large, "AA")])
            .map(|(prefix, code)| network(prefix, code))
            .collect()
    })
}

fn specs() -> impl Strategy<Value = SampleSpec> {
    let countries = prop::sample::select(vec![
        vec!["AA", "BB", "CC"],
        vec!["BB"],
        vec!["top:2"],
        vec!["top:3"],
    ]);
    let by = prop::sample::select(vec![DrawBy::Network, DrawBy::Address]);
    let address = prop::sample::select(vec![RowAddress::First, RowAddress::Random]);
    let disjoint = prop::option::of(prop::sample::select(vec![8_u8, 13, 16, 20, 24]));
    (
        countries,
        1..12_usize,
        0..12_usize,
        0..4_usize,
        0..5_usize,
        0..12_usize,
        by,
        address,
        disjoint,
    )
        .prop_map(
            |(countries, train, held_out, control, outliers, evaluation, by, address, disjoint)| {
                SampleSpec::default()
                    .countries(countries)
                    .training_rows(train)
                    .held_out_rows(held_out)
                    .control_rows(control)
                    .outlier_country("OO")
                    .outliers(outliers)
                    .evaluation_outliers(evaluation)
                    .draw_by(by)
                    .row_address(address)
                    .disjoint(disjoint)
                    .allow_fewer(true)
            },
        )
}

/// Everything that was drawn, or why not.
fn shown(result: Result<Drawn, Error>) -> String {
    match result {
        Err(error) => error.to_string(),
        Ok(drawn) => {
            let countries = drawn.countries.iter().chain(&drawn.outliers);
            let rows: Vec<_> = countries
                .map(|drawn| format!("{} {} {:?}\n", drawn.country, drawn.networks, drawn.parts))
                .collect();
            format!(
                "{rows:?} {:?} {} {}",
                drawn.shortages, drawn.no_country, drawn.other_country
            )
        }
    }
}

fn all_rows(drawn: &Drawn) -> impl Iterator<Item = (Part, &Country, &Row)> {
    let countries = drawn.countries.iter().chain(&drawn.outliers);
    countries.flat_map(|drawn| {
        let parts = drawn.parts.iter();
        parts.flat_map(move |(part, rows)| rows.iter().map(move |row| (*part, &drawn.country, row)))
    })
}

proptest! {
    #[test]
    fn the_order_of_the_networks_does_not_matter(
        (networks, shuffled) in crowded().prop_flat_map(|networks| (Just(networks.clone()), Just(networks).prop_shuffle())),
        spec in specs(),
        seed: u64,
    ) {
        let in_order = shown(try_drawn(&networks, spec.clone(), seed));
        prop_assert_eq!(in_order, shown(try_drawn(&shuffled, spec, seed)));
    }

    #[test]
    fn no_network_in_two_rows_and_no_block_in_two_parts(networks in crowded(), spec in specs(), seed: u64) {
        let checked = spec.clone().check().unwrap();
        let Ok(drawn) = try_drawn(&networks, spec, seed) else {
            // The one thing that cannot be had fewer of.
            return Ok(());
        };
        let by_prefix: HashMap<_, _> = networks.iter().map(|network| (network.prefix, network)).collect();
        let mut seen = BTreeSet::new();
        let mut blocks = HashMap::new();
        for (part, country, row) in all_rows(&drawn) {
            prop_assert!(seen.insert(row.network), "{} twice", row.network);
            prop_assert_eq!(by_prefix[&row.network].country.as_ref(), Some(country));
            prop_assert!(row.network.contains(&row.address));
            if let Some(prefix_len) = checked.disjoint() {
                let block = Ipv4Net::new(row.address, prefix_len).unwrap().trunc();
                let owner = *blocks.entry(block).or_insert(part);
                prop_assert_eq!(owner, part, "{} is in two parts", block);
            }
        }
        for drawn in &drawn.countries {
            prop_assert!(!drawn.rows(Part::Train).is_empty());
        }
        // What is missing is counted.
        let quotas = [
            (Part::Train, checked.training_rows()),
            (Part::Validation, checked.held_out_rows()),
            (Part::Control, checked.control_rows()),
            (Part::Test, checked.outliers()),
            (Part::Evaluation, checked.evaluation_outliers()),
        ];
        for country in drawn.countries.iter().chain(&drawn.outliers) {
            for (part, rows) in &country.parts {
                let (_, asked) = quotas.iter().find(|(this, _)| this == part).unwrap();
                let short = drawn.shortages.iter().find(|short| short.code == country.country.code && short.part == *part);
                prop_assert_eq!(short.map(|short| (short.asked, short.drawn)), (rows.len() < *asked).then_some((*asked, rows.len())));
            }
        }
    }

    #[test]
    fn of_blocks_that_nobody_shares_no_network_is_lost(networks in crowded(), seed: u64) {
        // A block for each network, and more rows than there are networks.
        let spec = SampleSpec::default()
            .countries(["AA", "BB", "CC"])
            .training_rows(1000)
            .held_out_rows(1000)
            .outlier_country("OO")
            .outliers(1000)
            .evaluation_outliers(1000)
            .disjoint(24)
            .allow_fewer(true);
        let drawn = drawn(&networks, spec, seed);
        for country in drawn.countries.iter().chain(&drawn.outliers) {
            let rows: usize = country.parts.iter().map(|(_, rows)| rows.len()).sum();
            prop_assert_eq!(rows as u64, country.networks);
        }
    }
}

#[test]
fn the_countries_with_most_networks() {
    let many = |code: &str, block: u8, number: usize| -> Vec<Network> {
        let networks = side_by_side([block, 0, 0, 0].into(), vec![24; number]);
        networks.into_iter().map(|prefix| network(prefix, code)).collect()
    };
    let networks = [
        many("AA", 10, 3),
        many("SG", 11, 9),
        many("CC", 12, 7),
        many("BB", 13, 7),
        many("DD", 14, 8),
    ]
    .concat();
    let top = |number: &str, outliers: usize| {
        let spec = SampleSpec::default()
            .countries([number])
            .training_rows(1)
            .held_out_rows(1)
            .outliers(outliers)
            .evaluation_outliers(0);
        let drawn = try_drawn(&networks, spec, 0).map(|drawn| {
            let codes = drawn
                .countries
                .iter()
                .map(|country| country.country.code.to_string());
            codes.collect::<Vec<_>>().join(" ")
        });
        drawn.unwrap_or_else(|error| error.to_string())
    };
    assert_eq!(top("top:2", 1), "DD BB");
    assert_eq!(top("TOP: 3", 1), "DD BB CC");
    // Without outliers their country is one like the others.
    assert_eq!(top("top:2", 0), "SG DD");
    assert_eq!(top("top:4", 1), "DD BB CC AA");
    expect_test::expect![[r#"the database has networks of 4 countries to train on, and the sample asks for the 5 with most; ask for fewer"#]]
        .assert_eq(&top("top:5", 1));
}

#[test]
fn a_walk_is_told_of() {
    let networks: Vec<_> = (0..200_000_u32)
        .map(|number| network(Ipv4Net::new((number << 8).into(), 24).unwrap(), "AA"))
        .collect();
    let spec = of_one(1, 1).countries(["top:1"]).disjoint(16).check().unwrap();
    let mut told = Vec::new();
    let walk = || networks.iter().cloned().map(Ok);
    draw(&walk, "Test-Country", &spec, 0, &mut |walked| told.push(walked)).unwrap();
    // Three walks: for the countries, for the blocks, for the draw.
    assert_eq!(told, (1..=9).map(|n| n << 16).collect::<Vec<u64>>());
}
