#!/usr/bin/env bash
# Make the environment that `yolo export --format rknn` and .rknn files run in.
#     bash scripts/setup_rknn_export.sh [FOLDER]
# FOLDER is .venv-rknn in the checkout when left out; PYTHON names the interpreter (3.11). Running it again mends it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$root/.venv-rknn}
"${PYTHON:-python3.11}" -m venv "$folder"
pip=("$folder/bin/python" -m pip --disable-pip-version-check install --quiet)
"${pip[@]}" -r "$root/docker/requirements-rknn.txt"
"${pip[@]}" --no-deps -r "$root/docker/requirements-rknn-nodeps.txt"
"$folder/bin/python" -c "from rknn.api import RKNN"
echo "made: $folder (yolo finds .venv-rknn in its checkout; elsewhere: export YOLO_RKNN_PYTHON=$folder/bin/python)"
