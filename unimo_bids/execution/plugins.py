"""Which plugin runs the nodes: this machine's processes, or what ``--use-plugin`` names."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unimo_bids.errors import InputError

_LOCAL = ("MultiProc", "Linear")
_CLUSTERS = ("SLURM", "SGE", "PBS", "LSF", "OAR", "Condor")
_REMEDY = "give plugin: and plugin_args: as for nipype"


@dataclass(frozen=True)
class PluginChoice:
    """A plugin of nipype's, by its name, and its arguments."""

    name: str = "MultiProc"
    args: dict[str, Any] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        """Whether nodes run on this machine, within its memory and processors."""
        return self.name in _LOCAL


def load_plugin(path: str | Path) -> PluginChoice:
    """Read a plugin file as fMRIPrep takes it.

    `path`: a YAML file with ``plugin`` (a name) and perhaps ``plugin_args`` (a mapping).
    """
    import yaml

    path = Path(path)
    try:
        said = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise InputError(path, "there is no such file", "check --use-plugin") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"it cannot be read ({error})", "check --use-plugin") from error
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise InputError(path, f"it is not YAML ({problem})", _REMEDY) from error
    if not isinstance(said, dict) or "plugin" not in said:
        raise InputError(path, "it names no plugin", _REMEDY)
    unknown = sorted(str(key) for key in set(said) - {"plugin", "plugin_args"})
    if unknown:
        raise InputError(path, f"unknown entries: {', '.join(unknown)}", _REMEDY)
    name, args = said["plugin"], said.get("plugin_args") or {}
    if not isinstance(args, dict):
        raise InputError(path, "plugin_args is not a mapping of names to values", _REMEDY)
    if str(name).endswith("Graph") or name == "CondorDAGMan":
        finding = f"plugin {name} hands its jobs over and does not wait for them"
        raise InputError(path, finding, f"use {str(name).removesuffix('Graph')} instead")
    known = (*_LOCAL, *_CLUSTERS)
    if name not in known:
        raise InputError(path, f"unknown plugin {name}", f"use one of {', '.join(known)}")
    return PluginChoice(name, args)


def make_plugin(choice: PluginChoice, args: dict[str, Any]) -> Any:
    """Build a plugin that records its failures; the arguments of its choice win."""
    try:
        return _plugin(choice, args | choice.args)
    except (TypeError, ValueError) as error:
        finding = f"its plugin_args do not suit {choice.name} ({error})"
        raise InputError("--use-plugin", finding, _REMEDY) from error


def _plugin(choice: PluginChoice, given: dict[str, Any]) -> Any:
    if choice.local:
        from unimo_bids.execution.multiproc import RobustMultiProcPlugin

        if choice.name == "Linear":
            given = given | {"n_procs": 1}
        return RobustMultiProcPlugin(plugin_args=given)
    if choice.name == "SLURM":
        from unimo_bids.execution.slurm import RobustSlurmPlugin

        return RobustSlurmPlugin(plugin_args=given)
    from unimo_bids.execution.failures import RecordsFailures
    from unimo_bids.execution.threads import ThreadsInJob

    plugins = importlib.import_module("nipype.pipeline.plugins")
    theirs = getattr(plugins, f"{choice.name}Plugin")
    return type(theirs.__name__, (RecordsFailures, ThreadsInJob, theirs), {})(plugin_args=given)
