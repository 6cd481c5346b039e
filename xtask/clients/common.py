"""Rows, names and waiting that the scripts share."""

import random
import time
import uuid

ROLE = "arn:aws:iam::000000000000:role/service-role/AmazonSageMaker-ExecutionRole-20200101T000000"
IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1"
COUNTRIES = ["Canada", "France", "Germany", "Japan", "United Kingdom"]


def rows(count, seed):
    """CSV of countries and addresses, each country with a network of its own."""
    draw = random.Random(seed)
    lines = []
    for number in range(count):
        at = number % len(COUNTRIES)
        lines.append(f"{COUNTRIES[at]},{10 + 20 * at}.{draw.randrange(4)}.{draw.randrange(256)}.{draw.randrange(1, 255)}")
    return "\n".join(lines) + "\n"


def name(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def until(look, seconds=60):
    """Asks until there is an answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = look()
        if answer is not None:
            return answer
        time.sleep(0.05)
    raise TimeoutError("it did not happen in time")


def refused(call, code, text=""):
    """The message of a call that has to be refused with this code."""
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        said = error.response["Error"]
        assert said["Code"] == code, said
        assert text in said["Message"], said
        return said["Message"]
    raise AssertionError(f"{code} was expected")
