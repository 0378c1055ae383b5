# A training script for tests: leaves all that it was given, byte for byte, in /artifacts/received.json.
import json
import os
import sys

with open("/proc/self/cmdline", "rb") as file:
    command = file.read()
with open("/run/ml-job/job.json", "rb") as file:
    description = file.read()
received = {
    "environment": {name.hex(): value.hex() for name, value in os.environb.items()},
    "arguments": [os.fsencode(argument).hex() for argument in sys.argv],
    "command": command.hex(),
    "directory": os.getcwd(),
    "job": description.hex(),
}
with open("/artifacts/received.json", "w") as file:
    json.dump(received, file)
