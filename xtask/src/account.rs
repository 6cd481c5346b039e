//! The few calls to the account that tasks make, signed here.
//!
//! The SDK crates of Systems Manager and CloudFormation are among the largest there are: minutes of every build, for a few calls.
//! Credentials, the signature and HTTPS are the SDK's own crates.

use std::time::SystemTime;

use anyhow::{Context, bail};
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use aws_smithy_types::body::SdkBody;
use jiff::fmt::strtime;

use crate::{web, workspace};

/// Who asks, and in which region.
pub(crate) struct Account {
    runtime: tokio::runtime::Runtime,
    credentials: Credentials,
    region: String,
    /// One address for all services instead of their own.
    url: Option<String>,
}

/// An answer that is no success.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HTTP {}: {}", self.status, self.body.trim())
    }
}

impl std::error::Error for Refused {}

impl Account {
    /// Finds credentials and region where every AWS SDK looks: the environment, the profile, SSO, the instance's role.
    pub(crate) fn find(profile: Option<&str>, region: Option<&str>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let http = aws_smithy_http_client::Builder::new().tls_provider(web::tls_provider());
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.build_https());
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let (credentials, region) = runtime.block_on(async {
            let config = loader.load().await;
            let region = config
                .region()
                .context("no region is set: set AWS_REGION or the profile's region")?;
            let provider = config
                .credentials_provider()
                .context("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")?;
            let credentials = provider
                .provide_credentials()
                .await
                .context("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")?;
            anyhow::Ok((credentials, region.to_string()))
        })?;
        Ok(Self {
            runtime,
            credentials,
            region,
            url: None,
        })
    }

    #[cfg(test)]
    pub(crate) fn of(credentials: Credentials, region: &str) -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            credentials,
            region: region.to_owned(),
            url: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn at(self, url: &str) -> Self {
        Self {
            url: Some(format!("{url}/")),
            ..self
        }
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Calls an operation of a service that speaks JSON 1.1, such as `AmazonSSM.GetParameters`.
    pub(crate) fn json(
        &self,
        service: &Service,
        operation: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<serde_json::Value> {
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", operation),
        ];
        let answer = self.post(service, &headers, body.to_string())?;
        serde_json::from_str(&answer)
            .with_context(|| format!("{operation} answered something that is not JSON"))
    }

    /// Calls an operation of a service that speaks the Query protocol; the answer is XML.
    pub(crate) fn query(&self, service: &Service, parameters: &[(&str, &str)]) -> anyhow::Result<String> {
        let body = parameters
            .iter()
            .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
            .collect::<Vec<_>>()
            .join("&");
        let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        self.post(service, &headers, body)
    }

    fn post(&self, service: &Service, headers: &[(&str, &str)], body: String) -> anyhow::Result<String> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => service.url(&self.region),
        };
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service.signing_name)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let signable = SignableRequest::new(
            "POST",
            &url,
            headers.iter().copied(),
            SignableBody::Bytes(body.as_bytes()),
        )?;
        let (instructions, _) = aws_sigv4::http_request::sign(signable, &params)?.into_parts();
        let mut request = http::Request::post(&url).body(SdkBody::from(body))?;
        for (name, value) in headers {
            request.headers_mut().insert(
                http::HeaderName::from_bytes(name.as_bytes())?,
                http::HeaderValue::from_str(value)?,
            );
        }
        instructions.apply_to_request_http1x(&mut request);
        let (status, body) = self.runtime.block_on(web::send(request))?;
        if !(200..300).contains(&status) {
            bail!(Refused { status, body });
        }
        Ok(body)
    }

    /// User name and password with which git reads a CodeCommit repository over HTTPS, good for some minutes.
    ///
    /// The password is a signature over the method `GIT` and the repository's path, after its time; the scheme is that of
    /// the public remote helper for CodeCommit.
    pub(crate) fn codecommit(
        &self,
        host: &str,
        path: &str,
        now: jiff::Timestamp,
    ) -> anyhow::Result<(String, String)> {
        let time = strtime::format("%Y%m%dT%H%M%S", now)?;
        let date = &time[..8];
        let canonical = format!("GIT\n{path}\n\nhost:{host}\n\nhost\n");
        let digest = workspace::sha256(canonical.as_bytes());
        let scope = format!("{date}/{}/codecommit/aws4_request", self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
        let key = v4::generate_signing_key(
            self.credentials.secret_access_key(),
            now.into(),
            &self.region,
            "codecommit",
        );
        let signature = v4::calculate_signature(key, to_sign.as_bytes());
        let user = match self.credentials.session_token() {
            Some(token) => format!("{}%{token}", self.credentials.access_key_id()),
            None => self.credentials.access_key_id().to_owned(),
        };
        Ok((user, format!("{time}Z{signature}")))
    }
}

/// A text within a form's body.
fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A service: how it is called in addresses, in signatures and in the variables that move it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service {
    host: &'static str,
    signing_name: &'static str,
    variable: &'static str,
}

pub(crate) const SSM: Service = Service {
    host: "ssm",
    signing_name: "ssm",
    variable: "AWS_ENDPOINT_URL_SSM",
};
pub(crate) const SECRETS_MANAGER: Service = Service {
    host: "secretsmanager",
    signing_name: "secretsmanager",
    variable: "AWS_ENDPOINT_URL_SECRETS_MANAGER",
};
pub(crate) const CLOUDFORMATION: Service = Service {
    host: "cloudformation",
    signing_name: "cloudformation",
    variable: "AWS_ENDPOINT_URL_CLOUDFORMATION",
};

pub(crate) const SAGEMAKER: Service = Service {
    host: "api.sagemaker",
    signing_name: "sagemaker",
    variable: "AWS_ENDPOINT_URL_SAGEMAKER",
};

impl Service {
    fn url(&self, region: &str) -> String {
        let given = [self.variable, "AWS_ENDPOINT_URL"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|url| !url.is_empty()));
        match given {
            Some(url) => format!("{}/", url.trim_end_matches('/')),
            None => self.default_url(region),
        }
    }

    pub(crate) fn default_url(&self, region: &str) -> String {
        format!("https://{}.{region}.{}/", self.host, domain(region))
    }
}

/// The region of the profile, if it has one. Nobody is asked: no service, and not the machine whose role this may be.
pub(crate) fn profile_region() -> anyhow::Result<Option<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .context("cannot start a runtime")?;
    let provider = ProfileFileRegionProvider::builder().build();
    let region = runtime.block_on(async { provider.region().await });
    Ok(region.map(|region| region.to_string()))
}

/// The domain of a region's services.
pub(crate) fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(token: Option<&str>) -> Account {
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            token.map(str::to_owned),
            None,
            "test",
        );
        Account::of(credentials, "eu-west-1")
    }

    #[test]
    fn git_is_given_a_signature_of_the_repository() {
        let now = "2026-11-20T08:52:08Z".parse().unwrap();
        let host = "git-codecommit.eu-west-1.amazonaws.com";
        let (user, password) = account(None).codecommit(host, "/v1/repos/demo", now).unwrap();
        assert_eq!(user, "AKIDEXAMPLE");
        // Computed with HMAC-SHA256 by hand (Python's hmac), after the scheme's description.
        assert_eq!(
            password,
            "20261120T085208Z49d84fb79c4184cb8b559a5a87368c726e9a72d8ba2bc68283e7295b51897327"
        );
        let (user, other) = account(Some("tok/en"))
            .codecommit(host, "/v1/repos/other", now)
            .unwrap();
        assert_eq!(user, "AKIDEXAMPLE%tok/en");
        assert_ne!(other, password);
    }

    #[test]
    fn services_have_their_regions_addresses() {
        assert_eq!(domain("cn-north-1"), "amazonaws.com.cn");
        assert_eq!(domain("us-east-1"), "amazonaws.com");
        assert_eq!(escaped("a b&c=d/é"), "a%20b%26c%3Dd%2F%C3%A9");
    }
}
