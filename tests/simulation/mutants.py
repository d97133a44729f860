"""Runs the tests of the engine against every mutant in a list of cargo-mutants, of which one program has them all.

A function is compiled with all its mutants beside it, and CONVOKE_MUTANT says which of them it is. So the engine is compiled once or
twice instead of a thousand times, and the tests of each mutant take a moment. `mutants.sh` calls this.

Usage: mutants.py LIST FOLDER [PART OF A NAME]...
LIST is what `cargo mutants --list --json` says; in FOLDER is built and noted down. With parts of names, as they stand in the list, only
mutants that have one of them are run. On standard output are the survivors.
"""

import bisect
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TREE = ["Cargo.toml", "Cargo.lock", "core/contract", "core/engine", "tests/simulation"]
PACKAGES = ["-p", "convoke-engine", "-p", "convoke-simulation"]

SWITCH = """
static MUTANT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(u32::MAX);

/// Which mutant this is; zero for none.
#[inline(always)]
pub(crate) fn mutant() -> u32 {
    match MUTANT.load(std::sync::atomic::Ordering::Relaxed) {
        u32::MAX => chosen(),
        mutant => mutant,
    }
}

#[cold]
#[inline(never)]
fn chosen() -> u32 {
    let mutant = std::env::var("CONVOKE_MUTANT").map_or(0, |mutant| mutant.parse().expect("a number"));
    MUTANT.store(mutant, std::sync::atomic::Ordering::Relaxed);
    mutant
}
"""


def line_starts(text):
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    return starts


def place(starts, span):
    """Where a span begins and ends."""
    return tuple(starts[span[end]["line"] - 1] + span[end]["column"] - 1 for end in ("start", "end"))


def body(text, start):
    """Where the body of the function begins whose attributes begin here."""
    at = re.compile(r"^ *(pub(\([a-z]+\))? +)?(const +)?fn ", re.M).search(text, text.rfind("\n", 0, start) + 1).end()
    depth = 0
    while text[at] != "{" or depth > 0:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(text[at], 0)
        at += 1
    return at


def with_mutants(text, mutants):
    """A file with all its mutants, and where each of them is: first line, last line, number."""
    starts = line_starts(text)
    functions = {}
    for number, mutant in mutants.items():
        functions.setdefault(place(starts, mutant["function"]["span"]), []).append(number)
    written, copied, ends = "", 0, []
    for (start, end), numbers in sorted(functions.items()):
        begin = body(text, start)
        # What is constant cannot choose.
        written += text[copied:start] + re.sub(r"\bconst fn\b", "fn", text[start:begin]) + "{ match crate::mutant() {\n"
        for number in numbers:
            first, last = place(starts, mutants[number]["span"])
            assert begin <= first <= last <= end, mutants[number]["name"]
            written += f"{number} =>\n"
            before = len(written)
            written += text[begin:first] + mutants[number]["replacement"] + text[last:end] + "\n,\n"
            ends.append((before, len(written) - 1, number))
        written += "_ => " + text[begin:end] + "\n}}"
        copied = end
    written += text[copied:]
    starts = line_starts(written)
    return written, [(bisect.bisect(starts, first), bisect.bisect(starts, last), number) for first, last, number in ends]


class Build:
    """The engine with all mutants that compile."""

    def __init__(self, mutants, folder):
        self.mutants = dict(mutants)
        self.folder = folder
        self.tree = folder / "tree"
        shutil.rmtree(self.tree, ignore_errors=True)
        for part in TREE:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, self.tree / part)
            else:
                self.tree.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / part, self.tree / part)
        manifest = self.tree / "Cargo.toml"
        workspace = re.sub(r"^(members|default-members|exclude) = \[.*?\]\n", "", manifest.read_text(), flags=re.M | re.S)
        workspace = workspace[: workspace.index("[package]\n")]
        manifest.write_text(workspace.replace("[workspace]\n", '[workspace]\nmembers = ["core/*", "tests/simulation"]\n', 1))
        with open(self.tree / "core/engine/src/lib.rs", "a") as lib:
            lib.write(SWITCH)

    def cargo(self, *command):
        environment = {**os.environ, "CARGO_TARGET_DIR": str(self.folder / "build"), "RUSTFLAGS": "-Awarnings"}
        # They run for a second, and there is much of them: what optimizing takes is not worth it.
        profile = ["--config", "profile.dev.package.convoke-engine.opt-level=1"]
        command = ["cargo", *command, "--quiet", "--message-format=json", *profile]
        done = subprocess.run(command, cwd=self.tree, env=environment, capture_output=True, text=True)
        return done, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def write(self):
        where = {}
        for path in sorted({mutant["file"] for mutant in self.mutants.values()}):
            of_file = {number: mutant for number, mutant in self.mutants.items() if mutant["file"] == path}
            text, where[path] = with_mutants((ROOT / path).read_text(), of_file)
            (self.tree / path).write_text(text)
        return where

    def compile(self):
        """Leaves out what does not compile, until the rest does. Answers how many those were."""
        all_of_them = len(self.mutants)
        # Some errors only come when it is built.
        for command in ("check", "build"):
            while True:
                where = self.write()
                done, messages = self.cargo(command, "-p", "convoke-engine")
                if done.returncode == 0:
                    break
                wrong = set()
                for message in messages:
                    message = message.get("message", {})
                    if not isinstance(message, dict) or message.get("level") != "error":
                        continue
                    for span in message["spans"]:
                        inside = (n for first, last, n in where.get(span["file_name"], []) if first <= span["line_start"] <= last)
                        wrong.update(inside if span["is_primary"] else ())
                if not wrong:
                    sys.exit(f"the engine does not compile:\n{done.stderr}")
                for number in wrong:
                    del self.mutants[number]
        return all_of_them - len(self.mutants)

    def tests(self):
        """The test programs of the engine and of its model."""
        done, messages = self.cargo("test", *PACKAGES, "--test", "*", "--no-run")
        if done.returncode != 0:
            sys.exit(f"the tests do not compile:\n{done.stderr}")
        programs = {message["target"]["name"]: message["executable"] for message in messages if message.get("executable")}
        return programs["scenarios"], programs["traces"]


def outcome(program, number, seconds):
    """What a test program says of a mutant. One that has no end is as good as caught."""
    environment = {**os.environ, "CONVOKE_MUTANT": str(number), "RUST_BACKTRACE": "0"}
    try:
        done = subprocess.run([program, "-q"], env=environment, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return "no end"
    return "missed" if done.returncode == 0 else "caught"


def main():
    listed, folder, parts = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    mutants = dict(enumerate(json.loads(listed.read_text()), start=1))
    if parts:
        mutants = {number: mutant for number, mutant in mutants.items() if any(part in mutant["name"] for part in parts)}
    build = Build(mutants, folder)
    unviable = build.compile()
    scenarios, traces = build.tests()
    for program in (scenarios, traces):
        if outcome(program, 0, 600) != "missed":
            sys.exit(f"{program} fails without a mutant, and would catch them all")

    def judge(number):
        said = outcome(scenarios, number, 20)
        return outcome(traces, number, 120) if said == "missed" else said

    counts = {"missed": 0, "caught": 0, "no end": 0}
    with open(folder / "outcomes.txt", "w") as outcomes, ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, said in zip(build.mutants.values(), pool.map(judge, build.mutants)):
            counts[said] += 1
            print(said, mutant["name"], sep="\t", file=outcomes, flush=True)
            if said == "missed":
                print(mutant["name"], flush=True)
    print(f"{len(mutants)} mutants: {counts}, {unviable} do not compile", file=sys.stderr)


main()
