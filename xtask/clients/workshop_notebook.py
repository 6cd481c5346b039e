"""As the SEC405 workshop notebook: an empty prefix, logs while it trains, files read through s3fs, embeddings.

Clients: sagemaker 2.x, pandas with s3fs.
"""

import contextlib
import io

import boto3
import pandas
import sagemaker
from sagemaker.inputs import TrainingInput

import common

bucket = common.name("workshop")
prefix = ""
s3 = boto3.client("s3")
s3.create_bucket(Bucket=bucket)
s3.put_object(Bucket=bucket, Key="train/cloudtrail_tuples.csv", Body=common.rows(400, 2).encode())
s3.put_object(Bucket=bucket, Key="infer/guardduty_tuples.csv", Body=common.rows(10, 3).encode())

session = sagemaker.Session()
role = sagemaker.get_execution_role()
assert role == "arn:aws:iam::000000000000:role/ipinsights-local", role
estimator = sagemaker.estimator.Estimator(
    sagemaker.image_uris.retrieve("ipinsights", boto3.Session().region_name),
    role,
    instance_count=1,
    instance_type="ml.m4.xlarge",
    output_path=f"s3://{bucket}/{prefix}/output",
    sagemaker_session=session,
)
estimator.set_hyperparameters(
    num_entity_vectors="20000",
    random_negative_sampling_rate="5",
    vector_dim="128",
    mini_batch_size="1000",
    epochs="3",
    learning_rate="0.01",
)
train = TrainingInput(
    f"s3://{bucket}/train/cloudtrail_tuples.csv", distribution="FullyReplicated", content_type="text/csv"
)
said = io.StringIO()
with contextlib.redirect_stdout(said):
    estimator.fit({"train": train})
said = said.getvalue()
for wanted in [
    "Docker entrypoint called with argument(s): train",
    "#quality_metric: host=algo-1, epoch=2, train binary_classification_accuracy <score>=",
    "#throughput_metric: host=algo-1, train throughput=",
    "#metrics {",
    "Completed - Training job completed",
    "Billable seconds:",
]:
    assert wanted in said, (wanted, said[-2000:])
job = estimator.latest_training_job.name
assert estimator.model_data == f"s3://{bucket}//output/{job}/output/model.tar.gz", estimator.model_data
s3.head_object(Bucket=bucket, Key=f"/output/{job}/output/model.tar.gz")

predictor = estimator.deploy(
    initial_instance_count=1,
    instance_type="ml.m5.large",
    serializer=sagemaker.serializers.CSVSerializer(),
    deserializer=sagemaker.deserializers.JSONDeserializer(),
)
frame = pandas.read_csv(f"s3://{bucket}/infer/guardduty_tuples.csv", header=None)
assert frame.shape == (10, 2), frame
answer = predictor.predict(frame.values)
assert len(answer["predictions"]) == 10
whole = pandas.read_csv(f"s3://{bucket}/train/cloudtrail_tuples.csv", header=None)
answer = predictor.predict(whole.values, initial_args={"ContentType": "text/csv", "Accept": "application/json"})
assert len(answer["predictions"]) == 400
verbose = predictor.predict(
    frame.values, initial_args={"ContentType": "text/csv", "Accept": "application/json; verbose=True"}
)
first = verbose["predictions"][0]
assert len(first["ip_embedding"]) == len(first["entity_embedding"]) == 128
predictor.delete_model()
predictor.delete_endpoint()
common.refused(
    lambda: boto3.client("sagemaker").describe_endpoint(EndpointName=predictor.endpoint_name),
    "ValidationException",
    "Could not find",
)
