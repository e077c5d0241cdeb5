"""The rules of the house: which folder may import which, and how large and how named things are.

Each rule takes the sources by path and returns what breaks it, one sentence a breach. The rules read
the sources only; nothing of the library is imported.
"""

import ast
import re
from collections import defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for folder in ("cmrplan", "probes")
    for path in sorted((ROOT / folder).rglob("*.py"))
}

LOOSE = ["codes", "errors", "_version", "arrays", "files", "numbers"]
FOLDERS = [
    *["log", "laws", "solve", "fit", "plan", "validate", "design", "mixture"],
    *["plots", "report", "export", "cli"],
]
ORDER = {part: rank for rank, part in enumerate([*LOOSE, *FOLDERS, "__init__", "__main__"])}
"""A part of cmrplan imports only itself and those of lower rank."""

MOST_LOOSE = 5  # beside __init__, __main__ and errors
MOST_LINES_OF_A_MODULE = 400
MOST_LINES_OF_A_FUNCTION = 60
MOST_PARAMETERS = 8
FITTED_MODELS = {"LawModel", "AveragedModel", "CmrModel", "Surface", "Average", "Curves"}
OF_WHAT = {"Binding", "Candidate", "Optimum", "Problem", "Request", "Result"}
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")

parsed = cache(ast.parse)


# --- what the sources say --------------------------------------------------------------------


def module_of(path):
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def part_of(module):
    """Return the folder or loose module of cmrplan that a module belongs to."""
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


def walk(node, where="module"):
    """Yield each node below one, with ``module``, ``function`` or ``typing`` for where it stands."""
    for child in ast.iter_child_nodes(node):
        inner = where
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inner = "function"
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            inner = "typing"
        yield child, inner
        yield from walk(child, inner)


def imports(sources):
    """Yield each module, a module that it imports, and where the import stands."""
    known = {module_of(path) for path in sources}
    for path, source in sources.items():
        for node, where in walk(parsed(source)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield module_of(path), alias.name, where
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path} imports by a relative name"
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    yield module_of(path), inner if inner in known else node.module, where


def is_in(module, package):
    return module == package or module.startswith(package + ".")


def definitions(sources, *kinds):
    for path, source in sources.items():
        for node in ast.walk(parsed(source)):
            if isinstance(node, kinds):
                yield path, node


def repeated(names):
    """Return a sentence for each name that stands in more than one file; names come with files."""
    files = defaultdict(list)
    for name, path in names:
        files[name].append(path)
    return [f"{name}: {', '.join(paths)}" for name, paths in files.items() if len(paths) > 1]


# --- the rules -------------------------------------------------------------------------------


def folders_import_only_what_stands_above(sources):
    return [
        f"{module} imports {other}"
        for module, other, _ in imports(sources)
        if is_in(module, "cmrplan")
        and is_in(other, "cmrplan")
        and ORDER[part_of(other)] > ORDER[part_of(module)]
    ]


def plan_and_mixture_do_not_import_each_other(sources):
    pair = {"plan", "mixture"}
    return [
        f"{module} imports {other}"
        for module, other, _ in imports(sources)
        if {part_of(module), part_of(other)} == pair
        and is_in(module, "cmrplan")
        and is_in(other, "cmrplan")
    ]


def log_knows_no_fit(sources):
    return [
        f"{module} imports {other}"
        for module, other, _ in imports(sources)
        if is_in(module, "cmrplan.log") and is_in(other, "cmrplan.fit")
    ]


def solve_knows_no_frame(sources):
    return [
        f"{module} imports pandas"
        for module, other, _ in imports(sources)
        if is_in(module, "cmrplan.solve") and is_in(other, "pandas")
    ]


def no_circle(sources):
    graph = {module_of(path): set() for path in sources}
    for module, other, where in imports(sources):
        if where == "module" and other in graph and other != module:
            graph[module].add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def no_torch_in_cmrplan(sources):
    return [
        f"{module} imports {other}"
        for module, other, _ in imports(sources)
        if is_in(module, "cmrplan") and is_in(other, "torch")
    ]


def probes_are_imported_by_the_command_line_alone_and_when_called(sources):
    return [
        f"{module} imports {other}"
        for module, other, where in imports(sources)
        if is_in(module, "cmrplan")
        and is_in(other, "probes")
        and not (is_in(module, "cmrplan.cli") and where in ("function", "typing"))
    ]


def few_loose_modules(sources):
    allowed = {f"cmrplan/{name}.py" for name in ("__init__", "__main__", "errors")}
    loose = [p for p in sources if re.fullmatch(r"cmrplan/[^/]+\.py", p) and p not in allowed]
    return loose if len(loose) > MOST_LOOSE else []


def a_class_name_exists_once(sources):
    return repeated((node.name, path) for path, node in definitions(sources, ast.ClassDef))


def a_class_name_says_of_what_it_is(sources):
    """A word that several folders need for things of their own is no name alone."""
    return [
        f"{path}: class {node.name} does not say of what it is"
        for path, node in definitions(sources, ast.ClassDef)
        if node.name in OF_WHAT
    ]


def a_constant_name_exists_once(sources):
    names = []
    for path, source in sources.items():
        for node in parsed(source).body:
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            bound = {name.id for t in targets if t for name in ast.walk(t) if hasattr(name, "id")}
            names += [(name, path) for name in bound if CONSTANT.fullmatch(name)]
    return repeated(names)


def modules_are_short(sources):
    return [
        f"{path} has {lines} lines"
        for path, source in sources.items()
        if (lines := source.count("\n")) > MOST_LINES_OF_A_MODULE
    ]


def functions_are_short(sources):
    return [
        f"{path}: {node.name} has {lines} lines"
        for path, node in definitions(sources, ast.FunctionDef, ast.AsyncFunctionDef)
        if (lines := node.end_lineno - node.lineno + 1) > MOST_LINES_OF_A_FUNCTION
    ]


def functions_take_few_parameters(sources):
    breaches = []
    for path, node in definitions(sources, ast.FunctionDef, ast.AsyncFunctionDef):
        decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
        if re.search(r"\bclick\.|\.command\(", decorators):
            continue
        given = node.args
        names = [arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        names += [arg.arg for arg in (given.vararg, given.kwarg) if arg is not None]
        number = len(names) - (names[:1] in (["self"], ["cls"]))
        if number > MOST_PARAMETERS:
            breaches.append(f"{path}: {node.name} takes {number} parameters")
    return breaches


def fitted_models_are_told_apart_in_fit_alone(sources):
    breaches = []
    for path, call in definitions(sources, ast.Call):
        if getattr(call.func, "id", "") != "isinstance" or path.startswith("cmrplan/fit/"):
            continue
        asked = {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(call.args[1])}
        breaches += [f"{path}:{call.lineno} asks for {name}" for name in asked & FITTED_MODELS]
    return breaches


def values_are_named_for_what_they_are(sources):
    breaches = []
    for path, node in definitions(sources, ast.Name, ast.arg):
        name = node.arg if isinstance(node, ast.arg) else node.id
        is_bound = isinstance(node, ast.arg) or isinstance(node.ctx, ast.Store)
        if is_bound and name in ("found", "place", "made"):
            breaches.append(f"{path}:{node.lineno} calls a value {name}")
    return breaches


FIT = "cmrplan/fit/fit.py"
LOG = "cmrplan/log/files.py"
PLANTED = {
    folders_import_only_what_stands_above: [
        {LOG: "from cmrplan.plan.plan import Plan"},
        {LOG: "def f():\n    import cmrplan.cli"},
        {LOG: "if TYPE_CHECKING:\n    from cmrplan.laws import law"},
        {"cmrplan/errors.py": "from cmrplan.arrays import Array"},
        {LOG: "from cmrplan import fit"},
    ],
    plan_and_mixture_do_not_import_each_other: [
        {"cmrplan/mixture/plan.py": "from cmrplan.plan.plan import Plan"},
        {"cmrplan/plan/plan.py": "from cmrplan.mixture.plan import MixturePlan"},
    ],
    log_knows_no_fit: [{LOG: "def f():\n    from cmrplan.fit.noise import Noise"}],
    solve_knows_no_frame: [{"cmrplan/solve/varpro.py": "import pandas as pd"}],
    no_circle: [
        {LOG: "from cmrplan.fit import fit", FIT: "from cmrplan.log.files import read_log"},
        {"probes/a.py": "import probes.b", "probes/b.py": "from probes import a"},
    ],
    no_torch_in_cmrplan: [{FIT: "def f():\n    import torch.nn"}],
    probes_are_imported_by_the_command_line_alone_and_when_called: [
        {FIT: "def f():\n    import probes"},
        {"cmrplan/cli/probe.py": "from probes.sweep import run_sweep"},
    ],
    few_loose_modules: [{f"cmrplan/{name}.py": "" for name in "abcdef"}],
    a_class_name_exists_once: [
        {FIT: "class A: pass", "probes/a.py": "def f():\n    class A: pass"},
        {FIT: "class A: pass\nclass A: pass"},
    ],
    a_class_name_says_of_what_it_is: [
        {FIT: "class Optimum: pass"},
        {"cmrplan/mixture/plan.py": "class Binding: pass"},
    ],
    a_constant_name_exists_once: [
        {FIT: "_MOST = 3", LOG: "_MOST: int = 3"},
        {FIT: "LOW, HIGH = 0, 1", "probes/a.py": "HIGH = 1"},
    ],
    modules_are_short: [{FIT: "x = 1\n" * 401}],
    functions_are_short: [{FIT: "class A:\n    def f():\n" + "        x = 1\n" * 60}],
    functions_take_few_parameters: [
        {FIT: "def f(a, b, /, c, d, *e, g, h, i, **k): pass"},
        {FIT: "class A:\n    async def f(self, a, b, c, d, e, f, g, h, i): pass"},
    ],
    values_are_named_for_what_they_are: [
        {FIT: "found = 3"},
        {LOG: "def f(a, place): pass"},
        {"probes/a.py": "for made in (): pass"},
    ],
    fitted_models_are_told_apart_in_fit_alone: [
        {LOG: "isinstance(model, (int, fit.LawModel))"},
        {LOG: "isinstance(model, Surface | None)"},
    ],
}

ALLOWED = {
    folders_import_only_what_stands_above: {FIT: "from cmrplan.log import files, fit"},
    no_circle: {
        LOG: "def f():\n    from cmrplan.fit import fit",
        FIT: "if TYPE_CHECKING:\n    import cmrplan.plan.plan\nfrom cmrplan.log import files",
        "cmrplan/plan/plan.py": "from cmrplan.fit import fit",
    },
    probes_are_imported_by_the_command_line_alone_and_when_called: {
        "cmrplan/cli/probe.py": "def f():\n    from probes.sweep import run_sweep"
    },
    a_constant_name_exists_once: {FIT: "MOST = 3\n__all__ = []", LOG: "def f():\n    MOST = 3"},
    functions_take_few_parameters: {
        FIT: "class A:\n    def f(self, a, b, c, d, e, f, g, h): pass",
        LOG: "@logs.command()\ndef f(a, b, c, d, e, f, g, h, i): pass",
    },
    functions_are_short: {FIT: "def f():\n" + "    x = 1\n" * 59},
    modules_are_short: {FIT: "x = 1\n" * 400},
    fitted_models_are_told_apart_in_fit_alone: {FIT: "isinstance(model, LawModel)"},
}


@pytest.mark.parametrize("rule", PLANTED, ids=lambda rule: rule.__name__)
def test_the_house_keeps(rule):
    breaches = rule(SOURCES)
    assert not breaches, "\n".join(breaches)


@pytest.mark.parametrize(
    ("rule", "sources"),
    [(rule, sources) for rule, planted in PLANTED.items() for sources in planted],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_breach_is_seen(rule, sources):
    assert rule(sources)


@pytest.mark.parametrize(
    ("rule", "sources"), ALLOWED.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_what_keeps_a_rule_is_left_alone(rule, sources):
    assert not rule(sources)


def test_every_rule_has_sources_to_read():
    assert len(SOURCES) > 200
