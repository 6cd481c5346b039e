"""What stands around the scripts of this folder, so that none of them has to be changed for the local server.

The SageMaker SDK passes explicit addresses for STS, which beat AWS_ENDPOINT_URL, and sleeps for up to half a minute between
two looks, which a server that is done at once does not need.
"""

import os
import time

_sleep = time.sleep
time.sleep = lambda seconds: _sleep(min(seconds, 0.05))

try:
    import botocore.session
except ImportError:  # pip, before there is anything
    pass
else:
    _create_client = botocore.session.Session.create_client

    def create_client(self, *args, **kwargs):
        if ".amazonaws.com" in str(kwargs.get("endpoint_url") or ""):
            kwargs["endpoint_url"] = os.environ["AWS_ENDPOINT_URL"]
        return _create_client(self, *args, **kwargs)

    botocore.session.Session.create_client = create_client
