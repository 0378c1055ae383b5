"""Prints bytes of every kind that a log may get."""

import sys
import time

PARTS = [
    "größe ✓ 😀\n".encode(),
    b"latin \xe9 and \xff\xfe\n",
    b"tab\there\n",
    b"\x1b[31mred\x1b[0m\n",
    b"\x1b[2J\x1b]0;title\x07clear\n",
    *(b"\r%3d%%|##  |" % (step * 20) for step in range(5)),
    b"\n",
    b"win line\r\n",
    b"\n\n  indented\n",
    b"trailing   \n",
    b"nul\0inside\n",
    b"<3>prio\n",
    b"x" * 100_000 + b"\n",
    "\u2028sep\u2029 \u202eright\n".encode(),
    b"data: sse\nevent: end\n: comment\n",
    b"surrogate \xed\xa0\x80\n",
    b"half \xf0\x9f",
    b"\x98\x80 char\n",
    b"no newline at the end",
]
for part in PARTS:
    sys.stdout.buffer.write(part)
    sys.stdout.flush()
    time.sleep(0.02)
