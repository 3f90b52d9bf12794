#!/usr/bin/env python3
"""Rules about the shape of the tree that no compiler checks."""

import subprocess
import sys
from pathlib import Path

SOURCE_LINES_MAX = 500  # a newcomer gets lost in a longer file; tests may be as long as they need
README_LINES_MAX = 130  # a front page, not a manual


def source_lines(path):
    """Lines before the unit tests, which stand at the end of a file."""
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if line == "#[cfg(test)]" and number + 1 < len(lines) and lines[number + 1].startswith("mod tests"):
            return number
    return len(lines)


def complaints(files):
    for path in files:
        in_tests = "tests" in path.parts or path.name == "tests.rs"
        if path.suffix == ".rs" and not in_tests and (lines := source_lines(path)) > SOURCE_LINES_MAX:
            yield f"{path}: {lines} lines without its tests, more than {SOURCE_LINES_MAX}"
        if path.name == "README.md" and (lines := len(path.read_text().splitlines())) > README_LINES_MAX:
            yield f"{path}: {lines} lines, more than {README_LINES_MAX}"


def main():
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    files = [path for path in map(Path, listed.splitlines()) if path.is_file()]
    found = list(complaints(files))
    print("\n".join(found) or f"{len(files)} files are in shape")
    return 1 if found or not files else 0


sys.exit(main())
