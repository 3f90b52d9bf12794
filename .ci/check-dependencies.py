#!/usr/bin/env python3
"""Checks what the workspace depends on: licences, where crates come from, and crates that we have decided against."""

import json
import re
import subprocess
import sys

# Permissive licences whose only duty is to pass on their text.
LICENCES = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}

# Not even behind another crate.
BANNED = {
    "native-tls": "TLS is rustls",
    "openssl-sys": "TLS is rustls; no C library to find at build time",
}

# Not in our own code; what others use is theirs.
BANNED_DIRECTLY = {
    "async-std": "the runtime is tokio",
    "chrono": "time is jiff",
    "figment": "configuration is toml and serde",
    "lazy_static": "std::sync::LazyLock does it",
    "once_cell": "std::sync::OnceLock does it",
    "time": "time is jiff",
}


def allowed(expression):
    """Whether an SPDX expression leaves a choice that is on the list. `/` is how old crates write OR."""
    tokens = re.findall(r"\(|\)|[^\s()/]+|/", expression)

    def one():
        token = tokens.pop(0)
        if token == "(":
            verdict = either()
            tokens.pop(0)
            return verdict
        if tokens[:1] == ["WITH"]:
            token += f" WITH {tokens[1]}"
            del tokens[:2]
        return token in LICENCES

    def both():
        verdict = one()
        while tokens[:1] == ["AND"]:
            tokens.pop(0)
            verdict = one() and verdict
        return verdict

    def either():
        verdict = both()
        while tokens[:1] in (["OR"], ["/"]):
            tokens.pop(0)
            verdict = both() or verdict
        return verdict

    return either() and not tokens


def complaints(packages):
    # Serde is where everybody has it from; whatever comes from elsewhere is named.
    registry = next(package["source"] for package in packages if package["name"] == "serde")
    for package in packages:
        name = f"{package['name']} {package['version']}"
        if package["source"] not in (None, registry) or not registry.startswith("registry+"):
            yield f"{name}: comes from {package['source']}, not from the registry of all others"
        if not package["license"] or not allowed(package["license"]):
            yield f"{name}: licence {package['license']} is not on the list in {__file__}"
        if package["name"] in BANNED:
            yield f"{name}: not wanted here: {BANNED[package['name']]}"
        for dependency in package["dependencies"] if package["source"] is None else []:
            if dependency["name"] in BANNED_DIRECTLY:
                yield f"{name}: uses {dependency['name']}: {BANNED_DIRECTLY[dependency['name']]}"


def main():
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    packages = metadata["packages"]
    own = [package for package in packages if package["id"] in metadata["workspace_members"]]
    found = list(complaints(packages))
    found += [f"{p['name']}: a path outside the workspace" for p in packages if p["source"] is None and p not in own]
    print("\n".join(found) or f"{len(packages) - len(own)} crates, all with a licence on the list and from one registry")
    return 1 if found or not own else 0


sys.exit(main())
