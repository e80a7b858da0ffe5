#!/usr/bin/env bash
# Build the images of docker/ and use them, where no container engine runs: buildah in a chroot, on a base like
# python:3.11-slim-bookworm made of Debian's packages.
#     bash scripts/test_docker_build.sh [tflite] [rknn]        both without arguments
# As root, on Debian with buildah and mmdebstrap. Takes some 20 GB below TMPDIR; nothing of it stays. Variables:
#     PYTHON                  one that runs yolo's tests (.venv's when unset)
#     CHECKPOINT, DATASET     a trained network and a folder in YOLO format (random ones when unset)
#     STORAGE_DRIVER          vfs, which works everywhere, when unset; overlay takes less
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
images=("$@")
[ $# -gt 0 ] || images=(tflite rknn)
for image in "${images[@]}"; do
    [ -f "$root/docker/Dockerfile.$image-export" ] || { echo "error: $image is no image, expected tflite or rknn" >&2; exit 2; }
done
for tool in buildah mmdebstrap unshare "$python"; do
    command -v "$tool" >/dev/null || { echo "error: $tool is missing" >&2; exit 2; }
done
if [ "${CHECKPOINT:+1}" != "${DATASET:+1}" ]; then
    echo "error: CHECKPOINT and DATASET go together" >&2
    exit 2
fi

scratch=$(mktemp -d)
export TMPDIR=$scratch BUILDAH_ISOLATION=chroot CONTAINERS_STORAGE_CONF=$scratch/storage.conf
printf '[storage]\ndriver = "%s"\ngraphroot = "%s"\nrunroot = "%s"\n' "${STORAGE_DRIVER:-vfs}" "$scratch/storage" "$scratch/run" \
    >"$CONTAINERS_STORAGE_CONF"
unset STORAGE_DRIVER
workspace=$scratch/workspace
user=12345:12345 # in no /etc/passwd
cd "$root"

# Print a command, run it, print how long it took.
timed() {
    local start=$SECONDS
    printf '\n$ %s\n' "$*"
    "$@"
    printf '(%d s)\n' $((SECONDS - start))
}

clean() {
    buildah rm --all >/dev/null 2>&1 || true
    buildah rmi --all --force >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap clean EXIT

# pip in the build reads what pip reads here, from the same places on the disk.
pip_volumes=()
pip_arguments=()
configure_pip() {
    local path
    "$python" -m pip config list | sed -nE "s/^(global|:env:)\.([a-z-]+)='(.*)'$/\2 = \3/p" |
        awk -F ' = ' '{ line[$1] = $0 } END { print "[global]"; for (name in line) print line[name] }' >"$scratch/pip.conf"
    pip_volumes=(--volume "$scratch/pip.conf:/etc/pip.conf:ro")
    # An index in files/simple links to files beside it.
    while read -r path; do
        [ ! -e "$path" ] || pip_volumes+=(--volume "$path:$path:ro")
    done < <(grep -oE '[ /=]/[^ ]+' "$scratch/pip.conf" | sed -E 's,^[ =/]*,/,; s,/simple/?$,,' | sort -u)
    # Packages of its own go before the index of the Dockerfile, which may be out of reach.
    ! grep -qE '^(extra-index-url|find-links) = ' "$scratch/pip.conf" || pip_arguments=(--build-arg PIP_EXTRA_INDEX_URL=)
}

# The name that FROM has, so that the Dockerfiles are built as they are.
make_base() {
    local name container
    name=$(sed -n 's/^ARG BASE=//p' docker/Dockerfile.tflite-export)
    timed mmdebstrap --quiet --variant=minbase --include=ca-certificates,netbase,tzdata,python3-venv,python3-pip \
        bookworm "$scratch/base.tar"
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$scratch/base.tar" / >/dev/null
    rm "$scratch/base.tar"
    buildah run "$container" -- sh -c 'rm /usr/lib/python3*/EXTERNALLY-MANAGED; ln -s /usr/bin/python3 /usr/local/bin/python'
    buildah commit --quiet --rm "$container" "docker.io/library/$name" >/dev/null
}

build() {
    timed buildah bud --quiet --pull-never "${pip_arguments[@]}" "${pip_volumes[@]}" \
        --tag "yolo-$1-export" --file "docker/Dockerfile.$1-export" .
    buildah images
    container=$(buildah from --pull-never "yolo-$1-export")
    read -ra entry <<<"$(buildah inspect --format '{{.OCIv1.Config.Entrypoint}}' "$container" | tr -d '[]')"
}

# Run a program of the image as any user, with no network.
inside() {
    timed unshare --net buildah run --user "$user" \
        --volume "$workspace:/workspace" "$container" -- "$@"
}

# `docker run` of the image.
export_inside() { inside "${entry[@]}" "$@"; }

# A checkpoint and a dataset in the workspace.
make_workspace() {
    mkdir "$workspace"
    if [ -n "${CHECKPOINT:-}" ]; then
        cp "$CHECKPOINT" "$workspace/best.ckpt"
        cp -rL "$DATASET" "$workspace/dataset"
    else
        "$python" - "$workspace" <<'END'
import sys
from pathlib import Path

from tests.export.random_network import random_checkpoint
from tests.tiny_dataset import write_dataset

workspace = Path(sys.argv[1])
random_checkpoint(workspace / "best.ckpt", "v9-t", classes=2, size=160)
write_dataset(workspace / "dataset")
yaml = workspace / "dataset" / "data.yaml"
yaml.write_text(yaml.read_text().replace("[a, b]", "[class 0, class 1]"))
END
    fi
    chown -R "$user" "$workspace"
}

# mAP of a file in the image, which may be as far from the checkpoint's as the second argument says.
validate_inside() {
    local file
    for file in best.ckpt "$1"; do
        inside yolo validate --checkpoint "/workspace/$file" --data.format yolo --data.root /workspace/dataset --workers 0 \
            --output "/workspace/measured/$file"
    done
    "$python" - "$workspace/measured" "$@" <<'END'
import json
import sys
from pathlib import Path

checkpoint, exported = (
    json.loads(Path(sys.argv[1], name, "metrics.json").read_text())["summary"]["AP"] for name in ("best.ckpt", sys.argv[2])
)
print(f"AP50-95 of the checkpoint {checkpoint:.6f}, of {sys.argv[2]} {exported:.6f}")
sys.exit(abs(checkpoint - exported) > float(sys.argv[3]))
END
}

# INT8 where the network is trained: random ones do not bear it, and such files are refused.
calibrated=(--quantization int8 --images /workspace/dataset/images/val --calibration-images /workspace/dataset/images/train)

use_tflite() {
    local numbers=(--quantization fp32) limit=0.0005
    [ -z "${CHECKPOINT:-}" ] || numbers=("${calibrated[@]}") limit=0.015
    export_inside --checkpoint /workspace/best.ckpt --format saved_model --output /workspace/saved_model/
    validate_inside saved_model 0.001
    inside /opt/tflite/bin/python -c \
        "import tensorflow; print(tensorflow.saved_model.load('/workspace/saved_model').signatures['serving_default'])"
    export_inside --checkpoint /workspace/best.ckpt --format tflite --converter onnx2tf --output /workspace/classic.tflite
    validate_inside classic.tflite 0.001
    export_inside --checkpoint /workspace/best.ckpt --format tflite --output /workspace/best.tflite "${numbers[@]}"
    validate_inside best.tflite "$limit"
}

use_rknn() {
    local numbers=(--quantization fp16)
    [ -z "${CHECKPOINT:-}" ] || numbers=("${calibrated[@]}")
    export_inside --checkpoint /workspace/best.ckpt --format rknn --output /workspace/best.rknn "${numbers[@]}"
    validate_inside best.rknn 0.02
}

configure_pip
make_base
for image in "${images[@]}"; do
    make_workspace
    build "$image"
    export_inside --help
    export_inside --checkpoint /workspace/best.ckpt --format onnx --output /workspace/best.onnx
    "use_$image"
    ls -l "$workspace"
    buildah rm "$container" >/dev/null
    buildah rmi "yolo-$image-export" >/dev/null
    rm -r "$workspace"
done
echo "the images work: ${images[*]}"
