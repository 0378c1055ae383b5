"""Leaves files of many names. The content of each is its path, so that a digest tells which file it is."""

import os

os.chdir("/artifacts")
NAMES = [
    "plain.txt",
    "with space.csv",
    "-dash.txt",
    "--help",
    ".hidden",
    "..dots",
    "a:b.txt",
    "q?.txt",
    "star*.txt",
    "per%41cent.txt",
    "hash#.txt",
    "plus+.txt",
    "amp&.txt",
    "back\\slash.txt",
    'quote".txt',
    "ap'os.txt",
    "größe.txt",
    "gro\u0308ße.txt",
    "日本語.csv",
    "emoji😀.txt",
    "family👨\u200d👩\u200d👧.txt",
    "nbsp\u00a0x.txt",
    "zwnj\u200cx.txt",
    "wide\u3000x.txt",
    "trail .txt ",
    "trail.",
    "CON",
    "a/b/c/deep.txt",
    "A.txt",
    "a.txt",
    "manifest.json",
    "new\nline.txt",
    "tab\tx.txt",
    "rtl\u202etxt.exe",
    "x" * 255,
    "é" * 127,
]


def leave(path: bytes) -> None:
    """Writes a file that contains its own path."""
    os.makedirs(os.path.dirname(path) or b".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(path)
    print("left", path.hex())


for name in NAMES:
    leave(name.encode())
leave(b"latin\xe9.txt")
leave(b"mode-000.txt")
leave(b"mode-200.txt")
os.chmod("mode-000.txt", 0)
os.chmod("mode-200.txt", 0o200)
for folder, mode in (("closed-000", 0), ("closed-444", 0o444)):
    leave(f"{folder}/inside.txt".encode())
    os.chmod(folder, mode)
deep = ""
for level in range(40):
    deep += f"d{level}/"
    leave(f"{deep}f".encode())
os.symlink("plain.txt", "link.txt")
os.mkfifo("fifo")
