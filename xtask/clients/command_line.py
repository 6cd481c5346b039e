"""The commands that one types: AWS CLI v1."""

import json
import os
import subprocess
import sys
import tempfile

import common

AWS = os.path.join(os.path.dirname(sys.executable), "aws")


def aws(*arguments, fails=None):
    done = subprocess.run([AWS, *arguments], capture_output=True, text=True, timeout=120)
    if fails is not None:
        assert done.returncode != 0 and fails in done.stderr, (arguments, done)
        return None
    assert done.returncode == 0, (arguments, done.stderr)
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        return done.stdout


work = tempfile.mkdtemp()
bucket, job = common.name("cli"), common.name("cli-job")
with open(f"{work}/train.csv", "w") as file:
    file.write(common.rows(300, 6))
with open(f"{work}/big.bin", "wb") as file:
    file.write(bytes(range(256)) * (20 << 12))  # 20 MiB: in parts, and in ranges down

aws("s3", "mb", f"s3://{bucket}")
aws("s3", "cp", f"{work}/train.csv", f"s3://{bucket}/train/train.csv")
aws("s3", "cp", f"{work}/big.bin", f"s3://{bucket}/big name+%.bin")
aws("s3", "cp", f"s3://{bucket}/big name+%.bin", f"{work}/again.bin")
assert open(f"{work}/again.bin", "rb").read() == open(f"{work}/big.bin", "rb").read()
assert "train/" in aws("s3", "ls", f"s3://{bucket}/")
assert "train/train.csv" in aws("s3", "ls", f"s3://{bucket}/", "--recursive")
assert bucket in aws("s3", "ls")
aws("s3", "sync", f"s3://{bucket}/train/", f"{work}/synced/")
aws("s3", "sync", f"{work}/synced/", f"s3://{bucket}/synced/")
aws("s3", "rm", f"s3://{bucket}/synced/train.csv")
assert not aws("s3", "ls", f"s3://{bucket}/", "--recursive").count("synced/")
aws("s3", "cp", f"s3://{bucket}/train/train.csv", f"s3://{bucket}/copy.csv")
aws("sts", "get-caller-identity")

channel = [{
    "ChannelName": "train",
    "DataSource": {"S3DataSource": {
        "S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/train/", "S3DataDistributionType": "FullyReplicated",
    }},
}]
aws(
    "sagemaker", "create-training-job", "--training-job-name", job,
    "--algorithm-specification", f"TrainingImage={common.IMAGE},TrainingInputMode=File",
    "--role-arn", common.ROLE,
    "--input-data-config", json.dumps(channel),
    "--output-data-config", f"S3OutputPath=s3://{bucket}/models",
    "--resource-config", "InstanceType=ml.m5.large,InstanceCount=1,VolumeSizeInGB=5",
    "--stopping-condition", "MaxRuntimeInSeconds=300",
    "--hyper-parameters", "num_entity_vectors=100,vector_dim=16,epochs=2,mini_batch_size=200",
    "--tags", "Key=team,Value=a",
)
aws("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", job)
described = aws("sagemaker", "describe-training-job", "--training-job-name", job)
assert described["TrainingJobStatus"] == "Completed", described
assert aws("sagemaker", "list-tags", "--resource-arn", described["TrainingJobArn"])["Tags"] == [
    {"Key": "team", "Value": "a"}
]
listed = aws("sagemaker", "list-training-jobs", "--name-contains", job)["TrainingJobSummaries"]
assert [j["TrainingJobName"] for j in listed] == [job]
streams = aws(
    "logs", "describe-log-streams", "--log-group-name", "/aws/sagemaker/TrainingJobs",
    "--log-stream-name-prefix", f"{job}/",
)["logStreams"]
events = aws(
    "logs", "get-log-events", "--log-group-name", "/aws/sagemaker/TrainingJobs",
    "--log-stream-name", streams[0]["logStreamName"], "--start-from-head",
)["events"]
assert any("#quality_metric" in event["message"] for event in events)
assert "#progress_metric" in str(aws(
    "logs", "filter-log-events", "--log-group-name", "/aws/sagemaker/TrainingJobs",
    "--log-stream-name-prefix", f"{job}/", "--filter-pattern", "progress_metric",
))

model = json.dumps({"Image": common.IMAGE, "ModelDataUrl": described["ModelArtifacts"]["S3ModelArtifacts"]})
aws("sagemaker", "create-model", "--model-name", job, "--primary-container", model, "--execution-role-arn", common.ROLE)
variant = f"VariantName=AllTraffic,ModelName={job},InitialInstanceCount=1,InstanceType=ml.t2.medium"
aws("sagemaker", "create-endpoint-config", "--endpoint-config-name", job, "--production-variants", variant)
aws("sagemaker", "create-endpoint", "--endpoint-name", job, "--endpoint-config-name", job)
aws("sagemaker", "wait", "endpoint-in-service", "--endpoint-name", job)
aws(
    "sagemaker-runtime", "invoke-endpoint", "--endpoint-name", job, "--content-type", "text/csv",
    "--body", "Canada,10.1.2.3", f"{work}/answer.json",
)
assert len(json.load(open(f"{work}/answer.json"))["predictions"]) == 1

transform = ["sagemaker", "create-transform-job", "--transform-job-name", job, "--model-name", job,
             "--transform-output", f"S3OutputPath=s3://{bucket}/out,AssembleWith=Line,Accept=application/jsonlines",
             "--transform-resources", "InstanceType=ml.m5.large,InstanceCount=1"]
source = {
    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/train/"}},
    "ContentType": "text/csv", "SplitType": "Line",
}
aws(*transform, "--transform-input", json.dumps(source))
aws("sagemaker", "wait", "transform-job-completed-or-stopped", "--transform-job-name", job)
aws("s3", "cp", f"s3://{bucket}/out/train.csv.out", f"{work}/scores")
assert len(open(f"{work}/scores").readlines()) == 300

assert aws("sagemaker", "describe-endpoint", "--endpoint-name", job)["EndpointConfigName"] == job
config = aws("sagemaker", "describe-endpoint-config", "--endpoint-config-name", job)
assert config["ProductionVariants"][0]["ModelName"] == job, config
assert aws("sagemaker", "describe-model", "--model-name", job)["ExecutionRoleArn"] == common.ROLE

definition = json.dumps({"StartAt": "P", "States": {"P": {"Type": "Pass", "Result": {"n": 1}, "End": True}}})
machine = aws(
    "stepfunctions", "create-state-machine", "--name", job, "--definition", definition, "--role-arn", common.ROLE
)["stateMachineArn"]
assert machine in {m["stateMachineArn"] for m in aws("stepfunctions", "list-state-machines")["stateMachines"]}
assert aws("stepfunctions", "describe-state-machine", "--state-machine-arn", machine)["definition"] == definition
execution = aws("stepfunctions", "start-execution", "--state-machine-arn", machine, "--input", "{}")["executionArn"]


def ended():
    described = aws("stepfunctions", "describe-execution", "--execution-arn", execution)
    return described if described["status"] != "RUNNING" else None


described = common.until(ended)
assert (described["status"], described["output"]) == ("SUCCEEDED", '{"n":1}'), described
listed = aws("stepfunctions", "list-executions", "--state-machine-arn", machine)["executions"]
assert [e["executionArn"] for e in listed] == [execution]
history = aws("stepfunctions", "get-execution-history", "--execution-arn", execution)["events"]
assert [e["type"] for e in history] == [
    "ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"
], history
aws("stepfunctions", "delete-state-machine", "--state-machine-arn", machine)

for kind in ("endpoint", "endpoint-config", "model"):
    aws("sagemaker", f"delete-{kind}", f"--{kind}-name", job)
aws("sagemaker", "wait", "endpoint-deleted", "--endpoint-name", job)
aws("sagemaker", "describe-model", "--model-name", job, fails="Could not find model")
aws("s3", "rm", f"s3://{bucket}", "--recursive")
aws("s3", "rb", f"s3://{bucket}")
