# /// ml-job
# description = "Takes one of three rates"
# [[parameters]]
# name = "rate"
# type = "number"
# choices = [0.1, 0.01, 1]
# ///
import os

print("rate", os.environ["HP_RATE"])
