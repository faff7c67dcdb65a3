#!/usr/bin/env bash
# Everything that must hold before a change lands: style, types, tests.
# Makes its own virtual environment (in $VENV, or .venv) and needs nothing else but Python 3.11.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${VENV:-.venv}"

python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 -e '.[dev]'

"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
"$venv/bin/pytest" "$@"
