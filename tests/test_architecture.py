"""The shape of the package: layers, homes, what an import loads; how long any file may be."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "neft_ray"
FILES = {file.relative_to(PACKAGE).as_posix(): file for file in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}

# A part (a module or a package) imports itself and parts of lower layers, never a sibling.
LAYERS = [
    "__init__ cores errors network schedules system_metrics textstats",
    "config files",
    "bucket noise optim lora",
    "working_copy",
    "pieces",
    "run_in_bucket",
    "data tracking journal run_directory",
    "model",  # above data: its loss reads micro-batches
    "strategy",  # above model: an engine holds one
    "train generate memory order judge choice",
    "worker replier export stand_in",
    "sweep plan report launch evaluate",
    "pipeline terminal cost",
    "cli",
    "api",
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts.split()}

# Where a name that is imported differs from the name that is installed.
INSTALLED_AS = {
    "yaml": "pyyaml",
    "pydantic_core": "pydantic",
    "rouge_score": "rouge-score",
    "sklearn": "scikit-learn",
    "huggingface_hub": "huggingface-hub",
    "google": "google-auth",
    "lm_eval": "lm-eval",
    "googleapiclient": "google-api-python-client",
}

# Not installed everywhere: each with its one home, which is imported inside functions alone.
OPTIONAL = {
    "triton": "noise/kernel.py",
    "boto3": "launch/aws.py",
    "botocore": "launch/aws.py",
    "google-auth": "launch/gcp.py",
    "google-api-python-client": "launch/gcp.py",
    "vllm": "generate/vllm_engine.py",
    "lm-eval": "evaluate/ifeval.py",
    "langdetect": "evaluate/ifeval.py",
    "nltk": "evaluate/ifeval.py",
    "bitsandbytes": "model/four_bits.py",
    "pandas": "report/frames.py",
}

MAX_FILE_LINES = 250
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6
HEAVY = (
    *("torch", "ray", "transformers", "peft", "deepspeed", "datasets", "numpy"),
    *("mlflow", "optuna", "matplotlib"),
)


def _part_of_file(name: str) -> str:
    """Returns the part of the package that a file belongs to."""
    return name.split("/")[0].removesuffix(".py")


def _imports(name: str) -> Iterator[str]:
    """Yields every dotted name a file imports, in functions too."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _internal_imports(name: str) -> set[str]:
    """Returns the parts of the package that a file imports."""
    own = [target.split(".")[1] for target in _imports(name) if target.startswith("neft_ray.")]
    return {part if part in LEVEL else "__init__" for part in own}


def _external_imports(name: str) -> set[str]:
    """Returns the names of installed packages that a file imports."""
    roots = {target.split(".")[0] for target in _imports(name)}
    roots -= {"neft_ray", *sys.stdlib_module_names}
    return {INSTALLED_AS.get(root, root) for root in roots}


def _declared() -> dict[str, list[str]]:
    """Returns the dependencies of pyproject.toml and the homes that their comments name."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text.split("dependencies = [\n")[1].split("\n]")[0]
    lines = [re.fullmatch(r'\s*"([\w-]+).*", +# (.+)', line) for line in block.splitlines()]
    assert all(lines), "a dependency has no comment that names its home"
    listed = {line[1]: [home.strip() for home in line[2].split(",")] for line in lines if line}
    given = tomllib.loads(text)["project"]["dependencies"]
    assert sorted(listed) == sorted(re.match(r"[\w-]+", entry)[0] for entry in given)
    return listed


def _all_files() -> dict[str, str]:
    """Returns the text of every Python file: of the package, tests, benchmarks, tools, docs."""
    folders = ("neft_ray", "tests", "benchmarks", "tools", "docs")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    assert Path(__file__) in files
    return {str(file.relative_to(ROOT)): file.read_text("utf-8") for file in files}


def _functions(
    trees: dict[str, ast.Module],
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yields every function with its place."""
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}:{node.lineno} {node.name}", node


def _loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_every_module_has_a_layer() -> None:
    assert set(map(_part_of_file, FILES)) == set(LEVEL)


def test_imports_point_down() -> None:
    wrong = [
        f"{name} imports {other}"
        for name in FILES
        for other in _internal_imports(name) - {_part_of_file(name)}
        if LEVEL[other] >= LEVEL[_part_of_file(name)]
    ]
    assert not wrong


@pytest.mark.parametrize(("dependency", "homes"), _declared().items())
def test_dependency_is_imported_in_the_homes_its_comment_names(
    dependency: str, homes: list[str]
) -> None:
    users = {name for name in FILES if dependency in _external_imports(name)}
    strays = {
        name
        for name in users
        if not any(name == home or (home.endswith("/") and name.startswith(home)) for home in homes)
    }
    assert not strays, f"{dependency} is imported outside {homes}"
    unused = {home for home in homes if not any(name.startswith(home) for name in users)}
    assert not unused, f"{dependency} is not imported in {sorted(unused)}"


def test_everything_imported_is_declared() -> None:
    imported = set().union(*map(_external_imports, FILES))
    assert imported - set(OPTIONAL) == set(_declared())


@pytest.mark.parametrize(("dependency", "home"), OPTIONAL.items())
def test_an_optional_dependency_is_needed_by_its_home_alone(dependency: str, home: str) -> None:
    assert [name for name in FILES if dependency in _external_imports(name)] == [home]
    module = "neft_ray." + home.removesuffix(".py").replace("/", ".")
    at_top = {
        name: [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
        for name, tree in TREES.items()
    }
    assert not [name for name, modules in at_top.items() if module in modules]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = extras["project"]["optional-dependencies"].values()
    assert any(entry.startswith(dependency) for extra in declared for entry in extra)


def test_modules_say_in_their_first_line_what_they_are_for() -> None:
    first = {name: (ast.get_docstring(TREES[name]) or "\n").splitlines()[0] for name in FILES}
    assert not [name for name, line in first.items() if not re.search(r"(\w+\W+){4}", line)]


def test_files_are_short() -> None:
    lengths = {name: len(text.splitlines()) for name, text in _all_files().items()}
    assert not {name: n for name, n in lengths.items() if n > MAX_FILE_LINES}


def test_functions_are_short() -> None:
    trees = {name: ast.parse(text) for name, text in _all_files().items()}
    lengths = {place: f.end_lineno - f.lineno + 1 for place, f in _functions(trees)}
    assert not {place: n for place, n in lengths.items() if n > MAX_FUNCTION_LINES}


def test_functions_take_few_parameters() -> None:
    counts = {}
    for place, function in _functions(TREES):
        given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        counts[place] = sum(argument.arg not in ("self", "cls") for argument in given)
    assert not {place: n for place, n in counts.items() if n > MAX_PARAMETERS}


def test_reading_a_config_loads_no_framework() -> None:
    loaded = _loaded_by("neft_ray.config.load")
    assert "pydantic" in loaded
    assert not loaded.intersection(HEAVY)


def test_the_command_line_loads_no_framework_before_a_command_runs() -> None:
    loaded = _loaded_by("neft_ray.cli")
    assert "typer" in loaded
    assert not loaded.intersection(HEAVY)


def test_validating_a_file_that_needs_nothing_of_the_machine_loads_no_framework() -> None:
    code = f"""
import sys
from pathlib import Path
from neft_ray.cli.sweeps import validate
validate(sorted(Path({str(ROOT / "sweeps")!r}).glob("*.yaml")))
print(*sys.modules)"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert not set(result.stdout.split()).intersection(HEAVY)


def test_a_worker_does_not_load_the_compiler() -> None:
    """It takes a second, in every process of a sweep."""
    assert "torch._dynamo" not in _loaded_by("neft_ray.worker")
