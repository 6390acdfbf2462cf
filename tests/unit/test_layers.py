"""Imports point down: a module uses only what stands before it in this list."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LAYERS = [
    "errors units rng labels scalars schema",
    "podspec yamls evictionrank",
    "events laws versioned templates workers",
    "actions nodes instances storage tables workloads clock behaviour cpu backoff stranded curves",
    "usage admission podstate resize termination eviction images",
    "podsync recorder podcounts podaffinity invariants manifests",
    "cluster metrics pulls",
    "extend podtimes nodeorder disruptions",
    "plugins overcommit probes expectations varying",
    "rows dryrun claims",
    "pressure evaluation queue queue_events controllers search victims runs intake "
    "nodeshutdown nodepods",
    "preemption",
    "containers evictions scheduler controlplane endpoints traffic availability samples",
    "arrivals faults",
    "kubelet outcome plots report",
    "explain deeds",
    "replay",
    "catalog result pluginargs userplugins",
    "profiles",
    "scenario",
    "validate",
    "aftermath",
    "losses",
    "cases",
    "engine testing",
    "comparison whatif",
    "cli",
]
LAYER = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
ROOT = Path(__file__).parents[2] / "sim"
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem[0] != "_")


def imports(tree: ast.AST) -> Iterator[str]:
    """Modules of ours that the code imports, inside functions too, but not for annotations."""
    if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test):
        return
    if isinstance(tree, ast.ImportFrom) and tree.module == "sim":
        yield from (alias.name for alias in tree.names if alias.name != "__version__")
    elif isinstance(tree, ast.ImportFrom) and (tree.module or "").startswith("sim."):
        assert tree.module is not None
        yield tree.module.split(".")[1]
    elif isinstance(tree, ast.Import):
        yield from (a.name.split(".")[1] for a in tree.names if a.name.startswith("sim."))
    for child in ast.iter_child_nodes(tree):
        yield from imports(child)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    home = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for imported in imports(ast.parse(path.read_text(encoding="utf-8"))):
        if imported != home:
            assert LAYER[imported] < LAYER[home], f"{home} imports {imported} from above"


def test_every_module_has_its_layer():
    homes = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in MODULES}
    assert homes == set(LAYER)
