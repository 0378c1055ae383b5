"""Says what it sees of the host at /host and in its environment, and tries to write there."""

import os

print("host:", os.path.exists("/host"))
try:
    with open("/host/written-by-a-job", "w") as file:
        file.write("x")
    print("wrote: True")
except OSError:
    print("wrote: False")
print("foreign:", "FOREIGN" in os.environ)
with open("/proc/self/status") as status:
    print("capabilities:", next(line.split()[1] for line in status if line.startswith("CapBnd")))
