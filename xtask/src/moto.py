"""Plays the conformance corpus on moto's server, or measures it. Usage: moto.py play FILE... | moto.py rate COUNT | moto.py serve

Prints one JSON document: the list of [file, case, what, found] where moto differs from what is expected and the number of cases, or
the executions per second, or the address at which the server answers until the standard input ends.
"""
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile


def post(url, body, headers):
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers, method="POST")
    try:
        return json.load(urllib.request.urlopen(request, timeout=60))
    except urllib.error.HTTPError as error:
        return {"status": "HTTP %d" % error.code, "refused": error.read()[-300:].decode(errors="replace")}


class Moto:
    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = "http://127.0.0.1:%d" % free.getsockname()[1]
        port = self.url.rsplit(":", 1)[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(300):
            try:
                urllib.request.urlopen(self.url + "/moto-api/", timeout=5).read()
                break
            except OSError:
                time.sleep(0.1)
        post(
            self.url + "/moto-api/config",
            {"stepfunctions": {"execute_state_machine": True}},
            {"Content-Type": "application/json"},
        )

    def call(self, operation, body):
        headers = {
            "X-Amz-Target": "AWSStepFunctions." + operation,
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/states/aws4_request, "
            "SignedHeaders=host, Signature=0",
        }
        return post(self.url + "/", body, headers)

    def create(self, name, definition):
        role = "arn:aws:iam::123456789012:role/r"
        return self.call("CreateStateMachine", {"name": name, "roleArn": role, "definition": definition})

    def ended(self, execution):
        for _ in range(500):
            described = self.call("DescribeExecution", {"executionArn": execution})
            if described.get("status") != "RUNNING":
                break
            time.sleep(0.01)
        return described


def definition(case):
    if "definition" in case:
        return case["definition"]
    if "states" in case:
        whole = {"StartAt": next(iter(case["states"])), "States": case["states"]}
        if "language" in case:
            whole["QueryLanguage"] = case["language"]
        return whole
    if "jsonpath" in case:
        state = {"Type": "Pass", "Parameters": {"is.$": case["jsonpath"]}, "End": True}
    elif "jsonata" in case:
        return None
    else:
        states = {
            "X": {"Type": "Choice", "Choices": [dict(case["condition"], Next="Yes")], "Default": "No"},
            "Yes": {"Type": "Pass", "Result": {"is": True}, "End": True},
            "No": {"Type": "Pass", "Result": {"is": False}, "End": True},
        }
        return {"StartAt": "X", "States": states}
    return {"StartAt": "X", "States": {"X": state}}


# Tasks and clocks are arguments here and not there; JSONata is not in moto; the context object tells its own account and time.
LEFT_OUT = ['"Task"', '"Wait"', "DISTRIBUTED", "IntervalSeconds", "JSONata", "{%", "$$.Execution", "$$.State", '"$$"']


def difference(moto, number, case, text):
    created = moto.create("m%d" % number, text)
    if "stateMachineArn" not in created:
        return "create", created.get("message") or created.get("refused")
    run = {"stateMachineArn": created["stateMachineArn"], "input": json.dumps(case.get("input", {}))}
    started = moto.call("StartExecution", run)
    if "executionArn" not in started:
        return "start", started.get("message") or started.get("refused")
    found = moto.ended(started["executionArn"])
    expected = case.get("status") or ("FAILED" if "error" in case else "SUCCEEDED")
    if found.get("status") != expected:
        return "status", "%s %s" % (found.get("status"), found.get("cause") or found.get("refused") or "")
    if expected != "SUCCEEDED":
        if "error" in case and found.get("error") != case["error"]:
            return "error", str(found.get("error"))
        return None
    try:
        output = json.loads(found["output"])
    except (KeyError, ValueError, TypeError):
        return "output", repr(found.get("output"))
    if "output" in case and output != case["output"]:
        return "output", found["output"]
    if "is" in case and output.get("is") != case["is"]:
        return "is", found["output"]
    return None


def play(moto, files):
    differences, count = [], 0
    for path in files:
        with open(path, encoding="utf-8") as lines:
            for line in filter(str.strip, lines):
                case = json.loads(line)
                whole = definition(case)
                text = json.dumps(whole)
                if whole is None or "seconds" in case or any(part in text for part in LEFT_OUT):
                    continue
                count += 1
                found = difference(moto, count, case, text)
                if found:
                    what, said = found
                    differences.append([os.path.basename(path), case["name"], what, (said or "")[:120]])
    return {"cases": count, "differences": differences}


def rate(moto, count):
    states = {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "C"}, "C": {"Type": "Pass", "End": True}}
    machine = moto.create("m", json.dumps({"StartAt": "A", "States": states}))["stateMachineArn"]

    def work():
        while numbers:
            try:
                numbers.pop()
            except IndexError:
                return
            started = moto.call("StartExecution", {"stateMachineArn": machine})
            moto.ended(started["executionArn"])

    numbers = list(range(count))
    begun = time.monotonic()
    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"rate": count / (time.monotonic() - begun)}


def store(url):
    """A package for the function of the scorer, in the bucket `code`."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("bootstrap", "")
    scope = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    for path, body in (("code", b""), ("code/score-lambda.zip", package.getvalue())):
        request = urllib.request.Request(f"{url}/{path}", body, {"Authorization": scope}, method="PUT")
        urllib.request.urlopen(request).read()


def main():
    moto = Moto()
    try:
        if sys.argv[1] == "play":
            print(json.dumps(play(moto, sys.argv[2:])))
        elif sys.argv[1] == "serve":
            store(moto.url)
            print(json.dumps({"url": moto.url}), flush=True)
            sys.stdin.read()
        else:
            print(json.dumps(rate(moto, int(sys.argv[2]))))
    finally:
        moto.process.terminate()
        moto.process.wait()


main()
