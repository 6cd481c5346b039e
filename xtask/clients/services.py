"""Each operation with its limits, as one uses boto3: lists and pages, tags, stopping, several variants, tuning, metrics.

Client: boto3.
"""

import datetime
import json

import boto3

import common

client, runtime, s3 = boto3.client("sagemaker"), boto3.client("sagemaker-runtime"), boto3.client("s3")
logs, metrics = boto3.client("logs"), boto3.client("cloudwatch")
bucket = common.name("services")
s3.create_bucket(Bucket=bucket)
s3.put_object(Bucket=bucket, Key="train/1.csv", Body=common.rows(200, 7).encode())
s3.put_object(Bucket=bucket, Key="train/2.csv", Body=common.rows(200, 8).encode())
s3.put_object(Bucket=bucket, Key="validation/v.csv", Body=common.rows(100, 9).encode())
s3.put_object(Bucket=bucket, Key="score/good.csv", Body=common.rows(50, 10).encode())
s3.put_object(Bucket=bucket, Key="score/bad.csv", Body=b"Canada,1.2.3.4\nCanada,nonsense\n")


def channel(name, distribution="FullyReplicated"):
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{name}/", "S3DataDistributionType": distribution}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def definition(**more):
    return {
        "AlgorithmSpecification": {"TrainingImage": common.IMAGE, "TrainingInputMode": "File"},
        "RoleArn": common.ROLE,
        "InputDataConfig": [channel("train"), channel("validation")],
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/models"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        **more,
    }


MACHINE = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5}
SMALL = {"num_entity_vectors": "100", "vector_dim": "8", "epochs": "3", "mini_batch_size": "200"}


def train(name, hyperparameters=SMALL, **more):
    more = {"ResourceConfig": MACHINE, **more}
    return client.create_training_job(
        TrainingJobName=name, HyperParameters=hyperparameters, **definition(**more)
    )["TrainingJobArn"]


def trained(name):
    client.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=name)
    return client.describe_training_job(TrainingJobName=name)


# Training: checkpoints, shards over two machines, the metrics in three places.
first = common.name("first")
arn = train(
    first,
    InputDataConfig=[channel("train", "ShardedByS3Key"), channel("validation")],
    ResourceConfig={**MACHINE, "InstanceCount": 2},
    CheckpointConfig={"S3Uri": f"s3://{bucket}/checkpoints"},
    Tags=[{"Key": "a", "Value": "1"}],
)
job = trained(first)
assert job["TrainingJobStatus"] == "Completed", job
assert s3.list_objects_v2(Bucket=bucket, Prefix="checkpoints/")["KeyCount"] == 1
final = {m["MetricName"]: m["Value"] for m in job["FinalMetricDataList"]}
definitions = {m["Name"] for m in job["AlgorithmSpecification"]["MetricDefinitions"]}
assert set(final) == definitions, (final, definitions)
streams = logs.describe_log_streams(
    logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{first}/", orderBy="LogStreamName", limit=2
)
assert len(streams["logStreams"]) == 2 and "nextToken" not in streams, streams
assert "/aws/sagemaker/TrainingJobs" in {g["logGroupName"] for g in logs.describe_log_groups()["logGroups"]}
window = {
    "StartTime": job["TrainingStartTime"],
    "EndTime": job["TrainingEndTime"] + datetime.timedelta(minutes=1),
}
of_job = {
    "Namespace": "/aws/sagemaker/TrainingJobs",
    "MetricName": "validation:discriminator_auc",
    "Dimensions": [{"Name": "TrainingJobName", "Value": first}],
}
points = metrics.get_metric_statistics(**of_job, **window, Period=60, Statistics=["Maximum", "SampleCount"])
assert sum(p["SampleCount"] for p in points["Datapoints"]) == 3, points
query = {"Id": "auc", "MetricStat": {"Metric": of_job, "Period": 1, "Stat": "Average"}}
curve = metrics.get_metric_data(MetricDataQueries=[query], **window, ScanBy="TimestampAscending")
assert abs(curve["MetricDataResults"][0]["Values"][-1]) <= 1, curve
client.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])
client.delete_tags(ResourceArn=arn, TagKeys=["a"])
assert client.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
common.refused(lambda: train(first), "ResourceInUse", arn)
common.refused(lambda: train("bad_name"), "ValidationException", "1 validation error detected: Value 'bad_name' at 'trainingJobName'")
common.refused(
    lambda: client.describe_training_job(TrainingJobName="none"), "ValidationException", "Requested resource not found."
)

# Stopping, and lists in pages.
long = common.name("long")
train(long, {**SMALL, "epochs": "100000000"})
common.until(lambda: client.describe_training_job(TrainingJobName=long)["SecondaryStatus"] == "Training" or None)
running = client.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]
assert [j["TrainingJobName"] for j in running] == [long]
client.stop_training_job(TrainingJobName=long)
assert trained(long)["TrainingJobStatus"] == "Stopped"
names = []
for page in client.get_paginator("list_training_jobs").paginate(
    SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 1}
):
    assert len(page["TrainingJobSummaries"]) <= 1
    names += [j["TrainingJobName"] for j in page["TrainingJobSummaries"]]
assert names == sorted(names) and {first, long} <= set(names), names

# Tuning, in both forms of the definition.
tuning = "t" + common.name("uning")[:20]
ranges = {
    "IntegerParameterRanges": [{"Name": "vector_dim", "MinValue": "8", "MaxValue": "32", "ScalingType": "Auto"}],
    "ContinuousParameterRanges": [
        {"Name": "learning_rate", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
    ],
    "CategoricalParameterRanges": [{"Name": "num_ip_encoder_layers", "Values": ["1", "2"]}],
}


def tune(name, strategy="Bayesian", machines="HyperParameterTuningResourceConfig", **config):
    static = {name: value for name, value in SMALL.items() if name != "vector_dim"}
    client.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name,
        HyperParameterTuningJobConfig={
            "Strategy": strategy,
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 5, "MaxParallelTrainingJobs": 2},
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:discriminator_auc"},
            "ParameterRanges": ranges,
            **config,
        },
        TrainingJobDefinition={"StaticHyperParameters": static, machines: MACHINE, **definition()},
        Tags=[{"Key": "t", "Value": "u"}],
    )

    def ended():
        described = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        return described if described["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping") else None

    return common.until(ended)


described = tune(tuning)
assert described["HyperParameterTuningJobStatus"] == "Completed", described
assert described["TrainingJobStatusCounters"]["Completed"] == 5, described
trials = client.list_training_jobs_for_hyper_parameter_tuning_job(
    HyperParameterTuningJobName=tuning, SortBy="FinalObjectiveMetricValue", SortOrder="Descending", MaxResults=100
)["TrainingJobSummaries"]
assert set(trials[0]["TunedHyperParameters"]) == {"vector_dim", "learning_rate", "num_ip_encoder_layers"}
values = [t["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for t in trials]
assert values == sorted(values, reverse=True) and len(values) == 5
best = client.describe_training_job(TrainingJobName=described["BestTrainingJob"]["TrainingJobName"])
assert best["ResourceConfig"] == MACHINE and best["TuningJobArn"] == described["HyperParameterTuningJobArn"], best
assert client.list_tags(ResourceArn=best["TrainingJobArn"])["Tags"] == [{"Key": "t", "Value": "u"}]
for strategy in ("Random", "Hyperband"):
    name = "t" + common.name(strategy.lower())[:24]
    described = tune(name, strategy, "ResourceConfig")
    assert described["HyperParameterTuningJobStatus"] == "Completed", described
common.refused(lambda: tune(tuning), "ResourceInUse", "already exists. Choose a different name.")
common.refused(
    lambda: tune("minimised", HyperParameterTuningJobObjective={"Type": "Minimize", "MetricName": "train:loss"}),
    "ValidationException",
    "validation:discriminator_auc",
)

# Models, transform: a good file has its output although another one is bad.
artifacts = [job["ModelArtifacts"]["S3ModelArtifacts"], best["ModelArtifacts"]["S3ModelArtifacts"]]
for name, url in zip(("m-a", "m-b"), artifacts):
    container = {"Image": common.IMAGE, "ModelDataUrl": url, "Environment": {}}
    client.create_model(ModelName=bucket + name, ExecutionRoleArn=common.ROLE, PrimaryContainer=container)
scoring = common.name("scoring")
source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/score"}


def transform(name, uri, **output):
    client.create_transform_job(
        TransformJobName=name,
        ModelName=bucket + "m-a",
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        TransformOutput={"S3OutputPath": f"s3://{bucket}/scored/{name}", **output},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    client.get_waiter("transform_job_completed_or_stopped").config.delay = 1

    def ended():
        described = client.describe_transform_job(TransformJobName=name)
        return described if described["TransformJobStatus"] not in ("InProgress", "Stopping") else None

    return common.until(ended)


described = transform(scoring, f"s3://{bucket}/score")
assert described["TransformJobStatus"] == "Failed" and described["FailureReason"], described
written = s3.list_objects_v2(Bucket=bucket, Prefix=f"scored/{scoring}/")["Contents"]
assert [o["Key"] for o in written] == [f"scored/{scoring}/good.csv.out"], written
good = common.name("good")
described = transform(good, f"s3://{bucket}/score/good.csv", Accept="application/json", AssembleWith="Line")
assert described["TransformJobStatus"] == "Completed", described
body = s3.get_object(Bucket=bucket, Key=f"scored/{good}/good.csv.out")["Body"].read()
assert len(json.loads(body)["predictions"]) == 50
assert client.list_transform_jobs(NameContains=good)["TransformJobSummaries"][0]["TransformJobStatus"] == "Completed"
common.refused(
    lambda: transform(common.name("nothing"), f"s3://{bucket}/nothing/"), "ValidationException", "No S3 objects found"
)

# Two variants with weights, data capture, what the runtime answers.
endpoint = common.name("endpoint")
variants = [
    {"VariantName": v, "ModelName": bucket + m, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large",
     "InitialVariantWeight": w}
    for v, m, w in (("A", "m-a", 3), ("B", "m-b", 1))
]
capture = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": f"s3://{bucket}/captured",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
}
client.create_endpoint_config(EndpointConfigName=endpoint, ProductionVariants=variants, DataCaptureConfig=capture)
client.create_endpoint(EndpointName=endpoint, EndpointConfigName=endpoint)
client.get_waiter("endpoint_in_service").wait(EndpointName=endpoint)


def invoke(body=b"Canada,10.1.2.3", kind="text/csv", **more):
    return runtime.invoke_endpoint(EndpointName=endpoint, ContentType=kind, Body=body, **more)


chosen = [invoke()["InvokedProductionVariant"] for _ in range(40)]
assert 28 <= chosen.count("A") <= 32, chosen
assert invoke(TargetVariant="B")["InvokedProductionVariant"] == "B"
assert invoke(CustomAttributes="trace=1", InferenceId="mine")["CustomAttributes"] == "trace=1"
lines = invoke(Accept="application/jsonlines; verbose=true")["Body"].read()
assert set(json.loads(lines)) == {"dot_product", "ip_embedding", "entity_embedding"}
instances = {"instances": [{"features": ["Canada", "10.1.2.3"]}, {"data": {"features": {"values": ["Canada", "10.1.2.3"]}}}]}
answer = json.loads(invoke(json.dumps(instances).encode(), "application/json", TargetVariant="A")["Body"].read())
csv = invoke(b"Canada, 10.1.2.3\nCanada,10.1.2.3", TargetVariant="A", Accept="*/*")
assert csv["ContentType"] == "application/json" and json.loads(csv["Body"].read()) == answer, answer
lines = "\n".join(json.dumps(instance) for instance in instances["instances"]).encode()
lines = invoke(lines, "application/jsonlines", TargetVariant="A", Accept="application/jsonlines")["Body"].read()
assert [json.loads(line) for line in lines.splitlines()] == answer["predictions"], lines
common.refused(lambda: invoke(b"nonsense"), "ModelError", "Received client error (400)")
common.refused(lambda: invoke(b"x", "application/x-recordio-protobuf"), "ModelError", "Received client error (415)")
common.refused(lambda: invoke(b"C,1.2.3.4\n" * 700_000), "ModelError", "Received client error (413)")
common.refused(
    lambda: runtime.invoke_endpoint(EndpointName="nobody", Body=b"", ContentType="text/csv"),
    "ValidationError",
    "Endpoint nobody of account 000000000000 not found.",
)


def captured():
    found = s3.list_objects_v2(Bucket=bucket, Prefix=f"captured/{endpoint}/").get("Contents", [])
    records = []
    for entry in found:
        text = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read().decode()
        records += [json.loads(line) for line in text.splitlines()]
    mine = [r for r in records if r["eventMetadata"].get("inferenceId") == "mine"]
    return mine[0] if mine else None


record = common.until(captured)
assert record["captureData"]["endpointInput"]["data"] == "Canada,10.1.2.3", record
assert "dot_product" in record["captureData"]["endpointOutput"]["data"], record
client.update_endpoint_weights_and_capacities(
    EndpointName=endpoint, DesiredWeightsAndCapacities=[{"VariantName": "A", "DesiredWeight": 0}]
)
assert {invoke()["InvokedProductionVariant"] for _ in range(20)} == {"B"}
other = common.name("other")
client.create_endpoint_config(EndpointConfigName=other, ProductionVariants=variants[:1])
client.update_endpoint(EndpointName=endpoint, EndpointConfigName=other)
client.get_waiter("endpoint_in_service").wait(EndpointName=endpoint)
assert invoke()["InvokedProductionVariant"] == "A"
assert client.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"] == other
client.delete_endpoint(EndpointName=endpoint)
client.get_waiter("endpoint_deleted").wait(EndpointName=endpoint)

# Objects: checksums, copies, tags, versions off, addresses that are signed beforehand.
put = s3.put_object(Bucket=bucket, Key="//odd//key", Body=b"text", ChecksumAlgorithm="SHA256", Tagging="a=b")
assert put["ChecksumSHA256"]
assert s3.get_object(Bucket=bucket, Key="//odd//key")["Body"].read() == b"text"
assert s3.get_object_tagging(Bucket=bucket, Key="//odd//key")["TagSet"] == [{"Key": "a", "Value": "b"}]
s3.put_object_tagging(Bucket=bucket, Key="//odd//key", Tagging={"TagSet": [{"Key": "c", "Value": "d"}]})
s3.delete_object_tagging(Bucket=bucket, Key="//odd//key")
s3.copy_object(Bucket=bucket, Key="copied", CopySource={"Bucket": bucket, "Key": "//odd//key"})
assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
common.refused(lambda: s3.head_bucket(Bucket=bucket, ExpectedBucketOwner="1" * 12), "403")
common.refused(lambda: s3.head_object(Bucket=bucket, Key="nothing"), "404", "Not Found")
s3.create_bucket(Bucket=bucket)  # one's own, again
upload = s3.create_multipart_upload(Bucket=bucket, Key="parts", ChecksumAlgorithm="CRC32")["UploadId"]
s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")
assert [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload]
s3.abort_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload)
assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
listed = s3.list_objects_v2(Bucket=bucket, Prefix="score/", Delimiter="/", MaxKeys=1)
assert listed["IsTruncated"] and listed["KeyCount"] == 1 and listed["NextContinuationToken"], listed
ranged = s3.get_object(Bucket=bucket, Key="copied", Range="bytes=1-2", IfMatch=s3.head_object(Bucket=bucket, Key="copied")["ETag"])
assert ranged["Body"].read() == b"ex" and ranged["ContentRange"] == "bytes 1-2/4", ranged
address = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "copied"})
import urllib.request

assert urllib.request.urlopen(address).read() == b"text"
