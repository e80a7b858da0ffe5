#!/usr/bin/env bash
# Make the environment that SavedModel and classic TFLite files take: .venv-tflite, or the folder given.
#     bash scripts/setup_tflite_export.sh [FOLDER]
# PYTHON names the interpreter to make it with (3.11).
set -euo pipefail

pins=$(cd "$(dirname "$0")/.." && pwd)/docker/requirements-tflite.txt
folder=${1:-$(dirname "$pins")/../.venv-tflite}
python=${PYTHON:-python3}

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [[ $version != 3.11 ]]; then
    echo "error: $python is Python $version, the pinned versions are for 3.11: set PYTHON to one" >&2
    exit 2
fi
if ! cmp --silent "$pins" "$folder/installed.txt"; then
    "$python" -m venv "$folder"
    pip=("$folder/bin/python" -m pip --disable-pip-version-check --quiet)
    "${pip[@]}" install --requirement "$pins"
    # onnx2tf asks for OpenCV with windows, which needs libGL; its twin without must be what is imported.
    "${pip[@]}" install --no-deps --force-reinstall "$(grep '^opencv-python-headless==' "$pins")"
    "${pip[@]}" check
    cp "$pins" "$folder/installed.txt"
fi
echo "ready: $(cd "$folder" && pwd)/bin/python runs TensorFlow and onnx2tf; elsewhere than in .venv-tflite, YOLO_TFLITE_PYTHON names it"
