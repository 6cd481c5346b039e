//! Where the service keeps the algorithm's image.

/// The account of the algorithm's registry in each region, by region.
const ACCOUNTS: [(&str, &str); 37] = [
    ("af-south-1", "455444449433"),
    ("ap-east-1", "286214385809"),
    ("ap-northeast-1", "351501993468"),
    ("ap-northeast-2", "835164637446"),
    ("ap-northeast-3", "867004704886"),
    ("ap-south-1", "991648021394"),
    ("ap-south-2", "628508329040"),
    ("ap-southeast-1", "475088953585"),
    ("ap-southeast-2", "712309505854"),
    ("ap-southeast-3", "951798379941"),
    ("ap-southeast-4", "106583098589"),
    ("ca-central-1", "469771592824"),
    ("ca-west-1", "190319476487"),
    ("cn-north-1", "390948362332"),
    ("cn-northwest-1", "387376663083"),
    ("eu-central-1", "664544806723"),
    ("eu-central-2", "680994064768"),
    ("eu-north-1", "669576153137"),
    ("eu-south-1", "257386234256"),
    ("eu-south-2", "104374241257"),
    ("eu-west-1", "438346466558"),
    ("eu-west-2", "644912444149"),
    ("eu-west-3", "749696950732"),
    ("il-central-1", "898809789911"),
    ("me-central-1", "272398656194"),
    ("me-south-1", "249704162688"),
    ("sa-east-1", "855470959533"),
    ("us-east-1", "382416733822"),
    ("us-east-2", "404615174143"),
    ("us-gov-east-1", "237065988967"),
    ("us-gov-west-1", "226302683700"),
    ("us-iso-east-1", "490574956308"),
    ("us-isob-east-1", "765400339828"),
    ("us-isof-east-1", "108575199400"),
    ("us-isof-south-1", "124985052026"),
    ("us-west-1", "632365934929"),
    ("us-west-2", "174872318107"),
];

/// The image of IP Insights in a region, for training and for serving.
///
/// The tag is `1`, the stable one.
///
/// # Errors
///
/// When the algorithm has no registry there; the error names the nearest region by spelling.
///
/// ```
/// use ipinsights_client::image_uri;
///
/// assert_eq!(image_uri("us-east-1")?, "382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1");
/// assert_eq!(
///     image_uri("us-east-7").unwrap_err().to_string(),
///     "IP Insights has no image in region `us-east-7`; did you mean `us-east-1`?"
/// );
/// # Ok::<(), ipinsights_client::UnknownRegion>(())
/// ```
pub fn image_uri(region: &str) -> Result<String, UnknownRegion> {
    match ACCOUNTS.iter().find(|(known, _)| *known == region) {
        Some((region, account)) => Ok(format!(
            "{account}.dkr.ecr.{region}.{}/ipinsights:1",
            dns_suffix(region)
        )),
        None => Err(UnknownRegion {
            region: region.to_owned(),
            nearest: nearest(region),
        }),
    }
}

/// The regions in which IP Insights has an image, in alphabetical order.
pub fn regions() -> impl Iterator<Item = &'static str> {
    ACCOUNTS.iter().map(|(region, _)| *region)
}

/// IP Insights has no image in a region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("IP Insights has no image in region `{region}`; did you mean `{nearest}`?")]
pub struct UnknownRegion {
    /// The region asked for.
    pub region: String,
    /// The known region that is spelt most alike.
    pub nearest: &'static str,
}

/// What the host names of a region's partition end with.
fn dns_suffix(region: &str) -> &'static str {
    match region.split_once('-').map_or(region, |(area, _)| area) {
        "cn" => "amazonaws.com.cn",
        "us" if region.starts_with("us-iso-") => "c2s.ic.gov",
        "us" if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        "us" if region.starts_with("us-isof-") => "csp.hci.ic.gov",
        _ => "amazonaws.com",
    }
}

fn nearest(region: &str) -> &'static str {
    let region = region.trim().to_ascii_lowercase().replace('_', "-");
    let distance = |known: &&str| strsim::damerau_levenshtein(known, &region);
    regions().min_by_key(distance).unwrap_or("us-east-1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_its_suffix() {
        let cases = [
            (
                "us-west-2",
                "174872318107.dkr.ecr.us-west-2.amazonaws.com/ipinsights:1",
            ),
            (
                "us-gov-west-1",
                "226302683700.dkr.ecr.us-gov-west-1.amazonaws.com/ipinsights:1",
            ),
            (
                "cn-north-1",
                "390948362332.dkr.ecr.cn-north-1.amazonaws.com.cn/ipinsights:1",
            ),
            (
                "us-iso-east-1",
                "490574956308.dkr.ecr.us-iso-east-1.c2s.ic.gov/ipinsights:1",
            ),
            (
                "us-isob-east-1",
                "765400339828.dkr.ecr.us-isob-east-1.sc2s.sgov.gov/ipinsights:1",
            ),
            (
                "us-isof-south-1",
                "124985052026.dkr.ecr.us-isof-south-1.csp.hci.ic.gov/ipinsights:1",
            ),
        ];
        for (region, want) in cases {
            assert_eq!(image_uri(region).unwrap(), want);
        }
    }

    #[test]
    fn the_table_is_sorted_and_every_account_has_twelve_digits() {
        assert!(ACCOUNTS.is_sorted_by(|a, b| a.0 < b.0));
        for (region, account) in ACCOUNTS {
            assert!(
                account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()),
                "{region}"
            );
        }
    }

    #[test]
    fn an_unknown_region_names_the_nearest() {
        for (region, nearest) in [
            ("us-esat-1", "us-east-1"),
            ("EU_WEST_2", "eu-west-2"),
            ("eu-central", "eu-central-1"),
        ] {
            assert_eq!(image_uri(region).unwrap_err().nearest, nearest, "{region}");
        }
        assert!(image_uri("").is_err());
    }
}
