"""Commands: templates, the words of a program, and the calls that run it, on real job directories."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slurm import CommandFailed, Finished, JobContext, Retry, command
from slurm.environments.current import TAG
from slurm.errors import OptionError
from slurm.protocol import FAILED, OUTCOMES, RUN, STOPPED
from slurm.protocol.outcomes import Outcome, Product
from slurm.runner import job_context
from slurm.runner.main import main
from slurm.runner.template import SHELL_START, Template, override_words
from unit.job_directories import Directory, pickled


@pytest.fixture(autouse=True)
def no_current_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_context, "_current", [])
    monkeypatch.setattr(job_context, "_current_index", [])


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(str(tmp_path / "röot"))


def words(template: str, /, **values: Any) -> list[str]:
    return Template.parse(template).render(values)[0]


def run(
    directory: Directory, of: Any, *args: Any, chunk: int = 0, attempt: int = 1, element: int = 0, **kwargs: Any
) -> int:
    """Make calls of a command as the runner does: one with these arguments, or `chunk` of them, one argument each."""
    if not os.path.exists(directory.path):
        calls = [(arg,) for arg in args] if chunk else [args]
        directory.create(pickled(of.unwrapped, *calls, kwargs=kwargs))
    return main([directory.root, directory.key, str(element), TAG, str(chunk or 1), "0", str(attempt)], {})


def attempt_of(directory: Directory, attempt: int = 1, call: int = 0) -> Path:
    return Path(directory.path, "work", str(call), f"attempt-{attempt}")


# Templates.


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("python train.py lr={lr}", {"lr": 0.1}, ["python", "train.py", "lr=0.1"]),
        ("tool '{a} {b}'", {"a": "x y", "b": 1}, ["tool", "x y 1"]),
        ("tool {lr:.1e} {name!r}", {"lr": 0.001, "name": "é"}, ["tool", "1.0e-03", "'é'"]),
        ("awk '{{print $1}}' {f}", {"f": Path("/a b")}, ["awk", "{print $1}", "/a b"]),
        ('tool "" {x}', {"x": ""}, ["tool", "", ""]),
    ],
)
def test_a_template_is_split_into_words_before_values_are_put_in(
    template: str, values: dict[str, Any], expected: list[str]
) -> None:
    assert words(template, **values) == expected


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@example("a'b\"c\n$(rm -rf /); `x` && y | z > w")
@example("{x}{{")
def test_a_value_stays_one_word_whatever_it_contains(value: str) -> None:
    assert words("tool {x} --y={x}", x=value) == ["tool", value, f"--y={value}"]


@pytest.mark.parametrize("value", ["a'b\"c\n$(touch made); `touch made`", "", "-n", "* ?", "é\\"])
def test_a_shell_gets_a_value_as_one_word(tmp_path: Path, value: str) -> None:
    template = Template.parse("printf '%s|' {x} y={x}; printf '{{}}'", shell=True)  # noqa: S604 - what this is about
    argv, variables = template.render({"x": value})
    done = subprocess.run(argv, env={**os.environ, **variables}, cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode() == f"{value}|y={value}|{{}}"
    assert list(tmp_path.iterdir()) == []


def test_a_shell_stops_at_the_first_command_that_fails() -> None:
    argv, _ = Template.parse("false | true; echo reached", shell=True).render({})  # noqa: S604 - what this is about
    assert SHELL_START in argv[2]
    assert subprocess.run(argv, capture_output=True, check=False).stdout == b""


@pytest.mark.parametrize(
    ("template", "shell", "message"),
    [
        ("", False, "it is empty"),
        ("tool 'x", False, "No closing quotation"),
        ("tool {", False, "Write {{ and }} for braces"),
        ("tool {}", False, "field {} has no name"),
        ("tool {0}", False, "field {0} has no name"),
        ("tool x={overrides}", False, "write it as a word of its own"),
        ('echo "{x}"', True, "stands within quotes"),
        ("echo '{x}'", True, "stands within quotes"),
        ("echo \"it's\" '{x}", True, "stands within quotes"),
        ("echo hello | wc -c && ls", False, "'|' is for a shell, and no shell reads this text: write shell=True"),
        ("fit {star} > out.txt", False, "pass it to the program, quote it: '>'"),
        ("fit {star} >out.txt 2>&1", False, "'>out.txt' is for a shell"),
        ('fit {star} 2>"a b"', False, "is for a shell"),
        ("fit {star} &>> log", False, "'&>>' is for a shell"),
        ("cd sub; fit", False, "'sub;' is for a shell"),
        ("fit < {data}", False, "'<' is for a shell"),
        ("fit 'a'\n&& ls", False, "'&&' is for a shell"),
        ("fit a ||\nls &", False, "'||' is for a shell"),
        ("fit --day=$(date)", False, "'--day=$(date)' is for a shell"),
        ("fit `date`", False, "'`date`' is for a shell"),
    ],
)
def test_a_template_that_is_not_valid_is_an_error_that_quotes_it(template: str, shell: bool, message: str) -> None:
    with pytest.raises(ValueError, match="command") as caught:
        command(template, shell=shell)
    assert message in str(caught.value)
    assert repr(template) in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "fit '|' \">\" \\; \\&\\& a\\|b",
        "fit 'a > b' \"x | y\" 'it'\\''s ; so' '`' '$('",
        "fit a|b c>d e;f a&b x;",
        "fit -> => {x:>5} {x} 5 --if=x<5 $HOME",
    ],
)
def test_operators_of_a_shell_that_are_quoted_or_within_a_word_are_for_the_program(template: str) -> None:
    assert words(template, x="|") == [
        word.replace("{x:>5}", "    |").replace("{x}", "|") for word in shlex.split(template)
    ]


def test_a_check_and_the_text_of_a_function_may_have_no_operators_either(directory: Directory) -> None:
    with pytest.raises(ValueError, match=r"check=.*'>' is for a shell, .* run a shell"):
        command("fit", products="x", check="test {product} > log")

    @command
    def fit() -> str:
        return "echo hello | wc"

    assert run(directory, fit) == 1
    error = directory.outcome().error
    assert error
    assert "fit returned 'echo hello | wc': '|' is for a shell" in error.message


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (1, "k=1"),
        (True, "k=true"),
        (None, "k=null"),
        ("adam", "k=adam"),
        ("null", "k='null'"),
        ("1e3", "k='1e3'"),
        ("", "k=''"),
        ("a b", "k='a b'"),
        ("it's", r"k='it\'s'"),
        (r"a\'b", r"k='a\\\'b'"),
        ("end\\", r"k='end\\'"),
        ([1, "a,b"], "k=[1,'a,b']"),
        ({"a": 1, "b": None}, "k={a:1,b:null}"),
        (Path("/data/x.h5"), "k=/data/x.h5"),
    ],
)
def test_overrides_are_words_in_the_syntax_of_hydra(value: Any, word: str) -> None:
    assert override_words({"k": value}) == [word]


def test_overrides_stand_for_all_arguments_without_a_field() -> None:
    train: Any = command("train --seed {seed} {overrides}")
    assert train.unwrapped._words((), {}, train.unwrapped._values((7,), {"lr": 0.1, "net": "a b"}))[0] == [
        *("train", "--seed", "7"),
        *("lr=0.1", "net='a b'"),
    ]


# Definitions.


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("python train.py lr={lr}", "train"),
        ("/opt/bin/lmp -in {x}", "lmp"),
        ("python3.11 -u scripts/fit.py", "fit"),
        ("sh -c 'exit 3'", "sh"),
        ("{program} x", "x"),
        ("{program}", "command"),
    ],
)
def test_a_task_is_named_by_its_program_or_script(template: str, name: str) -> None:
    assert command(template).name == name


def test_the_fields_are_the_parameters_in_order() -> None:
    task = command("tool {b} {a} {b}", env={"X": "{c}"}, stdin="{d.directory}")
    assert list(task.signature.parameters) == ["b", "a", "c", "d"]
    with pytest.raises(TypeError, match=r"tool\(b, a, c, d\): missing a required argument: 'a'"):
        task(1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'depht'"):
        task(1, 2, 3, 4, depht=1)


@pytest.mark.parametrize("value", [None, [1], (1,), {"a": 1}, b"x"])
def test_a_value_that_is_not_one_word_is_an_error_at_the_call(value: Any) -> None:
    with pytest.raises(TypeError, match=r"tool\(…\): argument x is .*, which is not one word"):
        command("tool {x}")(value)


@pytest.mark.parametrize("pattern", ["/etc/passwd", "../x", "a/../b", "", "a//b", "."])
def test_a_pattern_of_products_that_leaves_the_directory_is_an_error(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a path below the directory"):
        command("tool", products=[pattern])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env": {"A=B": "x"}}, "'A=B' is not a name of a variable"),
        ({"env": {"A": 1}}, "A=1: expected a text, or None"),
        ({"stdin": 1}, "stdin=1: expected a text or bytes"),
        ({"products": [1]}, "expected patterns of files"),
        ({"memory": "4G"}, "there is no option 'memory': mem="),
    ],
)
def test_a_wrong_argument_is_an_error_at_the_definition(arguments: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError, OptionError)) as caught:
        command("tool", **arguments)
    assert message in str(caught.value)


def test_a_list_of_words_and_a_misspelt_parameter_have_advice() -> None:
    with pytest.raises(TypeError, match=re.escape("write command(\"python 'a b.py' 3\")")):
        command(["python", "a b.py", 3])  # type: ignore[call-overload]
    for wrong, near in (("product", "products"), ("file", "files"), ("chek", "check"), ("std_in", "stdin")):
        with pytest.raises(OptionError, match=f"command has no parameter {wrong}: did you mean {near}"):
            command("tool", **{wrong: "x"})  # type: ignore[call-overload]


@pytest.mark.parametrize("definition", [int, staticmethod(list), "method"])
def test_a_class_and_a_method_are_no_commands(definition: Any) -> None:
    with pytest.raises(TypeError):
        command()(vars(Path)["mkdir"] if definition == "method" else definition)


# Calls.


def test_a_program_runs_in_an_empty_directory_and_the_outcome_names_its_products(directory: Directory) -> None:
    of = command("sh -c 'ls -A > listing; echo $0 > m.txt; echo hi; echo no >&2' {x}", products=["m.txt", "*.log"])
    assert run(directory, of, "a b") == 1
    error = directory.outcome().error
    assert error
    assert "did not write *.log in its directory (it wrote listing, m.txt)" in error.message  # its logs do not count
    assert error.type == "slurm.errors.CommandFailed"

    none = Directory(directory.root, "none/20260101T000000Z-00000000")
    assert run(none, command("true", products="serie.csv")) == 1
    assert "did not write serie.csv in its directory (it wrote no file)" in none.outcome().error.message  # type: ignore[union-attr]

    other = Directory(directory.root, "again/20260101T000000Z-00000000")
    assert run(other, command("sh -c 'ls -A > listing; echo $0 > m.txt; echo hi' {x}", products="m.*"), "a b") == 0
    home = attempt_of(other)
    digest = subprocess.run(["sha256sum", home / "m.txt"], capture_output=True, text=True, check=True).stdout.split()[0]
    product = Product(path="m.txt", bytes=4, sha256=digest)
    (output,) = other.outcome().outputs or ()
    assert (output.directory, output.products) == ("attempt-1", (product,))
    assert (home / "listing").read_text().split() == ["listing", "stderr.log", "stdout.log"]
    assert sorted(path.name for path in home.iterdir()) == [
        "listing",
        "m.txt",
        "stdout.log",
    ]  # the empty log is removed
    assert (home.parent / "output" / "stdout.log").read_text() == "hi\n"
    done = other.result()
    assert isinstance(done, Finished)
    assert (done.exit_code, done.directory, done.products) == (0, home, (home / "m.txt",))
    assert done.seconds > 0
    assert done.peak_memory > 1 << 20


def test_a_call_makes_few_entries_of_directories(directory: Directory) -> None:
    quiet = command("sh -c 'echo $0 > out' {x}", products=["out"])
    noisy = command("sh -c 'echo $0 > out; echo a; echo b >&2' {x}", products=["out"])
    for of, logs in (quiet, set()), (noisy, {"work/1/attempt-1/stdout.log", "work/1/attempt-1/stderr.log"}):
        job = Directory(directory.root, f"entries-{len(logs)}/20260101T000000Z-00000000").create(
            pickled(of.unwrapped, (1,), (2,))
        )
        assert run(job, of) == 0
        before = entries(job)
        assert run(job, of, element=1) == 0
        assert (
            entries(job) - before - {"work/1/attempt-1/out"}
            == {"outcomes/1.json", "work/1", "work/1/attempt-1", "work/1/output"} | logs
        )
        assert isinstance(job.result(1), Finished)


def entries(directory: Directory) -> set[str]:
    """The paths in a job's directory, hidden ones, too."""
    return {str(path.relative_to(directory.path)) for path in Path(directory.path).rglob("*")}


def test_each_call_of_an_element_has_its_own_directory_and_output(directory: Directory) -> None:
    of = command("sh -c 'test $0 != 1 && echo $0 > x' {n}", products=["x"])
    assert run(directory, of, 0, 1, 2, chunk=3) == 1
    outcome = directory.store.outcomes(directory.key, [0, 1, 2], chunk=3)
    assert [outcome[call].succeeded for call in range(3)] == [True, False, True]
    outputs = [outcome[call].outputs for call in range(3)]
    assert [[(o.call, o.directory, o.products[0].bytes) for o in each or ()] for each in outputs] == [
        [(0, "attempt-1", 2)],
        [],
        [(2, "attempt-1", 2)],
    ]
    assert [attempt_of(directory, call=call).joinpath("x").read_text() for call in (0, 2)] == ["0\n", "2\n"]


@pytest.mark.parametrize(
    ("template", "status", "message"),
    [
        ("sh -c 'echo oops >&2; exit 3'", 3, "ended with status 3. Its standard error ends:\noops\n"),
        ("sh -c 'echo said; exit 3'", 3, "Its standard output ends:\nsaid\n"),
        ("sh -c 'exit 4'", 4, "and it printed nothing"),
        ("sh -c 'kill -9 $$'", 137, "was killed by SIGKILL"),
        ("no-such-program x", 127, "there is no program 'no-such-program' on the node: it is not on PATH="),
        ("./no-such-file", 127, "there is no './no-such-file' on the node"),
        ("/etc/passwd", 126, "'/etc/passwd' is not executable: run chmod +x"),
        ("sh -c 'nothing-there'", 127, "(a command was not found)"),
    ],
)
def test_a_program_that_fails_is_an_error_with_its_status_and_its_last_lines(
    directory: Directory, template: str, status: int, message: str
) -> None:
    assert run(directory, command(template)) == status
    outcome = directory.outcome()
    assert (outcome.phase, outcome.exit_code) == (RUN, status)
    assert outcome.error
    assert message in outcome.error.message
    assert str(attempt_of(directory)) in outcome.error.message
    assert {"CommandFailed", "JobError", f"exit {status}"} <= set(outcome.error.bases)


def test_a_script_without_its_interpreter_is_named(directory: Directory, tmp_path: Path) -> None:
    for name, text, words_ in (("a", "#!/no/such\n", "interpreter in its first line"), ("b", "x", "script with #!")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
        other = Directory(directory.root, f"{name}/20260101T000000Z-00000000")
        run(other, command(shlex.quote(str(tmp_path / name))))
        error = other.outcome().error
        assert error
        assert words_ in error.message


def test_a_program_that_fills_the_disk_is_an_error_that_says_so(disk: Path) -> None:
    directory = Directory(str(disk / "root"))
    assert run(directory, command("head -c 100000000 /dev/zero")) == 1
    error = directory.outcome().error
    assert error
    assert "ended with status 1 (the file system of its directory is full)" in error.message


def test_retry_selects_failures_by_exit_status() -> None:
    retry = Retry(on=[75, "CommandFailed", 3])
    assert retry.failures == {"exit 75", "CommandFailed", "exit 3"}
    assert Retry.from_json(json.loads(json.dumps(retry.to_json()))) == retry
    for wrong in (0, 256, True, 1.5):
        with pytest.raises(OptionError, match="exit statuses of a program"):
            Retry(on=[wrong])  # type: ignore[list-item]


def test_a_product_that_is_a_link_out_of_the_directory_is_refused(directory: Directory) -> None:
    assert run(directory, command("ln -s /etc/passwd x", products="x")) == 1
    error = directory.outcome().error
    assert error
    assert "product x is a link to /etc/passwd, outside" in error.message


def test_a_directory_is_one_product_with_the_digest_of_its_files(directory: Directory) -> None:
    assert run(directory, command("sh -c 'mkdir -p d/e; echo 1 > d/e/f; echo 22 > d/g'", products="d")) == 0
    (output,) = directory.outcome().outputs or ()
    assert [(p.path, p.bytes, len(p.sha256)) for p in output.products] == [("d", 5, 64)]


def test_another_attempt_has_a_new_directory_and_a_success_removes_the_earlier_ones(directory: Directory) -> None:
    of = command("sh -c 'echo $0 > name_0; test -e {flag} && echo done > x' {x}", products=["x"])
    flag = Path(directory.root, "flag")
    directory.create(pickled(of.unwrapped, (flag, "v")))
    assert run(directory, of) != 0
    assert attempt_of(directory).joinpath("name_0").exists()
    os.unlink(f"{directory.path}/{OUTCOMES}/0.json")
    flag.touch()
    assert run(directory, of, attempt=2) == 0
    assert sorted(os.listdir(attempt_of(directory).parent)) == ["attempt-2", "output"]
    assert os.readlink(attempt_of(directory).parent / "output") == "attempt-2"


@pytest.mark.parametrize(
    ("changes", "names", "stay"),
    [
        ({}, ["attempt-1"], False),
        ({}, ["attempt-1", "attempt-1-0f0f0f0f"], True),  # one of these two processes may still run
        ({"phase": STOPPED}, ["attempt-1"], True),  # its state may be there
        ({"state": "NODE_FAIL"}, ["attempt-1"], True),  # a client has given it up: it may still run
        ({"phase": None}, ["attempt-1"], True),  # its record is damaged
        (None, ["attempt-1"], True),  # nothing is known about it
    ],
)
def test_a_failure_removes_the_directories_of_attempts_that_have_failed_for_certain(
    directory: Directory, changes: dict[str, Any] | None, names: list[str], *, stay: bool
) -> None:
    of = command("sh -c 'exit 3'")
    directory.create(pickled(of.unwrapped, ()))
    for path in (Path(directory.path, "attempts"), *map(attempt_of(directory).with_name, names)):
        path.mkdir(parents=True)
    if changes is not None:
        record = Outcome(**{"status": FAILED, "phase": RUN, "exit_code": 3, **changes})
        Path(directory.path, "attempts", "0.1.json").write_bytes(record.dumps())
    assert run(directory, of, attempt=2) == 3
    assert sorted(os.listdir(attempt_of(directory).parent)) == [*(names if stay else ()), "attempt-2"]


def crash(directory: Directory, where: str, tmp_path: Path) -> int:
    """Run an element in a process that is killed before it calls a function."""
    module, _, name = where.rpartition(".")
    code = (
        "import os, sys, importlib; from slurm.runner.main import main; "
        f"module = importlib.import_module({module!r}); own = os.getpid(); "
        f"setattr(module, {name!r}, lambda *_, **__: os.kill(own, 9)); sys.exit(main(sys.argv[1:]))"
    )
    argv = [sys.executable, "-c", code, directory.root, directory.key, "0", TAG]
    return subprocess.run(argv, cwd=tmp_path, check=False).returncode


@pytest.mark.parametrize(
    ("where", "finished_by"),
    [
        ("slurm.runner.command.AttemptDirectory", 2),
        ("slurm.runner.command.run_program", 2),
        ("slurm.runner.attempt_directory.file_digest", 2),
        ("slurm.runner.command.is_recorded", 2),
        ("slurm.runner.result_saver.commit", 2),
        ("slurm.runner.command.tidy", 1),
        ("slurm.runner.attempt_directory.remove_tree", 1),
    ],
)
def test_whenever_the_runner_is_killed_the_output_is_whole_and_of_one_attempt(
    directory: Directory, tmp_path: Path, where: str, finished_by: int
) -> None:
    of = command("sh -c 'for i in 1 2 3; do echo $i >> out; echo $i > name_$i; done'", products=["out", "name_*"])
    directory.create(pickled(of.unwrapped, ()))
    if where.endswith("remove_tree"):  # there is something to remove
        attempt_of(directory, 7).mkdir(parents=True)
    assert crash(directory, where, tmp_path) == -signal.SIGKILL
    assert ("0.json" in directory.names(OUTCOMES)) is (finished_by == 1)
    assert run(directory, of, attempt=2) == 0
    (output,) = directory.outcome().outputs or ()
    assert output.directory == f"attempt-{finished_by}"
    assert [product.path for product in output.products] == ["out", "name_1", "name_2", "name_3"]
    assert directory.result().products[0].read_text() == "1\n2\n3\n"


def test_the_same_attempt_started_twice_mixes_no_files(directory: Directory) -> None:
    of = command("sh -c 'echo made > x'", products=["x"])
    directory.create(pickled(of.unwrapped, ()))
    attempt_of(directory).mkdir(parents=True)
    attempt_of(directory).joinpath("x").write_text("stale")
    assert run(directory, of) == 0
    (output,) = directory.outcome().outputs or ()
    assert output.directory.startswith("attempt-1-")
    assert directory.result().products[0].read_text() == "made\n"


def test_env_and_stdin_reach_the_program(directory: Directory) -> None:
    of = command("sh -c 'cat; echo $SIZE $0' {n}", env={"SIZE": "n={n}"}, stdin="in {n}\n")
    assert run(directory, of, 5) == 0
    assert attempt_of(directory).joinpath("stdout.log").read_text() == "in 5\nn=5 5\n"


def test_variables_without_fields_are_options_of_a_command() -> None:
    of = command("tool", env={"A": "n={n}", "B": "{{b}}", "C": None})
    assert (dict(of.unwrapped.env), of.options.env) == ({"A": "n={n}"}, {"B": "{b}", "C": None})  # type: ignore[attr-defined]
    assert list(of.signature.parameters) == ["n"]
    for other, kept in (({"A": "{n}"}, {"A": "{n}", "B": "{b}", "C": None}), (None, {})):
        changed = of.with_options(env=other)
        assert not changed.unwrapped.env  # type: ignore[attr-defined]
        assert changed.options.env == kept
        assert not changed.signature.parameters


def test_without_stdin_the_program_reads_nothing(directory: Directory) -> None:
    assert run(directory, command("cat")) == 0


def test_a_function_returns_the_words_on_the_node(directory: Directory) -> None:
    @command(products=["out.txt"])
    def simulate(n: int, ctx: JobContext) -> list[str | int]:
        return ["sh", "-c", "echo $0 > out.txt", f"{n} {ctx.index}"]

    assert simulate.name == "simulate"
    assert list(simulate.signature.parameters) == ["n"]
    directory.create(pickled(simulate.unwrapped, (7,), context=simulate.context_parameter))
    assert run(directory, simulate) == 0
    assert directory.result().products[0].read_text() == "7 0\n"


@pytest.mark.parametrize("wrong", [None, [], 5, [["a"]]])
def test_a_function_that_returns_no_words_is_an_error_that_names_it(directory: Directory, wrong: Any) -> None:
    @command
    def simulate() -> Any:
        return wrong

    assert run(directory, simulate) == 1
    error = directory.outcome().error
    assert error
    assert "simulate" in error.message


def finished(*paths: str) -> Finished:
    files = tuple(Product(path=path, bytes=0, sha256="") for path in paths)
    return Finished(exit_code=0, home="/r/work/0/attempt-1", files=files, seconds=1.0, peak_memory=1)


def test_a_finished_in_a_template_is_its_only_product() -> None:
    assert words("tool -i {d}", d=finished("m.pt")) == ["tool", "-i", "/r/work/0/attempt-1/m.pt"]
    assert words("tool {d.products[1]} {d.directory}", d=finished("a", "b")) == [
        *("tool", "/r/work/0/attempt-1/b"),
        "/r/work/0/attempt-1",
    ]
    with pytest.raises(ValueError, match="2 products: a, b"):
        words("tool {d}", d=finished("a", "b"))
    with pytest.raises(ValueError, match="no products"):
        words("tool {d}", d=finished())


def positive(path: Path) -> bool:
    return float(path.read_text()) > 0


def explain(path: Path) -> None:
    raise ValueError(f"{path.name} is odd")


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        ("grep -q 1 {product}", 1, None),
        (
            "grep -q 1 {product}",
            2,
            "ended with status 0, but the check of x.txt, `grep -q 1 x.txt`, ended with status 1",
        ),
        ("sh -c 'echo why; exit 2' {product}", 1, "ended with status 2. The standard output ends:\nwhy"),
        ("no-such-check {product}", 1, "the check of x.txt, `no-such-check x.txt`, there is no program"),
        (positive, 1, None),
        (positive, -1, "the check of x.txt returned False"),
        (explain, 1, "x.txt is odd"),
    ],
)
def test_a_check_decides_whether_a_product_is_right(
    directory: Directory, check: Any, value: int, message: str | None
) -> None:
    status = run(directory, command("sh -c 'echo $0 > x.txt' {v}", products="x.*", check=check), value)
    if message is None:
        assert status == 0
        assert (directory.outcome().outputs or ())[0].products[0].path == "x.txt"
    else:
        assert status != 0
        error = directory.outcome().error
        assert error
        assert message in error.message


@pytest.mark.parametrize(("check", "message"), [("x {y}", "its only field is {product}"), (5, "expected a command")])
def test_a_check_that_is_not_valid_is_an_error_at_the_definition(check: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        command("tool", check=check)


# Processes.


def wait_for(path: Path) -> str:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text.strip()
        time.sleep(0.01)
    raise AssertionError(path)


def ends(pid: int) -> bool:
    """Whether a process ends within some seconds; one that nobody has waited for has ended, too."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


LEAVES = (
    "import os, time; os.fork() and os._exit(0); {how}; open('pid', 'w').write(f'{os.getpid()}\\n'); time.sleep(99)"
)


@pytest.mark.parametrize("how", ["pass", "os.setsid()", "os.setsid(); os.fork() and os._exit(0)"])
def test_no_process_that_a_program_leaves_behind_survives_it(directory: Directory, how: str) -> None:
    code = LEAVES.replace("{how}", how)
    of = command('sh -c \'"$0" -c "$1"; while ! [ -s pid ]; do sleep 0.05; done\' {python} {code}', products="pid")
    assert run(directory, of, sys.executable, code) == 0
    assert ends(int(directory.result().products[0].read_text()))


def start(directory: Directory, template: str, tmp_path: Path, *more: str) -> subprocess.Popen[bytes]:
    """Run an element in a process of its own."""
    directory.create(pickled(command(template).unwrapped, ()))
    code = "import sys; from slurm.runner.main import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", code, directory.root, directory.key, "0", TAG, *more]
    return subprocess.Popen(argv, cwd=tmp_path)


def test_a_program_dies_with_a_runner_that_is_killed(directory: Directory, tmp_path: Path) -> None:
    runner = start(directory, "sh -c 'trap : TERM; sleep 99 & echo $$ $! > pids; wait; wait'", tmp_path)
    pids = [int(pid) for pid in wait_for(attempt_of(directory) / "pids").split()]
    runner.kill()
    runner.wait()
    assert [ends(pid) for pid in pids] == [True, True]


def test_sigterm_reaches_the_whole_group_and_then_ends_the_runner(directory: Directory, tmp_path: Path) -> None:
    runner = start(
        directory,
        'sh -c \'trap "echo parent >> told" TERM; (trap "echo child >> told; exit" TERM; echo >> ready; '
        "while :; do sleep 0.05; done) & while ! [ -e ready ]; do sleep 0.02; done; echo up > up; wait; wait'",
        tmp_path,
    )
    wait_for(attempt_of(directory) / "up")
    runner.terminate()
    assert runner.wait(20) == -signal.SIGTERM
    assert sorted((attempt_of(directory) / "told").read_text().split()) == ["child", "parent"]
    assert directory.names(OUTCOMES) == []  # the script around it writes the outcome, as for any task


@pytest.mark.parametrize(("status", "phase"), [(75, "stopped"), (1, RUN)])
def test_a_stop_signal_reaches_the_program_which_asks_to_be_continued_by_status_75(
    directory: Directory, tmp_path: Path, status: int, phase: str
) -> None:
    template = f"sh -c 'trap \"exit {status}\" USR1; echo up > up; while :; do sleep 0.02; done'"
    runner = start(directory, template, tmp_path, "1", "0", "1", "USR1")
    os.mkdir(f"{directory.path}/attempts")
    wait_for(attempt_of(directory) / "up")
    runner.send_signal(signal.SIGUSR1)
    assert runner.wait(20) == status
    record = json.loads(Path(directory.path, "attempts", "0.1.json").read_text())
    assert record["phase"] == phase


def test_a_large_output_takes_no_memory(directory: Directory) -> None:
    of = command("head -c 300000000 /dev/zero")
    before = threading.active_count()
    assert run(directory, of) == 0
    assert attempt_of(directory).joinpath("stdout.log").stat().st_size == 300_000_000
    assert threading.active_count() == before
    assert (directory.outcome().peak_memory or 0) < 1 << 30


def test_the_error_can_be_sent_and_keeps_what_it_knows(directory: Directory) -> None:
    import base64
    import pickle

    run(directory, command("sh -c 'echo why >&2; exit 3'"))
    record = directory.outcome().error
    assert record
    assert record.pickle
    error = pickle.loads(base64.b64decode(record.pickle))
    assert type(error) is CommandFailed
    assert (error.exit_code, error.signal, error.stderr, error.missing) == (3, None, "why", ())
    assert error.log == f"{attempt_of(directory)}/stderr.log"
    assert error.directory == str(attempt_of(directory))


def test_commands_run_on_the_inline_cluster() -> None:
    from slurm.testing.inline.cluster import InlineCluster

    with InlineCluster() as cluster:
        job = command("sh -c 'echo made > x; echo said'", products="x")()
        assert job.result(30).products[0].read_text() == "made\n"
        assert job.logs().endswith("said\n")
        assert command("cat {f}")(cluster.put(Path(__file__))).result(30).exit_code == 0


def message_of(directory: Directory) -> str:
    error = directory.outcome().error
    assert error
    return error.message


def test_a_failure_names_what_was_written_instead_of_a_product(directory: Directory) -> None:
    wanted = ["d/e", "a", "b", "c", "f", "g"]
    of = command("sh -c 'mkdir d; for i; do echo 1 > $i; done; echo' sh " + " ".join(wanted), products="fit.fits")
    assert run(directory, of) == 1
    assert "did not write fit.fits in its directory (it wrote a, b, c, d/e, f and 1 more), and" in message_of(directory)


def test_a_failure_names_a_script_that_was_not_sent(directory: Directory) -> None:
    assert run(directory, command("env python3 fit.py")) == 2
    assert "(fit.py is not in its directory. If the program reads it, name it in files=)" in message_of(directory)
