"""Scheduler plugins of the user's own: `FILE.py:Class`, loaded only where that is allowed.

Loading runs the file, so a scenario alone cannot do it: whoever runs it has to say so
(`--allow-plugins`, `allow_plugins=True`). The class needs a `filter` or a `score` of
`sim.extend`; what else the protocols ask for has defaults here. What it raises becomes an error
that names plugin, pod and line.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import Position, Problem, SimError, did_you_mean
from sim.extend import MAX_SCORE, Code, NodeIds, Reads, Scores, Verdict, Whys
from sim.tables import UNBOUND

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.templates import Template

MadeBy = tuple[str, Path, dict[str, Any]]  # FILE.py:Class, where it is looked for, arguments

POINTS = ("filter", "score")
# method -> the calls it may answer, the longest first
SIGNATURES: dict[str, tuple[str, ...]] = {
    "filter": ("pod, cluster, nodes, state", "pod, cluster, nodes"),
    "score": ("pod, cluster, nodes, state", "pod, cluster, nodes"),
    "prefilter": ("pod, cluster",),
    "prescore": ("pod, cluster, nodes",),
    "verdict": ("why, cluster",),
    "normalize": ("scores",),
    "concerns": ("pod, cluster",),
    "stamp": ("pod, cluster",),
    "assume": ("state, pod, cluster, other, node, sign",),
    "admits": ("pod",),
    "reserve": ("pod, node, cluster",),
    "shortfall": ("pod, cluster, node, state",),
}
OPTIONAL = ("normalize", "concerns", "stamp", "assume", "admits", "reserve", "shortfall")


@dataclass(frozen=True, slots=True)
class UserPlugin:
    """A plugin that is not of ours, and where it runs."""

    name: str
    plugin: Any  # satisfies FilterPlugin, ScorePlugin or both
    points: tuple[str, ...]  # "filter", "score"
    weight: int = 1
    scheduler: str = ""  # the only profile in which it runs, '' for all


class PluginError(Exception):
    """Why a plugin cannot be loaded."""

    def __init__(self, message: str, hint: str = "", position: Position | None = None) -> None:
        super().__init__(message)
        self.message, self.hint, self.position = message, hint, position

    def problem(self, position: Position, field: str) -> Problem:
        """The problem, at its place in the user's file or else where the scenario names it."""
        if self.position is not None:
            return Problem(self.position, self.message, hint=self.hint)
        return Problem(position, self.message, field, self.hint)


def load_plugin(
    text: str,
    base: Path,
    *,
    args: Mapping[str, Any] | None = None,
    weight: int = 1,
    scheduler: str = "",
    taken: Collection[str] = (),
) -> UserPlugin:
    """The plugin that `FILE.py:Class` names, made with `args`; PluginError when it cannot be.

    The file stands under `base`, and is run. `taken` are names that it must not have.
    """
    file, colon, class_name = text.rpartition(":")
    if not colon or not file or not class_name.isidentifier():
        raise PluginError(f"got {text!r}; expected FILE.py:Class.")
    path = base / file
    made = _instance(_class(_module(path), class_name, path), dict(args or {}), path)
    adapter = Adapter(made, path, (text, base, dict(args or {})))
    if adapter.name in taken:
        message = f"{adapter.name} is the name of another plugin; expected one of its own."
        raise PluginError(message, f"Give {class_name} another `name`.")
    return UserPlugin(adapter.name, adapter, adapter.points, weight, scheduler)


def _module(path: Path) -> ModuleType:
    """The module that the file makes; it may import what stands beside it."""
    try:
        source = path.read_bytes()
    except (OSError, ValueError):
        near = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise PluginError(f"no file {str(path)!r}.", did_you_mean(path.name, near)) from None
    folder = str(path.parent.resolve())
    module = ModuleType(f"sim_user_plugins.{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    sys.path.insert(0, folder)
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise _told(error, path) from None
    finally:
        sys.path.remove(folder)
    return module


def _class(module: ModuleType, name: str, path: Path) -> type:
    found = getattr(module, name, None)
    if isinstance(found, type):
        return found
    own = [
        n
        for n, v in vars(module).items()
        if isinstance(v, type) and v.__module__ == module.__name__
    ]
    hint = did_you_mean(name, own) or (f"There are: {', '.join(own)}." if own else "")
    raise PluginError(f"no class {name!r} in {path}.", hint)


def _instance(made: type, args: dict[str, Any], path: Path) -> Any:
    try:
        return made(**args)
    except (Exception, SystemExit) as error:
        if _line_in(error, path):
            raise _told(error, path) from None
        given = f"with {', '.join(args)}" if args else "without arguments"
        raise PluginError(f"{made.__name__} cannot be made {given}: {error}.") from None


def _told(error: BaseException, path: Path) -> PluginError:
    """What the user's file raised while it was loaded, at its line."""
    line, column = _line_in(error, path), 0
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line, column = error.lineno or 0, error.offset or 0
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    position = Position(str(path), line, column or (1 if line else 0))
    return PluginError(f"{type(error).__name__}: {text}".removesuffix(": "), "", position)


def _line_in(error: BaseException, path: Path) -> int:
    """The last line of the file that took part in an error, 0 for none."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno or 0 for frame in frames if frame.filename == str(path)]
    return lines[-1] if lines else 0


def adapted(user: Any) -> Adapter:
    """A user's object as the scheduler runs it; PluginError when it is no plugin."""
    return Adapter(user, Path(inspect.getfile(type(user))))


class Adapter:
    """A user's object in the shape of the protocols of `sim.extend`.

    `filter` may answer in booleans (True: the node takes the pod), `score` in any whole numbers
    from 0 to 100, and both may leave out `state`. The optional methods are there when the user's
    class has them, so that isinstance tells what the plugin can do.
    """

    name: str
    reads: Reads
    points: tuple[str, ...]

    def __init__(self, user: Any, path: Path, made_by: MadeBy | None = None) -> None:
        self.user, self.path, self._made_by = user, path, made_by
        self.name = _name(user)
        self.reads = _reads(user)
        self.points = tuple(point for point in POINTS if callable(getattr(user, point, None)))
        if not self.points:
            raise PluginError(f"{type(user).__name__} has neither `filter` nor `score`.")
        arity = {name: _arity(user, name) for name in SIGNATURES if hasattr(user, name)}
        self._states = {point for point in self.points if arity[point] == 0}
        for name in OPTIONAL:
            if name in arity:
                setattr(self, name, self._guarded(name))
        if hasattr(user, "listens") and hasattr(user, "hint"):
            self.listens, self.hint = user.listens, self._guarded("hint")

    def __eq__(self, other: object) -> bool:
        """Two that were made alike are equal, so that scenarios can be compared."""
        if not isinstance(other, Adapter) or self._made_by is None:
            return self is other
        return self._made_by == other._made_by

    def __hash__(self) -> int:
        return hash((self.name, self.path))

    def __repr__(self) -> str:
        return f"<plugin {self.name} of {self.path}>"

    def __reduce__(self) -> Any:
        """Another process loads the file for itself: allowed here, allowed there."""
        return (_again, self._made_by) if self._made_by else (adapted, (self.user,))

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """What the user's class derives, None when it derives nothing."""
        return self._call("prefilter", pod, cluster) if hasattr(self.user, "prefilter") else None

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """The user's answer; booleans become 0 and 1."""
        answer = self._answers("filter", pod, cluster, nodes, state)
        if answer.dtype == np.bool_:
            return (~answer).astype(np.int32)
        return self._whole("filter", answer, pod, cluster).astype(np.int32)

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """The user's words, or that the node did not pass the plugin."""
        if hasattr(self.user, "verdict"):
            return self._call("verdict", why, cluster)  # type: ignore[no-any-return]
        return Verdict(Code.UNSCHEDULABLE, (f"node(s) didn't pass {self.name}",))

    def prescore(self, pod: Template, cluster: Cluster, nodes: NodeIds) -> Any:
        """What the user's class derives, None when it derives nothing."""
        if hasattr(self.user, "prescore"):
            return self._call("prescore", pod, cluster, nodes)
        return None

    def score(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Scores:
        """The user's answer, from 0 to 100 unless the class normalises."""
        answer = self._answers("score", pod, cluster, nodes, state)
        scores: Scores = self._whole("score", answer, pod, cluster).astype(np.int64, order="C")
        outside = scores.view(np.uint64) > MAX_SCORE  # a negative number is a large one there
        if outside.any() and "normalize" not in self.__dict__:
            got = f"gave {int(scores[outside][0])}, outside 0 to {MAX_SCORE}"
            raise self._error("score", got, pod, cluster)
        return scores

    def _answers(
        self, method: str, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any
    ) -> NDArray[Any]:
        more = (state,) if method in self._states else ()
        answer = np.asarray(self._call(method, pod, cluster, nodes, *more))
        if answer.shape != nodes.shape:
            raise self._error(method, _not_one_each(answer, len(nodes)), pod, cluster)
        return answer

    def _whole(
        self, method: str, answer: NDArray[Any], pod: Template, cluster: Cluster
    ) -> NDArray[Any]:
        if answer.dtype.kind not in "iu" and len(answer):
            got = f"gave {answer.dtype}; expected whole numbers (.astype(np.int64))"
            raise self._error(method, got, pod, cluster)
        return answer

    def _guarded(self, method: str) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            return self._call(method, *args, **more)

        return call

    def _call(self, method: str, *args: Any, **more: Any) -> Any:
        """The user's method; what it raises names the plugin, the pod and the line."""
        try:
            return getattr(self.user, method)(*args, **more)
        except (Exception, SystemExit) as error:
            what = f"raised {type(error).__name__}: {error}".removesuffix(": ")
            line = _line_in(error, self.path)
            raise self._error(method, what, *_pod_of(args), line=line) from error

    def _error(
        self, method: str, what: str, pod: Any = None, cluster: Any = None, *, line: int = 0
    ) -> SimError:
        place = f"{self.path}:{line}" if line else str(self.path)
        about = f" for pod {_pod_name(pod, cluster)}" if pod is not None else ""
        return SimError(f"{place}: plugin {self.name}: {method}{about} {what}")


def _again(text: str, base: Path, args: dict[str, Any]) -> Any:
    return load_plugin(text, base, args=args).plugin


def _not_one_each(answer: NDArray[Any], nodes: int) -> str:
    """What a method gave that should have given one value per node."""
    if answer.ndim:
        return f"gave an array of shape {answer.shape} for {nodes} nodes"
    return f"gave {answer.item()!r}; expected one value for each of {nodes} nodes"


def _name(user: Any) -> str:
    name = getattr(user, "name", type(user).__name__)
    if not isinstance(name, str) or not name:
        raise PluginError(f"`name` of {type(user).__name__} is {name!r}; expected text.")
    return name


def _reads(user: Any) -> Reads:
    reads = getattr(user, "reads", Reads.NODE | Reads.PODS_ON_NODE)
    if not isinstance(reads, Reads):
        message = f"`reads` of {type(user).__name__} is {reads!r}; expected sim.extend.Reads."
        raise PluginError(message)
    return reads


def _arity(user: Any, method: str) -> int:
    """Which of the calls in SIGNATURES the method answers; PluginError when none."""
    function = getattr(user, method)
    for place, call in enumerate(SIGNATURES[method]):
        try:
            inspect.signature(function).bind(*call.split(", "))
        except (TypeError, ValueError):
            continue
        return place
    calls = " or ".join(f"{method}(self, {call})" for call in SIGNATURES[method])
    code = getattr(function, "__code__", None)
    position = Position(code.co_filename, code.co_firstlineno, 1) if code else None
    raise PluginError(f"`{method}` of {type(user).__name__}: expected {calls}.", "", position)


def _pod_of(args: tuple[Any, ...]) -> tuple[Any, Any]:
    """The pod and the cluster among the arguments of a call."""
    from sim.cluster import Cluster
    from sim.templates import Template

    pods = [arg for arg in args if isinstance(arg, Template)]
    clusters = [arg for arg in args if isinstance(arg, Cluster)]
    return (pods[0] if pods else None), (clusters[0] if clusters else None)


def _pod_name(pod: Template, cluster: Cluster | None) -> str:
    """A waiting pod that is made from the template, else what the template says of itself."""
    if cluster is not None:
        pods = cluster.pods
        count = len(pods)
        of_it = (pods.template[:count] == pod.id) & pods.exists[:count]
        waiting = np.flatnonzero(of_it & (pods.node[:count] == UNBOUND))
        if len(waiting):
            return cluster.pod_key(int(waiting[0]))
    labels = ", ".join(f"{key}={value}" for key, value in sorted(pod.pod.labels.items()))
    return f"in {pod.pod.namespace} ({labels or 'no labels'})"
