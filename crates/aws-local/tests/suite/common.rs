//! A server with a folder of its own, and the official clients pointed at it.

use std::{future::Future, path::Path, time::Duration};

use aws_credential_types::Credentials;
use aws_local::{Builder, Server};
use aws_smithy_http_client::Builder as HttpBuilder;
use tempfile::TempDir;

/// A role; any will do.
pub(crate) const ROLE: &str = "arn:aws:iam::000000000000:role/tests";

/// The algorithm's image in us-east-1.
pub(crate) const IMAGE: &str = "382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1";

/// A server and its clients.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) folder: TempDir,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) sagemaker: aws_sdk_sagemaker::Client,
    pub(crate) runtime: aws_sdk_sagemakerruntime::Client,
    pub(crate) states: aws_sdk_sfn::Client,
    pub(crate) sts: aws_sdk_sts::Client,
}

/// Builds the clients, which are all configured in the same way.
macro_rules! client {
    ($sdk:ident, $url:expr $(, $setter:ident($value:expr))*) => {
        $sdk::Client::from_conf(
            $sdk::Config::builder()
                .behavior_version($sdk::config::BehaviorVersion::latest())
                .region($sdk::config::Region::new("us-east-1"))
                .credentials_provider(Credentials::from_keys("test", "test", None))
                .endpoint_url($url)
                .http_client(HttpBuilder::new().build_http())
                $(.$setter($value))*
                .build(),
        )
    };
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_folder(TempDir::new().unwrap()).await
    }

    async fn with_folder(folder: TempDir) -> Self {
        let server = Server::builder(folder.path()).start().await.unwrap();
        Self::with_server(server, folder)
    }

    /// A server that is as `settings` make it.
    pub(crate) async fn built(settings: impl FnOnce(Builder) -> Builder) -> Self {
        let folder = TempDir::new().unwrap();
        let server = settings(Server::builder(folder.path())).start().await;
        Self::with_server(server.unwrap(), folder)
    }

    /// A server of realistic timing, on which the training `job` waits for its machines.
    pub(crate) async fn with_waiting_job() -> Self {
        let world = Self::built(|server| server.realistic_timing(true)).await;
        world.bucket_with_data().await;
        world.training("job").send().await.unwrap();
        world
    }

    /// The clients of a server on that folder.
    pub(crate) fn with_server(server: Server, folder: TempDir) -> Self {
        let url = server.url();
        Self {
            s3: client!(aws_sdk_s3, url, force_path_style(true)),
            sagemaker: client!(aws_sdk_sagemaker, url),
            runtime: client!(aws_sdk_sagemakerruntime, url),
            states: client!(aws_sdk_sfn, url),
            sts: client!(aws_sdk_sts, url),
            server,
            folder,
        }
    }

    /// Stops the server and starts another on the same folder.
    pub(crate) async fn restart(self) -> Self {
        self.server.shutdown().await;
        Self::with_folder(self.folder).await
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A bucket with the rows of [`rows`] as training data and a few as validation data.
    pub(crate) async fn bucket_with_data(&self) {
        self.s3.create_bucket().bucket("data").send().await.unwrap();
        self.put("train/train.csv", rows(0..40)).await;
        self.put("validation/validation.csv", rows(40..50)).await;
    }

    pub(crate) async fn put(&self, key: &str, body: impl Into<Vec<u8>>) {
        let body = body.into().into();
        self.s3
            .put_object()
            .bucket("data")
            .key(key)
            .body(body)
            .send()
            .await
            .unwrap();
    }

    /// Starts a small training of that name on `bucket_with_data`.
    pub(crate) fn training(
        &self,
        name: &str,
    ) -> aws_sdk_sagemaker::operation::create_training_job::builders::CreateTrainingJobFluentBuilder {
        use aws_sdk_sagemaker::types::{
            AlgorithmSpecification, OutputDataConfig, ResourceConfig, StoppingCondition, TrainingInputMode,
            TrainingInstanceType,
        };
        let algorithm = AlgorithmSpecification::builder()
            .training_image(IMAGE)
            .training_input_mode(TrainingInputMode::File);
        let resources = ResourceConfig::builder()
            .instance_type(TrainingInstanceType::MlM5Large)
            .instance_count(1)
            .volume_size_in_gb(5);
        self.sagemaker
            .create_training_job()
            .training_job_name(name)
            .role_arn(ROLE)
            .algorithm_specification(algorithm.build())
            .resource_config(resources.build())
            .stopping_condition(StoppingCondition::builder().max_runtime_in_seconds(300).build())
            .output_data_config(
                OutputDataConfig::builder()
                    .s3_output_path("s3://data/models")
                    .build(),
            )
            .input_data_config(channel("train", "s3://data/train/"))
            .hyper_parameters("num_entity_vectors", "20")
            .hyper_parameters("vector_dim", "8")
            .hyper_parameters("mini_batch_size", "50")
            .hyper_parameters("epochs", "2")
    }

    /// Trains, and gives back the address of the archive.
    pub(crate) async fn trained(&self, name: &str) -> String {
        self.training(name).send().await.unwrap();
        let job = self.job_ended(name).await;
        let status = job.training_job_status().unwrap();
        assert_eq!(status.as_str(), "Completed", "{:?}", job.failure_reason());
        job.model_artifacts()
            .unwrap()
            .s3_model_artifacts()
            .unwrap()
            .to_owned()
    }

    /// Describes a job once it has ended.
    pub(crate) async fn job_ended(
        &self,
        name: &str,
    ) -> aws_sdk_sagemaker::operation::describe_training_job::DescribeTrainingJobOutput {
        eventually(|| async {
            let job = self
                .sagemaker
                .describe_training_job()
                .training_job_name(name)
                .send()
                .await
                .unwrap();
            let status = job.training_job_status().unwrap().as_str().to_owned();
            (!["InProgress", "Stopping"].contains(&status.as_str())).then_some(job)
        })
        .await
    }

    /// Makes a model of that name.
    pub(crate) async fn model(&self, name: &str, archive: &str) {
        let container = aws_sdk_sagemaker::types::ContainerDefinition::builder()
            .image(IMAGE)
            .model_data_url(archive)
            .build();
        let model = self
            .sagemaker
            .create_model()
            .model_name(name)
            .execution_role_arn(ROLE);
        model.primary_container(container).send().await.unwrap();
    }

    /// Makes a configuration with variants of these names, models and weights.
    pub(crate) async fn config(&self, name: &str, variants: &[(&str, &str, f32)]) {
        let mut config = self.sagemaker.create_endpoint_config().endpoint_config_name(name);
        for (variant, model, weight) in variants {
            config = config.production_variants(
                aws_sdk_sagemaker::types::ProductionVariant::builder()
                    .variant_name(*variant)
                    .model_name(*model)
                    .initial_instance_count(1)
                    .instance_type(aws_sdk_sagemaker::types::ProductionVariantInstanceType::MlT2Medium)
                    .initial_variant_weight(*weight)
                    .build(),
            );
        }
        config.send().await.unwrap();
    }

    /// An endpoint `scores` that answers, with everything under it.
    pub(crate) async fn endpoint(&self) {
        self.bucket_with_data().await;
        let archive = self.trained("job").await;
        self.model("model", &archive).await;
        self.config("config", &[("AllTraffic", "model", 1.0)]).await;
        let create = self
            .sagemaker
            .create_endpoint()
            .endpoint_name("scores")
            .endpoint_config_name("config");
        create.send().await.unwrap();
        assert_eq!(self.endpoint_settled("scores").await, "InService");
    }

    /// The endpoint's status once it is neither Creating nor Updating.
    pub(crate) async fn endpoint_settled(&self, name: &str) -> String {
        eventually(|| async {
            let endpoint = self
                .sagemaker
                .describe_endpoint()
                .endpoint_name(name)
                .send()
                .await
                .unwrap();
            let status = endpoint.endpoint_status().unwrap().as_str().to_owned();
            (!["Creating", "Updating"].contains(&status.as_str())).then_some(status)
        })
        .await
    }
}

/// A channel of CSV under an address.
pub(crate) fn channel(name: &str, url: &str) -> aws_sdk_sagemaker::types::Channel {
    use aws_sdk_sagemaker::types::{Channel, DataSource, S3DataDistribution, S3DataSource, S3DataType};
    let source = S3DataSource::builder()
        .s3_data_type(S3DataType::S3Prefix)
        .s3_uri(url)
        .s3_data_distribution_type(S3DataDistribution::FullyReplicated)
        .build();
    let source = DataSource::builder().s3_data_source(source).build();
    Channel::builder()
        .channel_name(name)
        .content_type("text/csv")
        .data_source(source)
        .build()
}

/// Rows of two entities, each with networks of its own.
pub(crate) fn rows(range: std::ops::Range<u8>) -> String {
    range
        .map(|i| format!("France,10.{i}.0.1\nUnited Kingdom,192.{i}.7.1\n"))
        .collect()
}

/// Asks until there is an answer, for half a minute.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    for _ in 0..1500 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not happen within half a minute");
}

/// The code and message of a service's error.
pub(crate) fn told<E, R>(result: Result<impl Sized, aws_sdk_s3::error::SdkError<E, R>>) -> String
where
    E: aws_sdk_s3::error::ProvideErrorMetadata,
    R: std::fmt::Debug,
    E: std::fmt::Debug,
{
    use aws_sdk_s3::error::ProvideErrorMetadata;
    let error = result.err().expect("should be refused");
    match error.as_service_error() {
        Some(service) => {
            let meta = ProvideErrorMetadata::meta(service);
            format!(
                "{}: {}",
                meta.code().unwrap_or("?"),
                meta.message().unwrap_or("-")
            )
        }
        None => format!("{error:?}"),
    }
}
