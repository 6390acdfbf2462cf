"""What a scenario says of its scheduler: a KubeSchedulerConfiguration, and plugins of the user's.

Only a scenario that says something pays for the import of the plugins.
"""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from sim.errors import Position, Problem, ScenarioError, did_you_mean
from sim.manifests.value import Source, Value
from sim.scenario.models import Scheduler
from sim.scenario.paths import Path
from sim.scenario.problems import Locate
from sim.units import shown
from sim.yamls import Step, dotted, read_documents

if TYPE_CHECKING:
    from sim.profiles import Configuration
    from sim.userplugins import UserPlugin

CONFIG: Path = ("scheduler", "config")
PLUGINS: Path = ("scheduler", "plugins")
BURST: Path = ("scheduler", "clientBurst")
ANY_BURST = Scheduler().client_burst  # when none is given


def configuration_of(
    scheduler: Scheduler,
    base: FilePath,
    locate: Locate,
    problems: list[Problem],
    *,
    allow_plugins: bool,
) -> Configuration | None:
    """The scheduler's configuration, None when the scenario leaves all to the defaults.

    Paths start from `base`. What is wrong is added to `problems`.
    """
    if scheduler.client_qps is None and scheduler.client_burst != ANY_BURST:
        message = "has no effect without scheduler.clientQps; expected both."
        problems.append(Problem(locate(BURST), message, dotted(BURST)))
    if scheduler.config is None and not scheduler.plugins:
        return None
    from sim.profiles import configuration

    plugins = _plugins(scheduler, base, locate, problems, allow_plugins)
    typed = isinstance(scheduler.config, str)
    try:
        value = _value(scheduler.config, base, locate)
        return configuration(value, user_plugins=plugins, typed=typed)
    except ScenarioError as error:
        problems += error.problems
        return None


class _Placed(Source):
    """A configuration that is written in the scenario itself."""

    def __init__(self, locate: Locate) -> None:
        super().__init__(None, CONFIG)
        self._locate = locate

    def position(self, path: tuple[Step, ...], *, key: bool = False) -> Position:
        return self._locate((*self.root, *path), key=key)


def _value(config: object, base: FilePath, locate: Locate) -> Value:
    """The configuration as written, here or in the file that is named."""
    if not isinstance(config, str):
        return Value(config or {}, _Placed(locate))
    if not _is_file(base / config):
        near = [path.name for path in base.glob("*.yaml")]
        hint = did_you_mean(config, near)
        problem = Problem(
            locate(CONFIG), f"there is no such file, {str(base / config)!r}.", dotted(CONFIG), hint
        )
        raise ScenarioError([problem])
    documents, problems = read_documents(base / config, dialect="manifest")
    if problems:
        raise ScenarioError(problems)
    if len(documents) != 1 or not isinstance(documents[0].data, dict):
        got = shown(documents[0].data) if len(documents) == 1 else f"{len(documents)} documents"
        message = f"got {got}; expected one KubeSchedulerConfiguration."
        raise ScenarioError([Problem(Position(str(base / config)), message)])
    return Value(documents[0].data, Source(documents[0]))


def _is_file(path: FilePath) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _plugins(
    scheduler: Scheduler,
    base: FilePath,
    locate: Locate,
    problems: list[Problem],
    allowed: bool,
) -> list[UserPlugin]:
    """The user's plugins; one that cannot be loaded, or may not, stands there by its name."""
    from sim.profiles import PLUGINS as OURS
    from sim.userplugins import POINTS, PluginError, UserPlugin, load_plugin

    unloaded = [UserPlugin(f.plugin.rpartition(":")[2], None, POINTS) for f in scheduler.plugins]
    if scheduler.plugins and not allowed:
        names = ", ".join(form.plugin for form in scheduler.plugins)
        message = f"{names} would run: a plugin is a program, and may do anything that you may."
        hint = "If you trust it, add --allow-plugins (in Python allow_plugins=True)."
        problems.append(Problem(locate(PLUGINS), message, dotted(PLUGINS), hint))
        return unloaded
    found: list[UserPlugin] = []
    for i, form in enumerate(scheduler.plugins):
        at: Path = (*PLUGINS, i)
        try:
            plugin = load_plugin(
                form.plugin,
                base,
                args=form.args,
                weight=form.weight,
                scheduler=form.scheduler,
                taken={*OURS, *(plugin.name for plugin in found)},
            )
        except PluginError as error:
            problems.append(error.problem(locate(at), dotted(at)))
            plugin = unloaded[i]
        found.append(plugin)
    return found
