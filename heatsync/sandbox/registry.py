"""The simulated vendors by name: every module or package in `heatsync.sandbox.vendors` has a `SIMULATOR`."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from heatsync.sandbox import vendors
from heatsync.sandbox.simulator import Simulator


def _found() -> dict[str, Simulator]:
    names = sorted(module.name for module in pkgutil.iter_modules(vendors.__path__))
    modules = [importlib.import_module(f"{vendors.__name__}.{name}") for name in names]
    return {module.SIMULATOR.name: module.SIMULATOR for module in modules}


_simulators = _found()
SIMULATORS: Mapping[str, Simulator] = _simulators


@contextmanager
def registered(simulator: Simulator) -> Iterator[None]:
    """One more simulator until the block ends, for sandboxes that are started in it."""
    _simulators[simulator.name] = simulator
    try:
        yield
    finally:
        del _simulators[simulator.name]
