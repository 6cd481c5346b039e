"""As the IP Insights tutorial notebook: validation, batch transform, a tuning job and its best model.

Client: sagemaker 2.x.
"""

import json

import boto3
import pandas
import sagemaker
from sagemaker.inputs import TrainingInput
from sagemaker.tuner import HyperparameterTuner, IntegerParameter

import common

session = sagemaker.Session()
bucket = session.default_bucket()
assert bucket == "sagemaker-us-east-1-000000000000", bucket
prefix = common.name("tutorial")
train_uri = session.upload_string_as_file_body(common.rows(600, 4), bucket, f"{prefix}/train/train.csv")
validation_uri = session.upload_string_as_file_body(common.rows(200, 5), bucket, f"{prefix}/validation/validation.csv")
channels = {
    "train": TrainingInput(train_uri, distribution="FullyReplicated", content_type="text/csv"),
    "validation": TrainingInput(validation_uri, distribution="FullyReplicated", content_type="text/csv"),
}
role = sagemaker.get_execution_role()
ip_insights = sagemaker.estimator.Estimator(
    sagemaker.image_uris.retrieve("ipinsights", session.boto_region_name),
    role,
    instance_count=1,
    instance_type="ml.p3.2xlarge",
    output_path=f"s3://{bucket}/{prefix}/output",
    sagemaker_session=session,
)
ip_insights.set_hyperparameters(
    num_entity_vectors="20000",
    random_negative_sampling_rate="5",
    vector_dim="32",
    mini_batch_size="1000",
    epochs="4",
    learning_rate="0.01",
)
ip_insights.fit(channels)
curve = sagemaker.analytics.TrainingJobAnalytics(
    ip_insights.latest_training_job.name, metric_names=["validation:discriminator_auc"], sagemaker_session=session
).dataframe()
assert len(curve) >= 1 and 0 <= curve["value"].iloc[-1] <= 1, curve
whole = sagemaker.analytics.TrainingJobAnalytics(ip_insights.latest_training_job.name, sagemaker_session=session)
assert "train:progress" in set(whole.dataframe()["metric_name"])

serving = {
    "initial_instance_count": 1,
    "instance_type": "ml.m5.xlarge",
    "serializer": sagemaker.serializers.CSVSerializer(),
    "deserializer": sagemaker.deserializers.JSONDeserializer(),
}
predictor = ip_insights.deploy(**serving)
pairs = [["Canada", "10.1.2.3"], ["Canada", "90.1.2.3"], ["Nobody", "1.2.3.4"]]
scores = [p["dot_product"] for p in predictor.predict(pairs)["predictions"]]
assert scores[0] > scores[1], scores

transformer = ip_insights.transformer(
    instance_count=1, instance_type="ml.m4.xlarge", output_path=f"s3://{bucket}/{prefix}/transform"
)
transformer.transform(validation_uri, content_type="text/csv", split_type="Line")
transformer.wait()
output = session.read_s3_file(bucket, f"{prefix}/transform/validation.csv.out")
lines = [json.loads(line)["dot_product"] for line in output.splitlines()]
assert len(lines) == 200
expected = predictor.predict(common.rows(200, 5).rstrip("\n"))["predictions"]
assert lines == [p["dot_product"] for p in expected], "rows in the input's order"

tuner = HyperparameterTuner(
    estimator=ip_insights,
    objective_metric_name="validation:discriminator_auc",
    hyperparameter_ranges={"vector_dim": IntegerParameter(8, 64)},
    max_jobs=4,
    max_parallel_jobs=2,
    early_stopping_type="Auto",
)
tuner.fit({"train": train_uri, "validation": validation_uri}, include_cls_metadata=False)
tuner.wait()
frame = tuner.analytics().dataframe()
assert len(frame) == 4 and set(frame["TrainingJobStatus"]) <= {"Completed", "Stopped"}, frame
assert frame["FinalObjectiveValue"].between(0, 1).all(), frame
assert frame["vector_dim"].astype(float).between(8, 64).all(), frame
best = tuner.best_training_job()
assert best in set(frame["TrainingJobName"])
tuned = tuner.deploy(**serving)
assert len(tuned.predict(pairs)["predictions"]) == 3

for served in (predictor, tuned):
    served.delete_model()
    served.delete_endpoint()
assert boto3.client("sagemaker").list_endpoints(NameContains=predictor.endpoint_name)["Endpoints"] == []
assert isinstance(curve, pandas.DataFrame)
