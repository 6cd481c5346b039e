//! Where the questions go, and what is there to ask about.

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_local::Server;
use aws_smithy_http_client::tls;
use ipinsights_client::{Client, Deadline, RoleArn, S3Uri, image_uri};

/// How many rows [`World::rows`] puts.
pub(crate) const ROWS: usize = 80;

/// Somebody who answers.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) role: RoleArn,
    pub(crate) image: String,
    /// As patient as it takes.
    pub(crate) deadline: Deadline,
    s3: aws_sdk_s3::Client,
    bucket: String,
    prefix: String,
    kind: Kind,
    _server: Option<Server>,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Local,
    Account,
    /// A server of somebody else.
    Other,
}

impl Kind {
    /// What it does not do. moto keeps what it is told, and checks little of it; it neither trains nor answers.
    fn lacks(self, what: &str) -> bool {
        match self {
            Self::Local | Self::Account => false,
            Self::Other => ["checks", "quotas", "answers of endpoints", "transform jobs"].contains(&what),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn required(name: &str) -> String {
    variable(name).unwrap_or_else(|| panic!("IPINSIGHTS_TEST_PROFILE needs {name}"))
}

impl World {
    pub(crate) async fn new() -> Self {
        if let Some(profile) = variable("IPINSIGHTS_TEST_PROFILE") {
            let http = aws_smithy_http_client::Builder::new()
                .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
                .build_https();
            let loader = aws_config::defaults(BehaviorVersion::latest());
            let config = loader.profile_name(profile).http_client(http).load().await;
            let role = required("IPINSIGHTS_TEST_ROLE").parse().unwrap();
            let deadline = Deadline::new(Duration::from_secs(15), Duration::from_secs(3600));
            return Self::of(
                &config,
                Kind::Account,
                required("IPINSIGHTS_TEST_BUCKET"),
                role,
                deadline,
                None,
            );
        }
        let role: RoleArn = "arn:aws:iam::123456789012:role/tests".parse().unwrap();
        let deadline = Deadline::new(Duration::from_millis(5), Duration::from_secs(120));
        let (config, kind, server) = match variable("IPINSIGHTS_TEST_URL") {
            Some(url) => {
                let loader = aws_config::defaults(BehaviorVersion::latest())
                    .http_client(aws_smithy_http_client::Builder::new().build_http())
                    .region(Region::from_static("us-east-1"))
                    .credentials_provider(Credentials::from_keys("test", "test", None))
                    .endpoint_url(url);
                (loader.load().await, Kind::Other, None)
            }
            None => {
                let server = Server::ephemeral().start().await.unwrap();
                (server.sdk_config(), Kind::Local, Some(server))
            }
        };
        let world = Self::of(
            &config,
            kind,
            "ipinsights-tests".to_owned(),
            role,
            deadline,
            server,
        );
        // Another test may have made it, on a server that all share.
        let made = world.s3.create_bucket().bucket(&world.bucket).send().await;
        if let Err(error) = made {
            assert_eq!(kind, Kind::Other, "{error:?}");
        }
        world
    }

    fn of(
        config: &SdkConfig,
        kind: Kind,
        bucket: String,
        role: RoleArn,
        deadline: Deadline,
        server: Option<Server>,
    ) -> Self {
        let sagemaker = aws_sdk_sagemaker::Client::new(config);
        let runtime = aws_sdk_sagemakerruntime::Client::new(config);
        let s3 = aws_sdk_s3::config::Builder::from(config)
            .force_path_style(true)
            .build();
        let region = config.region().expect("the profile names no region");
        Self {
            client: Client::new(sagemaker, runtime),
            role,
            image: image_uri(region.as_ref()).unwrap(),
            deadline,
            s3: aws_sdk_s3::Client::from_conf(s3),
            bucket,
            prefix: format!("ipinsights-tests/{}", unique()),
            kind,
            _server: server,
        }
    }

    /// Whether who answers does not do this; says so.
    pub(crate) fn lacks(&self, what: &str) -> bool {
        self.kind.lacks(what)
    }

    /// A name that nothing has.
    pub(crate) fn name<T: FromStr<Err: Debug>>(&self) -> T {
        unique().parse().unwrap()
    }

    /// A place of this test alone.
    pub(crate) fn uri(&self, key: &str) -> S3Uri {
        format!("s3://{}/{}/{key}", self.bucket, self.prefix)
            .parse()
            .unwrap()
    }

    /// Puts rows of two entities, each with networks of its own.
    pub(crate) async fn rows(&self) {
        let rows: String = (0..ROWS / 2)
            .map(|i| format!("France,10.{i}.0.1\nUnited Kingdom,192.{i}.7.1\n"))
            .collect();
        let put = self.s3.put_object().bucket(&self.bucket);
        let put = put
            .key(format!("{}/train.csv", self.prefix))
            .body(rows.into_bytes().into());
        put.send().await.unwrap();
    }

    pub(crate) async fn object(&self, key: &str) -> Vec<u8> {
        let get = self.s3.get_object().bucket(&self.bucket);
        let object = get.key(format!("{}/{key}", self.prefix)).send().await.unwrap();
        object.body.collect().await.unwrap().to_vec()
    }

    /// An object that is there sooner or later.
    pub(crate) async fn object_in_time(&self, uri: &S3Uri) -> Vec<u8> {
        let look = async {
            loop {
                let get = self.s3.get_object().bucket(uri.bucket()).key(uri.key());
                match get.send().await {
                    Ok(object) => return object.body.collect().await.unwrap().to_vec(),
                    Err(error) => assert!(
                        error
                            .as_service_error()
                            .is_some_and(|error| error.is_no_such_key()),
                        "{error:?}"
                    ),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(600), look).await;
        found.unwrap_or_else(|_| panic!("{uri} did not come"))
    }
}

/// Short enough for every kind of name.
fn unique() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("t-{:x}-{:x}-{number}", since.as_millis(), std::process::id())
}
