//! Names that the service accepts, checked once at the border.

use std::fmt;
use std::str::FromStr;

/// A text is not what it should be; says the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {what}: {rule}")]
pub struct ParseNameError {
    value: String,
    what: &'static str,
    rule: &'static str,
}

/// A newtype over text with one parser behind `FromStr`, `TryFrom<&str>` and `TryFrom<String>`.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:expr, $is_valid:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseNameError;

            fn from_str(value: &str) -> Result<Self, Self::Err> {
                value.to_owned().try_into()
            }
        }

        impl TryFrom<&str> for $name {
            type Error = ParseNameError;

            fn try_from(value: &str) -> Result<Self, Self::Error> {
                value.to_owned().try_into()
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseNameError;

            fn try_from(value: String) -> Result<Self, Self::Error> {
                if $is_valid(&value) {
                    Ok(Self(value))
                } else {
                    Err(ParseNameError { value, what: $what, rule: $rule })
                }
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

const RESOURCE_RULE: &str =
    "it must be 1 to 63 letters, digits and hyphens, and begin and end with a letter or a digit";

text_type! {
    /// The name of a training job, unique in the account and region for ever: a job cannot be deleted.
    ///
    /// 1 to 63 letters, digits and hyphens; begins and ends with a letter or a digit.
    ///
    /// ```
    /// use ipinsights_client::TrainingJobName;
    ///
    /// let name: TrainingJobName = "nightly-2026-11-20".parse()?;
    /// assert_eq!(
    ///     "nightly_run".parse::<TrainingJobName>().unwrap_err().to_string(),
    ///     "`nightly_run` is not a training job name: it must be 1 to 63 letters, digits and hyphens, \
    ///      and begin and end with a letter or a digit"
    /// );
    /// # Ok::<(), ipinsights_client::ParseNameError>(())
    /// ```
    TrainingJobName, "a training job name", RESOURCE_RULE, is_resource_name
}
text_type! {
    /// The name of a transform job, unique in the account and region for ever: 1 to 63 letters, digits and hyphens; begins and
    /// ends with a letter or a digit.
    TransformJobName, "a transform job name", RESOURCE_RULE, is_resource_name
}
text_type! {
    /// The name of a hyperparameter tuning job: 1 to 32 letters, digits and hyphens; begins and ends with a letter or a digit.
    /// Its training jobs' names are longer.
    ///
    /// ```
    /// use ipinsights_client::TuningJobName;
    ///
    /// assert!("nightly-2026-11-20".parse::<TuningJobName>().is_ok());
    /// assert!("a".repeat(33).parse::<TuningJobName>().is_err());
    /// ```
    TuningJobName, "a tuning job name",
    "it must be 1 to 32 letters, digits and hyphens, and begin and end with a letter or a digit", is_tuning_name
}
text_type! {
    /// The name of a model: 1 to 63 letters, digits and hyphens; begins and ends with a letter or a digit.
    ModelName, "a model name", RESOURCE_RULE, is_resource_name
}
text_type! {
    /// The name of an endpoint configuration: 1 to 63 letters, digits and hyphens; begins and ends with a letter or a
    /// digit.
    EndpointConfigName, "an endpoint configuration name", RESOURCE_RULE, is_resource_name
}
text_type! {
    /// The name of an endpoint: 1 to 63 letters, digits and hyphens; begins and ends with a letter or a digit.
    EndpointName, "an endpoint name", RESOURCE_RULE, is_resource_name
}
text_type! {
    /// The ARN of an IAM role: `arn:aws:iam::123456789012:role/name`, 20 to 2,048 characters, of any partition.
    RoleArn, "the ARN of a role", "it must look like `arn:aws:iam::123456789012:role/name`", is_role_arn
}
text_type! {
    /// What a job or an endpoint runs on: `ml.m5.large`.
    ///
    /// Only the shape is checked, because types come and go; the service knows which it has.
    InstanceType, "an instance type", "it must look like `ml.m5.large`", is_instance_type
}
text_type! {
    /// Where something is in S3: `s3://bucket/key`, at most 1,024 characters; the key may be empty.
    ///
    /// Kept as it was written: slashes are neither added nor folded, because keys may begin with one and contain two in a
    /// row.
    ///
    /// ```
    /// use ipinsights_client::S3Uri;
    ///
    /// let uri: S3Uri = "s3://models//output/model.tar.gz".parse()?;
    /// assert_eq!((uri.bucket(), uri.key()), ("models", "/output/model.tar.gz"));
    /// assert!("models/output".parse::<S3Uri>().is_err());
    /// # Ok::<(), ipinsights_client::ParseNameError>(())
    /// ```
    S3Uri, "an S3 URI", "it must look like `s3://bucket/key`, with at most 1024 characters", is_s3_uri
}

text_type! {
    /// What a caller calls a request to an endpoint, and finds it by in what the endpoint keeps: 1 to 64 printable characters of ASCII,
    /// the first of them no space.
    InferenceId, "an inference id",
    "it must be 1 to 64 printable characters of ASCII, and not begin with a space", is_inference_id
}

text_type! {
    /// A key of KMS: its id, its alias (`alias/models`) or the ARN of either; at most 2,048 characters.
    KmsKey, "a KMS key", "it must be a key's id, alias or ARN", is_kms_key
}
text_type! {
    /// A subnet of a VPC: `subnet-0123456789abcdef0`, at most 32 letters, digits and hyphens.
    SubnetId, "a subnet", "it must be 1 to 32 letters, digits and hyphens", is_network_id
}
text_type! {
    /// A security group of a VPC: `sg-0123456789abcdef0`, at most 32 letters, digits and hyphens.
    SecurityGroupId, "a security group", "it must be 1 to 32 letters, digits and hyphens", is_network_id
}

impl S3Uri {
    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        self.split().0
    }

    /// What follows the slash after the bucket; may be empty.
    pub fn key(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        let rest = self.0.strip_prefix("s3://").unwrap_or_default();
        rest.split_once('/').unwrap_or((rest, ""))
    }
}

impl InstanceType {
    /// The advised type for the smallest models, for training and for serving: `ml.m5.large`.
    pub fn m5_large() -> Self {
        Self("ml.m5.large".to_owned())
    }

    /// The smallest that the service's documentation advises for these hyperparameters, on CPUs; `None` where it advises none,
    /// because the model would be too large.
    ///
    /// ```
    /// use ipinsights::Hyperparameters;
    /// use ipinsights_client::InstanceType;
    ///
    /// let small = Hyperparameters::draft(20_000).vector_dim(128).check()?;
    /// assert_eq!(InstanceType::advised(&small), Some(InstanceType::m5_large()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn advised(hyperparameters: &ipinsights::Hyperparameters) -> Option<Self> {
        let advised =
            ipinsights::advised_instance(hyperparameters.vector_dim(), hyperparameters.num_entity_vectors());
        advised.map(|instance| Self(instance.as_str().to_owned()))
    }
}

fn is_resource_name(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn is_tuning_name(name: &str) -> bool {
    name.len() <= 32 && is_resource_name(name)
}

fn is_role_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else {
        return false;
    };
    let Some(name) = resource.strip_prefix("role/") else {
        return false;
    };
    (20..=2048).contains(&arn.len())
        && partition
            .strip_prefix("aws")
            .is_some_and(|p| p.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&b))
}

fn is_instance_type(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let is_word = |w: &str| {
        !w.is_empty()
            && w.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    matches!(parts[..], ["ml", family, size] if is_word(family) && is_word(size))
}

fn is_s3_uri(uri: &str) -> bool {
    uri.len() <= 1024
        && uri
            .strip_prefix("s3://")
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

fn is_inference_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && !id.starts_with(' ')
        && id.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

fn is_kms_key(key: &str) -> bool {
    (1..=2048).contains(&key.len())
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b":/_-".contains(&b))
}

fn is_network_id(id: &str) -> bool {
    (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = ParseNameError> + fmt::Display>(valid: &[&str], refused: &[&str]) {
        for text in valid {
            match text.parse::<T>() {
                Ok(name) => assert_eq!(name.to_string(), *text),
                Err(error) => panic!("{error}"),
            }
        }
        for text in refused {
            let error = text
                .parse::<T>()
                .err()
                .unwrap_or_else(|| panic!("`{text}` was taken"));
            assert!(
                error.to_string().starts_with(&format!("`{text}` is not ")),
                "{error}"
            );
        }
    }

    #[test]
    fn resource_names() {
        let (long, longer) = ("a".repeat(63), "a".repeat(64));
        let valid = ["a", "7", "A-b--c9", "a-1", &long];
        let refused = ["", "-", "-a", "a-", "a_b", "a.b", "a b", "ä", "a\n", &longer];
        check::<TrainingJobName>(&valid, &refused);
        check::<ModelName>(&valid, &refused);
        check::<EndpointConfigName>(&valid, &refused);
        check::<EndpointName>(&valid, &refused);
    }

    #[test]
    fn inference_ids() {
        let (long, longer) = ("a".repeat(64), "a".repeat(65));
        check::<InferenceId>(
            &["a", "login 7/2026-11-20", &long],
            &["", " a", "a\n", "ä", &longer],
        );
    }

    #[test]
    fn role_arns() {
        check::<RoleArn>(
            &[
                "arn:aws:iam::123456789012:role/SageMaker",
                "arn:aws-us-gov:iam::000000000000:role/service-role/a+=,.@-_b",
            ],
            &[
                "SageMaker",
                "arn:aws:iam::123456789012:role/",
                "arn:aws:iam::123456789012:user/SageMaker",
                "arn:aws:iam::12345678901:role/SageMaker",
                "arn:aws:iam:us-east-1:123456789012:role/SageMaker",
                "arn:gcp:iam::123456789012:role/SageMaker",
                "arn:aws:iam::123456789012:role/a b",
            ],
        );
    }

    #[test]
    fn instance_types() {
        check::<InstanceType>(
            &[
                "ml.m5.large",
                "ml.p3.2xlarge",
                "ml.g4dn.12xlarge",
                "ml.u-6tb1.metal",
            ],
            &[
                "",
                "m5.large",
                "ml.m5",
                "ml.m5.large.x",
                "ml..large",
                "ml.M5.large",
            ],
        );
        assert_eq!(InstanceType::m5_large(), "ml.m5.large".parse().unwrap());
    }

    #[test]
    fn keys_and_networks() {
        let longer = "k".repeat(2049);
        check::<KmsKey>(
            &[
                "1234abcd-12ab-34cd-56ef-1234567890ab",
                "alias/models",
                "arn:aws:kms:us-east-1:123456789012:key/mrk-1",
            ],
            &["", "a key", "alias/ä", &longer],
        );
        let longer = "s".repeat(33);
        check::<SubnetId>(
            &["subnet-0123456789abcdef0"],
            &["", "subnet_1", "subnet 1", &longer],
        );
        check::<SecurityGroupId>(&["sg-0123456789abcdef0"], &["", "sg.1", &longer]);
    }

    #[test]
    fn s3_uris() {
        let longer = format!("s3://b/{}", "k".repeat(1024));
        check::<S3Uri>(
            &["s3://b", "s3://b/", "s3://b/k/l.csv", "s3://b//output"],
            &[
                "",
                "s3://",
                "s3:///k",
                "b/k",
                "https://b.s3.amazonaws.com/k",
                "S3://b/k",
                &longer,
            ],
        );
        let parts = |uri: &str| {
            let uri: S3Uri = uri.parse().unwrap();
            (uri.bucket().to_owned(), uri.key().to_owned())
        };
        assert_eq!(parts("s3://b"), ("b".into(), "".into()));
        assert_eq!(parts("s3://b/"), ("b".into(), "".into()));
        assert_eq!(parts("s3://b//k/"), ("b".into(), "/k/".into()));
    }
}
