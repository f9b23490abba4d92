"""The package as a whole: quick to import, documented, annotated, of one version."""

import ast
import importlib
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import evolving_attention

SOURCE = Path(evolving_attention.__file__).parent
FILES = sorted(path for path in SOURCE.rglob("*.py"))
MODULES = [
    ".".join(("evolving_attention", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in FILES
]
EACH_FILE = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))


def definitions(body, owner=""):
    """Every class, function and method outside functions, with its dotted name."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{owner}{node.name}", node
        if isinstance(node, ast.ClassDef):
            yield from definitions(node.body, f"{owner}{node.name}.")


def is_public(name):
    return not any(part.startswith("_") for part in name.split("."))


def is_compiled(node):
    """Whether Numba or Triton compiles a function: its values have types of their own."""
    return any("jit" in ast.unparse(decorator) for decorator in node.decorator_list)


def fresh(program):
    """What a program prints in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_importing_the_package_imports_neither_torch_nor_transformers():
    program = """
import sys, evolving_attention
dir(evolving_attention)
print(sorted({"torch", "transformers", "aeon", "sklearn", "numpy"} & set(sys.modules)))
"""
    assert fresh(program) == "[]"


def test_recipes_and_errors_are_at_hand_without_torch():
    program = """
import sys
from evolving_attention import InputError, TimeSeriesRecipe, read_recipe
TimeSeriesRecipe().to_yaml()
print("torch" in sys.modules, "transformers" in sys.modules)
"""
    assert fresh(program) == "False False"


@pytest.mark.parametrize("name", evolving_attention.__all__)
def test_every_public_name_resolves(name):
    found = getattr(evolving_attention, name)
    assert found.__name__ == name
    assert found.__module__.startswith("evolving_attention.")
    assert name in dir(evolving_attention)


def test_public_names_can_be_imported_together():
    names = {}
    exec("from evolving_attention import *", names)
    assert set(evolving_attention.__all__) <= set(names)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'evolving_attention'.*'evolved_attention'"):
        evolving_attention.evolved_attention  # noqa: B018
    assert not hasattr(evolving_attention, "evolved_attention")


@pytest.mark.parametrize("module", MODULES)
def test_every_name_that_a_module_offers_is_there(module):
    if module.endswith("_timm"):
        pytest.importorskip("timm", reason="needs the extra [vision]")
    imported = importlib.import_module(module)
    for name in getattr(imported, "__all__", []):
        assert hasattr(imported, name), name


@EACH_FILE
def test_every_module_has_a_docstring(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@EACH_FILE
def test_every_public_definition_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    bare = [
        name
        for name, node in definitions(tree.body)
        if is_public(name) and not ast.get_docstring(node)
    ]
    assert bare == []


@EACH_FILE
def test_every_function_is_annotated(path):
    tree, missing = ast.parse(path.read_text()), []
    for name, node in definitions(tree.body):
        if isinstance(node, ast.ClassDef) or is_compiled(node):
            continue
        arguments = node.args
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        given += [one for one in (arguments.vararg, arguments.kwarg) if one]
        missing += [
            f"{name}({argument.arg})"
            for argument in given
            if argument.annotation is None and argument.arg not in ("self", "cls")
        ]
        if node.returns is None:
            missing.append(f"{name} ->")
    assert missing == []


def imports(path):
    """The modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_no_source_file_uses_pickle():
    for path in FILES:
        packages = {module.split(".")[0] for module in imports(path)}
        assert not packages & {"pickle", "joblib", "dill", "cloudpickle"}, path
        assert "torch.load(" not in path.read_text(), path
        assert "allow_pickle=True" not in path.read_text(), path


def test_imports_point_one_way():
    """Command line, then inspection, then estimators and runs, tasks, models, attention."""
    ranks = {"errors": 0, "recipe": 1, "attention": 2, "models": 3, "tasks": 4, "training": 4}
    ranks |= {"ensemble": 4, "encoder": 5, "fine_tuning": 5, "estimators": 5, "runs": 5}
    ranks |= {"inspection": 6, "cli": 7, "__main__": 8}
    ranks |= {"trainer": 4, "workspace": 5, "records": 5, "comparison": 6, "tuning": 7}
    for path in FILES:
        home = path.relative_to(SOURCE).with_suffix("").parts[0]
        if home == "__init__":
            continue
        for module in imports(path):
            if module.startswith("evolving_attention."):
                assert ranks[module.split(".")[1]] <= ranks[home], f"{path.name}: {module}"


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["project"]
    assert evolving_attention.__version__ == project["version"]
    assert version("evolving-attention") == project["version"]


def test_the_package_tells_type_checkers_that_it_is_typed():
    assert (SOURCE / "py.typed").is_file()
