"""State machines beyond the published script: changed, stopped, their histories in pages, deleted.

Clients: stepfunctions 2.3.0 and boto3.
"""

import json

import boto3
from botocore.config import Config
from stepfunctions.steps import Chain, Choice, ChoiceRule, Fail, Pass, Retry, Succeed, Task, Wait
from stepfunctions.workflow import Workflow

import common

states = boto3.client("stepfunctions", config=Config(inject_host_prefix=False))


def chain(seconds):
    return Chain([Pass("First", result={"n": 1}), Wait("Second", seconds=seconds), Pass("Third")])


workflow = Workflow(name=common.name("Waits"), definition=chain(3600), role=common.ROLE)
arn = workflow.create()
assert workflow.create() == arn
execution = workflow.execute(inputs={"a": "b"}, name="first")
assert execution.describe()["status"] == "RUNNING"
assert [e.name for e in workflow.list_executions()] == ["first"]
execution.stop(cause="too long", error="Bored")
described = execution.describe()
assert (described["status"], described["error"], described["cause"]) == ("ABORTED", "Bored", "too long"), described
kinds = [event["type"] for event in execution.list_events()]
assert kinds[0] == "ExecutionStarted" and kinds[-1] == "ExecutionAborted", kinds
assert [e["type"] for e in execution.list_events(reverse_order=True)] == kinds[::-1]
page = states.get_execution_history(executionArn=execution.execution_arn, maxResults=2)
assert len(page["events"]) == 2 and page["nextToken"], page
rest = states.get_execution_history(executionArn=execution.execution_arn, maxResults=1000, nextToken=page["nextToken"])
assert [e["type"] for e in page["events"] + rest["events"]] == kinds and "nextToken" not in rest

# The same name and input is the same execution while it runs; afterwards, or with another input, it is taken.
common.refused(
    lambda: states.start_execution(stateMachineArn=arn, name="first", input='{"a": "c"}'),
    "ExecutionAlreadyExists",
    "Execution Already Exists: '" + execution.execution_arn + "'",
)

# A change of the definition: the next execution has it.
workflow.update(definition=chain(0))
described = states.describe_state_machine(stateMachineArn=arn)
assert json.loads(described["definition"])["States"]["Second"]["Seconds"] == 0
assert described["status"] == "ACTIVE" and described["type"] == "STANDARD"
execution = workflow.execute(inputs={})
ended = common.until(lambda: execution.describe() if execution.describe()["status"] != "RUNNING" else None)
assert ended["status"] == "SUCCEEDED" and json.loads(ended["output"]) == {"n": 1}, ended
assert execution.get_output(wait=True) == {"n": 1}
listed = states.list_executions(stateMachineArn=arn, statusFilter="ABORTED")["executions"]
assert [e["name"] for e in listed] == ["first"]
assert arn in {w["stateMachineArn"] for w in Workflow.list_workflows()}

# A choice, a task that fails and is caught, and an Express machine that is waited for.
choice = Choice("Is it large?")
choice.add_choice(ChoiceRule.NumericGreaterThan("$.n", 5), Succeed("Large"))
task = Task("Fails", resource="arn:aws:states:::aws-sdk:sfn:describeStateMachine", parameters={"StateMachineArn": arn + "none"})
task.add_retry(Retry(error_equals=["States.Timeout"], max_attempts=1))
task.next(Fail("Never", error="Never", cause="it is caught"))
raw = json.loads(Workflow("w", Chain([choice]), common.ROLE).definition.to_json())
raw["States"].update({"Fails": {**task.to_dict(), "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.e", "Next": "Caught"}]},
                      "Never": {"Type": "Fail"}, "Caught": {"Type": "Pass", "Parameters": {"error.$": "$.e.Error"}, "End": True}})
raw["States"]["Is it large?"]["Default"] = "Fails"
express = states.create_state_machine(
    name=common.name("Express"), definition=json.dumps(raw), roleArn=common.ROLE, type="EXPRESS"
)["stateMachineArn"]
large = states.start_sync_execution(stateMachineArn=express, input='{"n": 6}')
assert large["status"] == "SUCCEEDED" and json.loads(large["output"]) == {"n": 6}, large
small = states.start_sync_execution(stateMachineArn=express, input='{"n": 5}')
assert json.loads(small["output"]) == {"error": "Sfn.StateMachineDoesNotExistException"}, small

# What is not there, and what is no definition.
common.refused(
    lambda: states.describe_execution(executionArn=execution.execution_arn + "x"),
    "ExecutionDoesNotExist",
    "Execution Does Not Exist: '" + execution.execution_arn + "x'",
)
common.refused(
    lambda: states.create_state_machine(name="bad", definition='{"StartAt": "A"}', roleArn=common.ROLE),
    "InvalidDefinition",
    "Invalid State Machine Definition: ",
)
workflow.delete()
states.delete_state_machine(stateMachineArn=express)


def gone():
    try:
        states.describe_state_machine(stateMachineArn=arn)
    except states.exceptions.StateMachineDoesNotExist:
        return True
    return None


common.until(gone)
