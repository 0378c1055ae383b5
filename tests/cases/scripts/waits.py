"""Says that it is ready, waits for HP_SECONDS, and says that it ends."""

import os
import time

for number in range(8):
    print("line", number)
print("ready")
time.sleep(float(os.environ.get("HP_SECONDS", "0")))
print("end")
