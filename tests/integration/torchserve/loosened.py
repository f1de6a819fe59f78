"""TorchServe started as the stack starts it, but with its locks taken away: what the tests of the locks must notice.

    python -m tests.integration.torchserve.loosened LAUNCHER_OPTIONS

Each setting that closes an opening of reliability.md is what TorchServe has where nobody sets it, or what lets it in.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

LAUNCHER: Final = Path(__file__).resolve().parents[3] / "deploy" / "torchserve" / "launch.py"


def launcher() -> ModuleType:
    spec = importlib.util.spec_from_file_location("amulet_torchserve_launch", LAUNCHER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def main() -> None:
    launch = launcher()
    options = launch._options(None)
    command = launch.prepare(options)
    state: Path = options.state.absolute()
    settings = launch.properties(options, state / "tmp")
    settings |= {
        "inference_address": f"http://{launch.HOST}:{8080 + options.port_offset}",
        "enable_metrics_api": "true",
        "metrics_address": f"http://{launch.HOST}:{8082 + options.port_offset}",
        "disable_token_authorization": "true",
        "enable_envvars_config": "true",
        "use_env_allowed_urls": "true",
    }
    for name in ("allowed_urls", "blacklist_env_vars"):
        del settings[name]
    (state / "config.properties").write_text(launch._properties_text(settings), "ascii")
    launch._write_program(state / "bin" / "worker", _any_worker(launch.STANDIN))
    arguments = [each for each in command.arguments if each != "--no-config-snapshot"]
    os.umask(0o022)
    state.chmod(0o755)
    os.chdir(state)
    # Whoever asks for another Python gets the one that has what a worker imports, whatever the machine's own is.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.execve(arguments[0], arguments, {**os.environ, **command.environment, "PATH": path})


def _any_worker(standin: Path) -> str:
    """Python, wherever and for whatever it is asked for."""
    return f"""\
#!/bin/sh
PYTHONPATH=$PYTHONPATH:{shlex.quote(str(standin))}
export PYTHONPATH
exec {shlex.quote(sys.executable)} "$@"
"""


if __name__ == "__main__":
    main()
