"""As the published pipeline script: an estimator without an output path, four steps in a chain, one execution.

Client: stepfunctions 2.3.0 with sagemaker 2.x.
"""

import json

import boto3
import sagemaker
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from stepfunctions.inputs import ExecutionInput
from stepfunctions.steps import Chain, EndpointConfigStep, EndpointStep, ModelStep, TrainingStep
from stepfunctions.workflow import Workflow

import common

bucket = common.name("published")
s3 = boto3.client("s3")
s3.create_bucket(Bucket=bucket)
s3.put_object(Bucket=bucket, Key="train.csv", Body=common.rows(250, 1).encode())

estimator = Estimator(
    sagemaker.image_uris.retrieve("ipinsights", "us-east-1"),
    common.ROLE,
    instance_count=1,
    instance_type="ml.m4.xlarge",
    use_spot_instances=True,
    max_run=300,
    max_wait=360,
    # The third is misspelt there, too.
    hyperparameters={"num_entity_vectors": 10, "vector_dim": 128, "epoch": 1},
)
schema = {"JobName": str, "ModelName": str, "EndpointName": str}
execution_input = ExecutionInput(schema=schema)
channels = {"train": TrainingInput(f"s3://{bucket}/train.csv", content_type="text/csv")}
training = TrainingStep("Training Model", estimator=estimator, data=channels, job_name=execution_input["JobName"])
model = ModelStep(
    "Saving model", model=training.get_expected_model(), model_name=execution_input["ModelName"]
)
config = EndpointConfigStep(
    "Creating Endpoint Config",
    endpoint_config_name=execution_input["ModelName"],
    model_name=execution_input["ModelName"],
    initial_instance_count=1,
    instance_type="ml.t2.medium",
)
endpoint = EndpointStep(
    "Creating Endpoint",
    endpoint_name=execution_input["EndpointName"],
    endpoint_config_name=execution_input["ModelName"],
)
workflow = Workflow(
    name=common.name("MyTrainingWorkflow"),
    definition=Chain([training, model, config, endpoint]),
    role=common.ROLE,
    execution_input=execution_input,
)
workflow.create()
names = {"JobName": common.name("job"), "ModelName": common.name("model"), "EndpointName": common.name("endpoint")}
workflow.execute(inputs=names)

# The script prints no ARN: that is how one finds its run.
states = boto3.client("stepfunctions")
machine = next(m for m in states.list_state_machines()["stateMachines"] if m["name"] == workflow.name)
execution = states.list_executions(stateMachineArn=machine["stateMachineArn"])["executions"][0]["executionArn"]


def ended():
    described = states.describe_execution(executionArn=execution)
    return described if described["status"] != "RUNNING" else None


described = common.until(ended)
assert described["status"] == "SUCCEEDED", described
assert "EndpointArn" in json.loads(described["output"]), described["output"]
events = states.get_execution_history(executionArn=execution)["events"]
assert [event["id"] for event in events] == list(range(1, len(events) + 1))
kinds = [event["type"] for event in events]
assert kinds[0] == "ExecutionStarted" and kinds[-1] == "ExecutionSucceeded", kinds
trained = next(e for e in events if e["type"] == "TaskSucceeded")["taskSucceededEventDetails"]
assert trained["resource"] == "createTrainingJob.sync" and trained["resourceType"] == "sagemaker"
job = json.loads(trained["output"])
assert job["ModelArtifacts"]["S3ModelArtifacts"].startswith("s3://sagemaker-us-east-1-000000000000/"), job
assert job["BillableTimeInSeconds"] > 0 and job["EnableManagedSpotTraining"] is True

client = boto3.client("sagemaker")
client.get_waiter("endpoint_in_service").wait(EndpointName=names["EndpointName"])

# A name that is taken gives the machine that has it.
again = Workflow(name=workflow.name, definition=Chain([training, model, config, endpoint]), role=common.ROLE)
assert again.create() == machine["stateMachineArn"]

# As the notebook beside the script asks the endpoint.
predictor = sagemaker.predictor.Predictor(
    names["EndpointName"],
    serializer=sagemaker.serializers.CSVSerializer(),
    deserializer=sagemaker.deserializers.JSONDeserializer(),
)
answer = predictor.predict([["Canada", "10.0.1.2"], ["United Kingdom", "10.0.1.2"]])
assert [set(p) for p in answer["predictions"]] == [{"dot_product"}] * 2, answer
