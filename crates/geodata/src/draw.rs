//! The numbers that decide a draw, and who wins it.
//!
//! Every number is SipHash-2-4 of a network under a key that is the SHA-256 of the seed, the country and the number's use.
//! So it does not matter when a network comes or which others there are, and whoever does not choose the seed cannot
//! choose the winners.

use std::collections::BinaryHeap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;

use crate::{CountryCode, DrawBy, Part, RowAddress};

/// A number of 64 bits for each network, or for each block of addresses.
#[derive(Debug, Clone, Copy)]
struct Numbers(SipHasher24);

impl Numbers {
    fn new(seed: u64, usage: &str, subject: &str) -> Self {
        let key = Sha256::new()
            .chain_update(b"geodata sample 2\n")
            .chain_update(seed.to_be_bytes())
            .chain_update(usage)
            .chain_update(b"\n")
            .chain_update(subject)
            .finalize();
        let half = |at: usize| {
            key[at..at + 8]
                .iter()
                .rfold(0, |n, byte| n << 8 | u64::from(*byte))
        };
        Self(SipHasher24::new_with_keys(half(0), half(8)))
    }

    fn of(&self, first: Ipv4Addr, prefix_len: u8) -> u64 {
        let [a, b, c, d] = first.octets();
        self.0.hash(&[a, b, c, d, prefix_len])
    }

    fn of_network(&self, network: Ipv4Net) -> u64 {
        self.of(network.network(), network.prefix_len())
    }
}

/// The numbers of a country's networks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lots {
    lots: Numbers,
    places: Numbers,
    addresses: Numbers,
}

impl Lots {
    pub(crate) fn new(seed: u64, country: CountryCode) -> Self {
        let numbers = |usage| Numbers::new(seed, usage, country.as_str());
        Self {
            lots: numbers("lot"),
            places: numbers("place"),
            addresses: numbers("address"),
        }
    }

    /// The lowest lots win.
    pub(crate) fn lot(&self, network: Ipv4Net, by: DrawBy) -> u64 {
        let number = self.lots.of_network(network);
        match by {
            DrawBy::Network => number,
            // The order of positive floats is that of their bits.
            DrawBy::Address => exponential(number, network.prefix_len()).to_bits(),
        }
    }

    /// Where the row stands among those of all countries: independent of the lot, which is lower in larger countries.
    pub(crate) fn place(&self, network: Ipv4Net) -> u64 {
        self.places.of_network(network)
    }

    /// The address that stands for the network.
    pub(crate) fn address(&self, network: Ipv4Net, choice: RowAddress) -> Ipv4Addr {
        match choice {
            RowAddress::First => network.network(),
            RowAddress::Random => {
                let bits = self.addresses.of_network(network).to_be_bytes();
                let [a, b, c, d, ..] = bits;
                let host = u32::from_be_bytes([a, b, c, d]) & u32::from(network.hostmask());
                Ipv4Addr::from(u32::from(network.network()) | host)
            }
        }
    }
}

/// An exponential variate whose rate is the size of the network. The lowest of these, one network after the other, are a
/// draw without replacement in which the next is drawn with a chance proportional to its size: P. S. Efraimidis and
/// P. G. Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters 97 (2006).
fn exponential(number: u64, prefix_len: u8) -> f64 {
    const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;
    // Above 0, for the largest numbers 1, and with all its bits where they count: near 0, which is where the winners are.
    let uniform = (number as f64 + 0.5) / TWO_TO_64;
    let size = 2_f64.powi(32 - i32::from(prefix_len));
    // Division by a power of two is exact.
    -libm::log1p(-uniform) / size
}

/// Draws networks without replacement: those with the lowest lots.
#[derive(Debug)]
pub(crate) struct Lottery {
    wins: usize,
    entered: u64,
    /// The lowest lots so far, the highest of them on top.
    winners: BinaryHeap<(u64, Ipv4Net)>,
}

impl Lottery {
    pub(crate) fn new(wins: usize) -> Self {
        Self {
            wins,
            entered: 0,
            winners: BinaryHeap::new(),
        }
    }

    pub(crate) fn enter(&mut self, lot: u64, network: Ipv4Net) {
        self.entered += 1;
        let entry = (lot, network);
        if self.winners.len() < self.wins {
            self.winners.push(entry);
        } else if let Some(mut highest) = self.winners.peek_mut()
            && entry < *highest
        {
            *highest = entry;
        }
    }

    /// How many networks took part.
    pub(crate) fn entered(&self) -> u64 {
        self.entered
    }

    /// The winners, in the order of the draw.
    pub(crate) fn into_winners(self) -> Vec<Ipv4Net> {
        let winners = self.winners.into_sorted_vec();
        winners.into_iter().map(|(_, network)| network).collect()
    }
}

/// Addresses that are rows already: what would share a network with them, or a block of addresses, is kept out of the draw.
#[derive(Debug)]
pub(crate) struct Taken {
    addresses: Vec<Ipv4Addr>,
    /// Of the blocks that count.
    prefix_len: Option<u8>,
}

impl Taken {
    pub(crate) fn new(addresses: Vec<Ipv4Addr>, prefix_len: Option<u8>) -> Self {
        Self {
            addresses,
            prefix_len,
        }
    }

    pub(crate) fn has(&self, network: Ipv4Net) -> bool {
        let in_block = |address: Ipv4Addr| {
            let block = self.prefix_len.and_then(|len| Ipv4Net::new(address, len).ok());
            block.is_some_and(|block| block.contains(&network.network()))
        };
        self.addresses
            .iter()
            .any(|address| network.contains(address) || in_block(*address))
    }
}

/// Rows wanted, part by part.
pub(crate) type Quotas = Vec<(Part, usize)>;

/// How many rows each part gets when there are `available` for all: no part gets fewer than another unless it wants fewer,
/// and what does not divide goes to the first.
pub(crate) fn shares(quotas: &[(Part, usize)], available: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..quotas.len()).collect();
    // Those that want least are served first; of equals, the last, so that the remainder is left for the first.
    order.sort_by_key(|&index| (quotas[index].1, std::cmp::Reverse(index)));
    let mut shares = vec![0; quotas.len()];
    let mut left = available;
    for (served, index) in order.into_iter().enumerate() {
        let waiting = quotas.len() - served;
        let fair = if index == 0 {
            left.div_ceil(waiting)
        } else {
            left / waiting
        };
        shares[index] = quotas[index].1.min(fair);
        left -= shares[index];
    }
    shares
}

/// Where a network is wanted: for a country to train on, or for that of the outliers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    In,
    Out,
}

/// Blocks of addresses, each dealt to one part of the sample, so that no two parts have rows in the same block.
///
/// A network that is larger than a block shares its blocks with no other and counts as the first of them.
#[derive(Debug)]
pub(crate) struct Deal {
    prefix_len: u8,
    parts: Numbers,
    sides: Numbers,
    inside: Hand,
    outside: Hand,
}

/// What is dealt to one side.
#[derive(Debug)]
struct Hand {
    /// One bit for each block that has a network of this side.
    blocks: Vec<u64>,
    /// The share of each part, in the order of the parts.
    shares: Vec<u128>,
}

impl Deal {
    /// Blocks of this length of prefix, at most 24, for the rows that are wanted of each side.
    pub(crate) fn new(seed: u64, prefix_len: u8, inside: &Quotas, outside: &Quotas) -> Self {
        let hand = |quotas: &Quotas| Hand {
            blocks: vec![0; (1_usize << prefix_len).div_ceil(64)],
            shares: weights(quotas),
        };
        Self {
            prefix_len,
            parts: Numbers::new(seed, "part", ""),
            sides: Numbers::new(seed, "side", ""),
            inside: hand(inside),
            outside: hand(outside),
        }
    }

    fn block(&self, network: Ipv4Net) -> u32 {
        u32::from(network.network()) >> (32 - self.prefix_len)
    }

    /// Learns that there is such a network. All of them are to be known before the first [`part`](Self::part).
    pub(crate) fn learn(&mut self, network: Ipv4Net, side: Side) {
        let block = self.block(network);
        let hand = match side {
            Side::In => &mut self.inside,
            Side::Out => &mut self.outside,
        };
        hand.blocks[(block / 64) as usize] |= 1 << (block % 64);
    }

    /// Which of its side's parts has the block of a network; nothing when the other side has the block.
    pub(crate) fn part(&self, network: Ipv4Net, side: Side) -> Option<usize> {
        let block = self.block(network);
        let first = Ipv4Addr::from(block << (32 - self.prefix_len));
        let (hand, other) = match side {
            Side::In => (&self.inside, &self.outside),
            Side::Out => (&self.outside, &self.inside),
        };
        if other.has(block) {
            let owner = if self.sides.of(first, self.prefix_len).is_multiple_of(2) {
                Side::In
            } else {
                Side::Out
            };
            if owner != side {
                return None;
            }
        }
        let total: u128 = hand.shares.iter().sum();
        let mut ticket = (u128::from(self.parts.of(first, self.prefix_len)) * total) >> 64;
        hand.shares
            .iter()
            .position(|share| match ticket.checked_sub(*share) {
                Some(rest) => {
                    ticket = rest;
                    false
                }
                None => true,
            })
    }
}

impl Hand {
    fn has(&self, block: u32) -> bool {
        self.blocks[(block / 64) as usize] >> (block % 64) & 1 == 1
    }
}

/// The share of blocks for each part: one half in proportion to its rows, the other evenly, for a part of few rows needs
/// more blocks than these to find them in.
fn weights(quotas: &Quotas) -> Vec<u128> {
    let rows: u128 = quotas.iter().map(|(_, rows)| *rows as u128).sum();
    let parts = quotas.iter().filter(|(_, rows)| *rows > 0).count() as u128;
    quotas
        .iter()
        .map(|(_, wanted)| match wanted {
            0 => 0,
            wanted => *wanted as u128 * parts + rows,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples are kept and drawn again years later, so these numbers do not change without another version of the manifest.
    #[test]
    fn numbers_stay() {
        let lots = Lots::new(42, "FR".parse().unwrap());
        let network: Ipv4Net = "192.0.2.0/24".parse().unwrap();
        let numbers = [
            lots.lot(network, DrawBy::Network),
            lots.lot(network, DrawBy::Address),
            lots.place(network),
        ];
        let address = lots.address(network, RowAddress::Random);
        expect_test::expect!["[d8819aa5161c4b39, 3f7de791ae583609, 9ea6d87e300e0449] 192.0.2.150"]
            .assert_eq(&format!("{numbers:x?} {address}"));
    }

    #[test]
    fn parts_shrink_together() {
        let quotas = |rows: &[usize]| -> Quotas { rows.iter().map(|rows| (Part::Train, *rows)).collect() };
        let cases: [(&[usize], usize, &[usize]); 9] = [
            (&[50, 50], 100, &[50, 50]),
            (&[50, 50], 61, &[31, 30]),
            (&[50, 50], 1, &[1, 0]),
            (&[50, 10, 5], 40, &[25, 10, 5]),
            (&[5, 250], 100, &[5, 95]),
            (&[10, 50], 1, &[1, 0]),
            (&[50, 10], 1, &[1, 0]),
            (&[50, 0, 0], 7, &[7, 0, 0]),
            (&[50, 50, 50], 0, &[0, 0, 0]),
        ];
        for (wanted, available, expected) in cases {
            assert_eq!(
                shares(&quotas(wanted), available),
                expected,
                "{wanted:?} of {available}"
            );
        }
    }

    #[test]
    fn exponentials_are_finite_above_zero_and_in_order() {
        for prefix_len in 0..=32 {
            let numbers = [0, 1, 1 << 32, u64::MAX / 2, u64::MAX - (1 << 12)];
            let keys = numbers.map(|number| exponential(number, prefix_len));
            assert!(keys[0] > 0.0 && keys.is_sorted_by(|a, b| a < b), "{keys:?}");
            assert!(keys[4].is_finite());
        }
        // The very last number would be the logarithm of nothing: it loses against all others.
        assert_eq!(exponential(u64::MAX, 24), f64::INFINITY);
    }
}
