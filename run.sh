#!/usr/bin/env bash
# bash run.sh train|eval|predict NONLOCAL ./configs/nonlocal.yaml [flags]    the zoo's three scripts
# bash run.sh export NONLOCAL ./configs/nonlocal.yaml [flags]                 a static network; `inference` in the zoo
# bash run.sh demo                                                           everything once, on videos drawn here
# bash run.sh demo --two_stream                                              optical flow and both streams, on the same videos
# bash run.sh demo_detection                                                 actions of several actors in each of such videos
# bash run.sh study                                                          the S3D paper's findings, tried on such videos
# bash run.sh predict [flags]                                                the example network on a clip of this repository
# bash run.sh serve [NONLOCAL ./configs/nonlocal.yaml] [flags]               the network for browsers and programs, over HTTP
# bash run.sh classify --input LIST --output DIR [flags]                     lists of any length, with many workers
# bash run.sh test                                                           linter, types and tests, of the optional backends too
# bash run.sh setup                                                          the environment in .venv only
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
here=$PWD

fail() {
    echo "error: $1" >&2
    exit "${2:-2}"
}

# The active Python is used where it has Paddle and all modules. One with Paddle that lacks others is an environment of
# the user's own, a GPU build perhaps: they are named and nothing is started. Without Paddle: .venv.
# $1: modules; $2: extras of pyproject.toml that .venv gets.
find_python() {
    local modules=$1 extras=${2:-} active missing
    active=$(command -v python3 || command -v python) || fail "no python3 found; install Python 3.9 or newer"
    python=$active
    missing=$(missing_modules "$active" "$modules") || fail "$active does not run; its message stands above"
    [ -n "$missing" ] || return 0
    if [[ " $missing " != *" paddle "* ]] && ! is_own "$active"; then
        fail "$active has Paddle, but lacks $missing; run: $(install_command "$active" "$missing") (or \`bash run.sh setup\`, then: source .venv/bin/activate)"
    fi
    python=$here/.venv/bin/python
    if [ -x "$python" ] && [ -n "$(missing_modules "$python" "$modules")" ]; then
        rm -f .venv/*.installed # incomplete, whatever was noted there
    fi
    make_environment "$active" "$extras"
}

# Those of the modules that a Python does not have, in a line.
missing_modules() {
    "$1" -c "import importlib.util as i; print(*[m for m in '$2'.split() if i.find_spec(m) is None])"
}

# Whether a Python is that of .venv, which this script may complete.
is_own() {
    [ "$1" -ef .venv/bin/python ] && [ "$(dirname "$1")" -ef .venv/bin ]
}

# A package with its range in pyproject.toml.
requirement() {
    echo "$1$(sed -n "s/^ *\"$1\([<>=][^\"; ]*\).*/\1/p" pyproject.toml | head -n 1)"
}

# The pip line that installs the packages of some modules in the ranges of pyproject.toml.
install_command() {
    local line module package
    line="$(printf %q "$1") -m pip install"
    for module in $2; do
        case $module in
        cv2) package=opencv-python-headless ;;
        yaml) package=PyYAML ;;
        PIL) package=pillow ;;
        xdist) package=pytest-xdist ;;
        pytest_timeout) package=pytest-timeout ;;
        sklearn) package=scikit-learn ;;
        imageio_ffmpeg) package=imageio-ffmpeg ;;
        kubernetes_validate) package=kubernetes-validate ;;
        *) package=$module ;;
        esac
        line+=" '$(requirement "$package")'"
    done
    echo "$line"
}

# Makes or completes .venv. Old versions of pip copy the whole folder, data and all, to install from it.
make_environment() {
    local extras=$2 wanted stamp
    [ -x .venv/bin/python ] || "$1" -m venv .venv ||
        fail "python3 -m venv failed; install the venv module (Debian: apt install python3-venv)" 1
    stamp=.venv/${extras:-run}.installed
    wanted=$(cat pyproject.toml requirements.lock | cksum)
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    echo "installing the packages of pyproject.toml${extras:+ with [$extras]} into .venv ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "pip>=21.3" &&
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock ".${extras:+[$extras]}" ||
        fail "pip could not install the packages of pyproject.toml; its message stands above" 1
    [[ ",$extras," == *,fast,* ]] || install_fast
    echo "$wanted" >"$stamp"
}

# Adds the fastest backend of prediction that has wheels for this Python and machine.
install_fast() {
    local packages package wanted
    for packages in "paddle2onnx openvino onnxruntime" "paddle2onnx onnxruntime"; do
        wanted=()
        for package in $packages; do wanted+=("$(requirement "$package")"); done
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary=:all: -c requirements.lock \
            "${wanted[@]}" 2>/dev/null && return
        echo "note: no wheels of $packages for this Python and machine (or no network); trying the next best"
    done
    echo "note: predictions will run in Paddle Inference, which comes with Paddle"
}

# Whether Paddle sees several GPUs (CUDA_VISIBLE_DEVICES counts), none of which --use_gpu refuses.
has_several_gpus() {
    local count
    command -v nvidia-smi >/dev/null || return 1
    case " $* " in *" --use_gpu=False "* | *" --use_gpu False "*) return 1 ;; esac
    count=$("$python" -c "import paddle; print(paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count())" \
        2>/dev/null | tail -n 1) || return 1
    [[ $count =~ ^[0-9]+$ ]] && [ "$count" -gt 1 ]
}

# What each script imports; tests/test_run_script.py runs them with nothing else.
core="paddle numpy cv2 av yaml tqdm PIL"
modules_of_train="$core matplotlib visualdl"
modules_of_eval="$core matplotlib tabulate"
modules_of_predict="$core tabulate"
modules_of_export="$core tabulate"
modules_of_serve="$core tabulate fastapi uvicorn"
modules_of_classify="$core tabulate pyarrow"
everything="$core matplotlib tabulate visualdl safetensors"
mode=${1:-}
[ $# -gt 0 ] && shift
case $mode in
train | eval | predict | export | inference | serve)
    [ "$mode" != inference ] || mode=export
    network=()
    # predict and serve alone take the example network (serve: that of the demo, once there is one)
    if [[ ! $mode =~ ^(predict|serve)$ ]] || [[ $# -gt 0 && $1 != -* ]]; then
        [ $# -ge 2 ] || fail "usage: bash run.sh $mode NONLOCAL ./configs/nonlocal.yaml [flags]"
        network=(--model_name="$1" --config="$2")
        shift 2
    fi
    modules=modules_of_$mode
    modules=${!modules}
    [[ "$mode $*" != "predict "*--draw* ]] || modules+=" matplotlib" # the font of labels
    extras=""
    [ "$mode" != serve ] || extras=serve
    find_python "$modules" "$extras"
    launcher=()
    if [[ $mode =~ ^(train|eval)$ ]] && [ -z "${PADDLE_TRAINERS_NUM:-}" ]; then
        if [ "${PADDLE_NNODES:-1}" != 1 ]; then # the launcher reads it and PADDLE_MASTER itself
            launcher=(-m paddle.distributed.launch --log_dir="output/launch/$HOSTNAME")
        elif has_several_gpus "$@"; then
            launcher=(-m paddle.distributed.launch --log_dir=output/launch) # one process a GPU
        fi
    fi
    supervisor=()
    if [ "$mode" = train ] && [[ " $* " =~ " --restarts"[=\ ] ]]; then
        supervisor=(-m training.supervisor "$python") # outside the launcher
    fi
    exec "$python" ${supervisor[@]+"${supervisor[@]}"} ${launcher[@]+"${launcher[@]}"} "$mode.py" \
        ${network[@]+"${network[@]}"} "$@"
    ;;
demo)
    find_python "$everything"
    exec "$python" tools/demo.py "$@"
    ;;
demo_detection)
    find_python "$everything"
    exec "$python" tools/demo_detection.py "$@"
    ;;
classify)
    find_python "$modules_of_classify" cluster
    exec "$python" tools/classify_dataset.py "$@"
    ;;
study)
    find_python "$everything"
    exec "$python" tools/study.py "$@"
    ;;
test)
    find_python "$everything pytest pytest_timeout xdist pyarrow sklearn imageio_ffmpeg kubernetes_validate fastapi uvicorn httpx ruff mypy" test,fast,cluster,detect,quantize,serve
    "$python" -m ruff check .
    "$python" -m ruff format --check .
    "$python" -m mypy
    exec "$python" -m pytest "$@"
    ;;
setup)
    make_environment "$(command -v python3)" test
    echo "the environment is in .venv: source .venv/bin/activate"
    ;;
*)
    fail "usage: bash run.sh train|eval|predict|export|serve NONLOCAL CONFIG.yaml [flags] | classify | demo | demo_detection | study | test | setup"
    ;;
esac
